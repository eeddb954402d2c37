"""Whom the agenda of a meeting lets see its patients, for how long, and who may put them on it."""

import asyncio
from typing import Any

import pytest

from fhir_server.access.relationship import DAY
from fhir_server.context import RequestContext, now
from fhir_server.store.store import Store
from resources import codes
from resources.errors import Forbidden, Stale, Unprocessable
from tests import build
from tests.standards.test_governance import (
    LEAD,
    OTHER,
    THIRD,
    a_consent,
    a_note,
    by,
    finds,
    house,
    reads,
    system,
    write,
)

__all__ = ["house"]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.requirement("R014.1"),
    pytest.mark.requirement("R020.2"),
]

Json = dict[str, Any]
LATER = 400 * DAY
FOURTH = {"reference": "Organization/fourth"}
ROLE = {"reference": "PractitionerRole/fourth"}


def an_item(id: str, patient: str = "p1", **members: Any) -> Json:
    return {"resourceType": "Task", "id": id, "status": "requested", "intent": "order",
            "for": {"reference": f"Patient/{patient}"}, "code": codes.MDT_REVIEW.concept,
            **members}  # fmt: skip


def an_agenda(*items: str, id: str = "agenda", **members: Any) -> Json:
    entries = [{"item": {"reference": item}} for item in items]
    return {"resourceType": "List", "id": id, "status": "current", "mode": "working",
            "code": codes.MDT_AGENDA.concept, "source": {"reference": "PractitionerRole/lead"},
            **({"entry": entries} if entries else {}), **members}  # fmt: skip


def a_meeting(*takes_part: Json, id: str = "meeting", **members: Any) -> Json:
    participants = [{"actor": one, "status": "accepted"} for one in takes_part]
    named = [{"reference": f"List/{members.pop('agenda', 'agenda')}"}]
    named += members.pop("also", [])
    host = [{"actor": {"reference": "PractitionerRole/lead"}, "status": "accepted"}]
    return {"resourceType": "Appointment", "id": id, "status": "booked",
            "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T10:00:00Z",
            "participant": host + participants, "supportingInformation": named,
            **members}  # fmt: skip


def a_team(*members: Json, **more: Any) -> Json:
    return {"resourceType": "CareTeam", "id": "team", "status": "active",
            "participant": [{"member": one} for one in members], **more}  # fmt: skip


TEAM = [{"reference": "CareTeam/team"}]


def coordinator(organization: str = LEAD, instant: int | None = None) -> RequestContext:
    return by(organization, "coordinator", instant)


async def planned(house: Store, *takes_part: Json) -> None:
    """Lead's agenda with p1 on it, and the meeting that it is for."""
    await write(house, by(LEAD), an_item("item"))
    await write(house, coordinator(), an_agenda("Task/item"))
    await write(house, coordinator(), a_meeting(*takes_part))


async def sees(house: Store, patient: str = "p1", days: int = 0) -> bool:
    context = by("fourth", instant=now() + days * DAY)
    seen = await reads(house, context, "Patient", patient)
    assert bool(await finds(house, context, f"_id={patient}", "Patient")) is seen
    return seen


async def deleted(house: Store, context: RequestContext, type: str, id: str) -> None:
    async with house.begin(context) as work:
        await work.delete(type, id, (await house.read(system(), type, id)).version)


async def test_who_takes_part_sees_the_agenda_and_each_patient_on_it_and_nobody_else(
    house: Store,
) -> None:
    await write(house, by(LEAD), an_item("item"), a_note("p2", patient="p2"))
    await write(house, coordinator(), an_agenda("Task/item"))
    assert not await sees(house)
    assert not await reads(house, by("fourth"), "List", "agenda")

    await write(house, coordinator(), a_meeting(ROLE))

    assert await sees(house)
    assert await sees(house, days=400)
    assert await reads(house, by("fourth"), "List", "agenda")
    assert await finds(house, by("fourth"), "", "List") == ["agenda"]
    assert await finds(house, by("fourth"), "") == [LEAD, OTHER, THIRD]
    assert not await sees(house, "p2")
    assert not await reads(house, by("nobody"), "List", "agenda")


