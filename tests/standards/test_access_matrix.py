"""Who has nothing to do with a patient learns nothing of them, by any way into the server.

The ways are taken from the route tables, so that a new one fails here until its probes are listed.
What is hidden must be answered exactly like what is not there (threats T1, T2), and the same
probes must show everything to a party, or they would show nothing of the server.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from starlette.routing import Route

from dicom_bridge import storage
from dicom_bridge.dicomweb import router as dicomweb
from dicom_bridge.dimse import general_purpose, scp, ups, worklist
from dicom_bridge.mapping.general_purpose import WORKLIST
from dicom_bridge.mapping.ups import PUSH
from fhir_server.access import relationship, roles
from fhir_server.access.emergency import Emergency
from fhir_server.access.token import Keys
from fhir_server.rest import router
from fhir_server.rest.operations import table
from tests.conftest import renamed
from tests.standards import access_world
from tests.standards.access_world import (
    ENDED,
    FOREVER,
    INSTANCE,
    KEPT_OUT,
    LAPSED,
    NHS,
    PARTNER,
    PARTY,
    SERIES,
    STUDY,
    TYPES,
    UNRELATED,
    WORD,
    WORKITEM,
    World,
)

pytestmark = [pytest.mark.requirement("R014.1"), pytest.mark.standard("threats T1 T2")]

Json = dict[str, Any]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
STUDY_ROOT, STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_ROOT, PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.1.3"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
COMMITMENT = "1.2.840.10008.1.20.1"
PERFORMED = "1.2.840.10008.3.1.2.3.3"
"""PS3.4 Annexes C, F and J. A commitment tells of what the peer itself sent: test_commitment.py; a
performed step tells us, and is told nothing: test_mpps.py."""
OCTETS = ("/frames/", "/bulk/", "/rendered", "/thumbnail")
"""What shows pixels, and no word of what they are."""
CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
SOUGHT = WORD[:6]
"""What is searched for stands in the answer as a part of the question, and so is not the word."""


class Probe(NamedTuple):
    """One question; ``hidden`` and the UIDs stand for what is asked for."""

    method: str
    address: str
    body: Any = None
    headers: Json = {}  # noqa: RUF012 - never changed
    shows: bool = True
    """A party is shown the word."""


def asking(address: str, **more: Any) -> Json:
    return {"request": {"method": "GET", "url": address, **more}}


def writing(method: str, address: str, resource: Json, **more: Any) -> Json:
    return {"resource": resource, "request": {"method": method, "url": address, **more}}


def bundle(kind: str, *entries: Json) -> Json:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def a_note(**members: Any) -> Json:
    return {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, **members}


HIDDEN = {"reference": "Patient/hidden"}
SEEN = {"reference": "Patient/seen"}

SEARCHES = (
    *(f"{type}?_id=hidden" for type in TYPES if type not in ("Binary",)),
    f"Patient?name={SOUGHT}",
    f"Patient?identifier={NHS}",
    "Patient?organization=Organization/northmoor",
    "Task?patient=Patient/hidden&_total=accurate",
    f"Task?patient.name={SOUGHT}",
    f"ServiceRequest?subject:Patient.identifier={NHS}",
    "ServiceRequest?_sort=-authored&_include=ServiceRequest:subject&patient=hidden",
    "Task?based-on=ServiceRequest/hidden&_include=Task:based-on&_include=Task:patient",
    "ImagingStudy?basedon=ServiceRequest/hidden",
    "Provenance?target=ServiceRequest/hidden",
    "Organization?_id=northmoor&_revinclude=ServiceRequest:performer&_revinclude=Task:owner",
    "Organization?_id=northmoor&_revinclude=Patient:organization",
    "PractitionerRole?_id=gp&_revinclude=Task:requester",
    "Observation?_lastUpdated=ge2020-01-01",
    f"Patient?_has:Observation:patient:code:text={SOUGHT}",
    "Patient?_has:Task:patient:_has:Provenance:target:recorded=ge2020-01-01",
    "ImagingStudy?source-organization=Organization/northmoor&_sort=started",
    "DiagnosticReport?performer:Organization.name=Northmoor",
    "ImagingStudy?_id=hidden&_include=*&_revinclude=*",
)

OUTSIDE = ("Binary", "Device", "Patient", "Provenance")
"""FHIR CompartmentDefinition patient: not in it, or only by what these do not have."""

FHIR: dict[str, list[Probe]] = {
    "capabilities": [Probe("GET", "metadata", shows=False)],
    "read": [Probe("GET", f"{type}/hidden", shows=type != "Binary") for type in TYPES],
    "vread": [
        Probe("GET", f"{type}/hidden/_history/1", shows=type not in ("Binary", "Task"))
        for type in TYPES
    ],
    "history-instance": [
        Probe("GET", f"{type}/hidden/_history", shows=type != "Binary") for type in TYPES
    ],
    "history-type": [Probe("GET", f"{type}/_history", shows=type != "Binary") for type in TYPES],
    "history-system": [Probe("GET", "_history")],
    "create": [
        Probe("POST", "Observation", a_note(subject=HIDDEN),
              {"If-None-Exist": "_id=hidden"}, shows=False),
        Probe("POST", "Observation", a_note(subject={"reference": f"Patient?identifier={NHS}"}),
              shows=False),
        Probe("POST", "Observation", a_note(subject=HIDDEN), shows=False),
        Probe("POST", "Observation", a_note(subject=SEEN, focus=[HIDDEN]), shows=False),
        Probe("POST", "Observation", a_note(hasMember=[{"reference": "Observation/hidden"}]),
              shows=False),
        Probe("POST", "Observation", a_note(contained=[{"resourceType": "Patient", "id": "a",
              "link": [{"other": HIDDEN, "type": "seealso"}]}], subject={"reference": "#a"}),
              shows=False),
        Probe("POST", "Task", {"resourceType": "Task", "status": "requested", "intent": "order",
              "partOf": [{"reference": "Task/hidden/_history/1"}]}, shows=False),
        Probe("POST", "Provenance", {"resourceType": "Provenance", "target": [HIDDEN],
              "recorded": "2026-11-24T03:00:00Z", "agent": [{"who": {"display": "x"}}]},
              shows=False),
    ],
    "update": [
        Probe("PUT", f"{type}/hidden", {"resourceType": type, "id": "hidden", "subject": SEEN,
              "status": "final", "code": {"text": "x"}, "intent": "order"},
              {"If-Match": 'W/"9"'}, shows=False)
        for type in ("Observation", "ServiceRequest")
    ] + [
        Probe("PUT", f"Observation?{condition}", a_note(subject=HIDDEN), headers, shows=False)
        for condition in ("_id=hidden", f"patient.identifier={NHS}", "subject=Patient/hidden")
        for headers in ({}, {"If-Match": 'W/"9"'})
    ],
    "patch": [
        Probe("PATCH", address, [{"op": "test", "path": "/status", "value": "x"}],
              {**JSON_PATCH, **headers}, shows=False)
        for type in TYPES if type != "Provenance"
        for address in (f"{type}/hidden", f"{type}?_id=hidden")
        for headers in ({}, {"If-Match": 'W/"9"'})
    ],
    "delete": [
        Probe("DELETE", address, None, headers, shows=False)
        for type in TYPES if type != "Provenance"
        for address in (f"{type}/hidden", f"{type}?_id=hidden")
        for headers in ({}, {"If-Match": 'W/"9"'})
    ],
    "search-type": [
        *(Probe("GET", address) for address in SEARCHES),
        *(Probe("POST", address.replace("?", "/_search?", 1).split("?")[0],
                address.split("?")[1], FORM) for address in SEARCHES),
        *(Probe("GET", f"Patient/hidden/{type}", shows=type not in OUTSIDE)
          for type in TYPES),
        Probe("POST", "Patient/hidden/Task/_search", "_count=5", FORM),
        *(Probe("GET", f"Organization?{condition}&_summary=count", shows=False) for condition in (
            "_has:ServiceRequest:performer:_id=hidden", "_has:Task:owner:patient=hidden",
            "_has:Patient:organization:_id=hidden")),
    ],
    "search-system": [
        Probe("GET", "?_id=hidden&_type=Patient,Task,ServiceRequest"),
        Probe("POST", "_search", "_id=hidden&_type=Patient,Task,ServiceRequest", FORM),
        Probe("GET", "Patient/hidden/*"),
        Probe("POST", "Patient/hidden/*/_search", "_count=50", FORM),
    ],
    "batch": [
        Probe("POST", "", bundle("batch", *(asking(f"{type}/hidden") for type in TYPES))),
        Probe("POST", "", bundle("batch", *map(asking, SEARCHES))),
        Probe("POST", "", bundle("batch", asking("Task/hidden", ifNoneMatch='W/"1"')),
              shows=False),
        Probe("POST", "", bundle("transaction", asking("ServiceRequest/hidden"))),
        Probe("POST", "", bundle("transaction", asking("Task/hidden/_history"))),
        *(Probe("POST", "", bundle("transaction", asking(one))) for one in SEARCHES[:3]),
        Probe("POST", "", bundle("transaction", writing("POST", "Observation",
              a_note(subject=SEEN, derivedFrom=[{"reference": "Observation/hidden"}]))),
              shows=False),
        Probe("POST", "", bundle("transaction", writing("PUT", "Task/hidden",
              {"resourceType": "Task", "id": "hidden", "status": "requested", "intent": "order"},
              ifMatch='W/"9"')), shows=False),
    ],
}  # fmt: skip
"""Interaction of `router.INTERACTIONS` -> what is asked."""

ABOUT_HIDDEN: dict[str, Any] = {
    "resourceType": "ServiceRequest", "id": "draft", "status": "draft", "intent": "order",
    "subject": {"reference": "Patient/hidden"}, "code": {"text": "CT of head"},
}  # fmt: skip

ADVICE: dict[str, list[Probe]] = {
    "/cds-services": [],
    "/cds-services/{service}": [
        Probe("POST", "/cds-services/imaging-repeats-sign", {
            "hook": "order-sign", "context": {"userId": "Practitioner/x", "patientId": "hidden",
            "draftOrders": {"resourceType": "Bundle", "type": "collection",
                            "entry": [{"resource": ABOUT_HIDDEN}]}}}, shows=False),
    ],
    "/cds-services/{service}/feedback": [
        Probe("POST", "/cds-services/imaging-repeats-sign/feedback", {"feedback": []},
              shows=False),
    ],
}  # fmt: skip
"""Route of `decision_support.routes` -> what is asked; discovery knows no record."""

OPERATIONS: dict[str, list[Probe]] = {
    "meta": [Probe("GET", f"{type}/hidden/$meta", shows=False) for type in TYPES],
    "validate": [
        Probe("POST", f"{type}/hidden/$validate", {"resourceType": type, "id": "hidden"},
              shows=False)
        for type in TYPES
    ],
    "everything": [
        Probe("GET", f"{type}/hidden/$everything") for type in ("Patient", "ServiceRequest")
    ],
    "expand": [Probe("GET", "ValueSet/hidden/$expand", shows=False)],
    "validate-code": [Probe("GET", "ValueSet/hidden/$validate-code?code=x", shows=False)],
    "audit-report": [
        Probe("GET", f"AuditEvent/$audit-report?{measures}&by={by}", shows=False)
        for measures in ("measure=requested,acquired,reported,reviewed,acknowledged",)
        for by in ("person", "creator", "modality", "period")
    ],
    "evidence": [Probe("GET", "DiagnosticReport/hidden/$evidence", shows=False)],
    "check": [
        Probe("GET", "ServiceRequest/hidden/$check", shows=False),
        Probe("POST", "ServiceRequest/$check", ABOUT_HIDDEN, shows=False),
    ],
    "history": [Probe("GET", "Task/hidden/$history")],
    "worklists": [Probe("GET", "List/$worklists?patient=hidden", shows=False)],
    "acknowledge": [
        Probe("POST", "Task/$acknowledge", {"resourceType": "Parameters", "parameter": [
            {"name": "task", "valueReference": {"reference": "Task/hidden"}}]}, shows=False),
    ],
    "acknowledgement-status": [Probe("GET", "Task/$acknowledgement-status", shows=False)],
    "retry": [Probe("POST", "Task/hidden/$retry", shows=False)],
    "availability-report": [Probe("GET", "Task/$availability-report", shows=False)],
    "status": [
        Probe("GET", "Subscription/hidden/$status", shows=False),
        Probe("GET", "Subscription/$status?id=hidden", shows=False),
    ],
    "events": [Probe("GET", "Subscription/hidden/$events?content=full-resource", shows=False)],
    "resend": [Probe("POST", "Subscription/hidden/$resend?eventsSinceNumber=1", shows=False)],
    "get-ws-binding-token": [
        Probe("GET", "Subscription/hidden/$get-ws-binding-token", shows=False),
        Probe("GET", "Subscription/$get-ws-binding-token?id=hidden", shows=False),
    ],
    "topics": [],
    "lookup": [],
    "subsumes": [],
}  # fmt: skip
"""Operation of `table.OPERATIONS` -> what is asked; the last three know no record."""

OPERATORS = ("/", "/healthz", "/readyz", "/metrics", "/audit/heads")
"""What is answered without asking who asks; it tells of no patient."""

FILLED = {
    "{study}": STUDY, "{series}": SERIES, "{instance}": INSTANCE, "{frames}": "1",
    "{place}": "7FE00010", "{workitem}": WORKITEM, "{aetitle}": "READER",
}  # fmt: skip
QUERIES = {
    "/studies": (f"PatientName={SOUGHT}*", f"PatientID={NHS}", f"StudyInstanceUID={STUDY}",
                 "AccessionNumber=HIDDEN1", "", "fuzzymatching=false&includefield=all"),
    "/series": (f"StudyInstanceUID={STUDY}", ""),
    "/instances": (f"StudyInstanceUID={STUDY}", f"SOPInstanceUID={INSTANCE}", ""),
    "/wado": (f"requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}&objectUID={INSTANCE}"
              "&contentType=application/dicom",),
    "/workitems": (f"SOPInstanceUID={WORKITEM}", f"PatientName={SOUGHT}*", f"PatientID={NHS}", ""),
}  # fmt: skip


def dicomweb_probes() -> Iterator[Probe]:
    """Every row of the table, filled; a query without criteria shows what there is."""
    for row in dicomweb.TRANSACTIONS:
        address = row.address
        for place, value in FILLED.items():
            address = address.replace(place, value)
        if row.method == "POST":
            continue  # what is stored is the sender's own: tests/dicom_bridge/test_ingest.py
        # The others change something, or ask for a WebSocket.
        shows = row.method == "GET" and row.address != "/subscribers/{aetitle}"
        for query in QUERIES.get(row.address, ("",)):
            yield Probe(row.method, f"/dicom-web{address}?{query}", shows=shows)


OFTEN = (
    (UNRELATED, "referrer", "user/*.cruds", None),
    (ENDED, "application", "system/*.cruds", None),
    (LAPSED, "application", "system/*.cruds", None),
    (PARTY, "reporter", "patient/*.cruds launch/patient", "seen"),
)
RARELY = (
    *((UNRELATED, role, "user/*.cruds", None) for role in sorted({*roles.ROLES} - {"system"})),
    (ENDED, "operator", "user/*.cruds", None),
    (LAPSED, "reporter", "user/*.cruds", None),
    (PARTNER, "application", "patient/*.cruds", "seen"),
    (PARTY, "application", "patient/*.cruds", "seen"),
    (PARTY, "application", "user/Organization.rs", None),
    (UNRELATED, "application", "system/*.cruds?_id=seen", None),
)
STRANGERS = (*OFTEN, *(pytest.param(*each, marks=pytest.mark.slow) for each in RARELY))
"""Organisation, role, scopes and the patient of the token; the rest is for the slow tests."""


@pytest.fixture(scope="module")
def world(
    cluster: str, template: str, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"create database matrix template {template} strategy file_copy")
    url = renamed(cluster, "matrix")
    with access_world.running(url, tmp_path_factory.mktemp("matrix"), keys) as running:
        yield running


def told(client: httpx.Client, probe: Probe, *, absent: bool = False) -> httpx.Response:
    def named(text: str) -> str:
        return text.replace("hidden", "absent").replace(STUDY, f"{STUDY}2") if absent else text

    content = probe.body if isinstance(probe.body, str) else json.dumps(probe.body)
    return client.request(
        probe.method,
        named(probe.address if probe.address.startswith("/") else f"/fhir/{probe.address}"),
        content=named(content) if probe.body is not None else None,
        headers={name: named(value) for name, value in probe.headers.items()},
    )


def same(answer: httpx.Response) -> tuple[int, str]:
    """An answer without what it was asked for, and without when."""
    text = answer.text.replace(f"{STUDY}2", "UID").replace(STUDY, "UID")
    text = re.sub("hidden|absent", "ID", text)
    return answer.status_code, re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "WHEN", text)


def leaks(client: httpx.Client, probes: Iterable[Probe], *, whole: bool) -> list[str]:
    """Name the probes that tell somebody of the patient."""
    found = []
    for probe in probes:
        hidden = told(client, probe)
        name = f"{probe.method} {probe.address} {str(probe.body or '')[:80]}: {hidden.status_code}"
        if WORD in hidden.text or "WnF4Y2" in hidden.text:
            found.append(f"{name} shows the word")
        if hidden.status_code >= 500 and hidden.status_code != 501:
            found.append(f"{name} is a fault")
        if whole and hidden.headers.get("content-type", "").startswith("application/fhir"):
            answer = hidden.json()
            listed = [
                e for e in answer.get("entry", ()) if e.get("search", {}).get("mode") == "match"
            ]
            if answer.get("total", len(listed)) != len(listed):
                found.append(f"{name} counts what it does not list")
        if same(hidden) != same(told(client, probe, absent=True)):
            found.append(f"{name} differs from what is told of nothing")
    return found


def fhir_probes() -> Iterator[Probe]:
    for probes in (*FHIR.values(), *OPERATIONS.values(), *ADVICE.values()):
        yield from probes


def test_every_way_in_has_its_probes(world: World) -> None:
    """The ways into the authorisation server tell of no patient; exports are asked for below.

    The pages below ``/admin`` ask the store as any client does: tests/smart_apps/admin.
    """
    assert {row.name for row in router.INTERACTIONS} == set(FHIR)
    places = {place for row in dicomweb.TRANSACTIONS for place in re.findall("{.*?}", row.address)}
    assert places == set(FILLED)
    assert {row.interaction for row in dicomweb.TRANSACTIONS} == {
        "QIDO-RS", "WADO-RS", "STOW-RS", "UPS-RS",
    }  # fmt: skip
    served = {
        route.path
        for route in world.application.routes
        if isinstance(route, Route)
        and not route.path.startswith((dicomweb.ROOT, "/auth/", "/admin"))
        and "/.well-known/" not in route.path
    }
    assert {row.name for row in table.OPERATIONS} - {"export"} == set(OPERATIONS)
    assert served == {"/fhir", "/fhir/{address:path}", *OPERATORS, *ADVICE}
    services = {uid for row in scp.SERVICES for uid in row.sop_classes} - set(storage.SOP_CLASSES)
    assert services - {COMMITMENT, PERFORMED} == {
        scp.VERIFICATION, worklist.MODALITY_WORKLIST, STUDY_ROOT, STUDY_ROOT_GET, STUDY_ROOT_MOVE,
        PATIENT_ROOT, PATIENT_ROOT_GET, PATIENT_ROOT_MOVE, *ups.EVERY, *general_purpose.EVERY,
    }  # fmt: skip


def test_every_type_that_tells_of_a_patient_is_asked_for() -> None:
    """What a role may write, or names a party, and is about patients, is in the world."""
    written = {type for row in roles.ROLES.values() for type in row} | set(relationship.PARTIES)
    nobodys = {"*", "AuditEvent", "Schedule", "Slot", "Subscription"}

    assert written - relationship.OPEN_TYPES - nobodys <= set(TYPES)


def test_a_party_is_shown_all_of_it(world: World) -> None:
    client = world.client(PARTY, "application", "system/*.cruds")

    for probe in (*fhir_probes(), *dicomweb_probes()):
        if not probe.shows:
            continue
        answer = told(client, probe)
        shown = WORD in answer.text or WORD.encode() in answer.content or STUDY in answer.text
        assert answer.status_code == 200, (probe, answer.text[:300])
        assert shown or any(one in probe.address for one in OCTETS), probe


@pytest.mark.parametrize(
    ("organization", "role", "scope", "patient"), STRANGERS, ids=lambda value: str(value)
)
def test_who_has_nothing_to_do_with_the_patient_learns_nothing(
    world: World, organization: str, role: str, scope: str, patient: str | None
) -> None:
    client = world.client(organization, role, scope, patient)

    found = leaks(client, (*fhir_probes(), *dicomweb_probes()), whole=True)

    assert not found, "\n".join(found)


def reading() -> Iterator[Probe]:
    return (each for each in (*fhir_probes(), *dicomweb_probes()) if each.method == "GET")


@pytest.mark.standard("threats T4")
@pytest.mark.parametrize(
    ("role", "scope"), [("application", "system/*.cruds"), ("reporter", "user/*.rs")]
)
def test_whom_the_patient_keeps_out_is_shown_nothing(world: World, role: str, scope: str) -> None:
    """It may still write what it does for the patient: that it had to do with them, it knows."""
    client = world.client(KEPT_OUT, role, scope)

    found = leaks(client, reading(), whole=True)

    assert not found, "\n".join(found)


@pytest.mark.standard("threats T3")
def test_an_emergency_shows_all_of_the_patient_by_every_way_and_lets_nothing_be_written(
    world: World,
) -> None:
    opened = Emergency("e", "life", FOREVER)
    client = world.client(UNRELATED, "reporter", "user/*.cruds", "hidden", opened)

    for probe in reading():
        answer = told(client, probe)
        shown = WORD in answer.text or WORD.encode() in answer.content or STUDY in answer.text
        if probe.shows:
            assert answer.status_code == 200, (probe, answer.text[:300])
            assert shown or any(one in probe.address for one in OCTETS), probe
    party = world.client(PARTY, "application", "system/*.cruds")
    before = party.get("/fhir/_history?_count=1000").json()["entry"]
    for probe in fhir_probes():
        if probe.method != "GET":
            assert told(client, probe).status_code != 201, probe
    assert party.get("/fhir/_history?_count=1000").json()["entry"] == before


@pytest.mark.standard("threats T3")
@pytest.mark.parametrize(("role", "until"), [("reporter", 1), ("coordinator", FOREVER)])
def test_an_emergency_that_has_ended_or_is_nobodys_shows_nothing(
    world: World, role: str, until: int
) -> None:
    opened = Emergency("e", "life", until)
    client = world.client(UNRELATED, role, "user/*.cruds", "hidden", opened)

    for probe in (*fhir_probes(), *dicomweb_probes()):
        answer = told(client, probe)
        assert WORD not in answer.text, probe
        assert WORD.encode() not in answer.content, probe


def test_who_is_shared_with_is_shown_what_the_party_created_and_writes_nothing(
    world: World,
) -> None:
    """But for the Provenance of acts, which the server created."""
    client = world.client(PARTNER, "application", "system/*.cruds")

    for probe in (*fhir_probes(), *dicomweb_probes()):
        answer = told(client, probe)
        shown = WORD in answer.text or WORD.encode() in answer.content or STUDY in answer.text
        if probe.shows and "_has:Provenance" not in f"{probe.address}{probe.body}":
            assert answer.status_code == 200, (probe, answer.text[:300])
            assert shown or any(one in probe.address for one in OCTETS), probe
    party = world.client(PARTY, "application", "system/*.cruds")
    before = party.get("/fhir/_history?_count=1000").json()["entry"]
    for probe in fhir_probes():
        if probe.method != "GET":
            assert told(client, probe).status_code != 201, probe
    assert party.get("/fhir/_history?_count=1000").json()["entry"] == before


EXPORTS = ("$export", "Patient/$export", f"$export?_type={','.join(TYPES[:3])},Patient")


def exported(world: World, client: httpx.Client) -> str:
    """All that the exports of somebody tell, orders and files."""
    orders = [client.get(f"/fhir/{each}", headers={"Prefer": "respond-async"}) for each in EXPORTS]
    found = "".join(each.text for each in orders)
    places = [each.headers["content-location"] for each in orders if each.status_code == 202]
    while world.export():
        pass
    for place in places:
        answer = client.get(place)
        assert answer.status_code == 200, answer.text
        found += answer.text
        for file in answer.json()["output"]:
            lines = client.get(file["url"])
            assert lines.status_code == 200
            found += lines.text
    return found


@pytest.mark.parametrize("organization", [PARTY, PARTNER])
def test_an_export_shows_a_party_and_who_is_shared_with_all_of_it(
    world: World, organization: str
) -> None:
    told_of = exported(world, world.client(organization, "application", "system/*.rs"))

    for type in {*TYPES} - {"Binary"}:
        assert re.search(rf'"resourceType": ?"{type}"[^\n]*{WORD}', told_of), type


@pytest.mark.parametrize(
    ("organization", "role", "scope", "patient"),
    [*STRANGERS, (KEPT_OUT, "application", "system/*.rs", None)],
    ids=lambda value: str(value),
)
def test_an_export_tells_nothing_to_who_may_not_see_the_patient(
    world: World, organization: str, role: str, scope: str, patient: str | None
) -> None:
    told_of = exported(world, world.client(organization, role, scope, patient))

    assert WORD not in told_of
    assert not re.search(rf"/hidden\b|{NHS}|{STUDY}\b", told_of)


def test_who_has_no_token_learns_nothing(world: World) -> None:
    stranger = world.stranger()
    for probe in (*fhir_probes(), *dicomweb_probes()):
        answer = told(stranger, probe)
        assert WORD not in answer.text
        assert answer.status_code == 401 or probe.address == "metadata", probe
    for address in OPERATORS:
        answer = stranger.get(address)
        assert not re.search(rf"{WORD}|{NHS}|hidden|Patient/|{STUDY}", answer.text), address


@pytest.mark.parametrize("role", ["administrator", "auditor", "safety-officer", "application"])
def test_the_audit_of_others_is_not_told(world: World, role: str) -> None:
    """An organisation sees what it did itself, and what was done about its own patients."""
    leaks(
        world.client(PARTY, "reporter", "user/*.cruds"),
        [Probe("GET", "Patient/hidden")],
        whole=True,
    )
    client = world.client(UNRELATED, role, "user/*.rs")

    for address in ("AuditEvent?_count=1000", "AuditEvent?patient=Patient/hidden&_count=1000"):
        for entry in client.get(f"/fhir/{address}").json().get("entry", ()):
            who = {agent["who"].get("reference") for agent in entry["resource"]["agent"]}
            told_of = json.dumps(entry["resource"])
            assert f"Organization/{UNRELATED}" in who or "/hidden" not in told_of


@pytest.mark.parametrize(
    ("organization", "role", "scope", "patient"), STRANGERS, ids=lambda value: str(value)
)
def test_nobody_writes_themselves_into_the_care_of_a_patient(
    world: World, organization: str, role: str, scope: str, patient: str | None
) -> None:
    """Only a referral does so: docs/representation.md, "Who may see what"."""
    client = world.client(organization, role, scope, patient)
    own = {"reference": f"Organization/{organization}"}
    tries: dict[str, Json] = {
        "Task": {"status": "requested", "intent": "order", "for": HIDDEN, "owner": own},
        "Appointment": {"status": "booked", "start": "2026-11-25T09:00:00Z",
                        "end": "2026-11-25T09:20:00Z", "participant": [
                            {"actor": HIDDEN, "status": "accepted"},
                            {"actor": {"reference": f"HealthcareService/{organization}-ct"},
                             "status": "accepted"}]},
        "DiagnosticReport": {"status": "preliminary", "code": {"text": "x"}, "subject": HIDDEN,
                             "performer": [own]},
        "Encounter": {"status": "planned", "class": {"code": "AMB"}, "subject": HIDDEN,
                      "serviceProvider": own},
        "Flag": {"status": "active", "code": {"text": "x"}, "subject": HIDDEN, "author": own},
        "Device": {"patient": HIDDEN, "owner": own},
        "ImagingStudy": {"status": "registered", "subject": HIDDEN},
    }  # fmt: skip
    for type, members in tries.items():
        resource = {"resourceType": type, **members}
        alone = client.post(f"/fhir/{type}", content=json.dumps(resource))
        entry = writing("POST", type, resource)
        in_bundle = client.post("/fhir", content=json.dumps(bundle("transaction", entry)))
        under_an_id = client.put(
            f"/fhir/{type}/chosen", content=json.dumps({**resource, "id": "chosen"})
        )
        for answer in (alone, in_bundle, under_an_id):
            assert answer.status_code in {403, 404}, (type, answer.text)
    if organization == UNRELATED:
        moved = {"resourceType": "Patient", "id": "seen", "link": [{"other": HIDDEN,
                 "type": "replaced-by"}], "managingOrganization": own}  # fmt: skip
        answer = client.put("/fhir/Patient/seen", content=json.dumps(moved))
        assert answer.status_code in {403, 422}, answer.text


def found(world: World, ae_title: str, sop_class: str, **keys: Any) -> list[Dataset]:
    """Ask by C-FIND."""
    ae = AE(ae_title)
    ae.add_requested_context(sop_class)
    association = ae.associate("127.0.0.1", world.dicom, ae_title="ISOCENTRE")
    assert association.is_established
    identifier = Dataset()
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    answers = association.send_c_find(identifier, sop_class)
    rows = [row for status, row in answers if status and row is not None]
    association.release()
    return rows


def asked_for(model: str, study: str = STUDY) -> Dataset:
    """The study, as a retrieval in a model names it."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study
    if model in (PATIENT_ROOT_GET, PATIENT_ROOT_MOVE):
        identifier.PatientID = NHS
    return identifier


