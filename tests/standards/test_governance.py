"""What dissent, grants, labels and emergencies let organisations see, on a store of its own."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from fhir_server.access import emergency, gate, scopes
from fhir_server.access.emergency import Emergency
from fhir_server.access.principal import Principal
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext, now
from fhir_server.emergencies import Wish, identified, open_access
from fhir_server.postgres.database import Database
from fhir_server.search import query
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from resources import codes, content
from resources.agreement import AFFILIATION_CODE
from resources.content import written_instant
from resources.errors import Forbidden, Invalid, NotFound, Stale, Unprocessable
from tests import build
from tests.conftest import BASE_URL

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R014.1")]

Json = dict[str, Any]
EVERYTHING = scopes.parse("user/*.cruds")
SECOND = 1_000_000
HOUR = 3600 * SECOND
NOW = now()
LEAD, OTHER, THIRD = "lead", "other", "third"
NHS = build.nhs_number(7001)


def by(organization: str, role: str = "application", instant: int | None = None) -> RequestContext:
    who = Principal(f"PractitionerRole/{organization}", organization, role, EVERYTHING)
    return RequestContext(who, "read", instant=now() if instant is None else instant)


def system() -> RequestContext:
    return RequestContext(Principal.system("test"), "create")


def a_note(id: str, text: str = "x", patient: str = "p1", **members: Any) -> Json:
    return {
        "resourceType": "Observation", "id": id, "status": "final", "code": {"text": text},
        "subject": {"reference": f"Patient/{patient}"}, **members,
    }  # fmt: skip


def a_consent(type: str, *organizations: str, id: str = "c", **more: Any) -> Json:
    actors = [
        {"role": {"text": "x"}, "reference": {"reference": f"Organization/{one}"}}
        for one in organizations
    ]
    said: Json = {"type": type, **more.pop("provision", {})}
    if actors:
        said["actor"] = actors
    return {
        "resourceType": "Consent", "id": id, "status": "active",
        "scope": codes.concept(codes.Coding(codes.CONSENT_SCOPE, "patient-privacy")),
        "category": [{"text": "privacy"}], "patient": {"reference": "Patient/p1"},
        "policyRule": {"text": "house"}, "provision": said, **more,
    }  # fmt: skip


def label(code: str) -> Json:
    return {"meta": {"security": [{"system": codes.V3_CONFIDENTIALITY, "code": code}]}}


async def write(store: Store, context: RequestContext, *all: Json) -> None:
    async with store.begin(context) as work:
        for one in all:
            await work.update(one["resourceType"], one["id"], content.made(one), _version(one))


def _version(one: Json) -> int | None:
    version: int | None = one.pop("_if_match", None)
    return version


async def reads(store: Store, context: RequestContext, type: str, id: str) -> bool:
    try:
        await store.read(context, type, id)
    except (NotFound, Forbidden):
        return False
    return True


async def finds(
    store: Store, context: RequestContext, asked: str, type: str = "Observation"
) -> Any:
    """The ids found, and the total."""
    pairs = [tuple(each.split("=", 1)) for each in asked.split("&") if each]
    parsed = query.parse(type, [*pairs, ("_total", "accurate")], strict=True)  # type: ignore[list-item]
    page = await store.search(context, parsed)
    assert page.total == len(page.matches)
    return sorted(one.id for one in page.matches)


@pytest.fixture
async def house(database: Database) -> Store:
    """Three organisations that have to do with p1, each with a note about them; p2 is lead's."""
    store = Store(database, Ledger(database), Workflow(BASE_URL).hooks(), BASE_URL)
    gps = [{"reference": f"Organization/{one}"} for one in (OTHER, THIRD)]
    numbers = {"identifier": [{"system": codes.NHS_NUMBER, "value": NHS}]}
    await write(
        store, system(), *(build.an_organization(one) for one in (LEAD, OTHER, THIRD, "fourth")),
        build.a_practitioner(), build.a_role(LEAD, LEAD), build.a_role("fourth", "fourth"),
        build.a_patient("p1", managingOrganization={"reference": f"Organization/{LEAD}"},
                        generalPractitioner=gps, **numbers),
        build.a_patient("p2", managingOrganization={"reference": f"Organization/{LEAD}"}),
    )  # fmt: skip
    for one in (LEAD, OTHER, THIRD):
        await write(store, by(one), a_note(one))
    return store


