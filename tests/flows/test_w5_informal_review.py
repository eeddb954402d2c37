"""W5: an opinion on images without a request, for a time, that can become a formal review."""

import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from resources import codes
from tests.build import a_study
from tests.flows.clinic import Clinic, Json
from tests.flows.partners import Partner

HEAD = {"coding": [{"system": codes.SNOMED, "code": "303653007", "display": "CT of head"}]}
KNEE = {"coding": [{"system": codes.SNOMED, "code": "241614001", "display": "MRI of knee"}]}
QUESTION = "Extradural haematoma? He is in our resuscitation room."
LONG_SECONDS = 60


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT09:00:00Z")


def examined(clinic: Clinic, days: int, code: Json, modality: str = "CT") -> tuple[Json, Json]:
    """A request and its study of one image."""
    (request,) = clinic.refer({"code": code})
    clinic.authorise(request)
    uid = f"2.25.{uuid.uuid4().int}"
    series = a_study(images=1, uid=uid)["series"]
    series[0]["modality"]["code"] = modality
    study = clinic.images_arrive(
        request, uid=uid, started=days_ago(days), series=series, procedureCode=[code]
    )
    return request, study


def question(clinic: Clinic, study: Json, partner: Partner, **members: Any) -> Json:
    return {
        "resourceType": "Task",
        "status": "requested",
        "intent": "proposal",
        "priority": "stat",
        "code": codes.REVIEW_INFORMAL.concept,
        "focus": {"reference": f"ImagingStudy/{study['id']}"},
        "for": {"reference": clinic.patient},
        "requester": {"reference": "PractitionerRole/practitioner"},
        "owner": {"reference": partner.reference},
        "input": [{"type": codes.IO_CLINICAL_INFO.concept, "valueString": QUESTION}],
        **members,
    }


def put(client: httpx.Client, task: Json, **members: Any) -> httpx.Response:
    return client.put(
        f"Task/{task['id']}",
        content=json.dumps({**task, **members}),
        headers={"If-Match": f'W/"{task["meta"]["versionId"]}"'},
    )


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + LONG_SECONDS
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.1)


@pytest.fixture
def neurosurgeon(clinic: Clinic) -> Partner:
    """Of an organisation that has nothing to do with the patient, and no agreement with anybody."""
    return Partner(clinic)


@pytest.mark.requirement("W5")
def test_who_is_asked_sees_the_study_what_belongs_to_it_and_nothing_else(
    clinic: Clinic, neurosurgeon: Partner
) -> None:
    _, knee = examined(clinic, 100, KNEE, "MR")
    earlier_request, earlier = examined(clinic, 50, HEAD)
    report = clinic.report(earlier_request, earlier)
    request, study = examined(clinic, 0, HEAD)
    theirs = neurosurgeon.as_("reviewer")
    assert theirs.get(f"ImagingStudy/{study['id']}").status_code == 404

    task = clinic.post("practitioner", question(clinic, study, neurosurgeon))

    for name in (
        f"ImagingStudy/{study['id']}", f"ImagingStudy/{earlier['id']}",
        f"DiagnosticReport/{report['id']}", f"ServiceRequest/{request['id']}", clinic.patient,
        f"Task/{task['id']}",
    ):  # fmt: skip
        assert theirs.get(name).status_code == 200, name
    assert theirs.get(f"ImagingStudy/{knee['id']}").status_code == 404
    found = theirs.get(f"ImagingStudy?patient={clinic.patient}&_total=accurate").json()
    assert found["total"] == 2
    assert theirs.get(f"ServiceRequest?patient={clinic.patient}").json()["total"] == 1
    other = Partner(clinic)
    assert other.as_("reviewer").get(f"ImagingStudy/{study['id']}").status_code == 404
    assert other.as_("reviewer").get(f"Task/{task['id']}").status_code == 404


