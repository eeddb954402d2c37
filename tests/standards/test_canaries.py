"""What a client sends is never repeated in a log, a metric or the words of a refusal (threats T20).

A name, a number, free text and a token that stand nowhere else are put into every place a client
can fill, good and spoiled; then the server's log, metrics and refusals are searched for them. What
a refusal must name to be of use (an id, a parameter, a modifier, a type) has a word of its own: the
asker may be told it, the log may not.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from fhir_server.access.token import Keys, mint
from tests import build
from tests.dicom_bridge.build import an_instance, part10
from tests.fhir_server.test_serve import Served, eventually

pytestmark = [pytest.mark.standard("ASVS V16.2.5"), pytest.mark.standard("threats T20")]

NAME, NHS, TEXT, SECRET = "Qwyzzle", build.nhs_number(7171), "Vrombast", "Gsecretg"
CANARIES = (NAME, NHS, TEXT, SECRET)
NAMED = "Plimbow"
"""Stands for what has no value: ids, parameters, types."""
WORKLIST, FIND = "1.2.840.10008.5.1.4.31", "1.2.840.10008.5.1.4.1.2.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
FHIR = {"Content-Type": "application/fhir+json"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("canaries"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    token = mint(
        Keys.load(served.data_dir), served.url, subject="Client/test", client="test",
        scope="system/*.cruds", organization="lead", role="application",
    )  # fmt: skip
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=30) as asking:
        yield asking


def bodies() -> Iterator[bytes]:
    """Resources with the canaries in values that are wrong, one way each."""
    good: dict[str, Any] = build.a_patient(
        "c", name=[{"family": NAME, "given": [TEXT]}], identifier=[{"value": NHS}]
    )
    for change in (
        {"birthDate": NAME},
        {"gender": TEXT},
        {"active": NAME},
        {"multipleBirthInteger": NAME},
        {"name": NAME},
        {"name": [{"family": [NAME]}]},
        {"identifier": [{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": NAME + NHS}]},
        {"link": [{"other": {"reference": f"Patient/{NAMED}"}, "type": "seealso"}]},
        {"generalPractitioner": [{"reference": f"Organization?name={NAME}"}]},
        {"text": {"status": "generated", "div": f"<div><script>{TEXT}</script></div>"}},
        {"photo": [{"data": f"{TEXT}!!"}]},
        {"contained": [{"resourceType": TEXT, "id": NAME}]},
        {"resourceType": TEXT},
        {"meta": {"lastUpdated": NAME}},
        {"deceasedDateTime": f"2026-13-{NAME}"},
        {"extension": [{"url": TEXT, "valueString": NAME, "valueCode": " x "}]},
        {"id": f"{NAME} {NHS}"},
    ):
        yield json.dumps({**good, **change}).encode()
    yield json.dumps(good).encode()[:-9]
    yield f'{{"resourceType":"Patient","id":"a","id":"{NAME}"}}'.encode()
    yield f'{{"resourceType":"Patient","name":"{NAME}'.encode() + b"\xff"
    yield f"{NAME} {NHS} {TEXT}".encode()


def sent(client: httpx.Client) -> Iterator[httpx.Response]:
    """Everything, by every method; what is right as well as what is wrong."""
    for body in bodies():
        yield client.post("/fhir/Patient", content=body, headers=FHIR)
        yield client.put("/fhir/Patient/c", content=body, headers=FHIR)
        yield client.post("/fhir/Patient/$validate", content=body, headers=FHIR)
        entry = b'{"request":{"method":"POST","url":"Patient"},"resource":' + body + b"}"
        for kind in (b"batch", b"transaction"):
            whole = b'{"resourceType":"Bundle","type":"' + kind + b'","entry":[' + entry + b"]}"
            yield client.post("/fhir", content=whole, headers=FHIR)
        yield client.post(
            "/dicom-web/studies", content=body, headers={"Content-Type": "application/dicom"}
        )
        yield client.patch(
            "/fhir/Patient/c", content=body, headers={"Content-Type": "application/json-patch+json"}
        )
    for query in (
        f"birthdate={NAME}", f"_sort={NAMED}", f"_count={NHS}", f"_include={NAMED}:{NAMED}",
        f"_lastUpdated=ge{NAME}", f"{NAMED}={NHS}", f"name:{NAMED}={NAME}", f"_cursor={NAME}",
        f"organization:{NAMED}.name={NAME}", f"identifier={NHS}|{NAME}|{TEXT}", f"_format={TEXT}",
        f"_total={TEXT}", f"name={NAME}&identifier={NHS}",
    ):  # fmt: skip
        strict = {"Prefer": "handling=strict"}
        yield client.get(f"/fhir/Patient?{query}", headers=strict)
        yield client.post(
            "/fhir/Patient/_search",
            content=query,
            headers={**strict, "Content-Type": "application/x-www-form-urlencoded"},
        )
        yield client.get(f"/dicom-web/studies?{query}&PatientName={NAME}&00100020={NHS}")
    for address in (
        f"/fhir/{TEXT}", f"/fhir/Patient/{NAMED}", f"/fhir/Patient/{NAMED}/_history/{TEXT}",
        f"/fhir/Patient/c/${NAMED}", f"/dicom-web/studies/{NHS}/series/{NAME}", f"/{NAME}",
        f"/auth/authorize?client_id={NAME}&state={SECRET}&redirect_uri=https://{TEXT}.example",
    ):  # fmt: skip
        yield client.get(address)
    for headers in (
        {"Authorization": f"Bearer {SECRET}"},
        {"Authorization": f"Bearer {SECRET}.{SECRET}.{SECRET}"},
        {"Authorization": f"Basic {SECRET}"},
        {"If-Match": f'W/"{TEXT}"'},
        {"If-None-Match": TEXT},
        {"If-Modified-Since": TEXT},
        {"Accept": f"application/{TEXT}"},
        {"Content-Type": f"application/{TEXT}"},
        {"Prefer": f"return={TEXT}"},
        {"If-None-Exist": f"name={NAME}&{NAMED}={NHS}"},
        {"Range": TEXT},
        {"Host": f"{NAME}.example"},
        {"User-Agent": NAME},
        {"Referer": f"https://{NAME}.example/{SECRET}"},
        {"Cookie": f"session={SECRET}"},
        {"X-Forwarded-For": NAME},
    ):
        for method in ("GET", "PUT", "POST"):
            address = "/fhir/Patient" if method == "POST" else "/fhir/Patient/c"
            yield client.request(
                method, address, content=b"{}" if method != "GET" else None,
                headers={**FHIR, **headers},
            )  # fmt: skip
    form = {"grant_type": TEXT, "code": SECRET, "client_id": NAME, "client_assertion": SECRET}
    for address in ("token", "introspect", "revoke", "sign-in"):
        yield client.post(f"/auth/{address}", data=form)
    image = an_instance(patient_name=NAME, patient_id=NHS, description=TEXT, accession=TEXT)
    octets = part10(image)
    for content in (octets, octets[:-3], octets[:200], octets.replace(b"1.2.840", b"9x2.840")):
        yield client.post(
            "/dicom-web/studies", content=content, headers={"Content-Type": "application/dicom"}
        )


def said_by_dicom(served: Served) -> None:
    """The canaries as AE titles, query keys and data sets."""
    known = json.loads((served.data_dir / "run" / "served.json").read_text())
    host, _, port = known["dicom"].rpartition(":")
    image = an_instance(patient_name=NAME, patient_id=NHS, description=TEXT)
    broken = Dataset()
    broken.PatientName, broken.PatientID, broken.StudyDescription = NAME, NHS, TEXT
    broken.SOPClassUID, broken.SOPInstanceUID = CT, "1.2.3"
    for title in (NAME, "TEST"):
        ae = AE(title)
        for context in (WORKLIST, FIND, CT):
            ae.add_requested_context(context)
        association = ae.associate(host, int(port), ae_title=TEXT if title == NAME else "ISOCENTRE")
        if association.is_established:
            for data_set in (image, broken):
                association.send_c_store(data_set)
            for context in (WORKLIST, FIND):
                list(association.send_c_find(broken, context))
            association.release()


def test_nothing_that_a_client_sent_is_repeated(served: Served, client: httpx.Client) -> None:
    refusals, repeated = 0, []
    for answer in sent(client):
        asked = f"{answer.request.method} {answer.request.url} {answer.request.content[:400]!r}"
        assert answer.status_code != 500, (asked, answer.text)
        if answer.status_code >= 400:
            refusals += 1
            if any(one in answer.text for one in CANARIES):
                repeated.append(f"{asked}: {answer.text}")
    said_by_dicom(served)

    assert not repeated, "\n".join(repeated)
    assert refusals > 150
    told = client.get("/metrics").text
    assert "isocentre" in told
    log = served.data_dir / "log"
    assert eventually(lambda: '"address"' in log.read_text())
    texts = {"metrics": told, "log": log.read_text(), "run": _all(served.data_dir / "run")}
    for name, text in texts.items():
        assert [one for one in (*CANARIES, NAMED) if one.lower() in text.lower()] == [], name


def _all(folder: Path) -> str:
    return "".join(file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file())