# --- dissent ------------------------------------------------------------------------------------


@pytest.mark.standard("threats T4")
async def test_dissent_keeps_what_others_created_and_leaves_what_one_created(house: Store) -> None:
    assert await finds(house, by(OTHER), "patient=p1") == [LEAD, OTHER, THIRD]

    await write(house, by(LEAD), a_consent("deny"))

    for one in (OTHER, THIRD):
        assert await finds(house, by(one), "patient=p1") == [one]
        assert not await reads(house, by(one), "Observation", LEAD)
        assert await reads(house, by(one), "Observation", one)
    assert await finds(house, by(LEAD), "subject:Patient.family=Testcase") == [LEAD]


@pytest.mark.standard("threats T4")
async def test_dissent_that_names_an_organisation_is_against_that_one(house: Store) -> None:
    await write(house, by(LEAD), a_consent("deny", OTHER))

    assert await finds(house, by(OTHER), "patient=p1") == [OTHER]
    assert await finds(house, by(THIRD), "patient=p1") == [LEAD, OTHER, THIRD]


@pytest.mark.standard("threats T4")
async def test_dissent_counts_from_its_start_to_its_end(house: Store) -> None:
    start, end = NOW + HOUR, NOW + 2 * HOUR
    period = {"start": written_instant(start), "end": written_instant(end)}
    await write(house, by(LEAD), a_consent("deny", provision={"period": period}))

    for instant, seen in (
        (NOW, True), (start - SECOND, True), (start + SECOND, False), (end - SECOND, False),
        (end + SECOND, True),
    ):  # fmt: skip
        at = by(OTHER, instant=instant)
        assert await reads(house, at, "Observation", LEAD) is seen, instant - NOW
        assert (LEAD in await finds(house, at, "patient=p1")) is seen


@pytest.mark.standard("threats T4")
@pytest.mark.parametrize("ending", ["inactive", "deleted", "permitted"])
async def test_dissent_that_is_taken_back_counts_no_more(house: Store, ending: str) -> None:
    await write(house, by(LEAD), a_consent("deny"))
    if ending == "deleted":
        async with house.begin(by(LEAD)) as work:
            await work.delete("Consent", "c", 1)
    else:
        status = "inactive" if ending == "inactive" else "rejected"
        await write(house, by(LEAD), a_consent("deny", status=status, _if_match=1))

    assert await finds(house, by(OTHER), "patient=p1") == [LEAD, OTHER, THIRD]


@pytest.mark.standard("threats T4")
async def test_what_is_withheld_is_neither_changed_nor_named_nor_reached(house: Store) -> None:
    await write(house, by(LEAD), a_consent("deny"))

    with pytest.raises((NotFound, Stale)):
        await write(house, by(OTHER), a_note(LEAD, _if_match=1))
    refers = [{"reference": f"Observation/{LEAD}"}]
    with pytest.raises((Unprocessable, NotFound)):
        await write(house, by(OTHER), a_note("new", hasMember=refers))
    assert await finds(house, by(OTHER), "_has:Observation:patient:_id=lead", "Patient") == []
    assert await finds(house, by(OTHER), "_has:Observation:patient:_id=other", "Patient") == ["p1"]


@pytest.mark.standard("threats T4")
async def test_withheld_at_once_a_thousand_reads_serve_nothing(house: Store) -> None:

    assert await reads(house, by(OTHER), "Observation", LEAD)
    await write(house, by(LEAD), a_consent("deny"))

    served = await asyncio.gather(
        *(reads(house, by(OTHER), "Observation", LEAD) for _ in range(1000))
    )

    assert sum(served) == 0


# --- grants -------------------------------------------------------------------------------------


