"""What is granted resource by resource, who has to do with a patient only so far, what is held."""

import random
from typing import Any, NamedTuple

import pytest

from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.search import query
from fhir_server.store.history import Cut
from fhir_server.store.store import Store
from resources import codes, content
from resources.content import written_instant
from resources.errors import Conflict, Forbidden, NotFound, Refusal, Unprocessable
from tests import build
from tests.standards.test_governance import (
    HOUR,
    LEAD,
    NOW,
    ORGANIZATIONS,
    OTHER,
    SECOND,
    THIRD,
    a_consent,
    a_note,
    by,
    finds,
    house,
    label,
    reads,
    system,
    write,
)

__all__ = ["house"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R014.1")]

Json = dict[str, Any]
FOURTH = "fourth"
"""Has nothing to do with p1, unless it is asked for something."""
UNRELEASED: dict[str, Any] = {"meta": {"security": [codes.UNRELEASED.json]}}


def reference(name: str) -> Json:
    return {"reference": name}


def a_grant(*names: str, to: str = FOURTH, end: int | None = NOW + HOUR, **more: Any) -> Json:
    """A Consent that lets an organisation read these resources."""
    data = [{"meaning": "instance", "reference": reference(name)} for name in names]
    provision: Json = {"data": data, **more.pop("provision", {})}
    if end is not None:
        provision["period"] = {"end": written_instant(end)}
    return a_consent("permit", to, provision=provision, **more)


def an_order(id: str, to: str = FOURTH, patient: str = "p1", **more: Any) -> Json:
    """A part of the work is asked of an organisation by the lead."""
    return {
        "resourceType": "ServiceRequest", "id": id, "status": "active", "intent": "filler-order",
        "subject": reference(f"Patient/{patient}"), "requester": reference(f"Organization/{LEAD}"),
        "performer": [reference(f"Organization/{to}")], "code": {"text": "x"}, **more,
    }  # fmt: skip


def a_task(id: str, owner: str, patient: str = "p1", **more: Any) -> Json:
    return {
        "resourceType": "Task", "id": id, "status": "requested", "intent": "order",
        "for": reference(f"Patient/{patient}"), "owner": reference(f"Organization/{owner}"), **more,
    }  # fmt: skip


def a_report(id: str, *performers: str, patient: str = "p1", **more: Any) -> Json:
    named = [reference(f"Organization/{one}") for one in performers]
    return {
        "resourceType": "DiagnosticReport", "id": id, "status": "preliminary",
        "code": {"text": "x"}, "subject": reference(f"Patient/{patient}"),
        **({"performer": named} if named else {}), **more,
    }  # fmt: skip


def a_study(id: str, *makers: str, patient: str = "p1", **more: Any) -> Json:
    series = [
        {"uid": f"1.2.{n}", "modality": {"code": "CT"},
         "performer": [{"actor": reference(f"Organization/{one}")}]}
        for n, one in enumerate(makers)
    ]  # fmt: skip
    return {"resourceType": "ImagingStudy", "id": id, "status": "registered",
            "subject": reference(f"Patient/{patient}"), "series": series, **more}  # fmt: skip


async def limited(house: Store, *, id: str = "sr1a", to: str = FOURTH) -> RequestContext:
    """The fourth is asked for a part of the work for p1, and has nothing else to do with them."""
    await write(house, by(LEAD), an_order(id, to))
    return by(to)


async def sees_notes(house: Store, who: RequestContext) -> Any:
    """The notes about p1 that are found, each of which can be read and no other."""
    found = await finds(house, who, "patient=p1")
    for one in (LEAD, OTHER, THIRD):
        assert await reads(house, who, "Observation", one) is (one in found)
    return found


async def is_nowhere(house: Store, who: RequestContext, id: str = LEAD) -> None:
    """A note is found by no question, included in nothing, and has no history."""
    assert not await reads(house, who, "Observation", id)
    assert id not in await finds(house, who, "")
    assert await finds(house, who, f"_has:Observation:patient:_id={id}", "Patient") == []
    included = query.parse("Patient", [("_revinclude", "Observation:patient")], strict=True)
    page = await house.search(who, included)
    assert f"Observation/{id}" not in [one.reference for one in page.included]
    with pytest.raises(NotFound):
        await house.vread(who, "Observation", id, 1)
    with pytest.raises(NotFound):
        await house.history(who, "Observation", id, Cut(10))


# --- grants -------------------------------------------------------------------------------------


async def test_what_is_granted_is_read_found_and_has_its_history_and_nothing_else_is(
    house: Store,
) -> None:
    who = by(FOURTH)
    await write(house, by(LEAD), a_note(LEAD, "second") | {"_if_match": 1})
    assert await sees_notes(house, who) == []

    await write(house, by(LEAD), a_grant(f"Observation/{LEAD}"))

    assert await sees_notes(house, who) == [LEAD]
    assert await finds(house, who, "") == [LEAD]
    assert (await house.vread(who, "Observation", LEAD, 1)).version == 1
    page = await house.history(who, "Observation", LEAD, Cut(10))
    assert [one.version for one in page.matches] == [2, 1]
    assert not await reads(house, who, "Patient", "p1")
    assert await finds(house, who, "subject:Patient.family=Testcase") == []
    assert await finds(house, by(FOURTH, instant=NOW + 2 * HOUR), "") == []

    await write(house, by(LEAD), a_grant(f"Observation/{LEAD}", "Patient/p1") | {"_if_match": 1})

    assert await finds(house, who, "subject:Patient.family=Testcase") == [LEAD]
    assert await finds(house, who, f"_has:Observation:patient:_id={LEAD}", "Patient") == ["p1"]


async def test_it_is_for_reading_and_lets_nobody_add_to_the_record(house: Store) -> None:
    await write(house, by(LEAD), a_grant(f"Observation/{LEAD}", "Patient/p1"))
    for wrong in (
        a_note(LEAD, "changed") | {"_if_match": 1}, a_note("new"), a_task("new", FOURTH),
        a_report("new", FOURTH), a_consent("permit", THIRD, id="new", provision={
            "period": {"end": "2099"}}), a_grant(f"Observation/{LEAD}", to=THIRD, id="new"),
    ):  # fmt: skip
        with pytest.raises((Forbidden, NotFound)):
            await write(house, by(FOURTH), wrong)
    # nor does a note about nobody take part in what was granted
    unbound = {
        "resourceType": "Communication", "id": "new", "status": "completed",
        "about": [reference(f"Observation/{LEAD}")],
    }  # fmt: skip
    with pytest.raises(Unprocessable):
        await write(house, by(FOURTH), unbound)
    assert await sees_notes(house, by(FOURTH)) == [LEAD]


@pytest.mark.standard("threats T4")
@pytest.mark.parametrize("ending", ["inactive", "entered-in-error", "deleted", "taken out", "past"])
async def test_a_grant_that_ended_shows_nothing_anywhere_not_even_to_a_slow_clock(
    house: Store, ending: str
) -> None:
    grant = a_grant(f"Observation/{LEAD}", f"Observation/{OTHER}")
    await write(house, by(LEAD), dict(grant))
    assert await sees_notes(house, by(FOURTH)) == [LEAD, OTHER]

    if ending == "deleted":
        async with house.begin(system()) as work:
            await work.delete("Consent", "c")
    elif ending == "taken out":
        await write(house, by(LEAD), a_grant(f"Observation/{OTHER}") | {"_if_match": 1})
        await write(house, by(LEAD), {**grant, "status": "inactive", "_if_match": 2})
    elif ending == "past":
        past = a_grant(f"Observation/{LEAD}", f"Observation/{OTHER}", end=NOW - HOUR)
        await write(house, by(LEAD), past | {"_if_match": 1})
    else:
        await write(house, by(LEAD), {**grant, "status": ending, "_if_match": 1})

    for late in (0, -SECOND, -30 * SECOND):
        for note in (LEAD, OTHER):
            await is_nowhere(house, by(FOURTH, instant=NOW + HOUR // 2 + late), note)


async def test_what_is_taken_out_of_a_grant_is_seen_no_more_and_the_rest_is(house: Store) -> None:
    await write(house, by(LEAD), a_grant(f"Observation/{LEAD}", f"Observation/{OTHER}"))
    await write(house, by(LEAD), a_grant(f"Observation/{OTHER}") | {"_if_match": 1})
    assert await sees_notes(house, by(FOURTH)) == [OTHER]


async def test_what_a_person_grants_has_an_end_is_theirs_to_see_and_for_others(
    house: Store,
) -> None:
    own = a_note("p2-note", patient="p2")
    await write(house, by(LEAD), own)
    wrong: list[tuple[RequestContext, Json]] = [
        (by(LEAD), a_grant(f"Observation/{LEAD}", end=None)),
        (by(LEAD), a_grant(f"Observation/{LEAD}", to=LEAD)),
        (by(LEAD), a_grant("Observation/p2-note")),
        (by(LEAD), a_grant(f"Organization/{LEAD}")),
        (by(LEAD), a_grant("https://elsewhere.example/fhir/Observation/1")),
        (by(LEAD), a_grant(f"Observation/{LEAD}", provision={"purpose": [{"code": "x"}]})),
        (by(LEAD), a_consent("deny", FOURTH, provision={"data": [
            {"meaning": "instance", "reference": reference(f"Observation/{LEAD}")}]})),
        (by(LEAD), a_grant(provision={"data": [
            {"meaning": "related", "reference": reference(f"Observation/{LEAD}")}]})),
        (by(LEAD), a_grant("Observation/nothing")),
        (by(FOURTH), a_grant(f"Observation/{LEAD}", to=THIRD)),
    ]  # fmt: skip
    for who, grant in wrong:
        with pytest.raises((Unprocessable, Forbidden)):
            await write(house, who, grant)
    await write(house, by(OTHER), a_note("hidden", **label("R")))
    with pytest.raises((Forbidden, Unprocessable)):
        await write(house, by(LEAD), a_grant("Observation/hidden"))
    assert await finds(house, by(FOURTH), "") == []


async def test_the_server_may_leave_the_end_open_until_it_ends_the_grant(house: Store) -> None:
    grant = a_grant(f"Observation/{LEAD}", end=None)
    await write(house, system(), dict(grant))
    assert await finds(house, by(FOURTH, instant=NOW + 10_000 * HOUR), "") == [LEAD]

    await write(house, system(), {**grant, "status": "inactive", "_if_match": 1})
    await is_nowhere(house, by(FOURTH, instant=NOW + 10_000 * HOUR))


async def test_a_grant_that_is_moved_to_another_patient_grants_nothing_of_the_first(
    house: Store,
) -> None:
    await write(house, by(LEAD), a_grant(f"Observation/{LEAD}"))
    moved = a_grant(f"Observation/{LEAD}", patient=reference("Patient/p2"))
    with pytest.raises(Unprocessable):
        await write(house, by(LEAD), moved | {"_if_match": 1})
    await write(house, system(), moved | {"_if_match": 1})

    await is_nowhere(house, by(FOURTH))


async def test_what_turns_out_to_be_of_another_patient_is_not_granted_any_more(
    house: Store,
) -> None:
    await write(house, by(LEAD), a_grant(f"Observation/{LEAD}"))
    await write(house, by(LEAD), a_note(LEAD, patient="p2") | {"_if_match": 1})
    await is_nowhere(house, by(FOURTH))


@pytest.mark.standard("threats T4")
async def test_dissent_and_labels_come_before_a_grant(house: Store) -> None:
    await write(house, by(LEAD), a_grant(f"Observation/{LEAD}", f"Observation/{OTHER}"))
    await write(house, by(OTHER), a_note(OTHER, **label("R")) | {"_if_match": 1})
    assert await sees_notes(house, by(FOURTH)) == [LEAD]

    await write(house, by(LEAD), a_consent("deny", FOURTH, id="no"))
    assert await sees_notes(house, by(FOURTH)) == []


# --- limited relations --------------------------------------------------------------------------


@pytest.mark.requirement("W3")
async def test_who_is_asked_for_a_part_adds_to_the_record_and_sees_its_own_and_no_more(
    house: Store,
) -> None:
    who = await limited(house)

    await write(
        house, who, a_note("mine"), a_report("r1", FOURTH, basedOn=[
            reference("ServiceRequest/sr1a")]),
        {"resourceType": "Procedure", "id": "done", "status": "completed",
         "subject": reference("Patient/p1"), "code": {"text": "x"}},
    )  # fmt: skip

    assert await finds(house, who, "patient=p1") == ["mine"]
    assert await finds(house, who, "", "DiagnosticReport") == ["r1"]
    assert await finds(house, who, "", "ServiceRequest") == ["sr1a"]
    assert await finds(house, who, "", "Patient") == []
    for one in (LEAD, OTHER, THIRD):
        await is_nowhere(house, who, one)
    assert await finds(house, by(LEAD), "patient=p1") == [LEAD, "mine", OTHER, THIRD]


async def test_an_opinion_is_asked_of_somebody_who_sees_no_more_for_it(house: Store) -> None:
    question = a_task("q", FOURTH, intent="proposal", requester=reference(f"Organization/{LEAD}"))
    await write(house, by(LEAD), question)
    assert await reads(house, by(FOURTH), "Task", "q")
    await is_nowhere(house, by(FOURTH))
    assert await sees_notes(house, by(LEAD)) == [LEAD, OTHER, THIRD]


async def test_who_was_related_before_stays_so_when_asked_for_a_part(house: Store) -> None:
    who = await limited(house, to=THIRD)
    assert await sees_notes(house, who) == [LEAD, OTHER, THIRD]


WIDENING: list[Json] = [
    a_task("t", FOURTH),
    a_task("t", FOURTH, basedOn=[reference("ServiceRequest/sr1a")]),
    a_report("t", FOURTH),
    a_report("t", FOURTH, OTHER),
    build.an_appointment("t", participant=[
        {"actor": reference(f"HealthcareService/{FOURTH}"), "status": "accepted"},
        {"actor": reference("Patient/p1"), "status": "accepted"}]),
    {"resourceType": "Encounter", "id": "t", "status": "planned", "class": {"code": "AMB"},
     "subject": reference("Patient/p1"), "serviceProvider": reference(f"Organization/{FOURTH}")},
    an_order("t", FOURTH, requester=reference(f"Organization/{FOURTH}")),
    an_order("t", FOURTH, basedOn=[reference("ServiceRequest/leads")]),
    a_consent("permit", OTHER, id="t", provision={"period": {"end": "2099"}}),
    a_grant(f"Observation/{LEAD}", to=OTHER, id="t"),
    a_grant("ServiceRequest/sr1a", to=OTHER, id="t"),
    {"resourceType": "List", "id": "t", "status": "current", "mode": "working",
     "code": codes.MDT_AGENDA.concept, "entry": [{"item": reference("Patient/p1")}]},
    build.a_patient("p1", managingOrganization=reference(f"Organization/{FOURTH}"))
    | {"_if_match": 1},
]  # fmt: skip


@pytest.mark.standard("threats T1 T2")
@pytest.mark.parametrize("wrong", WIDENING, ids=lambda one: one["resourceType"])
async def test_whoever_has_a_limited_relation_widens_neither_it_nor_that_of_others(
    house: Store, wrong: Json
) -> None:
    service = {"resourceType": "HealthcareService", "id": FOURTH, "active": True,
               "providedBy": reference(f"Organization/{FOURTH}")}  # fmt: skip
    await write(
        house, system(), build.an_organization("fifth"), service,
        an_order("leads", LEAD, intent="order"),
    )  # fmt: skip
    who = await limited(house)
    wrong = {**wrong}
    for role in ("reporter", "application", "practitioner", "coordinator", "device"):
        try:
            await write(house, by(FOURTH, role), {**wrong})
        except (Refusal, Conflict):
            continue
        break
    version = wrong.pop("_if_match", None)
    if version is None and await reads(house, system(), wrong["resourceType"], "t"):
        # what the server does with it afterwards widens nothing either
        stored = await house.read(system(), wrong["resourceType"], "t")
        await write(house, system(), {**stored.json, "_if_match": stored.version})

    for one in (LEAD, OTHER, THIRD):
        await is_nowhere(house, who, one)
    await write(house, by(LEAD), a_report("later"))
    assert not await reads(house, who, "DiagnosticReport", "later")


async def test_a_limited_party_lets_nobody_else_in(house: Store) -> None:
    await write(house, system(), build.an_organization("fifth"))
    await write(house, await limited(house), a_task("t", "fifth"))
    await is_nowhere(house, by("fifth"))


async def test_what_was_limited_stays_so_whatever_its_resource_says_later(house: Store) -> None:
    who = await limited(house)
    report = a_report("r1", FOURTH, basedOn=[reference("ServiceRequest/sr1a")])
    await write(house, who, dict(report))
    report.pop("basedOn")
    for context, version in ((who, 1), (system(), 2)):
        await write(house, context, {**report, "_if_match": version})
        await is_nowhere(house, who)


async def test_when_the_work_has_ended_a_change_of_it_is_no_way_in(house: Store) -> None:
    await limited(house)
    long_after = by(FOURTH, instant=NOW + 24 * 4000 * HOUR)
    await write(house, by(LEAD), an_order("sr1a", status="completed") | {"_if_match": 1})
    async with house.begin(long_after) as work:
        mine = an_order("sr1a", status="completed", note=[{"text": "x"}])
        await work.update("ServiceRequest", "sr1a", content.made(mine), 2)
    await is_nowhere(house, by(FOURTH, instant=long_after.instant + SECOND))


async def test_a_referral_relates_its_writer_as_it_does_everybody(house: Store) -> None:
    who = await limited(house)
    await write(house, who, an_order("own", LEAD, intent="order", requester=reference(
        f"Organization/{FOURTH}")))  # fmt: skip
    assert await sees_notes(house, who) == [LEAD, OTHER, THIRD]


async def test_to_correct_a_patient_takes_more_than_a_limited_relation(house: Store) -> None:
    who = await limited(house)
    await write(house, system(), a_grant("Patient/p1", end=None))
    assert await reads(house, who, "Patient", "p1")
    patient = (await house.read(who, "Patient", "p1")).json
    with pytest.raises((Forbidden, NotFound)):
        await write(house, who, {**patient, "gender": "other", "_if_match": 1})


async def test_images_that_a_limited_party_sends_relate_it_no_further(house: Store) -> None:
    """The server makes the study in its own name."""
    who = await limited(house)
    await write(house, system(), a_study("s1", FOURTH))
    assert await reads(house, who, "ImagingStudy", "s1")
    await is_nowhere(house, who)


async def test_what_is_granted_may_be_referred_to_by_who_adds_to_the_record(house: Store) -> None:
    who = await limited(house)
    await write(house, system(), a_study("s1", LEAD), a_study("s2", LEAD))
    await write(house, system(), a_grant("ImagingStudy/s1", end=None))
    await write(house, who, a_report("r1", FOURTH, imagingStudy=[reference("ImagingStudy/s1")]))
    with pytest.raises(Unprocessable):
        await write(house, who, a_report("r2", FOURTH, imagingStudy=[reference("ImagingStudy/s2")]))


# --- what is not released -----------------------------------------------------------------------


@pytest.mark.requirement("W4")
async def test_what_is_not_released_is_seen_by_who_made_it_and_whom_the_server_grants_it(
    house: Store,
) -> None:
    await write(house, system(), a_study("s1", OTHER, **UNRELEASED))
    seeing = {one: await reads(house, by(one), "ImagingStudy", "s1") for one in ORGANIZATIONS}
    assert seeing == {LEAD: False, OTHER: True, THIRD: False, FOURTH: False}
    assert await finds(house, by(LEAD), "patient=p1", "ImagingStudy") == []
    with pytest.raises((Forbidden, Unprocessable)):
        await write(house, by(LEAD), a_grant("ImagingStudy/s1"))

    await write(house, system(), a_grant("ImagingStudy/s1", to=LEAD, end=None))
    assert await reads(house, by(LEAD), "ImagingStudy", "s1")
    # what a person grants does not come before the release
    await write(house, by(LEAD), a_grant("ImagingStudy/s1", id="on"))
    assert not await reads(house, by(FOURTH), "ImagingStudy", "s1")

    await write(house, system(), a_study("s1", OTHER) | {"_if_match": 1})
    for one in ORGANIZATIONS:
        assert await reads(house, by(one), "ImagingStudy", "s1"), one


async def test_the_server_says_what_is_released_and_nobody_else(house: Store) -> None:
    await write(house, by(OTHER), a_report("r1", OTHER))
    for wrong in (
        a_report("r2", OTHER, **UNRELEASED), a_report("r1", OTHER, **UNRELEASED) | {"_if_match": 1},
    ):  # fmt: skip
        with pytest.raises(Forbidden):
            await write(house, by(OTHER), wrong)
    await write(house, system(), a_report("r1", OTHER, **UNRELEASED) | {"_if_match": 1})

    await write(house, by(OTHER), a_report("r1", OTHER, conclusion="x") | {"_if_match": 2})

    stored = await house.read(by(OTHER), "DiagnosticReport", "r1")
    assert stored.json["meta"]["security"] == [codes.UNRELEASED.json]
    assert not await reads(house, by(LEAD), "DiagnosticReport", "r1")


# --- the rules, told again plainly --------------------------------------------------------------


class Thing(NamedTuple):
    """A report or a study, and what is said of it."""

    name: str
    patient: str
    creator: str
    maker: str
    restricted: bool
    held: bool


class Given(NamedTuple):
    """A grant as long as it counts."""

    to: str
    names: frozenset[str]
    creator: str
    since: int
    until: int


class World:
    """The same rules without a database."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.things: list[Thing] = []
        self.related: set[tuple[str, str]] = set()
        self.limited: set[tuple[str, str]] = set()
        self.grants: list[Given] = []
        self.dissents: set[tuple[str, str]] = set()

    def sees(self, own: str, instant: int, thing: Thing) -> bool:
        granted = [
            one
            for one in self.grants
            if one.to == own and thing.name in one.names and one.since <= instant < one.until
        ]
        if thing.creator == own:
            return True
        made = own == thing.maker
        if not (granted or made or (own, thing.patient) in self.related):
            return False
        is_kept_out = {(thing.patient, own), (thing.patient, "")} & self.dissents
        if thing.restricted or (is_kept_out and not made):
            return False
        before_release = made or any(one.creator in ("", thing.creator) for one in granted)
        return not thing.held or before_release


async def made(house: Store, world: World) -> None:
    pick = world.random
    for patient in (f"q{n}" for n in range(6)):
        parties = [LEAD, *pick.sample([OTHER, THIRD], pick.randint(0, 1))]
        gps = [reference(f"Organization/{one}") for one in parties]
        await write(house, system(), build.a_patient(patient, generalPractitioner=gps))
        world.related |= {(one, patient) for one in parties}
        for one in pick.sample(ORGANIZATIONS[1:], 2):
            await write(house, by(LEAD), an_order(f"{patient}-{one}", one, patient))
            world.limited.add((one, patient))
        writers = [one for one, about in world.related | world.limited if about == patient]
        for n in range(6):
            creator, held = pick.choice(sorted(writers)), pick.random() < 0.3
            id, maker = f"{patient}-{n}", creator if n % 2 else ""
            restricted = not maker and pick.random() < 0.2
            if maker:
                more = UNRELEASED if held else {}
                await write(house, system(), a_study(id, maker, patient=patient, **more))
                thing = Thing(f"ImagingStudy/{id}", patient, "", maker, False, held)
            else:
                more = label("R") if restricted else {}
                await write(house, by(creator), a_report(id, patient=patient, **more))
                if held:
                    labels = [*more.get("meta", {}).get("security", ()), codes.UNRELEASED.json]
                    again = a_report(id, patient=patient, meta={"security": labels})
                    await write(house, system(), again | {"_if_match": 1})
                thing = Thing(f"DiagnosticReport/{id}", patient, creator, "", restricted, held)
            world.things.append(thing)
        if pick.random() < 0.5:
            whom = pick.choice(["", *ORGANIZATIONS[1:]])
            no = a_consent("deny", *([whom] if whom else ()), id=f"no-{patient}")
            await write(house, by(LEAD), no | {"patient": reference(f"Patient/{patient}")})
            world.dissents.add((patient, whom))


async def given(house: Store, world: World) -> None:
    """Grants by the lead and by the server, some ended, some to come, some cut down later."""
    pick = world.random
    for n in range(30):
        patient, to = f"q{pick.randrange(6)}", pick.choice(ORGANIZATIONS[1:])
        here = [one for one in world.things if one.patient == patient]
        names = [one.name for one in pick.sample(here, pick.randint(1, 4))]
        since, until = (NOW + hour * HOUR for hour in sorted(pick.sample(range(-4, 6), 2)))
        by_server = pick.random() < 0.5
        if not by_server:
            names = [
                one.name for one in here
                if one.name in names and world.sees(LEAD, NOW, one)
            ]  # fmt: skip
        if not names:
            continue
        period = {"start": written_instant(since), "end": written_instant(until)}
        if by_server and pick.random() < 0.5:
            until = 2**62
            period.pop("end")
        grant = a_grant(*names, to=to, end=None, id=f"g{n}", provision={"period": period},
                        patient=reference(f"Patient/{patient}"))  # fmt: skip
        context = system() if by_server else by(LEAD)
        await write(house, context, dict(grant))
        ending = pick.choice(["", "", "inactive", "less"])
        if ending == "inactive":
            await write(house, context, {**grant, "status": "inactive", "_if_match": 1})
            continue
        if ending == "less":
            names = names[:1]
            fewer = a_grant(*names, to=to, end=None, id=f"g{n}", provision={"period": period},
                            patient=reference(f"Patient/{patient}"))  # fmt: skip
            await write(house, context, fewer | {"_if_match": 1})
        creator = "" if by_server else LEAD
        world.grants.append(Given(to, frozenset(names), creator, since, until))


@pytest.mark.standard("threats T1 T2")
@pytest.mark.parametrize("seed", [8, 58])
async def test_a_thousand_questions_are_answered_as_the_plain_rules_say(
    house: Store, seed: int
) -> None:
    world = World(seed)
    await made(house, world)
    await given(house, world)
    pick, shown, hidden = world.random, 0, 0
    for n in range(500):
        own, instant = pick.choice(ORGANIZATIONS), NOW + pick.randint(-5, 6) * HOUR + HOUR // 2
        who, type = by(own, instant=instant), pick.choice(["DiagnosticReport", "ImagingStudy"])
        here = [one for one in world.things if one.name.startswith(f"{type}/")]
        seen = {one.name: one for one in here if world.sees(own, instant, one)}
        if n % 3 == 0:
            thing = pick.choice(here)
            id = thing.name.partition("/")[2]
            assert await reads(house, who, type, id) is (thing.name in seen), (who, thing)
            continue
        patient = f"q{pick.randrange(6)}"
        asked = f"patient={patient}" if n % 3 == 1 else "_sort=-_lastUpdated"
        wanted = [one for one in seen.values() if n % 3 == 2 or one.patient == patient]
        found = await finds(house, who, f"{asked}&_count=200", type)
        assert found == sorted(one.name.partition("/")[2] for one in wanted), (own, instant)
        shown, hidden = shown + len(found), hidden + len(here) - len(found)
    assert min(shown, hidden) > 500  # the questions could tell one from the other


async def test_where_nothing_is_granted_no_row_of_it_is_looked_for(database: Database) -> None:
    """The condition is one more step that is never run."""
    from fhir_server.access import gate
    from fhir_server.search import reach

    extent = gate.reach(by(FOURTH), "s", "Observation")
    params: list[Any] = []
    seen = reach.predicate(extent, "c", params, type="Observation", instant=NOW)
    await database.run(
        "insert into current(type, id, key, version, instant, deleted, patient, organizations,"
        " terms) select 'Observation', n::text, n, 1, 1, false, 'p', '{x}', '{}'"
        " from generate_series(1, 50) as n"
    )
    plan = await database.run(
        f"explain (analyze, format text) select count(*) from current c where {seen}", params
    )
    lines = [str(row[0]) for row in plan]
    looked = [line for line in lines if "granted_pkey" in line or "on granted g" in line]
    assert looked
    assert all("never executed" in line for line in looked)
