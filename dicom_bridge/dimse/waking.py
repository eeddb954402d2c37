"""Waking: how other threads end the wait of a thread that blocks on a socket.

A reactor that has nothing to do sleeps in `poll` on its socket and on an eventfd. Whoever queues
something for it, or starts a timer that it watches, writes to the eventfd, and only when the
reactor really sleeps.
"""

import os
import queue
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

from pynetdicom.timer import Timer


class Waker:
    """An eventfd that lives as long as the reactor that sleeps on it."""

    def __init__(self) -> None:
        self.armed = False
        """Whether the reactor is about to sleep: only then is it worth a system call."""
        self._descriptor = -1
        self._lock = threading.Lock()
        self._poll: select.poll | None = None
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Begin: called by the reactor."""
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def close(self) -> None:
        """End: called by the reactor; waking it afterwards does nothing."""
        with self._lock:
            descriptor, self._descriptor, self._poll = self._descriptor, -1, None
        os.close(descriptor)

    def __call__(self) -> None:
        """Wake the reactor if it sleeps."""
        if not self.armed:
            return
        with self._lock:
            if self.armed and self._descriptor >= 0:
                self.armed = False
                os.eventfd_write(self._descriptor, 1)

    def wait(self, connection: socket.socket | None, seconds: float | None) -> None:
        """Sleep until the connection is readable, somebody wakes us, or the time is over."""
        if self._poll is None or connection is not self._socket:
            self._poll, self._socket = select.poll(), connection
            self._poll.register(self._descriptor, select.POLLIN)
            if connection is not None and connection.fileno() >= 0:
                self._poll.register(connection, select.POLLIN)
        timeout = None if seconds is None else max(0, int(seconds * 1000) + 1)
        for descriptor, _ in self._poll.poll(timeout):
            if descriptor == self._descriptor:
                os.eventfd_read(descriptor)


class WakingQueue(queue.Queue[Any]):
    """A queue that wakes its reader."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item and wake the reader."""
        super().put(item, block, timeout)
        self._wake()


class WakingTimer(Timer):
    """A timer that wakes the reactor that watches it when it is started."""

    def __init__(self, timeout: float | None, wake: Callable[[], None]) -> None:
        super().__init__(timeout)
        self._wake = wake

    def start(self) -> None:
        """Start, and let the reactor know how long it may sleep now."""
        super().start()
        self._wake()

    @property
    def is_running(self) -> bool:
        """Whether it was started and neither stopped nor without a limit."""
        return self.timeout is not None and self._start_time is not None and self._end_time is None


class WakingEvent(threading.Event):
    """An event, set at first, that wakes a reactor whenever it is set again."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake
        super().set()

    def set(self) -> None:
        """Set it and wake the reactor."""
        super().set()
        self._wake()
