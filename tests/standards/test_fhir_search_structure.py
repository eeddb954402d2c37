"""FHIR R4 search over HTTP: contexts, chains, includes, parts of resources, what is ignored."""

import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlsplit

import httpx
import psycopg
import pytest

from fhir_server.search import find
from resources import models
from tests.build import a_patient, a_report, a_request, a_step, a_study
from tests.server import Server
from tests.standards.asking import Json, refused, stored

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
STRICT = {"Prefer": "handling=strict"}


class World:
    """A patient, a request, two steps of which one is part of the other, a study, a report."""

    def __init__(self, api: httpx.Client) -> None:
        self.patient = stored(api, a_patient(None, name=[{"family": "Chainlink"}]))["id"]
        about = {"reference": f"Patient/{self.patient}"}
        request = a_request(None, subject=about, requester=None, priority="urgent")
        self.request = stored(api, request)["id"]
        study = a_study(None, subject=about, basedOn=[self._to("ServiceRequest", self.request)])
        self.study = stored(api, study)["id"]
        report = a_report(
            None, self.request, self.study, subject=about, status="preliminary",
            resultsInterpreter=None, performer=None,
        )  # fmt: skip
        self.report = stored(api, report)["id"]
        self.step = self._step(api, focus=self._to("ImagingStudy", self.study))
        self.part = self._step(api, partOf=[self._to("Task", self.step)], focus=None)
        entry = {"item": self._to("ServiceRequest", self.request)}
        listed = {
            "resourceType": "List", "status": "current", "mode": "working", "entry": [entry],
            "subject": about,
        }  # fmt: skip
        self.list = stored(api, listed)["id"]

    def _step(self, api: httpx.Client, **members: object) -> str:
        based = [self._to("ServiceRequest", self.request)]
        about = {"reference": f"Patient/{self.patient}"}
        task = a_step(
            "report",
            None,
            basedOn=based,
            owner=None,
            requester=None,
            code={"text": "see to it"},
            **{"for": about},
            **members,
        )
        id: str = stored(api, task)["id"]
        return id

    @staticmethod
    def _to(type: str, id: str) -> Json:
        return {"reference": f"{type}/{id}"}


@pytest.fixture(scope="module")
def world(api: httpx.Client) -> World:
    return World(api)


def found(bundle: Json, mode: str = "match") -> set[str]:
    entries = [e["resource"] for e in bundle.get("entry", []) if e["search"]["mode"] == mode]
    assert len(entries) == len({(e["resourceType"], e.get("id")) for e in entries})
    return {f"{each['resourceType']}/{each.get('id', '')}" for each in entries}


def ask(api: httpx.Client, address: str) -> Json:
    answer = api.get(address)
    assert answer.status_code == 200, answer.text
    models.model("Bundle").model_validate_json(answer.content)
    bundle: Json = answer.json()
    return bundle


def said(bundle: Json) -> dict[str, str]:
    """What the outcome of a search says, by parameter."""
    return {
        issue["expression"][0]: issue["details"]["text"]
        for entry in bundle.get("entry", [])
        if entry["search"]["mode"] == "outcome"
        for issue in entry["resource"]["issue"]
    }


def link(bundle: Json, relation: str = "self") -> str:
    return next((each["url"] for each in bundle["link"] if each["relation"] == relation), "")


# --- chains --------------------------------------------------------------------------------------


@pytest.mark.standard("FHIR R4 search, Chained Parameters")
@pytest.mark.parametrize(
    ("query", "of"),
    [
        ("Task?focus:ImagingStudy.basedon.priority=urgent&patient={0.patient}", ["step"]),
        ("Task?part-of.focus:ImagingStudy.patient.family=chainlink", ["part"]),
        ("Task?part-of.part-of.focus:ImagingStudy.patient.family=chainlink", []),
        ("Task?part-of.focus:ImagingStudy.modality=MR&patient={0.patient}", []),
        ("ImagingStudy?_has:Task:focus:_has:Task:part-of:status=requested&patient={0.patient}",
         ["study"]),
        ("ImagingStudy?_has:Task:focus:_has:Task:part-of:status=failed&patient={0.patient}", []),
        ("Task?based-on:ServiceRequest.subject:Patient._id={0.patient}&part-of:Task.priority:missing=true",
         ["part"]),
        ("ServiceRequest?_list={0.list}", ["request"]),
        ("ServiceRequest?_list=other", []),
        ("ServiceRequest?_has:DiagnosticReport:based-on:patient.family=chainlink", ["request"]),
        ("Task?based-on:ServiceRequest._has:DiagnosticReport:based-on:_id={0.report}"
         "&focus=ImagingStudy/{0.study}", ["step"]),
        ("ServiceRequest?subject.family=chainlink", ["request"]),
    ],
)  # fmt: skip
def test_chains_go_to_any_depth_and_turn_round(
    api: httpx.Client, world: World, query: str, of: list[str]
) -> None:
    bundle = ask(api, "/" + query.format(world))

    assert said(bundle) == {}
    assert {each.partition("/")[2] for each in found(bundle)} == {
        getattr(world, name) for name in of
    }


