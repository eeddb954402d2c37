"""Workers that stand still or whose clock is wrong: nothing is lost, and order is kept."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fhir_server.postgres.database import Database
from tests.subscriptions.receiving import Request, receiving, until
from tests.subscriptions.test_delivery import World, a_world, waiting

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R010.1")]

HOUR = 3600

WORKER = """
import asyncio, sys, time
clock, ahead = time.time_ns, int(sys.argv[2]) * 1_000_000_000
time.time_ns = lambda: clock() + ahead
from fhir_server.postgres.database import Database
from subscriptions import delivery, leases
from subscriptions.addresses import Addresses
from subscriptions.channels.resthook import RestHook
from tests.subscriptions.wanting import BASE, housed
leases.LEASE_SECONDS, leases.SAFE_SECONDS, delivery.RENEW_SECONDS = 1.0, 0.2, 0.3
async def main():
    database = Database(sys.argv[1])
    hook = RestHook(Addresses("127.0.0.0/8"))
    await delivery.Delivery(
        database, housed(database), {"rest-hook": hook}, base_url=BASE, retries=[0.0] + [0.1] * 99
    ).run()
asyncio.run(main())
"""
"""A worker with short leases, whose clock is so many seconds ahead."""


@contextmanager
def worker(database_url: str, *, ahead: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """Deliver in another process until the block is left."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, database_url, str(ahead)])
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


@pytest.mark.standard("threats F2")
async def test_a_worker_that_stands_still_longer_than_its_lease_disturbs_no_order(
    database: Database, database_url: str
) -> None:
    """Another takes over; when the first goes on, it sends nothing of what is the other's now."""
    async with a_world(database) as world, receiving() as hook:
        with worker(database_url) as first:
            await world.active(hook.url)
            stopped: list[Request] = []

            def stop(request: Request) -> int:
                if not stopped:
                    stopped.append(request)
                    os.kill(first.pid, signal.SIGSTOP)
                return 200

            hook.answers = stop
            await world.fire(2)
            await until(lambda: stopped)
            await world.fire(2)
            with worker(database_url):
                await until(lambda: set(hook.told()) >= {1, 2, 3, 4}, 60)
                os.kill(first.pid, signal.SIGCONT)
                await world.fire(3)
                await until(lambda: set(hook.told()) >= set(range(1, 8)), 60)

        assert list(dict.fromkeys(hook.told())) == list(range(1, 8))


@pytest.mark.standard("threats F11")
async def test_a_clock_that_goes_back_an_hour_holds_up_no_lease(
    database: Database, database_url: str
) -> None:
    """What a worker held that died while its clock was ahead is taken over, not an hour later."""
    async with a_world(database) as world, receiving() as hook:
        with worker(database_url, ahead=HOUR) as early:
            id = await world.active(hook.url)
            hook.answers = lambda request: None
            begun = len(hook.requests)
            await world.fire(2)
            await until(lambda: len(hook.requests) > begun, 60)
            early.kill()
        hook.answers = lambda request: 200
        with worker(database_url):
            await world.fire(2)
            await until(lambda: set(hook.told()) == {1, 2, 3, 4}, 60)

        assert list(dict.fromkeys(hook.told())) == [1, 2, 3, 4]
        assert await counted(world, id) == 4


@pytest.mark.standard("threats F11")
async def test_a_clock_that_goes_forward_an_hour_loses_nothing(
    database: Database, database_url: str
) -> None:
    async with a_world(database) as world, receiving() as hook:
        with worker(database_url) as now_:
            id = await world.active(hook.url)
            await world.fire(2)
            await until(lambda: set(hook.told()) == {1, 2}, 60)
            now_.kill()
        with worker(database_url, ahead=HOUR):
            await world.fire(2)
            await until(lambda: set(hook.told()) == {1, 2, 3, 4}, 60)

        assert list(dict.fromkeys(hook.told())) == [1, 2, 3, 4]
        assert await counted(world, id) == 4


@pytest.mark.standard("threats F2")
async def test_a_subscriber_that_was_down_is_sent_five_thousand_events_in_order(
    database: Database, database_url: str
) -> None:
    async with a_world(database) as world, receiving() as hook:
        with worker(database_url):
            id = await world.active(hook.url)
            hook.answers = lambda request: 503
            await world.fire()
            await waiting(world, id, 4999)
            hook.answers = lambda request: 200
            await until(lambda: len(set(hook.told())) >= 5000, 120)

        assert list(dict.fromkeys(hook.told())) == list(range(1, 5001))


async def counted(world: World, id: str) -> int:
    rows = await world.database.run("select events from subscription where id = $1", (id,))
    return int(rows[0][0])