@pytest.mark.requirement("W5")
@pytest.mark.requirement("R005.1")
def test_the_question_stands_on_the_worklist_of_who_is_asked(
    clinic: Clinic, neurosurgeon: Partner
) -> None:
    _, study = examined(clinic, 0, HEAD)
    task = clinic.post("practitioner", question(clinic, study, neurosurgeon))

    (worklist,) = (
        neurosurgeon.as_("reviewer").get("List/$worklists?name=review").json()["parameter"]
    )
    search = next(one["valueUrl"] for one in worklist["part"] if one["name"] == "search")
    waiting = neurosurgeon.as_("reviewer").get(search).json()["entry"]

    assert task["id"] in [one["resource"]["id"] for one in waiting]
    assert {one["resource"]["resourceType"] for one in waiting} >= {"ImagingStudy", "Patient"}


@pytest.mark.requirement("W5")
def test_what_came_of_it_is_recorded_and_the_look_is_over(
    clinic: Clinic, neurosurgeon: Partner
) -> None:
    _, study = examined(clinic, 0, HEAD)
    task = clinic.post("practitioner", question(clinic, study, neurosurgeon))
    theirs = neurosurgeon.as_("reviewer")
    task = put(theirs, task, status="in-progress").json()

    assert put(theirs, task, status="completed").status_code == 422
    done = put(theirs, task, status="completed", note=[{"text": "Send him. Theatre is ready."}])
    assert done.status_code == 200, done.text

    seen = clinic.get("practitioner", f"Task/{task['id']}")
    assert seen["note"] == [{"text": "Send him. Theatre is ready."}]
    acts = clinic.search("practitioner", f"Provenance?target=Task/{task['id']}")
    assert any(
        agent.get("onBehalfOf", {}).get("reference") == neurosurgeon.reference
        for act in acts
        for agent in act["agent"]
    )
    assert theirs.get(f"ImagingStudy/{study['id']}").status_code == 404
    assert theirs.get(f"Task/{task['id']}").status_code == 200
    assert clinic.search("practitioner", f"DiagnosticReport?patient={clinic.patient}") == []


@pytest.mark.requirement("W5")
@pytest.mark.parametrize(
    "end", [{"status": "cancelled"}, {"status": "rejected", "statusReason": {"text": "Not ours"}}]
)
def test_a_question_that_is_taken_back_or_declined_shows_nothing_more(
    clinic: Clinic, neurosurgeon: Partner, end: Json
) -> None:
    _, study = examined(clinic, 0, HEAD)
    task = clinic.post("practitioner", question(clinic, study, neurosurgeon))
    theirs = neurosurgeon.as_("reviewer")
    assert theirs.get(f"ImagingStudy/{study['id']}").status_code == 200

    by = clinic.as_("practitioner") if end["status"] == "cancelled" else theirs
    assert put(by, task, **end).status_code == 200

    assert theirs.get(f"ImagingStudy/{study['id']}").status_code == 404


@pytest.mark.requirement("W5")
def test_the_look_ends_by_itself(clinic: Clinic, neurosurgeon: Partner) -> None:
    _, study = examined(clinic, 0, HEAD)
    end = (datetime.now(UTC) + timedelta(seconds=5)).isoformat(timespec="milliseconds")
    task = question(clinic, study, neurosurgeon, restriction={"period": {"end": end}})
    clinic.post("practitioner", task)
    theirs = neurosurgeon.as_("reviewer")

    until(lambda: theirs.get(f"ImagingStudy/{study['id']}").status_code == 404)


@pytest.mark.requirement("W5")
def test_nobody_may_look_for_longer_than_three_days(clinic: Clinic, neurosurgeon: Partner) -> None:
    _, study = examined(clinic, 0, HEAD)
    late = (datetime.now(UTC) + timedelta(days=30)).isoformat(timespec="seconds")
    members = [{}, {"restriction": {"period": {"end": late}}}]

    for each in members:
        clinic.post("practitioner", question(clinic, study, neurosurgeon, **each))

    consents = clinic.search("practitioner", f"Consent?patient={clinic.patient}")
    ends = [datetime.fromisoformat(one["provision"]["period"]["end"]) for one in consents]
    assert len(ends) == 2
    assert all(end < datetime.now(UTC) + timedelta(hours=72, minutes=1) for end in ends)


