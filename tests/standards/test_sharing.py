"""What an agreement between two organisations shows, how long, and what it does not."""

from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest

from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext, now
from fhir_server.postgres.database import Database
from fhir_server.search import query
from fhir_server.store.store import Rules, Store
from fhir_server.workflow import Workflow
from resources import codes
from resources.agreement import AFFILIATION_CODE
from resources.content import written_instant
from resources.errors import Forbidden, NotFound, Unprocessable
from tests import build
from tests.conftest import BASE_URL
from tests.standards.test_governance import (
    HOUR,
    SECOND,
    a_consent,
    a_note,
    by,
    finds,
    label,
    reads,
    system,
    write,
)

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R014.1")]

Json = dict[str, Any]
GIVER, TAKER, THIRD = "giver", "taker", "third"


def an_agreement(
    creator: str = GIVER, organization: str = TAKER, code: str = "shares-with", **more: Any
) -> Json:
    return {
        "resourceType": "OrganizationAffiliation", "id": "agreed", "active": True,
        "organization": {"reference": f"Organization/{creator}"},
        "participatingOrganization": {"reference": f"Organization/{organization}"},
        "code": [{"coding": [{"system": AFFILIATION_CODE, "code": code}]}], **more,
    }  # fmt: skip


def a_period(since: int | None, until: int | None) -> Json:
    ends = {"start": since, "end": until}
    return {name: written_instant(at) for name, at in ends.items() if at is not None}


def a_study(id: str, *makers: str | None) -> Json:
    """A study of one series each, by an organisation or by somebody unknown."""
    series = [
        {"uid": f"1.2.{n}", "modality": {"code": "CT"},
         "performer": [{"actor": (
             {"reference": f"Organization/{one}"} if one else {"display": "x"})}]}
        for n, one in enumerate(makers)
    ]  # fmt: skip
    return {"resourceType": "ImagingStudy", "id": id, "status": "available",
            "subject": {"reference": "Patient/p1"}, "series": series}  # fmt: skip


async def filled(store: Store) -> Store:
    """The giver and a third keep a patient each and share p1; the taker knows nobody."""
    kept = {"managingOrganization": {"reference": f"Organization/{GIVER}"}}
    await write(
        store, system(), *(build.an_organization(one) for one in (GIVER, TAKER, THIRD)),
        build.a_patient("p1", generalPractitioner=[{"reference": f"Organization/{THIRD}"}], **kept),
    )  # fmt: skip
    for one in (GIVER, THIRD):
        await write(store, by(one), a_note(one))
    return store


async def opened(database: Database, rules: Rules) -> Store:
    hooks = Workflow(BASE_URL).hooks()
    return await filled(Store(database, Ledger(database), hooks, BASE_URL, rules=rules))


@pytest.fixture
async def house(database: Database) -> Store:
    return await opened(database, "house")


@pytest.fixture
async def base(database: Database) -> Store:
    """The same under plain FHIR: no rule of the house is asked."""
    return await opened(database, "base")


async def shown(store: Store, instant: int | None = None, to: str = TAKER) -> Any:
    """The notes that are found, of which each can be read and no other."""
    who = by(to, instant=instant)
    found = await finds(store, who, "")
    for one in (GIVER, THIRD):
        assert await reads(store, who, "Observation", one) is (one in found)
    return found


async def test_who_is_shared_with_sees_what_the_other_created_and_nothing_of_a_third(
    house: Store,
) -> None:
    assert await shown(house) == []

    await write(house, by(GIVER), an_agreement())

    assert await shown(house) == [GIVER]
    assert await finds(house, by(TAKER), "patient=p1") == [GIVER]
    assert await finds(house, by(TAKER), "subject:Patient.family=Testcase") == [GIVER]
    assert await finds(house, by(TAKER), "_has:Observation:patient:_id=third", "Patient") == []
    assert await finds(house, by(TAKER), "_has:Observation:patient:_id=giver", "Patient") == ["p1"]
    assert await shown(house, to=THIRD) == [GIVER, THIRD]
    assert await finds(house, by(GIVER), "") == [GIVER, THIRD]


async def test_it_is_shared_by_its_code_alone_and_only_what_is_created_by_who_shares(
    house: Store,
) -> None:
    await write(house, by(GIVER), an_agreement(code="reports-for"))
    assert await shown(house) == []

    await write(house, by(GIVER), an_agreement() | {"_if_match": 1})
    await write(house, system(), build.a_patient("p2", managingOrganization={
        "reference": f"Organization/{TAKER}"}))  # fmt: skip
    await write(house, by(TAKER), a_note("takers", patient="p2"))

    assert await finds(house, by(TAKER), "") == [GIVER, "takers"]
    assert await finds(house, by(GIVER), "") == [GIVER, THIRD]  # it goes one way


