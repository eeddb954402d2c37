"""A connection that is lost in the middle of things: whoever waits is told so, and at once."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fhir_server.postgres.database import Database
from fhir_server.postgres.embedded import DURABLE, embedded
from fhir_server.postgres.wire import Wire, connected
from resources.errors import Exhausted

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats F3")]

PID = "select pg_backend_pid()"
ECHO = "select $1::text"
LARGE = "x" * 10_000_000
"""More than a socket takes: something is still to be sent when the connection is lost."""


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The loop of commands, and that of the server."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def cluster_of_our_own() -> Iterator[str]:
    """A killed session takes all others of its cluster with it."""
    with (
        tempfile.TemporaryDirectory(prefix="isocentre-test-") as folder,
        embedded(Path(folder), settings={**DURABLE, "fsync": "off"}) as url,
    ):
        yield url


async def recovered(database: Database) -> None:
    """Wait until PostgreSQL answers again: it is not stopped well while it recovers."""
    for _ in range(50):
        with contextlib.suppress(Exhausted):
            assert await database.run("select 7") == [(7,)]
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the database did not come back")


@pytest.mark.parametrize("octets", [10, 10_000_000])
async def test_a_session_killed_while_it_is_sent_to_is_lost_and_nothing_else(
    cluster_of_our_own: str, octets: int
) -> None:
    broken: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, about: broken.append(about))
    wire = Wire(await connected(cluster_of_our_own))
    (((pid,),),) = await wire.run([(PID, ())])
    os.kill(pid, signal.SIGSTOP)
    asked = [asyncio.create_task(wire.run([(ECHO, ("x" * octets,))])) for _ in range(3)]
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)

    assert [isinstance(answer, psycopg.OperationalError) for answer in answers] == [True] * 3
    assert broken == []
    assert not wire.is_alive()
    database = Database(cluster_of_our_own, size=1)
    await recovered(database)
    await database.close()


async def test_a_session_that_was_killed_meanwhile_refuses_what_comes_next(
    cluster_of_our_own: str,
) -> None:
    database = Database(cluster_of_our_own, size=1)

    async def killed_in_the_middle() -> None:
        async with database.transaction() as transaction:
            ((pid,),) = await transaction.run(PID)
            os.kill(pid, signal.SIGSTOP)
            sending = asyncio.create_task(transaction.run(ECHO, (LARGE,)))
            await asyncio.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.1)
            try:
                await transaction.run("select 1")
            finally:
                await asyncio.gather(sending, return_exceptions=True)

    with pytest.raises(Exhausted):
        await killed_in_the_middle()
    await recovered(database)
    await database.close()


async def test_a_session_that_hangs_is_given_up(cluster_of_our_own: str) -> None:
    wire = Wire(await connected(cluster_of_our_own), patience=0.5)
    (((pid,),),) = await wire.run([(PID, ())])
    assert await wire.run([("select 1 from pg_sleep(0.3)", ())]) == [[(1,)]]
    await asyncio.sleep(0.6)
    assert await wire.run([("select 1 from pg_sleep(0.3)", ())]) == [[(1,)]]
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(psycopg.OperationalError, match="does not answer"):
            await asyncio.wait_for(wire.run([("select 1", ())]), 5)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert not wire.is_alive()


async def test_what_a_session_says_last_ends_the_waiting_although_it_read_nothing_more(
    cluster_of_our_own: str,
) -> None:
    wire = Wire(await connected(cluster_of_our_own))
    (((pid,),),) = await wire.run([(PID, ())])
    os.kill(pid, signal.SIGSTOP)
    asked = asyncio.create_task(wire.run([("select 1", ())]))
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)

    with pytest.raises(psycopg.OperationalError):
        await asyncio.wait_for(asked, 5)
    assert not wire.is_alive()
