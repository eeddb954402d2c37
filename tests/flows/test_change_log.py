"""The change log: who follows it misses nothing and sees nothing twice, whatever writers do."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.store import changes
from fhir_server.store.changes import BEGINNING, Change, Cursor
from fhir_server.store.store import Store
from resources import content

pytestmark = [pytest.mark.anyio, pytest.mark.standard("promise 2: a follower misses no change")]

WRITERS = 16
SECONDS = 2.0

NAIVE = """
select c.log, c.xid::text::bigint, c.key, c.type, c.id, c.interaction, c.instant
from change as c where (c.xid, c.key) > ($1::text::xid8, $2) order by c.xid, c.key limit 1000
"""
"""What a follower would do who does not know about transactions that are still open."""

SLOW = """
insert into change(log, key, type, id, interaction, instant)
select 1, nextval('version_key'), 'Flag', $1, 'C', 0 returning key
"""


async def test_a_follower_sees_each_committed_change_once_and_a_naive_one_does_not(
    database: Database, store: Store
) -> None:
    committed: set[int] = set()
    writing = asyncio.Event()
    writing.set()
    seen: list[Change] = []
    naively: list[Change] = []

    async def carefully(cursor: Cursor) -> list[Change]:
        return await changes.follow(database, cursor)

    async def carelessly(cursor: Cursor) -> list[Change]:
        return [
            Change._make(row) for row in await database.run(NAIVE, (str(cursor.xid), cursor.key))
        ]

    followers = [
        asyncio.create_task(_follow(carefully, seen, writing)),
        asyncio.create_task(_follow(carelessly, naively, writing)),
    ]
    writers = [_write(database, store, random.Random(n), committed) for n in range(WRITERS)]
    await asyncio.gather(*writers)
    writing.clear()
    await asyncio.gather(*followers)

    every = {row[0] for row in await database.run("select key from change")}
    keys = [change.key for change in seen]
    assert committed <= every
    assert len(every) > 500
    assert len(keys) == len(set(keys))
    assert set(keys) == every
    assert [change.cursor for change in seen] == sorted(change.cursor for change in seen)
    assert every - {change.key for change in naively}, "the writers did not race"


async def _follow(
    read: Callable[[Cursor], Awaitable[list[Change]]], seen: list[Change], writing: asyncio.Event
) -> None:
    """Read on until the writers have ended and nothing more comes."""
    cursor = BEGINNING
    while True:
        still_writing = writing.is_set()
        lines = await read(cursor)
        seen += lines
        if lines:
            cursor = lines[-1].cursor
        elif not still_writing:
            return
        await asyncio.sleep(0.001)


async def _write(
    database: Database, store: Store, chance: random.Random, committed: set[int]
) -> None:
    """Write for a while: one resource, several in one work, slowly, or in vain."""
    until = asyncio.get_running_loop().time() + SECONDS
    context = RequestContext(Principal.system("test"), "create")
    while asyncio.get_running_loop().time() < until:
        kind = chance.random()
        if kind < 0.2:
            await _slowly(database, chance, committed)
        else:
            async with store.begin(context) as work:
                for _ in range(chance.choice((1, 1, 1, 5))):
                    await work.create(content.made({"resourceType": "Basic"}))


async def _slowly(database: Database, chance: random.Random, committed: set[int]) -> None:
    """Hold a transaction open for a moment, and then keep it or not."""
    keep = chance.random() < 0.7
    try:
        async with database.transaction() as transaction:
            rows = await transaction.run(SLOW, (str(chance.random()),))
            await asyncio.sleep(chance.random() * 0.05)
            if not keep:
                raise ZeroDivisionError
    except ZeroDivisionError:
        return
    committed.add(rows[0][0])


async def test_a_cursor_of_an_old_log_reads_it_to_its_end_and_goes_on_with_the_new_one(
    database: Database, store: Store
) -> None:
    context = RequestContext(Principal.system("test"), "create")
    for _ in range(2):
        async with store.begin(context) as work:
            await work.create(content.made({"resourceType": "Basic"}))
    first, *_ = await changes.follow(database, BEGINNING, limit=1)
    # A restored database counts its transactions from the start: old lines have larger numbers.
    await database.run("update change set xid = '900000000000'::xid8")
    await changes.renew(database)
    async with store.begin(context) as work:
        after = await work.create(content.made({"resourceType": "Basic"}))

    old = await changes.follow(database, first.cursor)
    new = await changes.follow(database, old[-1].cursor)

    assert [line.log for line in old] == [1, 1]
    assert [(line.log, line.id) for line in new] == [(2, after.id)]
    assert await changes.follow(database, new[-1].cursor) == []


async def test_who_begins_at_the_horizon_sees_only_what_comes_later(
    database: Database, store: Store
) -> None:
    context = RequestContext(Principal.system("test"), "create")
    async with store.begin(context) as work:
        await work.create(content.made({"resourceType": "Basic"}))

    cursor = await changes.horizon(database)
    async with store.begin(context) as work:
        later = await work.create(content.made({"resourceType": "Basic"}))

    lines = await changes.follow(database, cursor)
    assert [line.id for line in lines] == [later.id]
    held = await changes.versions(database, [line.key for line in lines] + [10**9])
    assert {key: stored.text for key, stored in held.items()} == {lines[0].key: later.text}
