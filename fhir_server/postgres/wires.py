"""The pool of wires: few connections, the one used last first, and nobody waits long for one.

A connection that ended while nobody used it is replaced before a request could find that out. While
PostgreSQL is away, whoever asks waits for it to come back, as long as for a free connection.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import psycopg

from fhir_server.postgres.wire import Wire

RETRY_SECONDS: Final = 0.1
"""How long after a refused connection the next is tried."""

LIFETIME_SECONDS: Final = 3600
"""A connection is replaced after so long: a session of PostgreSQL only ever grows."""


class Wires:
    """At most `size` wires, made by `connect` when they are needed.

    Parameters
    ----------
    wait_seconds
        Nobody waits longer for a wire.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Wire]], size: int, wait_seconds: float
    ) -> None:
        self._connect = connect
        self._size = size
        self._wait_seconds = wait_seconds
        self._places = size
        self._free: list[Wire] = []
        self._waiting: deque[asyncio.Future[Wire | None]] = deque()
        self._closed = False

    async def take(self, within_seconds: float | None = None) -> Wire:
        """Take a wire that is alive; it must be given back.

        Raises
        ------
        psycopg.OperationalError
            None became free in time, or the database does not answer.
        """
        while self._free:
            wire = self._free.pop()
            if wire.is_alive():
                return wire
            self._places += 1
        loop = asyncio.get_running_loop()
        until = loop.time() + (self._wait_seconds if within_seconds is None else within_seconds)
        if self._closed:
            raise psycopg.OperationalError("the pool is closed")
        if self._places:
            self._places -= 1
            return await self._made(until)
        given = await self._given(until)
        return given if given is not None else await self._made(until)

    def give(self, wire: Wire) -> None:
        """Give a wire back, whatever has become of it."""
        now = asyncio.get_running_loop().time()
        if self._closed or not wire.is_alive() or now - wire.made > LIFETIME_SECONDS:
            wire.close()
            self._pass_on(None)
        else:
            self._pass_on(wire)

    def close(self) -> None:
        """Hang up every wire, those in use as soon as they come back."""
        self._closed = True
        for wire in self._free:
            wire.close()
        self._places += len(self._free)
        self._free.clear()

    async def _made(self, until: float) -> Wire:
        """Connect; the place of the new wire is already ours."""
        loop = asyncio.get_running_loop()
        try:
            while not self._closed:
                try:
                    async with asyncio.timeout_at(until):
                        return await self._connect()
                except psycopg.OperationalError:
                    if loop.time() + RETRY_SECONDS > until:
                        raise
                await asyncio.sleep(RETRY_SECONDS)
            raise psycopg.OperationalError("the pool is closed")
        except TimeoutError:
            self._pass_on(None)
            raise psycopg.OperationalError("the database does not answer") from None
        except BaseException:
            self._pass_on(None)
            raise

    async def _given(self, until: float) -> Wire | None:
        """Wait for a wire, or for the place of one (None)."""
        future: asyncio.Future[Wire | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            async with asyncio.timeout_at(until):
                return await future
        except BaseException as error:
            if future.done() and not future.cancelled():
                self._pass_on(future.result())
            if isinstance(error, TimeoutError):
                raise psycopg.OperationalError("no connection became free in time") from None
            raise

    def _pass_on(self, wire: Wire | None) -> None:
        """Give a wire, or the place of one, to who has waited longest, or keep it."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(wire)
                return
        if wire is None:
            self._places += 1
        elif self._closed:
            wire.close()
            self._places += 1
        else:
            self._free.append(wire)