async def test_what_is_shared_is_not_passed_on(house: Store) -> None:
    await write(house, by(GIVER), an_agreement(GIVER, THIRD))
    await write(house, system(), build.an_organization("fourth"))
    await write(house, by(THIRD), an_agreement(THIRD, TAKER) | {"id": "next"})

    assert await shown(house) == [THIRD]


@pytest.mark.parametrize("rules", ["house", "base"])
@pytest.mark.standard("threats T1 T2")
async def test_no_organisation_lets_itself_in(database: Database, rules: Rules) -> None:
    held = await opened(database, rules)
    for role in ("application", "administrator"):
        for wrong in (
            an_agreement(),
            an_agreement(code="reports-for"),
            an_agreement(TAKER, GIVER),
            an_agreement(organization=f"{TAKER}") | {"organization": {"display": GIVER}},
            an_agreement() | {"organization": {"reference": f"{BASE_URL}/Organization/{GIVER}"}},
            an_agreement() | {"contained": [build.an_organization(GIVER)],
                              "organization": {"reference": f"#{GIVER}"}},
        ):  # fmt: skip
            with suppress(Forbidden, Unprocessable):
                await write(held, by(TAKER, role), {**wrong, "id": f"{role}-mine"})
            assert await shown(held) == []


@pytest.mark.standard("threats T1 T2")
async def test_who_is_shared_with_does_not_prolong_it(base: Store) -> None:
    """Whoever rewrites another's agreement, where no rule forbids it, ends what it shared."""
    await write(base, by(GIVER), an_agreement(period=a_period(None, now() + HOUR)))
    assert await shown(base) == [GIVER]

    await write(base, by(TAKER, "administrator"), an_agreement() | {"_if_match": 1})

    assert await shown(base) == []
    assert await shown(base, now() + 2 * HOUR) == []


async def test_an_agreement_of_others_is_not_rewritten_in_the_house(house: Store) -> None:
    await write(house, by(GIVER), an_agreement(active=False))
    for who in (TAKER, THIRD):
        with pytest.raises((Forbidden, NotFound)):
            await write(house, by(who, "administrator"), an_agreement() | {"_if_match": 1})

    assert await shown(house) == []


@pytest.mark.parametrize(
    "ending",
    [
        {"active": False},
        {"period": {"end": "2021"}},
        {"code": [{"coding": [{"system": AFFILIATION_CODE, "code": "reports-for"}]}]},
        {"code": [{"text": "shares-with"}]},
        {"participatingOrganization": {"reference": "Organization/third"}},
        None,
    ],
    ids=str,
)
@pytest.mark.standard("threats T4")
async def test_what_is_shared_no_more_is_shown_no_more(house: Store, ending: Json | None) -> None:
    await write(house, by(GIVER), an_agreement())
    assert await shown(house) == [GIVER]

    if ending is None:
        async with house.begin(by(GIVER)) as work:
            await work.delete("OrganizationAffiliation", "agreed")
    else:
        await write(house, by(GIVER), {**an_agreement(), **ending, "_if_match": 1})

    for instant in (None, now() - HOUR, now() + HOUR):  # whatever the clock of who asks
        assert await shown(house, instant) == []


async def test_an_agreement_that_was_ended_can_be_made_again(house: Store) -> None:
    await write(house, by(GIVER), an_agreement())
    await write(house, by(GIVER), an_agreement(active=False) | {"_if_match": 1})

    await write(house, by(GIVER), an_agreement() | {"_if_match": 2})

    assert await shown(house) == [GIVER]


@pytest.mark.standard("threats T4")
async def test_its_period_begins_and_ends_it_although_nothing_is_written(house: Store) -> None:
    start, end = now() + HOUR, now() + 2 * HOUR
    await write(house, by(GIVER), an_agreement(period=a_period(start, end)))

    assert await shown(house) == []
    assert await shown(house, start - SECOND) == []
    assert await shown(house, start + SECOND) == [GIVER]
    assert await shown(house, end - SECOND) == [GIVER]
    assert await shown(house, end + SECOND) == []


@pytest.mark.parametrize("role", ["application", "referrer", "administrator", "operator"])
async def test_what_is_shared_is_not_written(house: Store, role: str) -> None:
    await write(house, by(GIVER), an_agreement())
    patient = build.a_patient("p1")
    for changed in (a_note(GIVER, "changed"), patient):
        with pytest.raises((Forbidden, NotFound)):
            await write(house, by(TAKER, role), {**changed, "_if_match": 1})
        with pytest.raises((Forbidden, NotFound)):
            async with house.begin(by(TAKER, role)) as work:
                await work.delete(changed["resourceType"], changed["id"])
    with pytest.raises(Forbidden):
        await write(house, by(TAKER, role), a_note("new"))


