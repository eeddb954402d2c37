"""AuditEvents: what the ledger knows, as BALP writes it, for those who may know."""

import base64
import json
import socket
from dataclasses import replace
from typing import Any

import pytest

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse as scopes
from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.search.query import parse
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Hooks
from resources import content, models, validate
from resources.errors import Forbidden, NotFound, Unsupported

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R014.1")]

DCM = "http://dicom.nema.org/resources/ontology/DCM"


def of(
    organization: str, interaction: str = "read", role: str = "application", **more: Any
) -> RequestContext:
    principal = Principal(
        f"PractitionerRole/at-{organization}",
        organization,
        role,
        scopes("system/*.cruds"),
        client="app",
        **more,
    )
    return RequestContext(principal, interaction, origin="192.0.2.1", request_id="request-7")


@pytest.fixture
async def told(store: Store) -> None:
    """Something that happened: two patients of two organisations, made, read, searched, refused."""
    async with store.begin(RequestContext(Principal.system("test"), "create")) as work:
        for id in ("lead", "other"):
            made = content.made({"resourceType": "Organization", "name": id})
            await work.update("Organization", id, made)
    for organization in ("lead", "other"):
        async with store.begin(of(organization, "create")) as work:
            await work.create(content.made({"resourceType": "Patient"}), f"of-{organization}")
    await store.read(of("lead"), "Patient", "of-lead")
    with pytest.raises(NotFound):
        await store.read(of("other"), "Patient", "of-lead")
    query = parse("Task", [("patient", "Patient/of-lead")])
    await store.search(of("lead", "search-type"), query)


async def found(
    store: Store, pairs: list[tuple[str, str]], organization: str = "lead", role: str = "auditor"
) -> list[dict[str, Any]]:
    page = await store.search(of(organization, "search-type", role), parse("AuditEvent", pairs))
    return [each.json for each in page.matches]


def coded(event: dict[str, Any]) -> str:
    return str(event["subtype"][0]["code"])


@pytest.mark.usefixtures("told")
@pytest.mark.standard("IHE BALP PatientRead")
async def test_a_read_of_a_patient_is_told_as_balp_wants_it(store: Store) -> None:
    (event,) = await found(store, [("subtype", "read"), ("outcome", "0")])

    assert event["type"]["code"] == "rest"
    assert (event["action"], event["outcome"]) == ("R", "0")
    roles = {agent["type"]["coding"][0]["code"]: agent for agent in event["agent"]}
    assert set(roles) == {"110152", "110153", "IRCP", "PROV"}
    assert roles["110152"]["network"] == {"address": "192.0.2.1", "type": "2"}
    assert roles["110152"]["who"]["identifier"]["value"] == "Client/app"
    assert roles["IRCP"]["who"] == {"reference": "PractitionerRole/at-lead"}
    assert roles["PROV"]["who"] == {"reference": "Organization/lead"}
    assert [agent["requestor"] for agent in event["agent"]].count(True) == 1
    patient, data, request = event["entity"]
    assert (patient["what"]["reference"], patient["role"]["code"]) == ("Patient/of-lead", "1")
    assert data["what"]["reference"] == "Patient/of-lead/_history/1"
    assert request["what"]["identifier"]["value"] == "request-7"


@pytest.mark.usefixtures("told")
@pytest.mark.standard("IHE BALP PatientQuery")
async def test_a_search_is_told_with_its_query(store: Store) -> None:
    (event,) = await found(store, [("subtype", "search-type")])

    (query,) = [each for each in event["entity"] if "query" in each]
    asked = base64.b64decode(query["query"]).decode()
    assert asked == "Task?patient=Patient/of-lead&_count=20"
    assert query["role"]["code"] == "24"
    client = event["agent"][0]["type"]["coding"][0]
    assert (client["system"], client["code"]) == (DCM, "110153")


