import asyncio
import contextlib

import pytest
from procrastinate import App

from fhir_server import jobs
from fhir_server.jobs import Duty
from fhir_server.postgres.database import Database

pytestmark = pytest.mark.anyio

STALLED = """
insert into procrastinate_jobs(queue_name, task_name, lock, queueing_lock, args, status)
values ('duties', 'settle', 'settle', 'settle', '{"timestamp": 0}', 'doing')
"""
LEFT = "select count(*) from procrastinate_jobs where status in ('todo', 'doing')"


class Counted:
    """A duty that notes how often it was done, and fails when told to."""

    def __init__(self, failures: int = 0) -> None:
        self.done = 0
        self.failures = failures
        self.twice = asyncio.Event()

    async def __call__(self) -> int:
        self.done += 1
        if self.done >= 2:
            self.twice.set()
        if self.done <= self.failures:
            raise RuntimeError("not this time")
        return 1


async def run_until(app: App, duties: list[Duty], event: asyncio.Event) -> bool:
    """Run a worker until something happened; say whether it did."""
    ready = asyncio.Event()
    worker = asyncio.create_task(jobs.work(app, duties, ready.set))
    try:
        await asyncio.wait_for(event.wait(), 10)
        return ready.is_set()
    finally:
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker


async def test_a_duty_is_done_at_the_start_and_by_the_clock(database: Database) -> None:
    counted = Counted()
    duties = [Duty("settle", "* * * * * *", counted)]

    assert await run_until(jobs.application(database.url, duties), duties, counted.twice)


async def test_a_duty_that_fails_does_not_stop_the_worker(database: Database) -> None:
    counted = Counted(failures=1)
    duties = [Duty("settle", "* * * * * *", counted)]

    assert await run_until(jobs.application(database.url, duties), duties, counted.twice)


async def test_a_job_whose_worker_died_does_not_hold_its_lock(database: Database) -> None:
    await database.run(STALLED)
    app = jobs.application(database.url, [Duty("settle", "0 0 1 1 *", Counted())])

    async with app.open_async():
        released = await jobs.release(app)

    assert released == 1
    assert await database.run(LEFT) == [(0,)]
