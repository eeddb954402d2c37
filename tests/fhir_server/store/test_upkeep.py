"""Upkeep: what disagrees is found, and an index made anew is the index that was."""

import pytest

from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.store import upkeep
from fhir_server.store.store import Store
from resources import content
from resources.errors import Conflict
from tests import build
from tests.conftest import BASE_URL

pytestmark = pytest.mark.anyio

INDEX = """
select c.type, c.id, c.sort_at, c.sort_until, array(select unnest(c.terms) order by 1),
  array(select (d.type, code, low, high)::text from date_term as d where d.key = c.key order by 1),
  array(select (s.type, code, value)::text from string_term as s where s.key = c.key order by 1)
from current as c order by 1, 2
"""


@pytest.fixture
async def base(store: Store) -> str:
    """A little record, some of it in its second version; gives our FHIR base."""
    context = RequestContext(Principal.system("test"), "create")
    resources = [
        build.an_organization(),
        build.an_organization("practice", "ZZ902"),
        build.a_practitioner(),
        build.a_role(),
        build.a_role("gp", "practice"),
        build.a_patient(managingOrganization={"reference": "Organization/lead"}),
        build.a_request(),
        build.a_study(),
    ]
    async with store.begin(context) as work:
        for json in resources:
            await work.create(content.made(json), json["id"])
    async with store.begin(context) as work:
        again = content.made(build.a_request(status="completed"))
        await work.update("ServiceRequest", "sr1", again, 1)
    return BASE_URL


async def test_what_was_written_agrees(database: Database, base: str) -> None:
    assert await upkeep.problems(database, base) == []


async def test_an_index_made_anew_is_the_index_that_was(database: Database, base: str) -> None:
    before = await database.run(INDEX)

    count = await upkeep.reindex(database, base)

    assert count == len(before) == 8
    assert await database.run(INDEX) == before


async def test_an_index_that_was_lost_is_made_from_the_versions(
    database: Database, base: str
) -> None:
    before = await database.run(INDEX)
    await database.run("delete from date_term")
    await database.run("delete from string_term")
    await database.run("update current set terms = '{}', sort_at = null, sort_until = null")

    await upkeep.reindex(database, base)

    assert await database.run(INDEX) == before


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            "update current set terms = '{x}' where id = 'sr1'",
            "ServiceRequest/sr1: its index is not what its parameters say",
        ),
        (
            "update current set version = 1 where id = 'sr1'",
            "ServiceRequest/sr1: the current row is not its newest version",
        ),
        (
            "delete from version where id = 'sr1' and version = 1",
            "ServiceRequest/sr1: its versions are not numbered without a gap",
        ),
        (
            "delete from current where id = 'is1'",
            "ImagingStudy/is1: it has versions and no current row",
        ),
        (
            "delete from change where id = 'sr1'",
            "ServiceRequest/sr1: a version is missing from the change log",
        ),
        (
            "insert into string_term(type, code, value, key) values ('Patient', 'name', 'x', 0)",
            "Patient: index terms of version 0 were left over",
        ),
    ],
)
async def test_damage_is_told(database: Database, base: str, damage: str, told: str) -> None:
    await database.run(damage)

    assert told in await upkeep.problems(database, base)


async def test_a_reference_that_no_search_reaches_is_in_an_index_made_anew(
    database: Database, base: str, store: Store
) -> None:
    system = Principal.system("test")
    extension = {"url": "https://example.org/x", "valueReference": {"reference": "Flag/cited"}}
    flag = {"resourceType": "Flag", "status": "active", "code": {"text": "x"}}
    basic = {"resourceType": "Basic", "code": {"text": "x"}, "extension": [extension]}
    async with store.begin(RequestContext(system, "transaction")) as work:
        await work.create(content.made({**flag, "subject": {"display": "x"}}), "cited")
        await work.create(content.made(basic), "citing")

    assert await upkeep.problems(database, base) == []
    await upkeep.reindex(database, base)

    with pytest.raises(Conflict):
        async with store.begin(RequestContext(system, "delete")) as work:
            await work.delete("Flag", "cited")