@pytest.mark.usefixtures("told")
async def test_every_event_is_a_valid_auditevent(store: Store) -> None:
    events = await found(store, [])

    assert len(events) == 4
    for event in events:
        assert validate.check(content.made(event)) == []
        models.model("AuditEvent").model_validate(event)


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("pairs", "subtypes"),
    [
        ([("type", "rest")], ["create", "read", "read", "search-type"]),
        ([("type", f"{DCM}|110112")], []),
        ([("subtype", "create,read")], ["create", "read", "read"]),
        ([("action", "E")], ["search-type"]),
        ([("outcome", "4")], ["read"]),
        ([("patient", "Patient/of-lead"), ("subtype", "read")], ["read", "read"]),
        ([("entity", "Patient/of-lead/_history/1")], ["create", "read"]),
        ([("entity", "Patient/of-other")], []),
        ([("agent", "PractitionerRole/at-other")], ["read"]),
        ([("agent", "Organization/lead")], ["create", "read", "search-type"]),
        ([("date", "lt2020")], []),
        ([("date", "ge2020")], ["create", "read", "read", "search-type"]),
        ([("date", "2020")], []),
        ([("subtype:not", "read")], ["create", "search-type"]),
        ([("address", "192.0")], ["create", "read", "read", "search-type"]),
        ([("address:exact", "192.0")], []),
        ([("address:contains", ".2.1")], ["create", "read", "read", "search-type"]),
        ([("agent-role", "application")], ["create", "read", "read", "search-type"]),
        ([("agent-role", "auditor")], []),
        ([("entity-type", "1")], ["create", "read", "read", "search-type"]),
        ([("entity-role", "24")], ["search-type"]),
        (
            [("entity-role", "http://terminology.hl7.org/CodeSystem/object-role|4")],
            ["create", "read", "read"],
        ),
        ([("purpose", "TREAT")], ["create", "read", "read", "search-type"]),
        ([("purpose", "http://terminology.hl7.org/CodeSystem/v3-ActReason|HCOMPL")], []),
        ([("entity.identifier", "request-7")], ["create", "read", "read", "search-type"]),
        ([("agent.identifier", "app"), ("subtype", "create")], ["create"]),
        ([("agent.identifier", "urn:nobody|app")], []),
        ([("source.identifier", socket.gethostname())], ["create", "read", "read", "search-type"]),
        ([("patient.identifier", "urn:nobody|1")], []),
        ([("agent-name", "x")], []),
        ([("policy", "urn:x")], []),
        ([("altid", "x")], []),
        ([("site", "x")], []),
        ([("source", "Device/x")], []),
        ([("entity-name", "x")], []),
    ],
)
async def test_events_are_found_by_their_parameters(
    store: Store, pairs: list[tuple[str, str]], subtypes: list[str]
) -> None:
    assert sorted(coded(event) for event in await found(store, pairs)) == subtypes


@pytest.mark.usefixtures("told")
async def test_an_event_is_read_by_its_id_and_is_the_same(store: Store) -> None:
    for event in await found(store, []):
        read = await store.read(of("lead", role="auditor"), "AuditEvent", event["id"])
        assert read.json == event
        assert await found(store, [("_id", event["id"])]) == [event]
    for nonsense in ("x", "1", "0-0", "9" * 40 + "-1"):
        with pytest.raises(NotFound):
            await store.read(of("lead", role="auditor"), "AuditEvent", nonsense)


@pytest.mark.usefixtures("told")
async def test_an_auditor_sees_own_people_and_own_patients_and_no_more(store: Store) -> None:
    ours = await found(store, [], "lead")
    theirs = await found(store, [], "other")
    nobodys = await found(store, [], "stranger")

    named = {agent["who"].get("reference") for event in ours for agent in event["agent"]}
    assert "PractitionerRole/at-other" in named  # who looked for our patient
    assert sorted(coded(event) for event in theirs) == ["create", "read"]
    assert nobodys == []
    with pytest.raises(NotFound):
        await store.read(of("stranger", role="auditor"), "AuditEvent", ours[0]["id"])


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("role", ["referrer", "reporter", "operator", "practitioner", "device"])
async def test_a_clinician_does_not_read_the_audit(store: Store, role: str) -> None:
    with pytest.raises(Forbidden):
        await found(store, [], "lead", role)