@pytest.mark.requirement("W5")
@pytest.mark.requirement("R003.4")
def test_what_is_reported_meanwhile_is_seen_too(clinic: Clinic, neurosurgeon: Partner) -> None:
    request, study = examined(clinic, 0, HEAD)
    clinic.post("practitioner", question(clinic, study, neurosurgeon))

    report = clinic.report(request, study)

    theirs = neurosurgeon.as_("reviewer")
    assert theirs.get(f"DiagnosticReport/{report['id']}").status_code == 200


@pytest.mark.requirement("W5")
def test_who_was_asked_hands_nothing_on(clinic: Clinic, neurosurgeon: Partner) -> None:
    _, study = examined(clinic, 0, HEAD)
    clinic.post("practitioner", question(clinic, study, neurosurgeon))
    third = Partner(clinic)

    onward = question(clinic, study, third, requester={"reference": neurosurgeon.reference})
    answer = neurosurgeon.as_("application").post("Task", content=json.dumps(onward))

    assert answer.status_code in (403, 404)
    assert third.as_("reviewer").get(f"ImagingStudy/{study['id']}").status_code == 404


@pytest.mark.requirement("W5")
def test_a_stranger_asks_for_no_look_at_what_they_do_not_see(clinic: Clinic) -> None:
    _, study = examined(clinic, 0, HEAD)
    stranger = Partner(clinic)

    task = question(clinic, study, stranger, requester={"reference": stranger.reference})
    answer = stranger.as_("application").post("Task", content=json.dumps(task))

    assert answer.status_code in (403, 422)
    assert stranger.as_("reviewer").get(f"ImagingStudy/{study['id']}").status_code == 404


@pytest.mark.requirement("W5")
@pytest.mark.parametrize(
    "members",
    [
        {"intent": "order"},
        {"focus": None},
        {"owner": None},
        {"requester": None},
        {"status": "completed"},
    ],
)
def test_what_is_no_informal_review_is_refused(
    clinic: Clinic, neurosurgeon: Partner, members: Json
) -> None:
    _, study = examined(clinic, 0, HEAD)
    task = question(clinic, study, neurosurgeon, **members)
    said = {name: value for name, value in task.items() if value is not None}

    answer = clinic.as_("practitioner").post("Task", content=json.dumps(said))

    assert answer.status_code == 422, answer.text


@pytest.mark.requirement("W5")
@pytest.mark.requirement("R008.2")
def test_it_becomes_a_formal_review_and_everything_is_kept(
    clinic: Clinic, neurosurgeon: Partner
) -> None:
    request, study = examined(clinic, 0, HEAD)
    clinic.report(request, study)
    task = clinic.post("practitioner", question(clinic, study, neurosurgeon))

    (formal,) = clinic.refer(
        {
            "category": [codes.KIND_REVIEW_FORMAL.concept],
            "intent": "order",
            "performer": [{"reference": neurosurgeon.reference}],
            "supportingInfo": [
                {"reference": f"ImagingStudy/{study['id']}"},
                {"reference": f"Task/{task['id']}"},
            ],
        }
    )

    ended = clinic.get("practitioner", f"Task/{task['id']}")
    assert ended["status"] == "completed"
    assert ended["input"] == task["input"]
    named = [one["valueReference"]["reference"] for one in ended["output"]]
    assert named == [f"ServiceRequest/{formal['id']}"]
    theirs = neurosurgeon.as_("reviewer")
    assert theirs.get(f"ImagingStudy/{study['id']}").status_code == 200
    assert theirs.get(f"Task/{task['id']}").status_code == 200