def moved(world: World, ae_title: str, model: str, study: str = STUDY) -> list[int]:
    """Ask for a study by C-MOVE to a peer that does not listen; what is answered."""
    ae = AE(ae_title)
    ae.add_requested_context(model)
    association = ae.associate("127.0.0.1", world.dicom, ae_title="ISOCENTRE")
    answers = association.send_c_move(asked_for(model, study), "PARTY", model)
    statuses = [int(status.Status) for status, _ in answers]
    association.release()
    return statuses


def retrieved(world: World, ae_title: str, model: str = STUDY_ROOT_GET) -> int:
    """Ask for the study by C-GET; how many instances come."""
    taken: list[Dataset] = []

    def keep(event: Any) -> int:
        taken.append(event.dataset)
        return 0

    ae = AE(ae_title)
    ae.add_requested_context(model)
    ae.add_requested_context(CT, EXPLICIT)
    association = ae.associate(
        "127.0.0.1", world.dicom, ae_title="ISOCENTRE", ext_neg=[build_role(CT, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )  # fmt: skip
    list(association.send_c_get(asked_for(model), model))
    association.release()
    return len(taken)


LEVELS: tuple[Json, ...] = (
    {"QueryRetrieveLevel": "STUDY", "PatientName": f"{SOUGHT}*", "StudyInstanceUID": ""},
    {"QueryRetrieveLevel": "STUDY", "PatientID": NHS, "StudyInstanceUID": ""},
    {"QueryRetrieveLevel": "STUDY", "PatientID": "", "StudyInstanceUID": STUDY},
    {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": STUDY, "SeriesInstanceUID": ""},
    {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES,
     "SOPInstanceUID": ""},
)  # fmt: skip


OF_PATIENTS: tuple[Json, ...] = (
    {"QueryRetrieveLevel": "PATIENT", "PatientID": NHS, "PatientName": ""},
    {"QueryRetrieveLevel": "PATIENT", "PatientID": "", "PatientName": f"{SOUGHT}*"},
    {"QueryRetrieveLevel": "STUDY", "PatientID": NHS, "StudyInstanceUID": ""},
)
"""PS3.4 Section C.6.1: what the Patient Root model asks beside."""

OF_STEPS: tuple[tuple[str, Json], ...] = tuple(
    (sop_class, keys)
    for sop_class in (*ups.FOUND, WORKLIST)
    for keys in (
        {"SOPInstanceUID": WORKITEM},
        {"SOPInstanceUID": "", "PatientName": f"{SOUGHT}*"},
        {"SOPInstanceUID": "", "PatientID": NHS},
    )
)
"""PS3.4 Sections CC.2.8 and N.4: what worklists ask."""


def read(world: World, ae_title: str, uid: str) -> int:
    """Ask for a step by N-GET; what is answered."""
    ae = AE(ae_title)
    ae.add_requested_context(ups.PULL)
    association = ae.associate("127.0.0.1", world.dicom, ae_title="ISOCENTRE")
    status, _ = association.send_n_get([], PUSH, uid, meta_uid=ups.PULL)
    association.release()
    return int(status.Status)


@pytest.mark.parametrize("ae_title", ["PARTY", "PARTNER"])
def test_a_party_and_who_is_shared_with_find_and_get_the_study_by_dicom(
    world: World, ae_title: str
) -> None:
    for keys in LEVELS:
        assert found(world, ae_title, STUDY_ROOT, **keys), keys
    for keys in OF_PATIENTS:
        assert found(world, ae_title, PATIENT_ROOT, **keys), keys
    for model in (STUDY_ROOT_GET, PATIENT_ROOT_GET):
        assert retrieved(world, ae_title, model) == 1
    for model in (STUDY_ROOT_MOVE, PATIENT_ROOT_MOVE):
        assert moved(world, ae_title, model) != moved(world, ae_title, model, f"{STUDY}2")
    for model, keys in OF_STEPS:
        if model != WORKLIST:  # which has what one's own organisation is to do
            assert found(world, ae_title, model, **keys), (model, keys)
    assert read(world, ae_title, WORKITEM) == 0x0000


@pytest.mark.parametrize("ae_title", ["NOBODY", "ENDED", "KEPTOUT", "LAPSED"])
def test_a_peer_that_has_nothing_to_do_with_the_patient_finds_nothing(
    world: World, ae_title: str
) -> None:
    for keys in LEVELS:
        assert found(world, ae_title, STUDY_ROOT, **keys) == [], keys
    for keys in OF_PATIENTS:
        assert found(world, ae_title, PATIENT_ROOT, **keys) == [], keys
    for model in (STUDY_ROOT_GET, PATIENT_ROOT_GET):
        assert retrieved(world, ae_title, model) == 0
    for model in (STUDY_ROOT_MOVE, PATIENT_ROOT_MOVE):
        assert moved(world, ae_title, model) == moved(world, ae_title, model, f"{STUDY}2")
    for model, keys in OF_STEPS:
        assert found(world, ae_title, model, **keys) == [], (model, keys)
    assert read(world, ae_title, WORKITEM) == read(world, ae_title, f"{STUDY}2.9") == 0xC307
    for keys in ({"PatientName": ""}, {"PatientID": NHS}, {"AccessionNumber": "HIDDEN1"}):
        assert found(world, ae_title, worklist.MODALITY_WORKLIST, **keys) == []


def test_nothing_was_written_about_the_patient_by_all_this(world: World) -> None:
    client = world.client(PARTY, "application", "system/*.cruds")

    for type in TYPES:
        answer = client.get(f"/fhir/{type}/hidden/_history")
        if answer.status_code == 404 and type == "Binary":
            continue  # seen by nobody but the server
        history = answer.json()
        assert history["total"] <= (2 if type == "Task" else 1), type
        assert "resource" in history["entry"][0], type