@pytest.mark.usefixtures("told")
async def test_pages_follow_each_other_from_the_newest_without_gaps(store: Store) -> None:
    whole = [event["id"] for event in await found(store, [])]
    context = of("lead", "search-type", "auditor")
    ids: list[str] = []
    pairs = [("_count", "1"), ("_total", "accurate"), ("type", "rest")]
    while True:
        page = await store.search(context, parse("AuditEvent", pairs))
        ids += [each.id for each in page.matches]
        assert page.total == 4
        if page.next is None:
            break
        pairs = [*pairs[:3], ("_cursor", page.next)]

    assert ids == whole
    asked = [("_sort", "date"), ("type", "rest")]
    oldest_first = [event["id"] for event in await found(store, asked)]
    assert oldest_first == whole[::-1]


@pytest.mark.usefixtures("told")
async def test_what_the_ledger_cannot_be_asked_is_refused(store: Store) -> None:
    with pytest.raises(Unsupported):
        await found(store, [("agent-name:missing", "true")])
    with pytest.raises(Unsupported):
        await found(store, [("_sort", "outcome")])


@pytest.mark.usefixtures("told")
async def test_an_event_from_outside_is_kept_with_its_poster_and_is_found(
    store: Store, database: Database
) -> None:
    sent = (
        b'{"resourceType":"AuditEvent","type":{"system":"urn:x","code":"y"},"action":"C",'
        b'"recorded":"2026-01-01T00:00:00.0Z","outcome":"8","agent":[{"requestor":true}],'
        b'"source":{"observer":{"display":"d"}},'
        b'"entity":[{"what":{"reference":"Patient/of-lead"}},{"what":{"reference":"Task/t"}}]}'
    )
    async with store.begin(of("lead", "create")) as work:
        stored = await work.create(content.read(sent))

    read = await store.read(of("lead", role="auditor"), "AuditEvent", stored.id)
    assert read.text == stored.text
    first, *informants = read.json["agent"]
    assert first == {"requestor": True}
    assert [one["type"]["coding"][0]["code"] for one in informants] == ["INF"] * len(informants)
    assert informants[-1]["who"] == {"reference": "Organization/lead"}
    without = {**read.json, "agent": [first]}
    assert {name: without[name] for name in json.loads(sent)} == json.loads(sent)
    for pairs in (
        [("type", "urn:x|y")],
        [("outcome", "8")],
        [("entity", "Task/t")],
        [("patient", "Patient/of-lead"), ("action", "C"), ("type", "y")],
    ):
        assert [event["id"] for event in await found(store, pairs)] == [stored.id]
    assert await found(store, [("type", "rest"), ("outcome", "8")]) == []
    assert await database.run("select count(*) from version where type = 'AuditEvent'") == [(0,)]
    kept = await database.run(
        "select body, subject, client, organization from audit where body is not null"
    )
    assert kept == [(sent, "PractitionerRole/at-lead", "app", "lead")]


OUTSIDE = {
    "resourceType": "AuditEvent",
    "type": {"system": DCM, "code": "110106"},
    "subtype": [{"system": "urn:ihe:event-type-code", "code": "ITI-41"}],
    "action": "C",
    "recorded": "2026-01-01T00:00:00.0Z",
    "outcome": "12",
    "purposeOfEvent": [{"coding": [{"system": "urn:x", "code": "RESEARCH"}]}],
    "agent": [{
        "name": "Zoë Müller", "altId": "zm7", "requestor": True, "policy": ["urn:policy:1"],
        "role": [{"coding": [{"system": "urn:roles", "code": "clerk"}]}],
        "who": {"identifier": {"system": "urn:staff", "value": "7"}},
        "network": {"address": "198.51.100.9", "type": "2"},
    }],
    "source": {"site": "east", "observer": {"reference": "Device/pacs",
                                            "identifier": {"value": "PACS-1"}}},
    "entity": [{
        "what": {"identifier": {"system": "urn:mrn", "value": "12"}}, "name": "Chest CT",
        "type": {"system": "urn:types", "code": "t"}, "role": {"system": "urn:roles", "code": "r"},
    }],
}  # fmt: skip


