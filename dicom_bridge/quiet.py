"""Quiet: when a study that is arriving has been quiet long enough to be settled.

A study is settled when the last sender of its instances is done, or when nothing came for a
moment though a sender keeps its association open. All but `heard` runs on the event loop.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

QUIET_SECONDS: Final = 1.0

Settle = Callable[[str], Coroutine[Any, Any, None]]


class Quiet:
    """Which studies are arriving here, from how many senders, and since when it is quiet.

    Whoever notes something brings the function that settles a study; it must not fail.
    """

    def __init__(self, seconds: float = QUIET_SECONDS) -> None:
        self._seconds = seconds
        self._waiting: dict[str, Settle] = {}
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._senders: Counter[str] = Counter()
        self._turns: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def arrived(self, study_uid: str, settle: Settle) -> None:
        """Note an arrival: the study is settled once it has been quiet."""
        self._waiting[study_uid] = settle
        with self._lock:
            self._last[study_uid] = time.monotonic()
        if study_uid not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[study_uid] = loop.call_later(self._seconds, self._look, study_uid)

    def heard(self, study_uid: str) -> bool:
        """Note one more arrival, from any thread; False if `arrived` must be told instead."""
        with self._lock:
            is_waiting = study_uid in self._last
            if is_waiting:
                self._last[study_uid] = time.monotonic()
        return is_waiting

    def sending(self, study_uid: str) -> None:
        """Note one more sender of the study."""
        self._senders[study_uid] += 1

    def done(self, study_uid: str, settle: Settle) -> None:
        """Note that a sender is done; when the last one is, the study need not wait for quiet."""
        self._senders[study_uid] -= 1
        if self._senders[study_uid] <= 0:
            del self._senders[study_uid]
            self._begin(study_uid, settle)

    def turn(self, study_uid: str) -> asyncio.Lock:
        """Whose turn it is to settle the study in this process."""
        return self._turns.setdefault(study_uid, asyncio.Lock())

    def forget(self, study_uid: str) -> None:
        """Drop the lock of a study that nobody is settling or waits to settle."""
        turn = self._turns.get(study_uid)
        if turn is not None and not turn.locked():
            del self._turns[study_uid]

    async def drained(self) -> None:
        """Settle what waits for quiet, and wait until nothing is under way."""
        for study_uid, settle in list(self._waiting.items()):
            self._begin(study_uid, settle)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _look(self, study_uid: str) -> None:
        remaining = self._last[study_uid] + self._seconds - time.monotonic()
        if remaining > 0:
            loop = asyncio.get_running_loop()
            self._timers[study_uid] = loop.call_later(remaining, self._look, study_uid)
        else:
            self._begin(study_uid, self._waiting[study_uid])

    def _begin(self, study_uid: str, settle: Settle) -> None:
        timer = self._timers.pop(study_uid, None)
        with self._lock:
            self._last.pop(study_uid, None)
        self._waiting.pop(study_uid, None)
        if timer is not None:
            timer.cancel()
        task = asyncio.get_running_loop().create_task(settle(study_uid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
