"""Reading: what may be seen is seen, the rest does not exist, and all of it is in the audit."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from fhir_server.access.gate import Permit
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse as scopes
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.search.query import parse
from fhir_server.store.history import Cut
from fhir_server.store.store import Store
from resources import content
from resources.errors import Forbidden, Invalid, NotFound

pytestmark = pytest.mark.anyio


def of(
    organization: str, interaction: str = "read", scope: str = "system/*.cruds", **more: Any
) -> RequestContext:
    role = more.pop("role", "application")
    principal = Principal(f"Client/{organization}", organization, role, scopes(scope), **more)
    return RequestContext(principal, interaction, origin="192.0.2.1")


@pytest.fixture
async def record(store: Store) -> None:
    """A patient of the lead organisation with a request for a second one; versions of it."""
    system = RequestContext(Principal.system("test"), "create")
    async with store.begin(system) as work:
        for id in ("lead", "second", "stranger"):
            made = content.made({"resourceType": "Organization", "name": id})
            await work.update("Organization", id, made)
    async with store.begin(of("lead", "create")) as work:
        await work.create(content.made({"resourceType": "Patient"}), "p")
        await work.create(request(), "r")
    async with store.begin(of("lead", "update")) as work:
        await work.update("ServiceRequest", "r", request(priority="urgent"), 1)


def request(**members: Any) -> content.Content:
    return content.made(
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "subject": {"reference": "Patient/p"},
            "performer": [{"reference": "Organization/second"}],
            **members,
        }
    )


WAYS: dict[str, Callable[[Store, RequestContext], Awaitable[Any]]] = {
    "read": lambda store, context: store.read(context, "ServiceRequest", "r"),
    "vread": lambda store, context: store.vread(context, "ServiceRequest", "r", 1),
    "history": lambda store, context: store.history(context, "ServiceRequest", "r", Cut(10)),
    "permitted": lambda store, context: store.read_permitted(context, "ServiceRequest", "r"),
}


@pytest.mark.usefixtures("record")
@pytest.mark.requirement("R014.1")
@pytest.mark.parametrize("way", WAYS)
async def test_a_party_sees_it_and_a_stranger_learns_nothing(
    store: Store, database: Database, way: str
) -> None:
    assert await WAYS[way](store, of("lead"))
    assert await WAYS[way](store, of("second"))

    with pytest.raises(NotFound):
        await WAYS[way](store, of("stranger"))

    rows = await database.run(
        "select organization, outcome, detail from audit where interaction = 'read'"
    )
    assert sorted(rows) == [
        ("lead", 0, None),
        ("second", 0, None),
        ("stranger", 4, "Forbidden relationship"),
    ]


@pytest.mark.usefixtures("record")
async def test_a_search_and_a_batch_of_reads_show_a_stranger_nothing(store: Store) -> None:
    query = parse("ServiceRequest", [("_total", "accurate")])

    ours = await store.search(of("second"), query)
    theirs = await store.search(of("stranger"), query)
    many = ["ServiceRequest/r", "Patient/p", "Organization/lead", "Patient/none"]

    assert (len(ours.matches), ours.total) == (1, 1)
    assert (len(theirs.matches), theirs.total) == (0, 0)
    assert set(await store.many(of("second"), many)) == set(many[:3])
    assert set(await store.many(of("stranger"), many)) == {"Organization/lead"}


@pytest.mark.usefixtures("record")
async def test_what_is_about_the_patient_is_seen_by_all_who_have_to_do_with_them(
    store: Store,
) -> None:
    async with store.begin(of("lead", "create")) as work:
        note = content.made({"resourceType": "Flag", "subject": {"reference": "Patient/p"}})
        await work.create(note, "f")

    assert (await store.read(of("second"), "Flag", "f")).id == "f"


@pytest.mark.usefixtures("record")
async def test_a_relation_ends_some_days_after_the_work(store: Store, database: Database) -> None:
    async with store.begin(of("lead", "update")) as work:
        await work.update("ServiceRequest", "r", request(status="completed"), 2)
    (until,) = (await database.run(
        "select until from relation where organization = 'second' and type = 'ServiceRequest'"
    ))[0]  # fmt: skip
    days = 24 * 3600 * 1_000_000
    early, late = of("second"), of("second")
    object.__setattr__(early, "instant", until - days)
    object.__setattr__(late, "instant", until + 1)

    assert (await store.read(early, "Patient", "p")).id == "p"
    with pytest.raises(NotFound):
        await store.read(late, "Patient", "p")


@pytest.mark.usefixtures("record")
async def test_who_is_no_longer_named_keeps_no_right_to_the_resource(
    store: Store, database: Database
) -> None:
    other = request(performer=[{"reference": "Organization/stranger"}])
    async with store.begin(of("lead", "update")) as work:
        await work.update("ServiceRequest", "r", other, 2)

    rows = await database.run("select organizations from current where type = 'ServiceRequest'")
    assert rows == [(["lead", "stranger"],)]
    assert (await store.read(of("stranger"), "ServiceRequest", "r")).version == 3


@pytest.mark.usefixtures("record")
@pytest.mark.standard("SMART scopes")
async def test_a_token_for_one_patient_sees_no_other(store: Store) -> None:
    async with store.begin(of("lead", "create")) as work:
        await work.create(content.made({"resourceType": "Patient"}), "q")
    bound = of("lead", scope="patient/*.rs", patient="p")

    assert (await store.read(bound, "Patient", "p")).id == "p"
    assert (await store.read(bound, "Organization", "lead")).id == "lead"
    with pytest.raises(NotFound):
        await store.read(bound, "Patient", "q")


@pytest.mark.usefixtures("record")
@pytest.mark.standard("SMART scopes")
async def test_a_scope_that_grants_some_requests_grants_no_others(
    store: Store, database: Database
) -> None:
    urgent = of("lead", scope="system/ServiceRequest.rs?priority=urgent")
    routine = of("lead", scope="system/ServiceRequest.rs?priority=routine")

    assert (await store.read(urgent, "ServiceRequest", "r")).version == 2
    with pytest.raises(Forbidden):
        await store.read(routine, "ServiceRequest", "r")
    with pytest.raises(Forbidden):
        await store.history(routine, "ServiceRequest", "r", Cut(10))
    rows = await database.run("select outcome, detail from audit where interaction = 'read'")
    assert sorted(rows, key=str) == [(0, None), (4, "Forbidden scope"), (4, "Forbidden scope")]


@pytest.mark.usefixtures("record")
async def test_a_refused_scope_is_in_the_audit(store: Store, database: Database) -> None:
    with pytest.raises(Forbidden):
        await store.read(of("lead", scope="system/Patient.rs"), "ServiceRequest", "r")

    rows = await database.run("select outcome, detail, type, id from audit where outcome > 0")
    assert rows == [(4, "Forbidden scope", "ServiceRequest", "r")]


@pytest.mark.usefixtures("record")
@pytest.mark.requirement("R014.1")
async def test_every_answered_read_has_its_row_before_the_answer(
    store: Store, database: Database
) -> None:
    answered = 0

    async def read(n: int) -> None:
        nonlocal answered
        for _ in range(10):
            with suppress(NotFound):
                await store.read(of(("lead", "second", "stranger")[n % 3]), "Patient", "p")
            answered += 1
            known = answered
            rows = await database.run("select count(*) from audit where interaction = 'read'")
            assert rows[0][0] >= known

    await asyncio.gather(*(read(n) for n in range(12)))

    rows = await database.run(
        "select organization, outcome, count(*) from audit where interaction = 'read'"
        " group by 1, 2 order by 1"
    )
    assert rows == [("lead", 0, 40), ("second", 0, 40), ("stranger", 4, 40)]


@pytest.mark.usefixtures("record")
async def test_a_read_comes_with_the_permit_to_open_what_hangs_on_it(store: Store) -> None:
    stored, permit = await store.read_permitted(of("second"), "ServiceRequest", "r")

    assert isinstance(permit, Permit)
    assert (permit.letter, permit.type, permit.id) == ("r", "ServiceRequest", stored.id)


@pytest.mark.usefixtures("record")
@pytest.mark.standard("FHIR http history")
async def test_history_comes_in_pages_without_gaps(store: Store) -> None:
    for version in range(2, 8):
        async with store.begin(of("lead", "update")) as work:
            await work.update("ServiceRequest", "r", request(), version)
    seen: list[int] = []
    cursor: str | None = None
    while True:
        page = await store.history(of("lead"), "ServiceRequest", "r", Cut(3, cursor=cursor))
        seen += [each.version for each in page.matches]
        assert page.total == 8
        cursor = page.next
        if cursor is None:
            break

    assert seen == [8, 7, 6, 5, 4, 3, 2, 1]
    with pytest.raises(Invalid):
        await store.history(of("lead"), "ServiceRequest", "r", Cut(3, cursor="nonsense"))


@pytest.mark.usefixtures("record")
async def test_a_provenance_is_about_the_patient_of_its_target(
    store: Store, database: Database
) -> None:
    target = [{"reference": "ServiceRequest/r/_history/2"}]
    async with store.begin(of("lead", "create")) as work:
        await work.create(content.made({"resourceType": "Provenance", "target": target}), "v")

    assert await database.run("select patient from current where type = 'Provenance'") == [("p",)]


@pytest.mark.usefixtures("record")
async def test_a_role_at_an_organisation_makes_it_a_party(store: Store, database: Database) -> None:
    system = RequestContext(Principal.system("test"), "create")
    async with store.begin(system) as work:
        employer = {"reference": "Organization/stranger"}
        made = content.made({"resourceType": "PractitionerRole", "organization": employer})
        await work.update("PractitionerRole", "pr", made)
    asked_by = {"reference": "PractitionerRole/pr"}
    async with store.begin(of("lead", "create")) as work:
        await work.create(request(requester=asked_by, performer=[]), "r2")

    rows = await database.run("select organizations from current where id = 'r2'")
    assert rows == [(["lead", "stranger"],)]
    assert (await store.read(of("stranger"), "ServiceRequest", "r2")).id == "r2"