@pytest.mark.standard("IHE ITI-81")
@pytest.mark.parametrize(
    ("name", "finds", "misses"),
    [
        ("action", "C", "D"),
        ("address", "198.51.100", "198.51.101"),
        ("agent", "Organization/lead", "Organization/other"),
        ("agent-name", "zoe m", "muller"),
        ("agent-name:contains", "muller", "muellerin"),
        ("agent-role", "urn:roles|clerk", "urn:roles|porter"),
        ("agent.identifier", "urn:staff|7", "urn:staff|8"),
        ("altid", "zm7", "zm8"),
        ("date", "ge2026", "lt2026"),
        ("entity-name", "chest", "head"),
        ("entity-role", "urn:roles|r", "urn:roles|s"),
        ("entity-type", "t", "u"),
        ("entity.identifier", "urn:mrn|12", "urn:mrn|13"),
        ("outcome", "12", "8"),
        ("patient.identifier", "urn:mrn|12", "urn:mrn|13"),
        ("policy", "urn:policy:1", "urn:policy:2"),
        ("purpose", "RESEARCH", "TREAT"),
        ("site", "east", "west"),
        ("source", "Device/pacs", "Device/ris"),
        ("source.identifier", "PACS-1", "PACS-2"),
        ("subtype", "ITI-41", "ITI-42"),
        ("type", "110106", "110107"),
    ],
)
async def test_what_others_posted_is_found_by_every_parameter(
    store: Store, name: str, finds: str, misses: str
) -> None:
    async with store.begin(of("lead", "create")) as work:
        stored = await work.create(content.made(OUTSIDE))

    assert [event["id"] for event in await found(store, [(name, finds)])] == [stored.id]
    assert await found(store, [(name, misses)]) == []


@pytest.mark.standard("IHE ITI-81")
async def test_a_patient_is_found_by_the_identifier_that_events_do_not_say(store: Store) -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "12"}]}
    async with store.begin(of("lead", "create")) as work:
        made = await work.create(content.made(patient))

    for name in ("patient.identifier", "entity.identifier"):
        (event,) = await found(store, [(name, "urn:mrn|12")])
        assert event["entity"][0]["what"] == {"reference": f"Patient/{made.id}"}
        assert await found(store, [(name, "urn:mrn|13")]) == []


async def test_the_purpose_is_that_of_the_token_else_of_the_role(store: Store) -> None:
    for role, purpose in (("coordinator", ""), ("reporter", ""), ("reporter", "HRESCH")):
        with pytest.raises(NotFound):
            await store.read(of("lead", "read", role, purpose=purpose), "Task", "none")

    for code, count in (("COC", 1), ("TREAT", 1), ("HRESCH", 1), ("HOPERAT", 0)):
        events = await found(store, [("purpose", code)])
        assert len(events) == count
        for event in events:
            (coding,) = event["purposeOfEvent"][0]["coding"]
            assert coding["code"] == code
            (user,) = [one for one in event["agent"] if one["requestor"]]
            assert user["purposeOfUse"] == event["purposeOfEvent"]


@pytest.mark.usefixtures("told")
@pytest.mark.standard("PS3.15 A.5.3.2")
async def test_reading_the_audit_is_an_event_too(store: Store) -> None:
    first, *_ = await found(store, [("patient", "Patient/of-lead")])
    await store.read(of("lead", role="auditor"), "AuditEvent", first["id"])

    read, search = await found(store, [("type", f"{DCM}|110101")])

    for event in (read, search):
        assert (event["type"]["code"], event["action"], event["outcome"]) == ("110101", "R", "0")
        assert event["agent"][2]["who"] == {"reference": "PractitionerRole/at-lead"}
        assert event["purposeOfEvent"][0]["coding"][0]["code"] == "HCOMPL"
        assert validate.check(content.made(event)) == []
    assert f"AuditEvent/{first['id']}/_history/1" in [
        one["what"].get("reference") for one in read["entity"] if "what" in one
    ]
    (query,) = [one["query"] for one in search["entity"] if "query" in one]
    asked = base64.b64decode(query).decode()
    assert asked == "AuditEvent?patient=Patient/of-lead&_count=20"


