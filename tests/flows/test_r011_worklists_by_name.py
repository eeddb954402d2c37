"""R004.1, R005.1, R006.3, R011.1: the named worklists, as those who work from them find them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

import resources
from fhir_server.search.query import parse
from resources import codes, worklists
from tests.build import a_patient, a_step
from tests.flows.clinic import Clinic, Json
from tests.flows.test_r010_acknowledgement import issued
from tests.flows.test_races import all_at_once, statuses

NAMED = {
    "justify", "acquire", "post-process", "report", "review", "pool", "acknowledge", "fail-safe",
    "corrections", "mdt", "record", "prefetch", "monitor", "undone", "reconcile",
}  # fmt: skip
"""standards 3.4, and the step and the review that R004.1 names besides."""


def mine(clinic: Clinic, login: str, query: str = "") -> dict[str, Json]:
    """The worklists of somebody: name -> what is said of it."""
    answer = clinic.get(login, f"List/$worklists{query}")
    found = {}
    for one in answer.get("parameter", ()):
        said = {
            part["name"]: next(v for k, v in part.items() if k.startswith("value"))
            for part in one["part"]
            if part["name"] != "filter"
        }
        said["filter"] = {
            part["part"][0]["valueCode"]: part["part"][1]["valueString"]
            for part in one["part"]
            if part["name"] == "filter"
        }
        found[said["name"]] = said
    return found


def items(clinic: Clinic, login: str, worklist: Json, more: str = "") -> list[Json]:
    """What is on a worklist, of the patient of this test."""
    address = worklist["search"].removeprefix(f"{clinic.server.base}/")
    return clinic.search(login, f"{address}&patient={clinic.patient}{more}")


@pytest.mark.requirement("R004.1")
def test_there_is_a_file_for_each_worklist_and_each_is_a_search_and_has_its_topic() -> None:
    topics = Path(resources.__file__ or "").parent / "topics"
    values = {
        "me": ["PractitionerRole/a"],
        "teams": ["CareTeam/b"],
        "covered": [],
        "organization": ["Organization/c"],
        "patient": ["Patient/d"],
        "now": ["2026-11-24T00:00:00Z"],
    }
    assert {one.name for one in worklists.worklists()} == NAMED
    for one in worklists.worklists():
        pairs = one.filled(values)
        assert pairs is not None
        assert "{" not in json.dumps(pairs)
        filters = [(name, "x") for name in one.filters.values()]
        parse(one.type, [*pairs, *filters], strict=True)
        assert (topics / f"{one.topic.rpartition('/')[2]}.json").exists()


@pytest.mark.requirement("R004.1")
def test_each_step_of_a_request_stands_on_the_worklist_of_who_does_it(clinic: Clinic) -> None:
    def where() -> list[str]:
        people = {
            "justify": "practitioner", "acquire": "operator", "report": "reporter",
            "acknowledge": "gp",
        }  # fmt: skip
        return [
            name
            for name, login in people.items()
            if items(clinic, login, mine(clinic, login)[name])
        ]

    (request,) = clinic.refer()
    assert where() == ["justify"]
    clinic.authorise(request)
    clinic.book(request)
    assert where() == ["acquire"]
    study = clinic.images_arrive(request)
    assert where() == ["report"]
    clinic.report(request, study)
    assert where() == ["acknowledge"]
    clinic.acknowledge(request)
    assert where() == []


@pytest.mark.requirement("R004.1")
def test_what_is_counted_is_what_the_search_finds(clinic: Clinic) -> None:
    issued(clinic)
    for login in ("gp", "practitioner", "operator", "reporter", "coordinator", "reviewer"):
        for name, said in mine(clinic, login).items():
            address = said["search"].removeprefix(f"{clinic.server.base}/")
            found = clinic.get(login, f"{address}&_total=accurate")
            assert found["total"] == said["count"], (login, name)


@pytest.mark.requirement("R004.1")
def test_a_worklist_says_for_how_long_its_items_have_waited(clinic: Clinic) -> None:
    clinic.refer()

    said = mine(clinic, "practitioner")["justify"]

    assert said["median-waiting"]["code"] == "min"
    oldest = datetime.fromisoformat(said["oldest"])
    assert datetime.now(UTC) - timedelta(minutes=10) < oldest <= datetime.now(UTC)
    assert 0 <= said["median-waiting"]["value"] * 60 <= (datetime.now(UTC) - oldest).seconds + 4


@pytest.mark.requirement("R004.1")
@pytest.mark.parametrize("login", ["auditor", "admin"])
def test_who_does_no_step_has_no_worklist(clinic: Clinic, login: str) -> None:
    assert mine(clinic, login) == {}


@pytest.mark.requirement("R004.1")
@pytest.mark.parametrize(
    ("filter", "value", "other"),
    [("modality", "CT", "MR"), ("body-part", "69536005", "12738006"), ("site", "@", "@@")],
)
def test_the_reporting_worklist_is_narrowed(
    clinic: Clinic, filter: str, value: str, other: str
) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    (series,) = study["series"]
    series = {**series, "bodySite": {"system": codes.SNOMED, "code": "69536005"}}
    source = {"reference": "Organization/northmoor"}
    series["extension"] = [{"url": codes.SOURCE_ORGANIZATION, "valueReference": source}]
    changed = clinic.server.client(subject="Client/pacs", organization="northmoor").put(
        f"ImagingStudy/{study['id']}", content=json.dumps({**study, "series": [series]})
    )
    assert changed.status_code == 200, changed.text
    worklist = mine(clinic, "reporter")["report"]
    place = {"@": "Organization/northmoor", "@@": "Organization/westvale"}

    def narrowed(to: str) -> int:
        more = f"&{worklist['filter'][filter]}={place.get(to, to)}"
        return len(items(clinic, "reporter", worklist, more))

    assert (narrowed(value), narrowed(other)) == (1, 0)


@pytest.mark.requirement("R004.1")
@pytest.mark.parametrize(("filter", "value"), [("modality", "CT"), ("urgency", "cancer")])
def test_the_acknowledgement_worklist_is_narrowed(clinic: Clinic, filter: str, value: str) -> None:
    _, task = issued(clinic, "cancer")
    worklist = mine(clinic, "gp")["acknowledge"]
    parameter = worklist["filter"][filter]

    found = items(clinic, "gp", worklist, f"&{parameter}={value}")

    assert [one["id"] for one in found] == [task["id"]]
    assert items(clinic, "gp", worklist, f"&{parameter}=nothing") == []


@pytest.mark.requirement("R011.1")
def test_worklists_are_sorted_by_urgency_and_then_by_when_they_are_due(clinic: Clinic) -> None:
    for priority in ("routine", "stat", "urgent", "asap", "stat"):
        clinic.refer({"priority": priority})

    listed = items(clinic, "practitioner", mine(clinic, "practitioner")["justify"])

    assert [one["priority"] for one in listed] == ["stat", "stat", "asap", "urgent", "routine"]
    ends = [one["restriction"]["period"]["end"] for one in listed[:2]]
    assert ends == sorted(ends)


@pytest.mark.requirement("R011.2")
def test_a_flagged_report_stands_first_on_the_acknowledgement_worklist(clinic: Clinic) -> None:
    for category in ("", "cancer", "critical", "urgent"):
        issued(clinic, category)

    listed = items(clinic, "gp", mine(clinic, "gp")["acknowledge"])

    flags = [
        one.get("reasonCode", {"coding": [{"code": ""}]})["coding"][0]["code"] for one in listed
    ]
    assert flags == ["critical", "urgent", "cancer", ""]


@pytest.mark.requirement("R005.1")
def test_a_review_asked_of_another_organisation_is_on_their_worklist(clinic: Clinic) -> None:
    request, study, _ = clinic.reported()
    asked = clinic.post(
        "coordinator",
        a_step(
            "review-formal",
            **{"for": request["subject"]},
            focus={"reference": f"ImagingStudy/{study['id']}"},
            basedOn=[{"reference": f"ServiceRequest/{request['id']}"}],
            requester={"reference": "Organization/northmoor"},
            owner={"reference": "Organization/westvale"},
        ),
    )

    (waiting,) = items(clinic, "reviewer", mine(clinic, "reviewer")["review"])

    assert waiting["id"] == asked["id"]
    assert clinic.get("reviewer", f"ImagingStudy/{study['id']}")["id"] == study["id"]
    assert items(clinic, "reporter", mine(clinic, "reporter")["review"]) == [], "it is theirs alone"


@pytest.mark.requirement("R006.3")
def test_the_imaging_record_of_a_patient_is_a_worklist(clinic: Clinic) -> None:
    assert "record" not in mine(clinic, "reporter"), "without a patient there is none"
    _, study, report = clinic.reported()

    record = mine(clinic, "reporter", f"?name=record&patient={clinic.patient}")["record"]

    page = clinic.get("reporter", record["search"].removeprefix(f"{clinic.server.base}/"))
    found = {one["resource"]["id"] for one in page["entry"]}
    assert {study["id"], report["id"]} <= found
    assert record["count"] == 1
    assert "status" in record["filter"]


@pytest.mark.requirement("R010.1")
def test_who_stands_in_for_somebody_has_their_reports_for_as_long(clinic: Clinic) -> None:
    """Absence cover: a CareTeam for a time, one of whose members the others stand in for."""
    quayside = clinic.server.client("referrer", "quayside", scope="user/*.cruds")
    _, task = issued(clinic)

    def team(start: timedelta, end: timedelta) -> Json:
        part = {"coding": [{"system": f"{codes.BASE}/CodeSystem/team-part", "code": "covered"}]}
        now = datetime.now(UTC)
        return {
            "resourceType": "CareTeam",
            "status": "active",
            "period": {"start": (now + start).isoformat(), "end": (now + end).isoformat()},
            "managingOrganization": [{"reference": "Organization/harbour"}],
            "participant": [
                {"role": [part], "member": {"reference": "PractitionerRole/gp"}},
                {"member": {"reference": "PractitionerRole/gp2"}},
            ],
        }

    practice = clinic.server.client(subject="Client/harbour", organization="harbour")
    made = practice.post("CareTeam", content=json.dumps(team(-timedelta(1), timedelta(1)))).json()

    covered = mine(clinic, "gp2", "?name=acknowledge")["acknowledge"]
    assert [one["id"] for one in items(clinic, "gp2", covered)] == [task["id"]]

    over = {**team(-timedelta(2), -timedelta(1)), "id": made["id"]}
    assert practice.put(f"CareTeam/{made['id']}", content=json.dumps(over)).status_code == 200
    later = mine(clinic, "gp2", "?name=acknowledge")["acknowledge"]
    assert "PractitionerRole/gp," not in f"{unquote(later['search'])},"
    assert quayside.get(f"Task/{task['id']}").status_code == 404


# --- claim, release, hand over --------------------------------------------------------------------


def to_report(clinic: Clinic) -> Json:
    (request,) = clinic.refer()
    clinic.authorise(request)
    clinic.images_arrive(request)
    return clinic.task(request, "report", "reporter")


@pytest.mark.requirement("R004.1")
@pytest.mark.parametrize("form", ["PUT", "PATCH"])
def test_of_sixteen_who_claim_an_item_one_holds_it(clinic: Clinic, form: str) -> None:
    task = to_report(clinic)
    version = {"If-Match": f'W/"{task["meta"]["versionId"]}"'}
    people = ("reporter", "practitioner", "coordinator", "operator")

    def claim(number: int) -> httpx.Response:
        owner = {"reference": f"PractitionerRole/{people[number % len(people)]}"}
        http = clinic.as_("reporter")
        if form == "PUT":
            body = json.dumps({**task, "status": "in-progress", "owner": owner})
            return http.put(f"Task/{task['id']}", content=body, headers=version)
        patch = [
            {"op": "replace", "path": "/status", "value": "in-progress"},
            {"op": "replace", "path": "/owner", "value": owner},
        ]
        headers = {**version, "Content-Type": "application/json-patch+json"}
        return http.patch(f"Task/{task['id']}", content=json.dumps(patch), headers=headers)

    answers = all_at_once(claim)

    assert statuses(answers) == {200: 1, 412: 15}
    (won,) = [one.json() for one in answers if one.status_code == 200]
    held = clinic.get("reporter", f"Task/{task['id']}")
    assert held["owner"] == won["owner"]
    assert int(held["meta"]["versionId"]) == int(task["meta"]["versionId"]) + 1


@pytest.mark.requirement("R004.1")
def test_an_item_is_claimed_released_and_handed_over(clinic: Clinic) -> None:
    task = to_report(clinic)
    me, place = {"reference": "PractitionerRole/reporter"}, task["owner"]

    claimed = clinic.change("reporter", task, status="in-progress", owner=me)
    released = clinic.change("reporter", claimed, status="ready", owner=place)
    again = clinic.change("reporter", released, status="in-progress", owner=me)
    colleague: Any = {"reference": "PractitionerRole/practitioner"}
    handed = clinic.change("reporter", again, owner=colleague)

    assert handed["owner"] == colleague
    assert items(clinic, "reporter", mine(clinic, "reporter")["report"]) == []
    answer = clinic.put("reporter", {**claimed, "status": "in-progress"})
    assert answer.status_code == 412, "a version that has been passed"


@pytest.mark.requirement("R004.1")
def test_what_names_a_pool_is_on_the_worklist_of_each_who_may_take_it(clinic: Clinic) -> None:
    task = to_report(clinic)
    pool = [
        {
            "url": codes.TASK_CANDIDATE_LIST,
            "valueReference": {"reference": f"PractitionerRole/{one}"},
        }
        for one in ("reporter", "clearscan-reporter")
    ]
    clinic.change("reporter", task, extension=pool)

    (waiting,) = items(clinic, "reporter", mine(clinic, "reporter")["pool"])

    assert waiting["id"] == task["id"]


def test_a_patient_of_others_is_on_no_worklist(clinic: Clinic) -> None:
    made = clinic.post(
        "gp", a_patient(None, managingOrganization={"reference": "Organization/harbour"})
    )

    found = mine(clinic, "clearscan-reporter", f"?patient={made['id']}")

    assert found["record"]["count"] == 0


@pytest.mark.requirement("R004.1")
@pytest.mark.parametrize("status", ["failed", "rejected"])
def test_a_step_that_was_not_done_is_lost_to_nobody_and_can_be_done_again(
    clinic: Clinic, status: str
) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    clinic.book(request)
    step = clinic.task(request, "acquire")
    reason = {"text": "Discontinued: the patient felt unwell"}
    ended = clinic.change("operator", step, status=status, statusReason=reason)

    (waiting,) = items(clinic, "coordinator", mine(clinic, "coordinator")["undone"])
    assert waiting["id"] == step["id"]
    clinic.change("coordinator", ended, status="entered-in-error")

    assert items(clinic, "coordinator", mine(clinic, "coordinator")["undone"]) == []
    (again,) = items(clinic, "operator", mine(clinic, "operator")["acquire"])
    assert again["id"] != step["id"]


@pytest.mark.requirement("R004.1")
def test_what_was_not_done_of_a_request_that_ended_waits_for_nobody(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    step = clinic.task(request, "acquire")
    clinic.change("operator", step, status="failed", statusReason={"text": "No vein"})
    now = clinic.get("gp", f"ServiceRequest/{request['id']}")
    clinic.change("gp", now, status="revoked")

    assert items(clinic, "coordinator", mine(clinic, "coordinator")["undone"]) == []
