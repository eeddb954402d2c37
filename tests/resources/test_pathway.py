"""The primary pathway, walked by hand and in every order (requirements, figure 4-1)."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources import codes, elements, plan
from resources.agreement import Agreement
from resources.pathway import Create, necessary, reconcile
from resources.pathway_values import PARTIES, VALUES
from resources.plan import CRITERIA, load
from resources.request_names import accession_number
from resources.request_state import Held, RequestState
from resources.task import FINAL, step_of
from resources.validate import check
from tests.build import a_report, a_request, a_step, a_study, an_appointment

INSTANT = "2026-11-24T03:00:00.000Z"
PRIMARY = load("primary")
LEAD = Agreement("Organization/lead")

Json = Mapping[str, Any]
Event = Callable[[RequestState], RequestState]


def start(**members: Any) -> RequestState:
    return RequestState(Held(a_request(**members), 1), lead_ods="ZZ901")


def walked(state: RequestState) -> RequestState:
    """The state after all that is necessary has been written."""
    for one in reconcile(PRIMARY, LEAD, state, INSTANT):
        version = 1 if isinstance(one, Create) else one.version + 1
        state = state.having(Held(one.json, version))
    return state


def steps(state: RequestState, step: str) -> list[Json]:
    return [task.json for task in state.of_type("Task") if step_of(task.json) == step]


def statuses(state: RequestState) -> dict[str, str]:
    return {str(step_of(task.json)): task.json["status"] for task in state.of_type("Task")}


def changed(state: RequestState, step: str, **members: Any) -> RequestState:
    """A person's update of the open Tasks of a step, if there are any."""
    for task in state.of_type("Task"):
        if step_of(task.json) == step and task.json["status"] not in FINAL:
            state = state.having(Held({**task.json, **members}, task.version + 1))
    return walked(state)


def authorise(state: RequestState) -> RequestState:
    decision = codes.AUTHORISED.concept
    return changed(state, "justify", status="completed", businessStatus=decision)


def reject(state: RequestState) -> RequestState:
    return changed(state, "justify", status="rejected", statusReason={"text": "Done last week"})


def book(state: RequestState) -> RequestState:
    return walked(state.having(Held(an_appointment(), 1)))


def cancel_slot(state: RequestState) -> RequestState:
    return walked(state.having(Held(an_appointment(status="cancelled"), 2)))


def images_arrive(state: RequestState) -> RequestState:
    """Images come into the study that was registered, or into one that nobody expected."""
    held = next(iter(state.of_type("ImagingStudy")), None)
    study = a_study(request="sr1", id=held.json["id"] if held else "is1")
    return walked(state.having(Held(study, held.version + 1 if held else 1)))


def report(state: RequestState) -> RequestState:
    return walked(state.having(Held(a_report(), 1)))


def acknowledge(state: RequestState) -> RequestState:
    return changed(
        state, "acknowledge", status="completed", businessStatus=codes.ACKNOWLEDGED.concept
    )


@pytest.mark.requirement("W1")
def test_a_placed_request_puts_a_justification_on_the_worklist_of_the_lead() -> None:
    (task,) = steps(walked(start()), "justify")

    assert task["status"] == "requested"
    assert task["owner"] == {"reference": "Organization/lead"}
    assert task["requester"] == {"reference": "PractitionerRole/gp"}
    assert task["focus"] == task["basedOn"][0] == {"reference": "ServiceRequest/sr1"}
    assert task["for"] == {"reference": "Patient/p1"}
    assert task["groupIdentifier"]["value"] == "ISR-1"
    assert task["priority"] == "urgent"
    assert task["restriction"]["period"]["end"] == "2026-11-25T03:00:00.000Z"


@pytest.mark.parametrize(
    "members",
    [
        {"status": "draft"},
        {"intent": "proposal"},
        {"requisition": None},
        {"performer": None},
        {"performer": [{"reference": "PractitionerRole/x"}]},
    ],
)
def test_what_is_not_an_order_to_an_organisation_starts_nothing(members: dict[str, Any]) -> None:
    assert reconcile(PRIMARY, LEAD, start(**members), INSTANT) == ()