async def test_it_relates_nobody_to_the_patient(house: Store) -> None:
    """Whoever reads what is shared puts nobody on an agenda, and lets nobody in."""
    await write(house, by(GIVER), an_agreement())
    agenda = {"resourceType": "List", "id": "agenda", "status": "current", "mode": "working",
              "code": codes.MDT_AGENDA.concept,
              "entry": [{"item": {"reference": "Observation/giver"}}]}  # fmt: skip

    with pytest.raises((Forbidden, Unprocessable)):
        await write(house, by(TAKER), agenda)
    with pytest.raises(Forbidden):
        await write(house, by(TAKER), a_consent("permit", THIRD, provision={
            "period": {"end": "2099"}}))  # fmt: skip
    await write(house, by(GIVER), an_agreement(active=False) | {"_if_match": 1})
    assert await shown(house) == []


@pytest.mark.standard("threats T4")
async def test_dissent_and_labels_count_for_what_is_shared(house: Store) -> None:
    await write(house, by(GIVER), an_agreement())
    restricted = {**a_note("restricted"), **label("R")}
    await write(house, by(GIVER), restricted)
    assert await shown(house) == [GIVER]

    await write(house, by(GIVER), a_consent("deny", TAKER))

    assert await shown(house) == []


@pytest.mark.requirement("R015.2")
async def test_a_study_is_shared_by_all_who_made_its_series_or_not_at_all(house: Store) -> None:
    await write(house, by(GIVER), an_agreement())
    studies = {
        "own": (GIVER,), "both": (GIVER, THIRD), "unknown": (GIVER, None), "another": (THIRD,),
        "empty": (),
    }  # fmt: skip
    for id, makers in studies.items():
        await write(house, system(), a_study(id, *makers))

    assert await finds(house, by(TAKER), "", "ImagingStudy") == ["own"]

    await write(house, by(THIRD), an_agreement(THIRD, TAKER) | {"id": "thirds"})
    assert await finds(house, by(TAKER), "", "ImagingStudy") == ["another", "both", "own"]
    assert not await reads(house, by(TAKER), "ImagingStudy", "unknown")


@pytest.mark.requirement("R015.2")
async def test_what_a_study_held_of_a_third_is_not_shown_from_its_history(house: Store) -> None:
    """Nor when it was removed, nor when the study was deleted."""
    await write(house, by(GIVER), an_agreement())
    await write(house, by(GIVER), a_study("mixed", GIVER, THIRD))
    await write(house, by(GIVER), a_study("mixed", GIVER) | {"_if_match": 1})

    for ending in ("still there", "deleted"):
        for version in (1, 2):
            with pytest.raises(NotFound):
                await house.vread(by(TAKER), "ImagingStudy", "mixed", version)
        if ending == "still there":
            async with house.begin(by(GIVER)) as work:
                await work.delete("ImagingStudy", "mixed")


async def test_a_version_about_another_patient_is_not_shared(house: Store) -> None:
    await write(house, by(GIVER), an_agreement())
    await write(house, system(), build.a_patient("p2", managingOrganization={
        "reference": f"Organization/{GIVER}"}))  # fmt: skip
    await write(house, by(GIVER), a_note("misfiled"))
    await write(house, by(GIVER), a_note("misfiled", patient="p2") | {"_if_match": 1})

    with pytest.raises(NotFound):
        await house.vread(by(TAKER), "Observation", "misfiled", 1)
    await house.vread(by(TAKER), "Observation", "misfiled", 2)


@pytest.mark.parametrize("name", ["network", "location", "healthcareService", "specialty"])
async def test_sharing_a_part_is_refused_since_it_would_not_be_kept(
    house: Store, name: str
) -> None:
    said: Any = [{"text": "x"}] if name == "specialty" else [{"display": "x"}]
    with pytest.raises(Unprocessable):
        await write(house, by(GIVER), an_agreement(**{name: said}))


@pytest.mark.parametrize(
    "other",
    [{"reference": "Organization/giver"}, {"reference": f"{BASE_URL}/Organization/giver"},
     {"reference": "#taker"}],
    ids=str,
)  # fmt: skip
async def test_sharing_with_nobody_is_refused_since_it_would_show_nothing(
    house: Store, other: Json
) -> None:
    contained = [{"resourceType": "Organization", "id": "taker", "name": "Taker"}]
    said = an_agreement(participatingOrganization=other)
    said |= {"contained": contained} if other["reference"] == "#taker" else {}

    with pytest.raises(Unprocessable):
        await write(house, by(GIVER), said)


