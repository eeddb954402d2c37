"""The Task state machine, typed in again from the figure of FHIR R4 Task."""

import pytest

from resources import codes
from resources.errors import Conflict, Forbidden, Unprocessable
from resources.task import Party, business_status, check_move, check_parties, rule, step_of
from tests.build import a_step

GOOD: list[tuple[str, str, Party]] = [
    ("draft", "requested", "requester"),
    ("requested", "received", "owner"),
    ("requested", "accepted", "owner"),
    ("requested", "rejected", "owner"),
    ("requested", "cancelled", "requester"),
    ("received", "accepted", "owner"),
    ("received", "rejected", "owner"),
    ("accepted", "in-progress", "owner"),
    ("ready", "in-progress", "owner"),
    ("in-progress", "on-hold", "owner"),
    ("on-hold", "in-progress", "owner"),
    ("in-progress", "completed", "owner"),
    ("in-progress", "failed", "owner"),
    ("in-progress", "cancelled", "requester"),
    ("completed", "entered-in-error", "owner"),
    ("ready", "requested", "system"),
]
BAD: list[tuple[str, str, Party]] = [
    ("draft", "completed", "owner"),
    ("requested", "completed", "requester"),
    ("requested", "rejected", "requester"),
    ("accepted", "cancelled", "owner"),
    ("ready", "requested", "owner"),
    ("completed", "in-progress", "owner"),
    ("completed", "requested", "system"),
    ("rejected", "accepted", "owner"),
    ("cancelled", "ready", "requester"),
    ("failed", "in-progress", "owner"),
    ("entered-in-error", "requested", "system"),
    ("requested", "nonsense", "system"),
]


@pytest.mark.standard("FHIR Task state machine")
@pytest.mark.parametrize(("source", "target", "party"), GOOD)
def test_a_move_of_the_figure_is_allowed(source: str, target: str, party: Party) -> None:
    check_move(source, target, by=party)


@pytest.mark.standard("FHIR Task state machine")
@pytest.mark.parametrize(("source", "target", "party"), BAD)
def test_a_move_not_in_the_figure_is_refused(source: str, target: str, party: Party) -> None:
    with pytest.raises(Conflict):
        check_move(source, target, by=party)


def test_staying_is_not_a_move() -> None:
    check_move("completed", "completed", by="requester")


@pytest.mark.parametrize(
    ("step", "role"), [("justify", "practitioner"), ("acquire", "operator"), ("report", "reporter")]
)
def test_a_step_is_done_by_its_role(step: str, role: str) -> None:
    before = a_step(step)
    check_parties(before, {**before, "status": "completed"}, {"owner"}, role)


@pytest.mark.parametrize(
    ("step", "role"), [("justify", "referrer"), ("justify", "operator"), ("report", "operator")]
)
def test_a_step_is_not_done_by_another_role(step: str, role: str) -> None:
    before = a_step(step)
    with pytest.raises(Forbidden) as refusal:
        check_parties(before, {**before, "status": "completed"}, {"owner"}, role)
    assert refusal.value.step == "role"


def test_who_is_no_party_moves_nothing() -> None:
    before = a_step("justify")
    with pytest.raises(Forbidden) as refusal:
        check_parties(before, {**before, "status": "completed"}, set(), "practitioner")
    assert refusal.value.step == "relationship"


def test_a_move_of_the_owner_is_not_made_by_the_requester() -> None:
    before = a_step("justify")
    with pytest.raises(Forbidden) as refusal:
        check_parties(before, {**before, "status": "completed"}, {"requester"}, "referrer")
    assert refusal.value.step == "relationship"
    with pytest.raises(Conflict):
        check_parties(before, {**before, "status": "draft"}, {"owner"}, "practitioner")


def test_who_is_no_party_to_the_status_may_still_add_a_note() -> None:
    before = a_step("acquire")
    check_parties(before, {**before, "note": [{"text": "late"}]}, set(), "practitioner")


@pytest.mark.requirement("W1")
def test_a_justification_is_completed_with_authority_only() -> None:
    before = a_step("justify")
    for decision in ({}, {"businessStatus": codes.MORE_INFO.concept}):
        with pytest.raises(Unprocessable) as refusal:
            rule(before, {**before, "status": "completed", **decision})
        assert refusal.value.at == "Task.businessStatus"
    authorised = {"businessStatus": codes.AUTHORISED.concept}
    rule(before, {**before, "status": "completed", **authorised})


def test_a_rejection_names_its_reason() -> None:
    before = a_step("justify")
    with pytest.raises(Unprocessable) as refusal:
        rule(before, {**before, "status": "rejected"})
    assert refusal.value.at == "Task.statusReason"
    rule(before, {**before, "status": "rejected", "statusReason": {"text": "No indication"}})


@pytest.mark.parametrize("element", ["code", "focus", "basedOn", "for"])
def test_what_a_step_is_about_does_not_change(element: str) -> None:
    before = a_step("justify")
    with pytest.raises(Unprocessable) as refusal:
        rule(before, {**before, element: None})
    assert refusal.value.at == f"Task.{element}"


def test_a_task_that_is_no_imaging_step_has_the_figure_alone() -> None:
    before = {**a_step("justify"), "code": {"text": "Ring the patient"}}
    assert step_of(before) is None
    assert business_status(before) is None
    rule(before, {**before, "status": "completed", "focus": None})
    with pytest.raises(Conflict):
        rule({**before, "status": "completed"}, {**before, "status": "ready"})