@pytest.mark.requirement("G1")
def test_an_authorised_justification_makes_the_acquisition_its_number_and_its_study() -> None:
    state = authorise(walked(start()))

    assert statuses(state) == {"justify": "completed", "acquire": "requested"}
    (accession,) = state.request.json["identifier"]
    assert accession["system"].endswith("/Id/accession/ZZ901")
    assert accession["assigner"] == {"reference": "Organization/lead"}
    assert len(accession["value"]) <= 16
    (study,) = state.of_type("ImagingStudy")
    assert study.json["status"] == "registered"
    assert study.json["identifier"][0]["value"].startswith("urn:oid:2.25.")
    assert study.json["identifier"][1] == accession
    assert study.json["basedOn"] == [{"reference": "ServiceRequest/sr1"}]


def test_an_accession_number_that_a_request_came_with_is_kept() -> None:
    own = {"type": codes.ACCESSION_NUMBER_TYPE.concept, "system": "urn:x", "value": "A1"}
    state = authorise(walked(start(identifier=[own])))

    assert state.request.json["identifier"] == [own]
    assert own in state.of_type("ImagingStudy")[0].json["identifier"]


@pytest.mark.requirement("W1")
def test_a_rejected_justification_revokes_the_request_with_its_reason() -> None:
    state = reject(walked(start()))

    assert state.request.json["status"] == "revoked"
    reason = elements.extension_value(state.request.json, codes.REQUEST_STATUS_REASON)
    assert reason == {"text": "Done last week"}
    assert statuses(state) == {"justify": "rejected"}


def test_an_acquisition_is_ready_only_while_it_has_a_slot() -> None:
    state = book(authorise(walked(start())))
    assert steps(state, "acquire")[0]["status"] == "ready"
    assert steps(state, "acquire")[0]["executionPeriod"] == {
        "start": "2026-11-25T09:00:00Z",
        "end": "2026-11-25T09:20:00Z",
    }

    state = cancel_slot(state)
    assert steps(state, "acquire")[0]["status"] == "requested"
    assert "executionPeriod" not in steps(state, "acquire")[0]


@pytest.mark.requirement("G1")
def test_images_end_the_acquisition_and_put_the_study_on_the_reporting_worklist() -> None:
    state = images_arrive(book(authorise(walked(start()))))

    (acquire,) = steps(state, "acquire")
    assert acquire["status"] == "completed"
    assert acquire["output"][0]["valueReference"] == {
        "reference": state.of_type("ImagingStudy")[0].reference
    }
    (task,) = steps(state, "report")
    assert task["status"] == "ready"
    assert task["focus"] == acquire["output"][0]["valueReference"]
    assert {elements.code_in(one["type"], codes.STEP_IO) for one in task["input"]} == {
        "imaging-study",
        "clinical-info",
    }


def test_images_of_an_unjustified_request_wait_for_its_justification() -> None:
    state = images_arrive(walked(start()))
    assert statuses(state) == {"justify": "requested"}

    state = authorise(state)
    assert statuses(state) == {"justify": "completed", "acquire": "completed", "report": "ready"}
    assert len(state.of_type("ImagingStudy")) == 1


@pytest.mark.requirement("R010.1")
def test_a_final_report_asks_the_referrer_to_acknowledge_that_version() -> None:
    state = report(images_arrive(book(authorise(walked(start())))))

    assert statuses(state)["report"] == "completed"
    (task,) = steps(state, "acknowledge")
    assert task["focus"] == {"reference": "DiagnosticReport/dr1/_history/1"}
    assert task["owner"] == {"reference": "PractitionerRole/gp"}
    assert task["requester"] == {"reference": "Organization/lead"}
    assert elements.code_in(task["businessStatus"], codes.STEP_BUSINESS_STATUS) == "unread"
    assert task["priority"] == "urgent"


@pytest.mark.requirement("R009.3")
def test_a_reissued_report_supersedes_the_acknowledgement_that_is_still_open() -> None:
    state = report(images_arrive(book(authorise(walked(start())))))
    state = walked(state.having(Held(a_report(status="amended"), 2)))

    by_status = {task["status"]: task for task in steps(state, "acknowledge")}
    assert set(by_status) == {"cancelled", "requested"}
    assert by_status["requested"]["focus"] == {"reference": "DiagnosticReport/dr1/_history/2"}
    replaced = elements.extension_value(by_status["requested"], codes.TASK_REPLACES)
    assert replaced == {"reference": f"Task/{by_status['cancelled']['id']}"}


@pytest.mark.requirement("W1")
def test_an_acknowledged_report_completes_the_request() -> None:
    state = acknowledge(report(images_arrive(book(authorise(walked(start()))))))

    assert state.request.json["status"] == "completed"
    assert set(statuses(state).values()) == {"completed"}