async def test_a_permit_lets_an_organisation_see_the_patient_until_its_end(house: Store) -> None:
    assert not await reads(house, by("fourth"), "Patient", "p1")
    period = {"end": written_instant(NOW + HOUR)}

    await write(house, by(LEAD), a_consent("permit", "fourth", provision={"period": period}))

    assert await reads(house, by("fourth", instant=NOW), "Patient", "p1")
    assert await finds(house, by("fourth"), "patient=p1") == [LEAD, OTHER, THIRD]
    assert not await reads(house, by("fourth", instant=NOW + HOUR + SECOND), "Patient", "p1")
    assert not await reads(house, by("fourth"), "Patient", "p2")


@pytest.mark.parametrize("ending", ["inactive", "deleted", "another"])
async def test_a_permit_that_is_withdrawn_counts_no_more(house: Store, ending: str) -> None:
    period = {"period": {"end": written_instant(NOW + HOUR)}}
    await write(house, by(LEAD), a_consent("permit", "fourth", provision=period))
    assert await reads(house, by("fourth"), "Patient", "p1")

    if ending == "deleted":
        async with house.begin(by(LEAD)) as work:
            await work.delete("Consent", "c", 1)
    elif ending == "inactive":
        changed = a_consent("permit", "fourth", provision=period, status="inactive", _if_match=1)
        await write(house, by(LEAD), changed)
    else:
        await write(house, by(LEAD), a_consent("permit", THIRD, provision=period, _if_match=1))

    assert not await reads(house, by("fourth"), "Patient", "p1")


async def test_who_was_let_in_does_not_prolong_it(house: Store) -> None:
    period = {"period": {"end": written_instant(NOW + HOUR)}}
    longer = {"period": {"end": written_instant(NOW + 9 * HOUR)}}
    await write(house, by(LEAD), a_consent("permit", "fourth", provision=period))

    with pytest.raises((Forbidden, NotFound, Unprocessable)):
        await write(
            house, by("fourth"), a_consent("permit", "fourth", provision=longer, _if_match=1)
        )
    with pytest.raises(Unprocessable):
        await write(house, by("fourth"), a_consent("permit", "fourth", id="d", provision=longer))


@pytest.mark.parametrize(
    "wrong",
    [
        a_consent("permit", "fourth"),
        a_consent("permit", provision={"period": {"end": "2099-01-01"}}),
        a_consent("deny", provision={"code": [{"text": "x"}]}),
        a_consent("deny", provision={"provision": [{"type": "permit"}]}),
        a_consent("deny", provision={"actor": [
            {"role": {"text": "x"}, "reference": {"reference": "Practitioner/dr"}}]}),
    ],
)  # fmt: skip
async def test_what_would_not_be_kept_as_it_is_said_is_refused(house: Store, wrong: Json) -> None:
    with pytest.raises(Unprocessable):
        await write(house, by(LEAD), wrong)


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["R", "V"])
async def test_what_is_restricted_is_seen_by_who_created_it_alone(house: Store, code: str) -> None:
    performer = [{"reference": f"Organization/{OTHER}"}]
    await write(house, by(LEAD), a_note("r", **label(code), performer=performer))

    assert await reads(house, by(LEAD), "Observation", "r")
    for one in (OTHER, THIRD):
        assert not await reads(house, by(one), "Observation", "r")
        assert await finds(house, by(one), "patient=p1") == [LEAD, OTHER, THIRD]
    assert await finds(house, by(LEAD), "patient=p1") == [LEAD, OTHER, "r", THIRD]


async def test_another_label_restricts_nothing_and_a_label_taken_away_no_more(
    house: Store,
) -> None:
    await write(house, by(LEAD), a_note("r", **label("R")), a_note("n", **label("N")))
    assert await finds(house, by(OTHER), "_id=r,n") == ["n"]

    await write(house, by(LEAD), a_note("r", _if_match=1))

    assert await finds(house, by(OTHER), "_id=r,n") == ["n", "r"]


