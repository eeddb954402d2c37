"""A prefetch that failed stands on a worklist until a person has it done again."""

import pytest

from resources import codes, elements
from tests.build import a_step
from tests.flows.clinic import Clinic, Json
from tests.flows.test_r011_worklists_by_name import items, mine

pytestmark = pytest.mark.requirement("R003.2")


def failed(clinic: Clinic, status: str = "failed") -> Json:
    step = a_step(
        "prefetch",
        basedOn=None,
        focus={"reference": clinic.patient},
        status=status,
        statusReason={"text": "PACS2: 2 of 6 objects of ImagingStudy/x missing."},
        requester={"reference": "Organization/northmoor"},
        owner={"reference": "Organization/northmoor"},
    )
    return clinic.post("coordinator", {**step, "for": {"reference": clinic.patient}})


def test_what_failed_is_on_the_worklist_with_its_reason_until_it_is_done_again(
    clinic: Clinic,
) -> None:
    task = failed(clinic)
    (shown,) = items(clinic, "coordinator", mine(clinic, "coordinator")["prefetch"])
    assert shown["statusReason"]["text"].startswith("PACS2: 2 of 6 objects")

    answer = clinic.as_("coordinator").post(f"Task/{task['id']}/$retry", content="")

    assert answer.status_code == 200, answer.text
    (named,) = answer.json()["parameter"]
    (left,) = items(clinic, "coordinator", mine(clinic, "coordinator")["prefetch"])
    assert named["valueReference"]["reference"].startswith(f"Task/{left['id']}")
    assert left["status"] == "requested"
    assert "statusReason" not in left
    replaces = elements.extension_value(left, codes.TASK_REPLACES)
    assert replaces["reference"] == f"Task/{task['id']}"
    again = clinic.as_("coordinator").post(f"Task/{task['id']}/$retry", content="")
    assert again.status_code == 409


def test_only_a_prefetch_that_failed_is_done_again(clinic: Clinic) -> None:
    going_on = failed(clinic, "in-progress")
    (request,) = clinic.refer()
    other = clinic.task(request, "justify")

    for task, status in ((going_on, 409), (other, 422)):
        answer = clinic.as_("coordinator").post(f"Task/{task['id']}/$retry", content="")
        assert answer.status_code == status, answer.text