@pytest.mark.requirement("R014.4")
async def test_who_shares_sees_in_the_audit_what_came_of_it(house: Store) -> None:
    await write(house, system(), build.a_patient("p3"))
    await write(house, system(), *_related(GIVER, "p3"))
    await write(house, by(GIVER), a_note("shared", patient="p3"), an_agreement())
    await house.read(by(TAKER), "Observation", "shared")
    await write(house, by(GIVER), an_agreement(active=False) | {"_if_match": 1})

    later = now() + 5000 * 24 * HOUR  # its own relation has long ended
    assert await audited(house, by(GIVER, "auditor", later)) == 1
    assert await audited(house, by(THIRD, "auditor", later)) == 0


def _related(organization: str, patient: str) -> Sequence[Json]:
    return [{"resourceType": "Task", "id": f"for-{patient}", "status": "completed",
             "intent": "order", "code": {"text": "x"},
             "for": {"reference": f"Patient/{patient}"},
             "owner": {"reference": f"Organization/{organization}"}}]  # fmt: skip


async def audited(store: Store, who: RequestContext) -> int:
    """How many are told to have read the shared note; it was one."""
    by_whom = ("organization", f"Organization/{TAKER}")
    pairs = [("entity", "Observation/shared"), by_whom]
    page = await store.search(who, query.parse("AuditEvent", pairs, strict=True))
    return len(page.matches)


@pytest.mark.standard("threats T1 T2")
async def test_who_is_shared_with_has_no_part_in_the_work(house: Store) -> None:
    """The server does what follows of a Task or a report: it is asked by those who take part."""
    request = {**build.a_request("asked"), "subject": {"reference": "Patient/p1"},
               "performer": [{"reference": f"Organization/{GIVER}"}]}  # fmt: skip
    for name in ("requester", "reasonReference", "supportingInfo", "encounter"):
        request.pop(name, None)
    await write(house, by(GIVER), request, a_study("seen", GIVER), an_agreement())
    assert await reads(house, by(TAKER), "ServiceRequest", "asked")
    assert await reads(house, by(TAKER), "ImagingStudy", "seen")
    asked = {"basedOn": [{"reference": "ServiceRequest/asked"}]}
    code = {"code": {"text": "x"}}
    tries: tuple[Json, ...] = (
        {"resourceType": "Task", "status": "requested", "intent": "order", **asked, **code},
        {"resourceType": "DiagnosticReport", "status": "final", **asked, **code},
        {"resourceType": "DiagnosticReport", "status": "final", **code,
         "imagingStudy": [{"reference": "ImagingStudy/seen"}]},
        {"resourceType": "Observation", "status": "final", **code,
         "derivedFrom": [{"reference": "Observation/giver"}]},
        {"resourceType": "Provenance", "recorded": "2026-11-24T03:00:00Z",
         "target": [{"reference": "Observation/giver"}], "agent": [{"who": {"display": "x"}}]},
    )  # fmt: skip

    for one in tries:
        with pytest.raises((Forbidden, Unprocessable)):
            await write(house, by(TAKER), {**one, "id": "tried"})


async def test_what_is_shared_is_read_in_a_transaction_too(house: Store) -> None:
    await write(house, by(GIVER), an_agreement())

    async with house.begin(by(TAKER)) as work:
        assert (await work.read("Observation", GIVER)).id == GIVER
        with pytest.raises(NotFound):
            await work.read("Observation", THIRD)


async def test_of_studies_from_before_it_is_known_who_made_them(
    house: Store, database: Database
) -> None:
    """The migration says of each version what is said of a new one."""
    migration = import_module("fhir_server.store.migrations.versions.0048_sharing")
    elsewhere = a_study("elsewhere", GIVER)
    elsewhere["series"][0]["performer"][0]["actor"] = {
        "reference": "https://elsewhere.example/fhir/Organization/giver"
    }
    unsaid = a_study("unsaid", GIVER)
    del unsaid["series"][0]["performer"]
    both = a_study("both", GIVER, THIRD)
    both["series"][0]["performer"].append({"actor": {"display": "a radiographer"}})
    await write(house, by(GIVER), both, elsewhere, unsaid, a_study("none", None), a_study("empty"))
    await write(house, by(GIVER), a_study("both", GIVER) | {"_if_match": 1})
    async with house.begin(by(GIVER)) as work:
        await work.delete("ImagingStudy", "none")
    told = "select id, organization from maker order by 1, 2"
    before = await database.run(told)
    await database.run("delete from maker")

    await database.run(migration.MAKERS)

    assert await database.run(told) == before
    assert ("both", THIRD) in before
    assert ("none", "") in before