@pytest.mark.requirement("R014.1")
@pytest.mark.standard("FHIR R4 search, Reverse Chaining")
def test_nothing_is_told_through_a_chain_that_a_read_would_not_tell(
    api: httpx.Client, other: httpx.Client, world: World
) -> None:
    mine = stored(other, a_patient(None, managingOrganization={"reference": "Organization/other"}))
    request = a_request(
        None, subject={"reference": f"Patient/{mine['id']}"}, requester=None,
        performer=[{"reference": "Organization/other"}],
        supportingInfo=[{"reference": "Organization/lead"}],
    )  # fmt: skip
    own = stored(other, request)["id"]

    assert found(ask(other, f"/ServiceRequest?_id={own}&subject.family:missing=false"))
    for asked in (
        f"/Patient?_has:ServiceRequest:subject:_id={world.request}",
        "/Patient?_has:ServiceRequest:subject:subject.family=chainlink",
        "/ServiceRequest?patient.family=chainlink",
        f"/ServiceRequest?_list={world.list}",
        f"/Patient/{world.patient}/*",
        f"/Patient/{world.patient}/ServiceRequest",
        f"/?_type=Patient,ServiceRequest&_id={world.request},{world.patient}",
        "/Organization?_id=lead&_has:Patient:organization:family=chainlink",
    ):
        bundle = ask(other, asked)
        assert (found(bundle), bundle.get("total", 0)) == (set(), 0), asked


# --- includes ------------------------------------------------------------------------------------


@pytest.mark.standard("FHIR R4 search, Including other resources in result")
def test_an_include_is_repeated_on_what_was_included(api: httpx.Client, world: World) -> None:
    base = f"/Task?_id={world.part}&_include=Task:part-of"
    once = ask(api, base)
    again = ask(
        api, base + "&_include:iterate=Task:focus&_include:iterate=ImagingStudy:patient"
        "&_revinclude:iterate=DiagnosticReport:imagingStudy"
    )  # fmt: skip

    assert found(once, "include") == {f"Task/{world.step}"}
    assert found(again, "include") == {
        f"Task/{world.step}",
        f"ImagingStudy/{world.study}",
        f"Patient/{world.patient}",
        f"DiagnosticReport/{world.report}",
    }
    assert link(again).count("iterate") == 3


@pytest.mark.standard("FHIR R4 search, Including other resources in result")
def test_a_wildcard_includes_whatever_is_referred_to(api: httpx.Client, world: World) -> None:
    every = found(ask(api, f"/Task?_id={world.step}&_include=*"), "include")
    assert every >= {
        f"ServiceRequest/{world.request}",
        f"ImagingStudy/{world.study}",
        f"Patient/{world.patient}",
    }
    some = ask(api, f"/Task?_id={world.step}&_include=Task:*:ImagingStudy")
    assert found(some, "include") == {f"ImagingStudy/{world.study}"}
    back = ask(api, f"/ServiceRequest?_id={world.request}&_revinclude=DiagnosticReport:*")
    assert found(back, "include") == {f"DiagnosticReport/{world.report}"}
    whole = ask(api, f"/ServiceRequest?_id={world.request}&_revinclude=*")
    assert found(whole, "include") >= {
        f"DiagnosticReport/{world.report}",
        f"ImagingStudy/{world.study}",
        f"Task/{world.step}",
        f"Task/{world.part}",
        f"List/{world.list}",
    }
    assert "_revinclude=%2A" in link(whole)


@pytest.mark.standard("SMART App Launch 2.2 scopes")
def test_what_refers_to_it_and_is_of_a_type_not_granted_is_left_out_of_all(
    shared_server: Server, world: World
) -> None:
    narrow = shared_server.client(scope="system/List.rs system/ServiceRequest.rs")

    bundle = ask(narrow, f"/ServiceRequest?_id={world.request}&_revinclude=*")

    assert found(bundle, "include") == {f"List/{world.list}"}
    assert found(bundle, "outcome") == set()


