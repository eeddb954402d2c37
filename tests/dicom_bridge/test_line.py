"""The line that threads have to the database: it mends itself, and says when it cannot."""

import asyncio

import psycopg
import pytest

from fhir_server.postgres import blocking
from fhir_server.postgres.blocking import Line
from fhir_server.postgres.database import Database, Texts
from resources.errors import Exhausted

pytestmark = pytest.mark.anyio


async def test_a_line_that_the_database_ended_is_made_again_before_anybody_notices(
    database: Database,
) -> None:
    line = Line(database.url)
    ((first,),) = await asyncio.to_thread(line.run, "select pg_backend_pid()")

    await database.run("select pg_terminate_backend($1::bigint::int)", (first,))
    async with asyncio.timeout(5):
        while await database.run(
            "select 1 from pg_stat_activity where pid = $1::bigint::int", (first,)
        ):
            await asyncio.sleep(0.01)
    ((second,),) = await asyncio.to_thread(line.run, "select pg_backend_pid()")
    line.close()

    assert second != first


async def test_a_statement_that_fails_spoils_no_other(database: Database) -> None:
    line = Line(database.url)
    with pytest.raises(psycopg.Error):
        await asyncio.to_thread(line.run, "select 1 / 0")
    rows = await asyncio.to_thread(line.run, "select $1::bigint + 1", (1,))
    line.close()

    assert rows == [(2,)]


async def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "PATIENCE_SECONDS", 0.05)
    line = Line(database.url)

    with pytest.raises(Exhausted):
        await asyncio.to_thread(line.run, "select pg_sleep(20)")
    monkeypatch.undo()
    rows = await asyncio.to_thread(line.run, "select 1::bigint")
    line.close()

    assert rows == [(1,)]


async def test_a_statement_larger_than_the_socket_takes_is_sent_in_pieces(
    database: Database,
) -> None:
    line, large = Line(database.url), "x" * (8 << 20)
    rows = await asyncio.to_thread(
        line.run, "select t from unnest($1::text[]) as t", (Texts([large, "y"]),)
    )
    line.close()

    assert rows == [(large,), ("y",)]


async def test_no_database_is_no_room(tmp_path: object) -> None:
    line = Line(f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(Exhausted):
        await asyncio.to_thread(line.run, "select 1")
    line.close()


async def test_an_answer_that_cannot_be_read_spoils_no_other(database: Database) -> None:
    line = Line(database.url)
    with pytest.raises(psycopg.DataError):
        await asyncio.to_thread(line.run, "select 'infinity'::date")
    rows = await asyncio.to_thread(line.run, "select 3::bigint")
    line.close()

    assert rows == [(3,)]
