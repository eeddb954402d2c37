"""Jobs: what the worker role does by the clock, so that nobody has to wait for it or think of it.

procrastinate keeps the queue in PostgreSQL: a periodic job is deferred once however many workers
run, a failed one is tried again, and a worker that is idle waits for a notification. The duties
themselves are the table of `duties`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Status
from procrastinate.retry import RetryStrategy

QUEUE: Final = "duties"
ATTEMPTS: Final = 5
"""A duty that failed so often waits for its next time."""
CONCURRENCY: Final = 4
STOP_SECONDS: Final = 4.0
"""How long a duty under way may take to finish when the worker is asked to stop."""
IDLE_SECONDS: Final = 60.0
"""An idle worker looks for itself this often; it is woken by notifications long before."""

_log = logging.getLogger(__name__)


class Duty(NamedTuple):
    """One periodic job: its name, when it is due (crontab(5), UTC), and what is done.

    The number that `work` answers is how many things it found to do.
    """

    name: str
    cron: str
    work: Callable[[], Awaitable[int]]


def application(database_url: str, duties: Sequence[Duty]) -> App:
    """Make the procrastinate application that knows these duties."""
    connector = PsycopgConnector(conninfo=database_url, min_size=1, max_size=CONCURRENCY + 2)
    app = App(connector=connector)
    for duty in duties:
        _register(app, duty)

    async def let_go(timestamp: int) -> None:
        await release(app)

    app.periodic(cron="* * * * *")(app.task(name="release", queue=QUEUE)(let_go))
    return app


async def release(app: App) -> int:
    """End the jobs whose worker died, and say how many: each would hold its lock for ever."""
    stalled = list(await app.job_manager.get_stalled_jobs(queue=QUEUE))
    for job in stalled:
        await app.job_manager.finish_job(job, Status.FAILED, delete_job=True)
    return len(stalled)


async def work(app: App, duties: Sequence[Duty], ready: Callable[[], None]) -> None:
    """Do every duty once, then by the clock, until the process is told to stop."""
    async with app.open_async():
        ready()
        for duty in duties:
            with contextlib.suppress(Exception):
                await _perform(duty)
        await app.run_worker_async(
            queues=[QUEUE],
            concurrency=CONCURRENCY,
            fetch_job_polling_interval=IDLE_SECONDS,
            abort_job_polling_interval=IDLE_SECONDS,
            shutdown_graceful_timeout=STOP_SECONDS,
            listen_notify=True,
            delete_jobs="successful",
        )


def _register(app: App, duty: Duty) -> None:
    """Make a duty a periodic task; only one of its kind runs at a time."""

    async def task(timestamp: int) -> None:
        await _perform(duty)

    retry = RetryStrategy(max_attempts=ATTEMPTS, exponential_wait=2)
    named = app.task(
        name=duty.name, queue=QUEUE, lock=duty.name, queueing_lock=duty.name, retry=retry
    )
    app.periodic(cron=duty.cron)(named(task))


async def _perform(duty: Duty) -> None:
    began = asyncio.get_running_loop().time()
    try:
        count = await duty.work()
    except Exception:
        _log.exception("a duty failed", extra={"job": duty.name})
        raise
    if count:
        seconds = round(asyncio.get_running_loop().time() - began, 3)
        _log.info("a duty was done", extra={"job": duty.name, "count": count, "seconds": seconds})