def test_a_request_is_not_complete_while_a_newer_report_is_unread() -> None:
    state = acknowledge(report(images_arrive(book(authorise(walked(start()))))))
    state = walked(state.having(Held(a_report(status="amended"), 2)))

    assert [task["status"] for task in steps(state, "acknowledge")].count("requested") == 1


def test_a_revoked_request_takes_its_open_steps_with_it() -> None:
    state = authorise(walked(start()))
    state = walked(state.having(Held({**state.request.json, "status": "revoked"}, 3)))

    assert statuses(state) == {"justify": "completed", "acquire": "cancelled"}


def test_what_the_engine_wants_first_is_never_wanted_again() -> None:
    state = start()
    while found := necessary(PRIMARY, LEAD, state, INSTANT):
        for one in found:
            state = state.having(Held(one.json, 1))
    assert necessary(PRIMARY, LEAD, state, INSTANT) == ()


def test_two_requests_have_two_accession_numbers() -> None:
    numbers = {accession_number(f"ServiceRequest/{number}") for number in range(1000)}
    assert len(numbers) == 1000


EVENTS: dict[str, Event] = {
    "authorise": authorise,
    "book": book,
    "images": images_arrive,
    "report": report,
}


@pytest.mark.requirement("G1")
@settings(max_examples=60, deadline=None)
@given(st.permutations(sorted(EVENTS)))
def test_any_order_of_events_reaches_the_same_end(order: list[str]) -> None:
    state = walked(start())
    for name in order:
        state = EVENTS[name](state)
        done = {step: task for step in ("justify",) for task in steps(state, step)}
        if done["justify"]["status"] != "completed":
            assert not steps(state, "acquire")
            assert not steps(state, "report")
        assert reconcile(PRIMARY, LEAD, state, INSTANT) == ()
    state = acknowledge(state)

    assert state.request.json["status"] == "completed"
    assert statuses(state) == dict.fromkeys(
        ("justify", "acquire", "report", "acknowledge"), "completed"
    )
    assert len(state.of_type("Task")) == 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*EVENTS.values(), reject, acknowledge, cancel_slot]), max_size=8))
def test_no_acquisition_before_an_authorised_justification(order: list[Event]) -> None:
    state = walked(start())
    for event in order:
        state = event(state)
        if steps(state, "acquire"):
            (justify,) = steps(state, "justify")
            assert justify["status"] == "completed"
            assert elements.code_in(justify["businessStatus"], codes.STEP_BUSINESS_STATUS) == (
                "authorised"
            )
        assert reconcile(PRIMARY, LEAD, state, INSTANT) == ()


def test_every_action_of_the_file_names_what_the_engine_knows() -> None:
    for action in PRIMARY:
        for query in (*action.start, *action.ready, *action.stop):
            assert {name for name, _ in query.criteria} <= set(CRITERIA)
        for _, value in action.values:
            assert value.startswith("'") or value.removeprefix("%") in VALUES
        assert action.step is None or action.party in PARTIES
        assert action.step is None or set(action.due) == {"stat", "asap", "urgent", "routine"}


@pytest.mark.parametrize("step", ["justify", "acquire", "acknowledge"])
def test_a_step_entered_in_error_is_made_again(step: str) -> None:
    state = (
        report(images_arrive(authorise(walked(start()))))
        if step == "acknowledge"
        else (authorise(walked(start())) if step == "acquire" else walked(start()))
    )
    (wrong,) = [task for task in state.of_type("Task") if step_of(task.json) == step]

    state = walked(state.having(Held({**wrong.json, "status": "entered-in-error"}, 2)))

    by_status = {task["status"]: task["id"] for task in steps(state, step)}
    assert set(by_status) == {"entered-in-error", "requested"}
    assert by_status["entered-in-error"] == wrong.json["id"]


def test_steps_that_a_person_made_count_as_the_step() -> None:
    state = start().having(Held(a_step("justify", id="mine"), 1))

    assert [task["id"] for task in steps(walked(state), "justify")] == ["mine"]


def test_the_file_is_a_valid_plan_definition() -> None:
    file = Path(plan.__file__).parent / "pathways" / "primary.json"

    assert check(json.loads(file.read_text())) == []


@pytest.mark.standard("FHIR Task")
def test_all_that_the_engine_makes_is_valid() -> None:
    state = acknowledge(report(images_arrive(book(authorise(walked(start()))))))

    for held in (state.request, *state.others):
        assert check(dict(held.json)) == [], held.reference