async def test_a_label_on_a_patient_counts_for_all_there_is_and_is_set_by_a_party_alone(
    house: Store,
) -> None:
    q = build.a_patient("q")
    period = {"period": {"end": written_instant(NOW + HOUR)}}
    about = {"patient": {"reference": "Patient/q"}}
    await write(house, by(LEAD), q, a_consent("permit", OTHER, provision=period) | about)
    await write(house, by(OTHER), a_note("theirs", patient="q"))
    await write(house, by(LEAD), a_note("ours", patient="q"))
    assert await finds(house, by(OTHER), "patient=q") == ["ours", "theirs"]

    with pytest.raises(Forbidden):
        await write(house, by(OTHER), {**q, **label("R"), "_if_match": 1})
    await write(house, by(LEAD), {**q, **label("R"), "_if_match": 1})

    assert await finds(house, by(OTHER), "patient=q") == ["theirs"]
    assert await finds(house, by(LEAD), "patient=q") == ["ours"]
    assert not await reads(house, by(OTHER), "Patient", "q")


async def test_what_was_restricted_stays_so_when_it_is_deleted(house: Store) -> None:
    await write(house, by(LEAD), a_note("r", **label("R")))
    async with house.begin(by(LEAD)) as work:
        await work.delete("Observation", "r", 1)

    rows = await house._database.run("select count(*) from withheld where by_id = 'r'")
    assert rows == [(1,)]


# --- emergencies --------------------------------------------------------------------------------


@pytest.mark.standard("threats T3")
async def test_a_hundred_emergencies_leave_a_hundred_alerts_and_nothing_lasts(
    house: Store, database: Database
) -> None:
    wish = Wish("p1", "life", "Unconscious in resus")
    for n in range(100):
        asker = by("fourth", "reporter", NOW)
        opened = await open_access(house, asker, wish, f"authorised-{n}")
        who = replace(asker.principal, patient="p1", emergency=opened)
        during = RequestContext(who, "read", instant=NOW + 60 * SECOND)
        assert await reads(house, during, "Observation", LEAD)
        for late in (NOW + HOUR, NOW + HOUR + 1, NOW + 99 * HOUR):
            after = RequestContext(who, "read", instant=late)
            assert not await reads(house, after, "Observation", LEAD)
            with pytest.raises(Forbidden):
                await finds(house, after, "patient=p1")
        assert not await reads(house, by("fourth", "reporter"), "Observation", LEAD)

    auditor = by(LEAD, "auditor")
    code = codes.REVIEW_EMERGENCY_ACCESS.token
    parsed = query.parse("Task", [("code", code), ("_total", "accurate")], strict=True)
    assert (await house.search(auditor, parsed)).total == 100
    audited = "select count(*) from audit where role = 'reporter|life' and outcome = 0"
    assert await database.run(f"{audited} and interaction = 'login'") == [(100,)]
    assert await database.run(f"{audited} and interaction = 'read'") == [(100,)]
    assert await database.run("select count(*), count(distinct id) from emergency") == [(100, 100)]


async def in_emergency(house: Store) -> RequestContext:
    asker = by("fourth", "reporter")
    opened = await open_access(house, asker, Wish("p1", "life", "Unconscious in resus"), "a")
    return replace(asker, principal=replace(asker.principal, patient="p1", emergency=opened))


@pytest.mark.standard("threats T3")
async def test_an_emergency_shows_what_is_withheld_of_that_patient_and_nobody_else(
    house: Store,
) -> None:
    await write(house, by(LEAD), a_consent("deny"), a_note("r", **label("V")),
                a_note("p2", patient="p2"))  # fmt: skip

    context = await in_emergency(house)

    assert await finds(house, context, "") == [LEAD, OTHER, "r", THIRD]
    assert await reads(house, context, "Observation", "r")
    assert not await reads(house, context, "Observation", "p2")
    assert not await reads(house, context, "Patient", "p2")
    assert await finds(house, context, "", "Patient") == ["p1"]