BASE = "https://fhir.example/fhir"
CARE = [("holder", "auditor"), ("holder", "administrator")]


@pytest.fixture
async def strange(database: Database) -> None:
    """Rows of no organisation: strangers, the system that starts, and what it does for others."""
    rows = (
        (Principal("Peer/STRANGER", None, "device", scopes("")), "association", 4, None),
        (Principal("Anonymous", None, "", scopes("")), "login", 4, None),
        (Principal.system("serve"), "start", 0, None),
        (Principal.system("settle"), "update", 0, None),
        (Principal("Anonymous", None, "", scopes("")), "read", 4, "of-lead"),
    )
    for who, interaction, outcome, patient in rows:
        context = RequestContext(who, interaction)
        await Ledger(database).append(ledger.entry(context, outcome=outcome, patient=patient))


@pytest.mark.usefixtures("strange")
@pytest.mark.parametrize(("organization", "role"), CARE)
async def test_what_concerns_nobody_is_seen_where_the_installation_is_held(
    database: Database, organization: str, role: str
) -> None:
    store = Store(database, Ledger(database), Hooks(), BASE, holder="holder")

    events = await found(store, [], organization, role)

    types = sorted(one["type"]["code"] for one in events)
    assert types == ["110100", "110113", "110114"]
    read = await store.read(of(organization, role=role), "AuditEvent", events[0]["id"])
    assert read.json == events[0]


@pytest.mark.usefixtures("strange")
@pytest.mark.parametrize(
    ("organization", "role", "holder"),
    [
        ("lead", "auditor", "holder"),
        ("lead", "administrator", "holder"),
        ("holder", "application", "holder"),
        ("holder", "safety-officer", "holder"),
        ("holder", "auditor", ""),
    ],
)
async def test_what_concerns_nobody_is_not_seen_elsewhere_or_in_another_role(
    database: Database, organization: str, role: str, holder: str
) -> None:
    store = Store(database, Ledger(database), Hooks(), BASE, holder=holder)

    assert await found(store, [], organization, role) == []


@pytest.mark.usefixtures("told")
@pytest.mark.standard("SMART App Launch 2.2, Scopes for requesting FHIR Resources")
@pytest.mark.parametrize(
    ("only", "seen"),
    [("action=C", {"create"}), ("action=R,C&outcome=0&subtype=create", {"create"}),
     ("patient=Patient/of-other", set()), ("nonsense=1", set()), ("action=C&_count=9", set()),
     ("date=nonsense&action=C", set())],
)  # fmt: skip
async def test_a_scope_for_some_events_shows_no_others(
    store: Store, only: str, seen: set[str]
) -> None:
    some = scopes(f"user/AuditEvent.rs?{only}")
    asker = of("lead", "search-type", "auditor")
    bound = replace(asker, principal=replace(asker.principal, scopes=some))
    everything = await found(store, [])
    assert {coded(event) for event in everything} > {"create"}

    page = await store.search(bound, parse("AuditEvent", [("_total", "accurate")]))

    assert {coded(each.json) for each in page.matches} == seen
    assert page.total == len(page.matches)
    shown = {each.id for each in page.matches}
    for event in everything:
        if event["id"] in shown:
            await store.read(replace(bound, interaction="read"), "AuditEvent", event["id"])
        else:
            with pytest.raises(NotFound):
                await store.read(replace(bound, interaction="read"), "AuditEvent", event["id"])


@pytest.mark.usefixtures("told")
@pytest.mark.standard("SMART App Launch 2.2, Scopes for requesting FHIR Resources")
async def test_of_two_scopes_for_some_events_either_shows_them(store: Store) -> None:
    some = scopes("user/AuditEvent.rs?subtype=create user/AuditEvent.rs?subtype=read")
    asker = of("lead", "search-type", "auditor")
    bound = replace(asker, principal=replace(asker.principal, scopes=some))

    page = await store.search(bound, parse("AuditEvent", []))

    assert {coded(each.json) for each in page.matches} == {"create", "read"}
