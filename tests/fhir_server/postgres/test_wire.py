"""The wire and its pool: what PostgreSQL says comes to who asked, whatever happens meanwhile."""

import asyncio
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_server.postgres.database import Blobs, Database, Integers, Texts
from fhir_server.postgres.wire import MOST_PREPARED
from resources.errors import Exhausted

pytestmark = pytest.mark.anyio

BIGINT = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = st.one_of(
    st.tuples(st.just("bigint"), BIGINT),
    st.tuples(st.just("text"), TEXT),
    st.tuples(st.just("bytea"), st.binary()),
    st.tuples(st.just("boolean"), st.booleans()),
    st.tuples(st.just("float8"), st.floats(allow_nan=False)),
    st.tuples(st.just("numeric"), st.decimals(allow_nan=False, allow_infinity=False, places=6)),
    st.tuples(st.just("date"), st.dates()),
    st.tuples(st.just("timestamptz"), st.datetimes(timezones=st.just(UTC))),
    st.tuples(st.just("bigint[]"), st.lists(BIGINT | st.none()).map(Integers)),
    st.tuples(st.just("text[]"), st.lists(TEXT | st.none()).map(Texts)),
    st.tuples(st.just("bytea[]"), st.lists(st.binary() | st.none()).map(Blobs)),
    st.tuples(st.just("text"), st.none()),
)

ON_ONE_DATABASE = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@ON_ONE_DATABASE
@given(several=st.lists(VALUES, min_size=1, max_size=5))
async def test_values_come_back_as_they_went_in(
    database: Database, several: list[tuple[str, Any]]
) -> None:
    columns = ", ".join(f"${n}::{kind}" for n, (kind, _) in enumerate(several, 1))

    rows = await database.run(f"select {columns}", [value for _, value in several])

    assert rows == [tuple(value for _, value in several)]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1::smallint", 1),
        ("-5::integer", -5),
        ("'x'::varchar", "x"),
        ("'{1,null}'::integer[]", [1, None]),
        ("'12'::xid8 is not null", True),
        ("date '2026-11-24'", date(2026, 11, 24)),
        ("1.50::numeric", Decimal("1.50")),
        ("timestamptz '2026-11-24T00:00Z'", datetime(2026, 11, 24, tzinfo=UTC)),
        ("null::bigint", None),
        ("""'{"a": [1]}'::jsonb""", {"a": [1]}),
    ],
)
async def test_a_column_is_read_as_its_type(
    database: Database, expression: str, value: object
) -> None:
    assert await database.run(f"select {expression}") == [(value,)]


async def test_rows_that_fill_no_socket_at_once_come_whole(database: Database) -> None:
    sent = bytes(range(256)) * 40_000

    rows = await database.run("select $1::bytea, n from generate_series(1, 3) as n", (sent,))

    assert rows == [(sent, 1), (sent, 2), (sent, 3)]


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("select 1/0", psycopg.errors.DivisionByZero),
        ("select * from nowhere", Exhausted),
        ("selec", psycopg.errors.SyntaxError),
        ("select 'x'::bigint", psycopg.errors.InvalidTextRepresentation),
        ("set statement_timeout = 1; ", psycopg.errors.Error),
    ],
)
async def test_an_error_has_its_class_and_spoils_nothing(
    database_url: str, sql: str, kind: type[Exception]
) -> None:
    one = Database(database_url, size=1)
    try:
        if kind is psycopg.errors.Error:
            await one.run(sql)
            with pytest.raises(Exhausted):
                await one.run("select pg_sleep(5)")
            await one.run("reset statement_timeout")
        else:
            with pytest.raises(kind):
                await one.run(sql)

        assert await one.run("select $1::bigint", (1,)) == [(1,)]
    finally:
        await one.close()


async def test_a_statement_that_could_not_be_prepared_is_prepared_when_it_can(
    database_url: str,
) -> None:
    one = Database(database_url, size=1)
    try:
        with pytest.raises(Exhausted):
            await one.run("select x from later")
        await one.run("create table later(x bigint)")

        assert await one.run("select x from later") == []
    finally:
        await one.close()


async def test_the_statement_used_longest_ago_makes_room(database_url: str) -> None:
    one = Database(database_url, size=1)
    try:
        for n in range(MOST_PREPARED + 20):
            assert await one.run(f"select {n}") == [(n,)]
        rows = await one.run("select statement from pg_prepared_statements")
        assert await one.run("select 0") == [(0,)]
    finally:
        await one.close()

    held = {row[0] for row in rows}
    assert len(held) == MOST_PREPARED
    assert "select 20" not in held
    assert f"select {MOST_PREPARED + 19}" in held