@pytest.mark.standard("SMART App Launch 2.2 scopes")
def test_what_the_scopes_do_not_grant_is_not_included_and_that_is_said(
    shared_server: Server, api: httpx.Client, world: World
) -> None:
    narrow = shared_server.client(scope="system/Task.rs system/ServiceRequest.rs")
    asked = f"/Task?_id={world.step}&_include=Task:patient&_include=Task:based-on:ServiceRequest"

    bundle = ask(narrow, asked)

    assert found(bundle, "include") == {f"ServiceRequest/{world.request}"}
    (outcome,) = [e for e in bundle["entry"] if e["search"]["mode"] == "outcome"]
    (issue,) = outcome["resource"]["issue"]
    assert issue["code"] == "suppressed"
    assert "Patient" in issue["details"]["text"]


# --- contexts ------------------------------------------------------------------------------------


@pytest.mark.standard("FHIR R4 search, Search Contexts")
def test_a_compartment_is_searched_by_get_and_by_post(api: httpx.Client, world: World) -> None:
    place = f"/Patient/{world.patient}"
    assert found(ask(api, f"{place}/ServiceRequest?priority=urgent")) == {
        f"ServiceRequest/{world.request}"
    }
    assert found(ask(api, f"{place}/ServiceRequest?priority=routine")) == set()
    every = ask(api, f"{place}/*?_type=ImagingStudy,DiagnosticReport&_count=50")
    assert found(every) == {f"ImagingStudy/{world.study}", f"DiagnosticReport/{world.report}"}
    assert link(every).partition("?")[0] == f"{str(api.base_url).rstrip('/')}{place}/*"
    answer = api.post(f"{place}/Task/_search", content="part-of:missing=false", headers=FORM)
    assert found(answer.json()) == {f"Task/{world.part}"}
    refused(api.get(f"{place}/Organization"), 404, "not-supported")
    refused(api.get("/Task/1/Patient"), 404)


@pytest.mark.standard("FHIR R4 search, Search Contexts")
def test_the_audit_of_a_patient_is_in_the_compartment(
    shared_server: Server, api: httpx.Client, world: World
) -> None:
    auditor = shared_server.client("auditor", scope="user/AuditEvent.rs")
    api.get(f"/Patient/{world.patient}")

    bundle = ask(auditor, f"/Patient/{world.patient}/AuditEvent?action=R")

    whats = [
        entity["what"]["reference"]
        for entry in bundle["entry"]
        for entity in entry["resource"]["entity"]
        if "reference" in entity.get("what", {})
    ]
    assert f"Patient/{world.patient}" in {each.partition("/_history")[0] for each in whats}


@pytest.mark.standard("FHIR R4 search, Search Contexts")
def test_several_types_are_searched_by_what_they_have_in_common(
    api: httpx.Client, world: World
) -> None:
    ids = f"{world.request},{world.study},{world.step}"
    asked = ask(api, f"/?_type=ServiceRequest,ImagingStudy,Patient&_id={ids}&_sort=_id")
    assert found(asked) == {f"ServiceRequest/{world.request}", f"ImagingStudy/{world.study}"}
    assert asked["total"] == 2
    form = f"_type=Task&_id={ids}"
    answer = api.post("/_search", content=form, headers=FORM)
    assert found(answer.json()) == {f"Task/{world.step}"}
    assert set(said(ask(api, f"/?_type=Task&_id={ids}&status=ready"))) == {"status"}
    refused(api.get("/?_type=Task&status=ready", headers=STRICT), 400, "not-supported", "status")
    refused(api.get("/?_type=AuditEvent"), 400, "not-supported", "_type")


@pytest.mark.standard("FHIR R4 search, Paging")
def test_pages_of_several_types_follow_each_other(api: httpx.Client, world: World) -> None:
    url = f"/Patient/{world.patient}/*?_count=2"
    seen: list[str] = []
    while url:
        bundle = ask(api, url)
        seen += sorted(found(bundle))
        url = link(bundle, "next")
    assert len(seen) == len(set(seen))
    assert set(seen) >= {f"Task/{world.step}", f"Task/{world.part}", f"List/{world.list}"}


# --- what is ignored -----------------------------------------------------------------------------