async def test_a_patient_is_seen_from_when_they_are_put_on_the_agenda_until_taken_from_it(
    house: Store,
) -> None:
    await planned(house, ROLE)
    await write(house, by(LEAD), an_item("second", "p2"))
    assert not await sees(house, "p2")

    await write(house, coordinator(), an_agenda("Task/item", "Task/second", _if_match=1))
    assert await sees(house, "p1")
    assert await sees(house, "p2")

    await write(house, coordinator(), an_agenda("Task/second", _if_match=2))
    assert not await sees(house, "p1")
    assert await sees(house, "p2")


@pytest.mark.parametrize("item", ["Patient/p1", "ServiceRequest/r", "Observation/lead",
                                  "Task/item/_history/1"])  # fmt: skip
async def test_an_entry_of_any_kind_is_about_its_patient(house: Store, item: str) -> None:
    subject = {"reference": "Patient/p1"}
    request = {key: value for key, value in build.a_request("r", subject=subject).items()
               if key in {"resourceType", "id", "status", "intent", "code", "subject"}}  # fmt: skip
    await write(house, by(LEAD), an_item("item"), request)
    await write(house, by(LEAD), a_team(ROLE), an_agenda(item), a_meeting(also=TEAM))

    assert await sees(house)


async def test_who_is_in_the_team_of_the_meeting_takes_part_until_they_leave_it(
    house: Store,
) -> None:
    await write(house, by(LEAD), an_item("item"), a_team())
    await write(house, coordinator(), an_agenda("Task/item"))
    await write(house, coordinator(), a_meeting(also=TEAM))
    assert not await sees(house)

    await write(house, by(LEAD), a_team(FOURTH))
    assert await sees(house)
    assert await reads(house, by("fourth"), "List", "agenda")

    await write(house, by(LEAD), a_team())
    assert not await sees(house)
    assert not await reads(house, by("fourth"), "List", "agenda")


@pytest.mark.parametrize(
    "ending",
    [a_meeting(ROLE, status="fulfilled", _if_match=1),
     an_agenda("Task/item", status="retired", _if_match=1),
     an_agenda("Task/item", mode="snapshot", _if_match=1)],
    ids=["held", "retired", "recorded"],
)  # fmt: skip
async def test_when_the_meeting_is_over_its_patients_are_seen_for_some_days(
    house: Store, ending: Json
) -> None:
    await planned(house, ROLE)

    await write(house, coordinator(), dict(ending))

    assert await sees(house, days=1)
    assert not await sees(house, days=400)
    assert await reads(house, by("fourth", instant=now() + LATER), "List", "agenda")


@pytest.mark.parametrize("ending", ["error", "deleted", "uninvited", "no meeting", "no agenda"])
async def test_what_should_not_have_been_shows_nothing_any_more(house: Store, ending: str) -> None:
    await planned(house, ROLE)
    assert await sees(house)

    if ending == "deleted":
        await deleted(house, system(), "Appointment", "meeting")
        await deleted(house, by(LEAD), "List", "agenda")
    elif ending == "no meeting":
        await deleted(house, by(LEAD), "Appointment", "meeting")
    else:
        await write(house, coordinator(), {
            "error": an_agenda("Task/item", status="entered-in-error", _if_match=1),
            "uninvited": a_meeting(_if_match=1),
            "no agenda": a_meeting(ROLE, supportingInformation=[], _if_match=1) | {
                "supportingInformation": [{"reference": "Task/item"}]},
        }[ending])  # fmt: skip

    assert not await sees(house)


async def test_an_item_that_was_about_another_patient_shows_the_first_no_more(
    house: Store,
) -> None:
    await write(house, coordinator(), an_agenda("Observation/lead"))
    await write(house, coordinator(), a_meeting(ROLE))
    assert await sees(house, "p1")

    await write(house, by(LEAD), a_note("lead", patient="p2"))

    assert not await sees(house, "p1")
    assert await sees(house, "p2")


