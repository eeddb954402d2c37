"""Calls: what peers are to be told on associations of our own, whoever of them hangs.

Each peer is called once at a time, in threads that are there for calls alone: one that never
answers keeps the others from hearing no longer than it takes to look, and keeps no thread from what
else this process does.

References
----------
* PS3.7 Section 7.2 (who invokes an operation waits for its response); threats T17
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from fhir_server.context import now
from resources.errors import Refusal

MOST: Final = 16
"""Peers that are called at once for one purpose."""
LEAST_SECONDS: Final = 0.05
SECOND: Final = 1_000_000

One = TypeVar("One")
Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class Calls(Generic[One]):
    """What one process tells peers for one purpose.

    Parameters
    ----------
    purpose
        What is not done where it fails; for the log.
    take
        Takes something that is due and not for one of those peers; None: there is nothing.
    serve
        Tells it.
    peer_of
        For which peer something is.
    next_due
        When something is due that is not for one of those peers, in microseconds since 1970.
    look_seconds
        How often it is looked for what another process has left.
    """

    def __init__(
        self,
        purpose: str,
        take: Callable[[Sequence[str]], Awaitable[One | None]],
        serve: Callable[[One], Awaitable[Any]],
        peer_of: Callable[[One], str],
        next_due: Callable[[Sequence[str]], Awaitable[int | None]],
        look_seconds: float,
    ) -> None:
        self._purpose, self._look_seconds = purpose, look_seconds
        self._take, self._serve, self._peer_of, self._next_due = take, serve, peer_of, next_due
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(MOST, "calls")
        self._something = asyncio.Event()

    async def run(self) -> None:
        """Tell what is due until cancelled."""
        try:
            while True:
                self._something.clear()
                seconds = self._look_seconds
                try:
                    seconds = await self._begin()
                except Refusal as refusal:
                    _log.warning("%s: %s", self._purpose, refusal.reason)
                except Exception:  # whatever comes of one look, there is another
                    _log.exception("%s", self._purpose)
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._something.wait()
        finally:
            for task in self._under_way.values():
                task.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)

    def hurry(self) -> None:
        """Look at once."""
        self._something.set()

    async def call(self, tell: Callable[..., Answer], *arguments: Any) -> Answer:
        """Do what waits for a peer, in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, tell, *arguments)

    async def _begin(self) -> float:
        """Begin what is due; give the seconds until there is more."""
        while len(self._under_way) < MOST:
            one = await self._take(list(self._under_way))
            if one is None:
                due = await self._next_due(list(self._under_way))
                left = self._look_seconds if due is None else (due - now()) / SECOND
                return min(self._look_seconds, max(LEAST_SECONDS, left))
            self._under_way[self._peer_of(one)] = asyncio.create_task(self._served(one))
        return self._look_seconds

    async def _served(self, one: One) -> None:
        try:
            await self._serve(one)
        except Refusal as refusal:
            _log.warning("%s: %s", self._purpose, refusal.reason)
        except Exception:  # whatever comes of one, others are told of theirs
            _log.exception("%s", self._purpose)
        finally:
            del self._under_way[self._peer_of(one)]
            self.hurry()
