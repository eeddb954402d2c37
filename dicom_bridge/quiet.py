"""Quiet: when a study that is arriving has been quiet long enough to be settled.

A study is settled when the last sender of its instances is done, or when nothing came for a
moment though a sender keeps its association open. Everything here runs on the event loop.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

QUIET_SECONDS: Final = 1.0


class Quiet:
    """Which studies are arriving here, from how many senders, and since when it is quiet."""

    def __init__(self, seconds: float = QUIET_SECONDS) -> None:
        self._seconds = seconds
        self._last: dict[str, float] = {}
        self._senders: Counter[str] = Counter()
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def arrived(self, study_uid: str, settle: Callable[[str], Awaitable[None]]) -> None:
        """Note an arrival; `settle` is called once it has been quiet for the study."""
        waiting = study_uid in self._last
        self._last[study_uid] = asyncio.get_running_loop().time()
        if not waiting:
            self._begin(self._wait(study_uid, settle))

    def sending(self, study_uid: str) -> None:
        """Note one more sender of the study."""
        self._senders[study_uid] += 1

    def done(self, study_uid: str, settle: Callable[[str], Awaitable[None]]) -> None:
        """Note that a sender is done; the last one of a study need not wait for quiet."""
        self._senders[study_uid] -= 1
        if self._senders[study_uid] <= 0:
            del self._senders[study_uid]
            self._last.pop(study_uid, None)
            self._begin(settle(study_uid))

    def turn(self, study_uid: str) -> asyncio.Lock:
        """Whose turn it is to settle the study in this process."""
        return self._locks.setdefault(study_uid, asyncio.Lock())

    def forget(self, study_uid: str) -> None:
        """Drop the lock of a study that nobody waits for."""
        lock = self._locks.get(study_uid)
        if lock is not None and not lock.locked():
            del self._locks[study_uid]

    async def drained(self) -> None:
        """Wait until nothing that was begun here is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self, study_uid: str, settle: Callable[[str], Awaitable[None]]) -> None:
        now = asyncio.get_running_loop().time
        while (last := self._last.get(study_uid)) is not None:
            remaining = last + self._seconds - now()
            if remaining <= 0:
                del self._last[study_uid]
                await settle(study_uid)
                return
            await asyncio.sleep(remaining)