# --- nobody lets themselves in ------------------------------------------------------------------


@pytest.mark.parametrize("item", ["Task/item", "Patient/p1", "Observation/lead"])
@pytest.mark.parametrize("role", ["coordinator", "application"])
async def test_who_has_nothing_to_do_with_a_patient_does_not_put_them_on_an_agenda(
    house: Store, item: str, role: str
) -> None:
    await write(house, by(LEAD), an_item("item"))

    with pytest.raises((Forbidden, Unprocessable)):
        await write(house, by("fourth", role), an_agenda(item, id="mine", source=ROLE))
    assert not await sees(house)


async def test_a_step_that_one_was_once_part_of_is_no_way_back(house: Store) -> None:
    await write(house, system(), an_item("old", owner=FOURTH))
    await write(house, system(), an_item("old", owner=FOURTH, status="completed", _if_match=1))
    late = coordinator("fourth", now() + LATER)
    assert await reads(house, late, "Task", "old")
    assert not await reads(house, late, "Patient", "p1")

    with pytest.raises(Forbidden):
        await write(house, late, an_agenda("Task/old", id="mine", source=ROLE))
    assert not await reads(house, late, "Patient", "p1")


async def test_nobody_invites_themselves_to_the_meeting_of_others(house: Store) -> None:
    await planned(house)

    for one in (a_meeting(ROLE, id="mine"), a_meeting(ROLE, id="mine", participant=[
            {"actor": ROLE, "status": "accepted"}])):  # fmt: skip
        with pytest.raises((Forbidden, Unprocessable)):
            await write(house, coordinator("fourth"), one)
    with pytest.raises((Forbidden, Stale)):
        await write(house, coordinator("fourth"), an_agenda("Task/item", source=ROLE, _if_match=1))
    assert not await sees(house)


async def test_who_takes_part_reads_the_agenda_and_does_not_change_it(house: Store) -> None:
    await planned(house, ROLE)
    guest = by("fourth")

    for one in (an_agenda("Task/item", note=[{"text": "x"}], _if_match=1),
                an_agenda("Task/item", source=ROLE, _if_match=1),
                an_agenda("Task/item", code={"text": "x"}, _if_match=1)):  # fmt: skip
        with pytest.raises(Forbidden):
            await write(house, guest, one)
    with pytest.raises(Forbidden):
        await deleted(house, guest, "List", "agenda")


async def test_a_meeting_that_is_over_is_not_opened_again_by_a_guest(house: Store) -> None:
    await planned(house, ROLE)
    await write(house, coordinator(), a_meeting(ROLE, status="fulfilled", _if_match=1))
    late = coordinator("fourth", now() + LATER)
    assert not await reads(house, late, "Patient", "p1")

    await write(house, late, a_meeting(ROLE, id="again"))

    assert not await reads(house, late, "Patient", "p1")


async def test_an_agenda_shows_nothing_of_what_the_patient_keeps_from_others(
    house: Store,
) -> None:
    await planned(house, ROLE)
    await write(house, by(LEAD), a_consent("deny", "fourth"))

    assert await finds(house, by("fourth"), "") == []
    assert not await sees(house)


async def test_agenda_and_meeting_that_are_written_at_once_let_in_whoever_takes_part(
    house: Store,
) -> None:
    await write(house, by(LEAD), an_item("item"))
    for n in range(10):
        agenda, meeting = f"agenda{n}", f"meeting{n}"
        await write(house, coordinator(), an_agenda(id=agenda))
        await asyncio.gather(
            write(house, coordinator(), an_agenda("Task/item", id=agenda, _if_match=1)),
            write(house, coordinator(), a_meeting(ROLE, id=meeting, agenda=agenda)),
        )
        assert await sees(house)
        await write(house, coordinator(), an_agenda(id=agenda, _if_match=2))
        assert not await sees(house)