@pytest.mark.standard("threats T3")
async def test_no_emergency_without_the_role_the_reason_the_words_and_the_patient(
    house: Store,
) -> None:
    assert await identified(house, NHS, "1970-01-01") == "p1"
    assert await identified(house, NHS, "1970-01-02") is None
    assert await identified(house, build.nhs_number(7002), "1970-01-01") is None
    for role in ("coordinator", "delegate", "auditor", "administrator", "application", "device"):
        with pytest.raises(Forbidden):
            await open_access(house, by("fourth", role), Wish("p1", "life", "x" * 10), "a")
    for reason, said in (("curiosity", "x" * 10), ("life", "x" * 9), ("life", " " * 30)):
        with pytest.raises(Invalid):
            await open_access(house, by("fourth", "reporter"), Wish("p1", reason, said), "a")
    opened = Emergency("e", "life", NOW + HOUR)
    who = replace(by("fourth", "auditor").principal, patient="p1", emergency=opened)
    with pytest.raises(Forbidden):
        gate.reach(RequestContext(who, "read"), "r", "Task")
    assert emergency.LONGEST_SECONDS <= 3600


async def test_a_review_is_written_by_nobody_else(house: Store) -> None:
    review = build.a_step("justify", "fake", code=codes.REVIEW_EMERGENCY_ACCESS.concept)
    del review["focus"], review["basedOn"], review["requester"]
    step = {**review, "id": "step", "code": {"text": "x"}}
    for who, one in ((by(LEAD), review), (by(LEAD, "auditor"), step)):
        with pytest.raises((Forbidden, NotFound)):
            await write(house, who, one)
    await write(house, by(LEAD), step)
    for who, code in (
        (by(LEAD, "auditor"), step["code"]), (by(LEAD), codes.REVIEW_EMERGENCY_ACCESS.concept),
    ):  # fmt: skip
        changed = {**step, "code": code, "status": "cancelled", "_if_match": 1}
        with pytest.raises(Forbidden):
            await write(house, who, changed)


# --- the rules, told again plainly --------------------------------------------------------------

MONTH = 30 * 24 * HOUR
"""Later than any question is asked; a meeting that is over is remembered for longer."""
ORGANIZATIONS = [LEAD, OTHER, THIRD, "fourth"]
PATIENTS = [f"q{n}" for n in range(8)]


