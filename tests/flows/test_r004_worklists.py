"""R004.1, G1: every step has its worklist, and a step done is the next one's work."""

import pytest

from resources import codes
from tests.build import a_step
from tests.flows.clinic import Clinic, Json

OPEN = "requested,received,accepted,ready,in-progress"


def worklist(clinic: Clinic, login: str, step: str, status: str = OPEN) -> list[Json]:
    return clinic.search(
        login, f"Task?patient={clinic.patient}&code={codes.IMAGING_STEP}|{step}&status={status}"
    )


@pytest.mark.requirement("R004.1")
@pytest.mark.requirement("G1")
def test_a_request_moves_from_worklist_to_worklist(clinic: Clinic) -> None:
    def lengths() -> list[int]:
        return [
            len(worklist(clinic, "practitioner", "justify")),
            len(worklist(clinic, "operator", "acquire", "ready")),
            len(worklist(clinic, "reporter", "report", "ready")),
            len(worklist(clinic, "gp", "acknowledge")),
        ]

    (request,) = clinic.refer()
    assert lengths() == [1, 0, 0, 0]
    clinic.authorise(request)
    assert lengths() == [0, 0, 0, 0]
    clinic.book(request)
    assert lengths() == [0, 1, 0, 0]
    study = clinic.images_arrive(request)
    assert lengths() == [0, 0, 1, 0]
    clinic.report(request, study)
    assert lengths() == [0, 0, 0, 1]
    clinic.acknowledge(request)
    assert lengths() == [0, 0, 0, 0]


@pytest.mark.requirement("R004.1")
def test_a_worklist_brings_request_and_patient_along(clinic: Clinic) -> None:
    clinic.refer()
    page = clinic.get(
        "practitioner",
        f"Task?code={codes.IMAGING_STEP}|justify&owner=Organization/northmoor"
        f"&patient={clinic.patient}&_include=Task:focus&_include=Task:patient",
    )

    included = {
        one["resource"]["resourceType"]
        for one in page["entry"]
        if one["search"]["mode"] == "include"
    }
    assert included == {"ServiceRequest", "Patient"}


def test_an_organisation_with_no_part_in_it_has_nothing_on_its_worklists(clinic: Clinic) -> None:
    clinic.refer()

    assert worklist(clinic, "westvale-practitioner", "justify") == []
    assert worklist(clinic, "clearscan-practitioner", "justify") == []


@pytest.mark.requirement("R004.1")
@pytest.mark.parametrize(
    ("step", "status", "login"),
    [("post-process", "ready", "operator"), ("review-formal", "requested", "reporter")],
)
def test_post_processing_and_review_are_worked_off_a_worklist(
    clinic: Clinic, step: str, status: str, login: str
) -> None:
    request, _, _ = clinic.reported()

    asked = clinic.post(
        "coordinator",
        a_step(
            step,
            status=status,
            **{"for": request["subject"]},
            focus={"reference": f"ServiceRequest/{request['id']}"},
            basedOn=[{"reference": f"ServiceRequest/{request['id']}"}],
            requester={"reference": "PractitionerRole/coordinator"},
            owner={"reference": "Organization/northmoor"},
        ),
    )

    (waiting,) = worklist(clinic, login, step)
    assert waiting["id"] == asked["id"]
    started = clinic.change(login, waiting, status="in-progress")
    clinic.change(login, started, status="completed")
    assert worklist(clinic, login, step) == []


@pytest.mark.requirement("R011.1")
def test_the_priority_of_a_request_is_on_every_step(clinic: Clinic) -> None:
    (request,) = clinic.refer({"priority": "stat"})
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    clinic.report(request, study)

    steps = clinic.search("coordinator", f"Task?based-on=ServiceRequest/{request['id']}")
    assert [one["priority"] for one in steps] == ["stat"] * 4
