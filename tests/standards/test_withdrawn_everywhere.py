"""Withdrawn means not served, from the next question on, by every way into the server (T4).

Whoever was shown something a moment ago holds its version, its page and its address; none of
these brings it back.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from dicom_bridge.dimse import worklist
from fhir_server.access.token import Keys
from fhir_server.context import now
from resources import codes
from tests.conftest import renamed
from tests.standards import access_world
from tests.standards.access_world import (
    NHS,
    PARTNER,
    PARTY,
    RELATED,
    STUDY,
    UNRELATED,
    WORD,
    World,
    an_agreement,
)
from tests.standards.test_access_matrix import (
    LEVELS,
    STUDY_ROOT,
    found,
    reading,
    retrieved,
    told,
)

pytestmark = [
    pytest.mark.requirement("R014.1"),
    pytest.mark.requirement("R002.2"),
    pytest.mark.standard("threats T4"),
]

Json = dict[str, Any]
SECOND = 1.0


@pytest.fixture
def world(
    cluster: str, template: str, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    name = "withdrawn"
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"drop database if exists {name} with (force)")
        connection.execute(f"create database {name} template {template} strategy file_copy")
    folder = tmp_path_factory.mktemp(name)
    with access_world.running(renamed(cluster, name), folder, keys) as running:
        yield running


def a_consent(kind: str, organization: str, **provision: Any) -> Json:
    actor = {"role": {"text": "x"}, "reference": {"reference": f"Organization/{organization}"}}
    return {
        "resourceType": "Consent", "id": "said", "status": "active",
        "scope": {"coding": [{"system": codes.CONSENT_SCOPE, "code": "patient-privacy"}]},
        "category": [{"text": "privacy"}], "patient": {"reference": "Patient/hidden"},
        "policyRule": {"text": "house"},
        "provision": {"type": kind, "actor": [actor], **provision},
    }  # fmt: skip


def put(world: World, resource: Json, version: int = 0) -> None:
    referrer = world.client(PARTY, "referrer", "user/*.cruds")
    headers = {"If-Match": f'W/"{version}"'} if version else {}
    path = f"/fhir/{resource['resourceType']}/{resource['id']}"
    referrer.put(path, content=json.dumps(resource), headers=headers).raise_for_status()


def shown(answer: httpx.Response) -> bool:
    return WORD in answer.text or WORD.encode() in answer.content


def served(client: httpx.Client) -> list[str]:
    """The ways by which something of the patient is shown."""
    return [probe.address for probe in reading() if shown(told(client, probe))]


def kept(client: httpx.Client) -> list[tuple[str, Json]]:
    """What a client may keep of its answers to ask again: versions, and the page that follows."""
    again: list[tuple[str, Json]] = []
    for address in ("Task/hidden", "ImagingStudy/hidden", "DiagnosticReport/hidden"):
        answer = client.get(f"/fhir/{address}")
        again.append((f"/fhir/{address}", {"If-None-Match": answer.headers["etag"]}))
        version = answer.json()["meta"]["versionId"]
        again.append((f"/fhir/{address}/_history/{version}", {}))
    for address in ("Task?patient=hidden&_count=1", "_history?_count=5"):
        page = client.get(f"/fhir/{address}").json()
        follows = [link["url"] for link in page["link"] if link["relation"] == "next"]
        again += [(link.replace(str(client.base_url).rstrip("/"), ""), {}) for link in follows]
    metadata = client.get(f"/dicom-web/studies/{STUDY}/metadata")
    if etag := metadata.headers.get("etag"):
        again.append((f"/dicom-web/studies/{STUDY}/metadata", {"If-None-Match": etag}))
    return again


def by_dicom(world: World, ae: str) -> int:
    """How much is found and got by C-FIND, worklist and C-GET."""
    rows = sum(len(found(world, ae, STUDY_ROOT, **keys)) for keys in LEVELS)
    rows += len(found(world, ae, worklist.MODALITY_WORKLIST, PatientID=NHS))
    return rows + retrieved(world, ae)


def test_dissent_stops_every_way_at_once_and_what_was_kept_brings_nothing_back(
    world: World,
) -> None:
    related = world.client(RELATED, "application", "system/*.cruds")
    before, again = served(related), kept(related)
    assert len(before) > 100
    assert len(again) > 7
    assert by_dicom(world, "RELATED") >= 5

    put(world, a_consent("deny", RELATED))

    at = time.monotonic()
    for address, headers in again:
        answer = related.get(address, headers=headers)
        assert answer.status_code != 304, address
        assert not shown(answer), address
    assert time.monotonic() - at < SECOND
    assert served(related) == []
    assert by_dicom(world, "RELATED") == 0
    assert len(served(world.client(PARTY, "application", "system/*.cruds"))) >= len(before)


def test_a_permit_that_is_withdrawn_stops_every_way_at_once(world: World) -> None:
    let_in = world.client(UNRELATED, "reporter", "user/*.rs")
    assert served(let_in) == []
    end = {"period": {"end": "2099-01-01"}}
    put(world, a_consent("permit", UNRELATED, **end))
    assert len(served(let_in)) > 100
    assert by_dicom(world, "NOBODY") >= 5
    again = kept(let_in)

    put(world, {**a_consent("permit", UNRELATED, **end), "status": "inactive"}, version=1)

    at = time.monotonic()
    for address, headers in again:
        answer = let_in.get(address, headers=headers)
        assert answer.status_code != 304, address
        assert not shown(answer), address
    assert time.monotonic() - at < SECOND
    assert served(let_in) == []
    assert by_dicom(world, "NOBODY") == 0


@pytest.mark.parametrize("ending", ["said", "passed"])
def test_an_agreement_that_has_ended_stops_every_way_at_once(world: World, ending: str) -> None:
    """Whether somebody ends it or its time is over, with nothing written then."""
    partner = world.client(PARTNER, "application", "system/*.rs")
    before, again = served(partner), kept(partner)
    assert len(before) > 100
    assert len(again) > 6
    assert by_dicom(world, "PARTNER") >= 5
    files = exported_files(world, partner)
    assert any(shown(partner.get(file)) for file in files)

    end_agreement(world, ending)

    for address, headers in (*again, *((file, {}) for file in files)):
        answer = partner.get(address, headers=headers)
        assert answer.status_code != 304, address
        assert not shown(answer), address
    assert served(partner) == []
    assert by_dicom(world, "PARTNER") == 0
    assert len(served(world.client(PARTY, "application", "system/*.cruds"))) >= len(before)


def exported_files(world: World, client: httpx.Client) -> list[str]:
    order = client.get("/fhir/$export", headers={"Prefer": "respond-async"})
    while world.export():
        pass
    manifest = client.get(order.headers["content-location"]).json()
    return [file["url"] for file in manifest["output"]]


def end_agreement(world: World, ending: str) -> None:
    """End what the party shares with its partner."""
    if ending == "passed":
        with psycopg.connect(world.database_url, autocommit=True) as connection:
            connection.execute("update sharing set until = %s where by_id = 'shared'", (now(),))
        return
    party = world.client(PARTY, "application", "system/*.cruds")
    ended = json.dumps(an_agreement(PARTNER, "shared", active=False))
    address = "/fhir/OrganizationAffiliation/shared"
    party.put(address, content=ended, headers={"If-Match": 'W/"1"'}).raise_for_status()


def test_a_label_stops_every_way_to_what_it_is_on(world: World) -> None:
    related = world.client(RELATED, "application", "system/*.cruds")
    party = world.client(PARTY, "application", "system/*.cruds")
    note = {
        "resourceType": "Observation", "status": "final", "code": {"text": "Zqylabelled"},
        "subject": {"reference": "Patient/hidden"},
    }  # fmt: skip
    made = party.post("/fhir/Observation", content=json.dumps(note)).json()
    address = f"/fhir/Observation/{made['id']}"
    ways = (
        address, f"{address}/_history/1", f"{address}/_history", "/fhir/Observation/_history",
        "/fhir/_history", f"/fhir/Observation?_id={made['id']}", "/fhir/Patient/hidden/Observation",
        "/fhir/Patient/hidden/$everything",
        "/fhir/Patient?_id=hidden&_revinclude=Observation:subject",
    )  # fmt: skip
    for way in ways:
        assert "Zqylabelled" in related.get(way).text, way
    label = {"security": [{"system": codes.V3_CONFIDENTIALITY, "code": "R"}]}

    answer = party.put(
        address, content=json.dumps({**made, "meta": label}), headers={"If-Match": 'W/"1"'}
    )

    assert answer.status_code == 200, answer.text
    for way in ways:
        assert "Zqylabelled" not in related.get(way).text, way
    by_code = "/fhir/Patient?_has:Observation:patient:code:text=Zqylabelled&_id=hidden"
    assert party.get(by_code).json()["entry"]
    assert "entry" not in related.get(by_code).json()