class World:
    """The same rules without a database: every row is looked at, one by one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.notes: dict[str, tuple[str, str, bool, str]] = {}
        self.related: set[tuple[str, str]] = set()
        self.grants: list[tuple[str, str, int]] = []
        self.dissents: list[tuple[str, str, int, int]] = []
        self.meetings: list[tuple[set[str], set[str], int]] = []
        self.agreements: list[tuple[str, str, int, int]] = []

    def sees(self, who: RequestContext, id: str) -> bool:
        patient, creator, is_restricted, _ = self.notes[id]
        own, instant = str(who.principal.organization), who.instant
        if who.principal.emergency is not None:
            return patient == who.principal.patient and instant < who.principal.emergency.until
        if creator == own:
            return True
        dissents = any(
            about == patient and whom in ("", own) and since <= instant < until
            for about, whom, since, until in self.dissents
        )
        shared = any(
            (giver, taker) == (creator, own) and since <= instant < until
            for giver, taker, since, until in self.agreements
        )
        seen = shared or self.knows(who, patient)
        return seen and not is_restricted and not dissents

    def knows(self, who: RequestContext, patient: str) -> bool:
        """The patient themselves are seen by who has to do with them, shared with or not."""
        own, instant = str(who.principal.organization), who.instant
        if who.principal.emergency is not None:
            return patient == who.principal.patient
        return (
            (own, patient) in self.related
            or any(
                (organization, about) == (own, patient) and instant < until
                for organization, about, until in self.grants
            )
            or any(
                own in taking_part and patient in agenda and instant < until
                for taking_part, agenda, until in self.meetings
            )
        )


async def made(house: Store, world: World) -> None:
    pick = world.random
    for patient in PATIENTS:
        parties = pick.sample(ORGANIZATIONS, pick.randint(1, 3))
        world.related |= {(one, patient) for one in parties}
        gps = [{"reference": f"Organization/{one}"} for one in parties]
        await write(house, system(), build.a_patient(patient, generalPractitioner=gps))
        for n in range(6):
            id, creator = f"{patient}-{n}", pick.choice(parties)
            restricted, text = pick.random() < 0.2, pick.choice("abc")
            world.notes[id] = (patient, creator, restricted, text)
            value = {"coding": [{"system": "urn:x", "code": text}]}
            more = label("R") if restricted else {}
            await write(house, by(creator), a_note(id, patient=patient, **more) | {"code": value})
        about = {"patient": {"reference": f"Patient/{patient}"}}
        if pick.random() < 0.5:
            whom = pick.choice([[], [pick.choice(ORGANIZATIONS)]])
            hours = sorted(pick.sample(range(-4, 5), 2))
            since, until = (NOW + hour * HOUR for hour in hours)
            period = {"start": written_instant(since), "end": written_instant(until)}
            said = a_consent("deny", *whom, id=f"deny-{patient}", provision={"period": period})
            await write(house, by(parties[0]), said | about)
            world.dissents += [(patient, one, since, until) for one in whom or [""]]
        if pick.random() < 0.5:
            whom, until = [pick.choice(ORGANIZATIONS)], NOW + pick.randint(1, 4) * HOUR
            if whom != [parties[0]]:
                period = {"end": written_instant(until)}
                said = a_consent("permit", *whom, id=f"let-{patient}", provision={"period": period})
                await write(house, by(parties[0]), said | about)
                world.grants += [(one, patient, until) for one in whom]


async def met(house: Store, world: World) -> None:
    """Meetings whose agendas change, of which some are over, called off or forgotten."""
    pick = world.random
    for n in range(12):
        keeper = pick.choice(ORGANIZATIONS)
        known = [one for one in PATIENTS if (keeper, one) in world.related]
        first, agenda = (set(pick.sample(known, min(2, len(known)))) for _ in "ab")
        guests, ending = set(pick.sample(ORGANIZATIONS, 2)), pick.choice(ENDINGS)
        for version, about in enumerate((first, agenda)):
            entry = [{"item": {"reference": f"Patient/{one}"}} for one in sorted(about)]
            said = {"resourceType": "List", "id": f"m{n}", "status": "current", "mode": "working",
                    "code": codes.MDT_AGENDA.concept, "entry": entry}  # fmt: skip
            await write(house, by(keeper), said | {"_if_match": version or None})
            if version:
                continue
            actors = [{"actor": {"reference": f"HealthcareService/{one}"}, "status": "accepted"}
                      for one in sorted(guests)]  # fmt: skip
            meeting = build.an_appointment(f"m{n}", participant=actors, supportingInformation=[
                {"reference": f"List/m{n}"}])  # fmt: skip
            meeting.pop("basedOn", None)
            await write(house, by(keeper), meeting)
        if ending == "over":
            await write(house, by(keeper), {**meeting, "status": "fulfilled", "_if_match": 1})
        elif ending == "an error":
            wrong = {**said, "status": "entered-in-error", "_if_match": 2}
            await write(house, by(keeper), wrong)
        taking_part = guests | {keeper}
        world.meetings.append((taking_part, first, NOW))
        world.meetings.append((taking_part, agenda, NOW if ending == "an error" else NOW + MONTH))


async def agreed(house: Store, world: World) -> None:
    """Who shares with whom: for some hours, no more, or in words that do not share."""
    pick = world.random
    pairs = [(one, other) for one in ORGANIZATIONS for other in ORGANIZATIONS if one != other]
    for n, (giver, taker) in enumerate(pick.sample(pairs, 8)):
        since, until = (NOW + hour * HOUR for hour in sorted(pick.sample(range(-4, 6), 2)))
        kind = pick.choice(["shares-with", "shares-with", "ended", "reports-for"])
        code = kind if kind == "reports-for" else "shares-with"
        said = {
            "resourceType": "OrganizationAffiliation", "id": f"a{n}",
            "organization": {"reference": f"Organization/{giver}"},
            "participatingOrganization": {"reference": f"Organization/{taker}"},
            "code": [{"coding": [{"system": AFFILIATION_CODE, "code": code}]}],
            "period": {"start": written_instant(since), "end": written_instant(until)},
        }  # fmt: skip
        await write(house, by(giver), said)
        if kind == "ended":
            await write(house, by(giver), {**said, "active": False, "_if_match": 1})
        if kind == "shares-with":
            world.agreements.append((giver, taker, since, until))


ENDINGS = ("to come", "over", "an error")


def somebody(pick: random.Random) -> RequestContext:
    instant = NOW + pick.randint(-5, 5) * HOUR + HOUR // 2
    who = by(pick.choice(ORGANIZATIONS), pick.choice(["reporter", "referrer"]), instant)
    if pick.random() < 0.25:
        until = NOW + pick.randint(-1, 2) * HOUR
        opened = Emergency("e", "life", until)
        asker = replace(who.principal, patient=pick.choice(PATIENTS), emergency=opened)
        return replace(who, principal=asker, instant=min(instant, until - 1))
    return who


async def told_by_other_ways(
    house: Store, who: RequestContext, patient: str, text: str, world: World
) -> None:
    """A chain, `_has`, the order and its pages say no more than the notes that are seen."""
    seen = [id for id, note in world.notes.items() if world.sees(who, id)]
    of_the_patient = [id for id in seen if world.notes[id][0] == patient]
    matching = sorted(id for id in of_the_patient if world.notes[id][3] == text)
    chained = f"subject:Patient._id={patient}&code={text}"
    has = f"_id={patient}&_has:Observation:patient:code={text}"
    known = world.knows(who, patient)

    assert await finds(house, who, chained) == matching * known, who
    assert await finds(house, who, has, "Patient") == [patient] * bool(matching * known), who
    ordered: list[str] = []
    cursor: list[tuple[str, str]] = []
    while True:
        pairs = [("patient", patient), ("_sort", "code"), ("_count", "2"), *cursor]
        page = await house.search(who, query.parse("Observation", pairs, strict=True))
        ordered += [one.id for one in page.matches]
        if page.next is None:
            break
        cursor = [("_cursor", page.next)]
    assert sorted(ordered) == sorted(of_the_patient), who
    texts = [world.notes[id][3] for id in ordered]
    assert texts == sorted(texts), who


@pytest.mark.standard("threats T1 T2")
async def test_two_thousand_questions_are_answered_as_the_plain_rules_say(house: Store) -> None:
    world = World(20_261_124)
    await made(house, world)
    services = [
        {"resourceType": "HealthcareService", "id": one, "active": True,
         "providedBy": {"reference": f"Organization/{one}"}}
        for one in ORGANIZATIONS
    ]  # fmt: skip
    await write(house, system(), *services)
    await met(house, world)
    await agreed(house, world)
    pick, shown, hidden = world.random, 0, 0
    for n in range(2000):
        who = somebody(pick)
        text, patient = pick.choice("abc"), pick.choice(PATIENTS)
        wanted = [id for id, note in world.notes.items() if world.sees(who, id)]
        kind = n % 4
        if kind == 0:
            id = pick.choice(list(world.notes))
            assert await reads(house, who, "Observation", id) is (id in wanted), (who, id)
            continue
        if kind == 1:
            asked, wanted = f"code={text}", [id for id in wanted if world.notes[id][3] == text]
        elif kind == 2:
            wanted = [id for id in wanted if world.notes[id][0] == patient]
            asked = f"patient={patient}&_sort=-_lastUpdated"
        else:
            ids = pick.sample(list(world.notes), 20)
            asked, wanted = f"_id={','.join(ids)}", [id for id in wanted if id in ids]
        found = await finds(house, who, f"{asked}&_count=200")
        assert found == sorted(wanted), (who, asked)
        if n % 8 == 2:
            await told_by_other_ways(house, who, patient, text, world)
        shown, hidden = shown + len(found), hidden + len(world.notes) - len(found)

    assert min(shown, hidden) > 2000  # the questions could tell one from the other
