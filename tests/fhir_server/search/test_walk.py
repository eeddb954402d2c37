"""Searches that very many rows meet: walked in order, with the answers of any other search."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from fhir_server.access.gate import Reach
from fhir_server.postgres.database import Database
from fhir_server.search import query, width
from fhir_server.search.compile import statement
from tests.fhir_server.search.rows import (
    CONTEXT,
    EVERYTHING,
    delete,
    ids,
    pairs,
    put,
    relate,
    search,
)

pytestmark = pytest.mark.anyio

MANY = 41_000
RARE = 5

ROWS = """
with made as (
    insert into version(type, id, version, instant, interaction, body)
    select 'Flag', 'f' || n, 1, n, 'C', '{}' from generate_series(1, $1::bigint) n
    returning key, id, instant
)
insert into current(type, id, key, version, instant, deleted, patient, organizations, sort_at,
                    sort_until, terms)
select 'Flag', id, key, 1, instant, false, 'p' || instant, array[]::text[], -instant, -instant,
       array['F.status=' || case when instant <= $2::bigint then 'active' else 'inactive' end,
             'F.category=' || case when instant > 30000 then 'late' else 'early' end]
  from made
"""


def of(organization: str) -> Reach:
    return Reach(False, organization, None, False)


@pytest.fixture
async def many(database: Database) -> Database:
    await database.run(ROWS, (MANY, RARE))
    await database.run("analyze current")
    return database


def asked(text: str) -> query.Query:
    return replace(query.parse("Flag", pairs(text), strict=True), reach=EVERYTHING)


@pytest.mark.requirement("R014.1")
async def test_what_most_rows_have_is_walked_and_what_few_have_is_collected(many: Database) -> None:
    assert await width.is_wide(many, asked("status=inactive"))
    assert await width.is_wide(many, asked("status=inactive&_sort=-_lastUpdated"))
    assert await width.is_wide(many, asked("status=inactive,active&_total=none"))
    for text in (
        "status=active",
        "status=inactive&status=active",
        "status=inactive&identifier=1",
        "status=inactive&patient=p7",
        "status=inactive&_id=f7",
        "status=inactive&_total=accurate",
        "status=inactive&_total=estimate",
        "status=inactive&_count=0",
        "status=inactive&_sort=_id",
        "status:not=inactive",
    ):
        assert not await width.is_wide(many, asked(text)), text


@pytest.mark.standard("FHIR search total")
async def test_what_is_walked_is_not_counted_unless_the_client_wants_the_total(
    many: Database,
) -> None:
    walked = await search(many, "Flag", "status=inactive&_count=3")
    counted = await search(many, "Flag", "status=inactive&_count=3&_total=accurate")

    assert ids(walked) == ids(counted) == ["f6", "f7", "f8"]
    assert (walked.total, counted.total) == (None, MANY - RARE)
    assert walked.next == counted.next


@pytest.mark.standard("FHIR search paging")
async def test_what_is_not_found_on_the_way_is_collected_and_counted(many: Database) -> None:
    await many.run("update current set organizations = '{o1}' where id in ('f30001', 'f40999')")

    page = await search(many, "Flag", "status=inactive&_count=3", reach=of("o1"))

    assert ids(page) == ["f30001", "f40999"]
    assert page.total == 2
    assert page.next is None


@pytest.mark.standard("FHIR search paging")
async def test_a_walk_goes_on_where_the_page_before_ended(many: Database) -> None:
    for sort, step in (("", 1), ("&_sort=-_lastUpdated", -1)):
        first = await search(many, "Flag", f"status=inactive&_count=4{sort}")
        next = await search(many, "Flag", f"status=inactive&_count=4{sort}&_cursor={first.next}")

        numbers = [int(id[1:]) for id in (*ids(first), *ids(next))]
        assert numbers == list(range(numbers[0], numbers[0] + 8 * step, step))


@pytest.mark.parametrize("asks", ["status=active", "status=active&authored=ge2026-01-02"])
@pytest.mark.parametrize(
    "sort", ["", "_sort=_lastUpdated", "_sort=-_lastUpdated", "_sort=authored", "_sort=-authored"]
)
@pytest.mark.parametrize("reach", [EVERYTHING, of("o1"), of("o2"), of("o3")])
@pytest.mark.standard("FHIR search paging")
async def test_walking_and_collecting_answer_the_same_pages(
    database: Database, asks: str, sort: str, reach: Reach
) -> None:
    for n in range(14):
        await put(database, request(n), organizations=[f"o{n % 2 + 1}"])
    await delete(database, request(3))
    await relate(database, "o3", "p1", 2**63 - 1)

    collected = [page async for page in every_page(database, f"{asks}&{sort}", reach, False)]
    walked = [page async for page in every_page(database, f"{asks}&{sort}", reach, True)]

    assert walked == collected
    assert list(itertools.chain(*collected))


def request(n: int) -> dict[str, Any]:
    dated = {} if n % 5 == 4 else {"authoredOn": f"2026-01-0{n % 4 + 1}"}
    return {
        "resourceType": "ServiceRequest", "id": f"r{n}", "status": ("active", "draft")[n % 7 == 6],
        "subject": {"reference": f"Patient/p{n % 3}"}, **dated,
    }  # fmt: skip


async def every_page(
    database: Database, text: str, reach: Reach, walks: bool
) -> AsyncIterator[list[str]]:
    """Every page of a search, made the one way or the other."""
    asked = query.parse("ServiceRequest", pairs(f"{text}&_count=3"), strict=True)
    asked = replace(asked, reach=reach)
    while True:
        # the place of a row that has no date is not on the way
        may = walks and (asked.cursor is None or asked.cursor[0] is not None)
        sql, values = statement(asked, CONTEXT.instant, {}, walks=may)
        *rows, last = await database.run(sql, values)
        yield [row[3] for row in rows]
        if last[4] <= asked.count:
            return
        asked = replace(asked, cursor=tuple(last[8:]))
