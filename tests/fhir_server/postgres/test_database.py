"""The pool: values come back as they went in, and a database that is away is said so."""

import asyncio
from typing import Any

import psycopg
import pytest

from fhir_server.postgres.database import Blobs, Database, Integers, Texts
from resources.errors import Exhausted

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bigint[]", Integers([1, -(2**63), 2**63 - 1, None])),
        ("text[]", Texts(["", "a,b", '"{', "é\n", None])),
        ("bytea[]", Blobs([b"", bytes(range(256)), None])),
        ("bigint[]", Integers()),
        ("bigint", 7),
        ("bigint", 2**62),
        ("bytea", bytes(range(256))),
        ("text", "é"),
    ],
)
async def test_a_value_comes_back_as_it_went_in(database: Database, kind: str, value: Any) -> None:
    assert await database.run(f"select $1::{kind}", (value,)) == [(value,)]


async def test_a_statement_is_prepared_once_whatever_its_values(database: Database) -> None:
    for value in (1, 70_000, 2**40):
        await database.run("select $1::bigint + $2::bigint", (value, 1))

    async with database.transaction() as transaction:
        for value in (1, 70_000, 2**40):
            await transaction.run("select $1::bigint + 1 as mark", (value,))
        rows = await transaction.run(
            "select count(*) from pg_prepared_statements where statement like '%as mark'"
        )
    assert rows == [(1,)]


async def test_an_exception_undoes_a_transaction(database: Database) -> None:
    await database.run("create table t(x int)")

    async def fail() -> None:
        async with database.transaction() as transaction:
            await transaction.run("insert into t values (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await database.run("select * from t") == []


async def test_statements_in_one_round_trip_are_one_transaction(database: Database) -> None:
    await database.run("create table t(x int primary key)")
    insert = "insert into t values ($1)"

    with pytest.raises(psycopg.errors.UniqueViolation):
        await database.run_all([(insert, (1,)), (insert, (1,)), (insert, (2,))])
    assert await database.run("select * from t") == []
    await database.run_all([(insert, (1,)), (insert, (2,))])
    assert await database.run("select x from t order by x") == [(1,), (2,)]


async def test_a_broken_connection_is_told_as_exhausted_and_replaced(database: Database) -> None:
    with pytest.raises(Exhausted):
        await database.run("select pg_terminate_backend(pg_backend_pid())")

    assert await database.run("select 1") == [(1,)]


async def test_a_database_that_is_not_there_is_told_as_exhausted(database_url: str) -> None:
    place, _, rest = database_url.partition("?")
    nowhere = Database(f"{place}x?{rest}", size=1)

    with pytest.raises(Exhausted):
        await nowhere.open(within_seconds=0.2)


async def test_more_waiting_statements_than_connections_are_all_answered(
    database: Database,
) -> None:
    answers = await asyncio.gather(*(database.run("select $1::bigint", (n,)) for n in range(50)))

    assert answers == [[(n,)] for n in range(50)]