@pytest.mark.standard("FHIR R4 search, Handling Errors")
@pytest.mark.parametrize(
    "unusable",
    ["wings=1", "status=", "_filter=status eq ready", "_text=x", "_query=x", "_sort=wings",
     "_include=Task:wings", "_include=Patient:link", "_revinclude=Unicorn:*", "patient.wings=1",
     "_has:AuditEvent:entity:agent=x", "_list=$current-allergies", "_type=Task"],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_the_reason_and_is_not_in_the_self_link(
    api: httpx.Client, unusable: str
) -> None:
    name, _, value = unusable.partition("=")
    answer = api.get("/Task", params={"_id": "none", name: value})

    bundle = answer.json()
    assert len(said(bundle)[name].partition(": ")[2]) > 10
    assert parse_qsl(urlsplit(link(bundle)).query) == [("_id", "none")]
    refused(api.get("/Task", params={name: value}, headers=STRICT), 400)


@pytest.mark.standard("FHIR R4 search, Contained Resources")
def test_contained_resources_are_not_searched(api: httpx.Client) -> None:
    refused(api.get("/Task?_contained=true"), 400, "not-supported", "_contained")
    assert "_contained" in link(ask(api, "/Task?_contained=false&_id=none"))


# --- parts of resources --------------------------------------------------------------------------


@pytest.mark.standard("FHIR R4 search, Summary")
@pytest.mark.parametrize(
    ("asked", "has", "has_not"),
    [
        ("_summary=true", {"id", "status", "series"}, {"text"}),
        ("_summary=text", {"id", "status", "subject"}, {"series", "started"}),
        ("_summary=data", {"id", "series", "subject"}, {"text"}),
        ("_elements=series", {"id", "status", "subject", "series"}, {"identifier", "basedOn"}),
    ],
)
def test_a_part_is_marked_as_a_part(
    api: httpx.Client, world: World, asked: str, has: set[str], has_not: set[str]
) -> None:
    ((entry,),) = (ask(api, f"/ImagingStudy?_id={world.study}&{asked}")["entry"],)
    resource = entry["resource"]
    assert has <= set(resource)
    assert not has_not & set(resource)
    if asked != "_summary=data" or "text" in api.get(f"/ImagingStudy/{world.study}").json():
        assert "SUBSETTED" in {tag["code"] for tag in resource["meta"]["tag"]}


@pytest.mark.standard("FHIR R4 search, Summary")
def test_summaries_that_cannot_be_are_refused(api: httpx.Client) -> None:
    refused(api.get("/Task?_summary=some"), 400, "value", "_summary")
    refused(api.get("/Task?_summary=text&_include=Task:focus"), 400, "", "_summary")
    refused(api.get("/Task?_summary=true&_elements=status"), 400, "", "_elements")


@pytest.mark.standard("FHIR R4 search, Elements")
@pytest.mark.parametrize("name", ["statsu", "valueQuantity", "Task.statsu", "Tusk.status"])
def test_an_element_that_there_is_not_is_told_or_refused(api: httpx.Client, name: str) -> None:
    asked = f"/Task?_count=1&_elements=status,{name}"
    *_, remark = ask(api, asked)["entry"]

    assert remark["search"]["mode"] == "outcome"
    (issue,) = remark["resource"]["issue"]
    assert (issue["severity"], issue["expression"]) == ("warning", ["_elements"])
    assert name in issue["details"]["text"]
    strict = api.get(asked, headers={"Prefer": "handling=strict"})
    refused(strict, 400, "not-found", "_elements")
    known = api.get(
        "/Task?_elements=status,code,Patient.name", headers={"Prefer": "handling=strict"}
    )
    assert known.status_code == 200


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.standard("FHIR http, search")
def test_a_search_that_takes_too_long_is_broken_off_with_a_hint(
    server: Server, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = server.client()
    monkeypatch.setattr(find, "SECONDS", 0.2)
    with psycopg.connect(database_url) as other:
        other.execute("lock table current in access exclusive mode")
        answer = api.get("/Task?status=ready")
    refused(answer, 503, "too-costly")
    assert int(answer.headers["retry-after"]) > 0
    assert "Name a patient" in answer.text
    assert api.get("/Task?status=ready").status_code == 200


@pytest.mark.standard("FHIR http, search")
def test_searches_that_take_long_do_not_hold_up_a_read(server: Server, database_url: str) -> None:
    api = server.client()
    patient = stored(api, a_patient(None, managingOrganization=None))["id"]
    with ThreadPoolExecutor(30) as pool, psycopg.connect(database_url) as other:
        other.execute("lock table string_term in access exclusive mode")
        searches = [pool.submit(api.get, "/Patient?name:contains=a") for _ in range(30)]
        time.sleep(0.5)
        begun = time.monotonic()
        answers = [api.get(f"/Patient/{patient}").status_code for _ in range(10)]
        took = time.monotonic() - begun
        assert not any(search.done() for search in searches)
    assert answers == [200] * 10
    assert took < 1
    assert api.get("/Patient?name:contains=a").status_code == 200