async def test_who_stops_waiting_stops_the_statement_and_spoils_no_connection(
    database_url: str,
) -> None:
    one, other = Database(database_url, size=1), Database(database_url, size=1)
    try:
        asker = asyncio.create_task(one.run("select pg_sleep(20), 'asked'"))
        running = (
            "select count(*) from pg_stat_activity where state = 'active'"
            " and query like $1 and pid <> pg_backend_pid() and datname = current_database()"
        )
        while await other.run(running, ("%asked%",)) == [(0,)]:
            await asyncio.sleep(0.01)

        asker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asker

        assert await one.run("select 1") == [(1,)]
        began = time.monotonic()
        while await other.run(running, ("%asked%",)) != [(0,)]:
            assert time.monotonic() - began < 10
            await asyncio.sleep(0.01)
    finally:
        await one.close()
        await other.close()


@ON_ONE_DATABASE
@given(plan=st.lists(st.tuples(st.sampled_from("rfc"), BIGINT), min_size=1, max_size=30))
async def test_each_asker_gets_its_own_answer_whoever_fails_or_leaves(
    database: Database, plan: list[tuple[str, int]]
) -> None:
    async def ask(number: int) -> object:
        return await database.run("select $1::bigint", (number,))

    async def fail(number: int) -> object:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await database.run("select $1::bigint / 0", (number,))
        return [(number,)]

    tasks = [asyncio.create_task(fail(n) if kind == "f" else ask(n)) for kind, n in plan]
    await asyncio.sleep(0)
    for task, (kind, _) in zip(tasks, plan, strict=True):
        if kind == "c":
            task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    for answer, (kind, number) in zip(answers, plan, strict=True):
        if kind != "c":
            assert answer == [(number,)]


async def test_a_cancelled_transaction_is_undone_and_gives_its_connection_back(
    database_url: str,
) -> None:
    one = Database(database_url, size=1)
    try:
        await one.run("create table held(x bigint)")
        inside = asyncio.Event()

        async def work() -> None:
            async with one.transaction() as transaction:
                await transaction.run("insert into held values (1)")
                inside.set()
                await asyncio.Event().wait()

        worker = asyncio.create_task(work())
        await inside.wait()
        worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await worker

        assert await one.run("select * from held") == []
    finally:
        await one.close()


async def test_statements_of_one_transaction_may_be_asked_at_once(database: Database) -> None:
    async with database.transaction() as transaction:
        answers = await asyncio.gather(
            *(transaction.run("select $1::bigint, txid_current()", (n,)) for n in range(20))
        )

    assert [rows[0][0] for rows in answers] == list(range(20))
    assert len({rows[0][1] for rows in answers}) == 1


async def test_a_transaction_whose_session_was_ended_is_not_said_to_be_done(
    database: Database,
) -> None:
    await database.run("create table lost(x bigint)")

    async def work() -> None:
        async with database.transaction() as transaction:
            [(pid,)] = await transaction.run("select pg_backend_pid()")
            await transaction.run("insert into lost values (1)")
            await database.run("select pg_terminate_backend($1::int)", (pid,))
            await asyncio.sleep(0.05)

    with pytest.raises(Exhausted):
        await work()
    assert await database.run("select * from lost") == []


async def test_no_request_finds_out_that_sessions_ended_while_nobody_used_them(
    database_url: str,
) -> None:
    asked, killer = Database(database_url, size=3), Database(database_url, size=1)
    try:
        await asyncio.gather(*(asked.run("select pg_sleep(0.01)") for _ in range(3)))
        await killer.run(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )

        answers = await asyncio.gather(*(asked.run("select 1") for _ in range(6)))
    finally:
        await asked.close()
        await killer.close()

    assert answers == [[(1,)]] * 6


async def test_who_gets_no_connection_in_time_is_refused_and_takes_none(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fhir_server.postgres.database.WAIT_SECONDS", 0.1)
    one = Database(database_url, size=1)
    try:
        async with one.transaction() as transaction:
            await transaction.run("select 1")
            with pytest.raises(Exhausted):
                await one.run("select 2")

        assert await one.run("select 3") == [(3,)]
    finally:
        await one.close()


async def test_who_still_waits_when_the_database_is_closed_is_refused_at_once(
    database_url: str,
) -> None:
    one = Database(database_url, size=1)
    async with one.transaction() as transaction:
        await transaction.run("select 1")
        waiting = [asyncio.create_task(one.run("select 2")) for _ in range(3)]
        await asyncio.sleep(0)
        await one.close()

    began = time.monotonic()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Exhausted] * 3
    assert time.monotonic() - began < 2
