"""Waking: the sockets of a process are told that there is something for them.

One connection to the database listens for all of them, and one statement asks for all how many
events there are; where a notice is lost, it is asked all the same after a while.

References
----------
* PostgreSQL documentation: LISTEN; HL7 Subscriptions R5 Backport 1.1.0, "Heartbeat"
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Final

import psycopg

from fhir_server.postgres.database import Database, Texts
from resources.errors import Refusal
from subscriptions.channels.sockets import TOKEN_ENDED, Socket, Token

LOOK_SECONDS: Final = 0.25
"""So often tokens, and heartbeats that are due, are looked at."""
POLL_SECONDS: Final = 2.0
"""So often events are looked for without a notice."""
AGAIN_SECONDS: Final = 1.0

EVENTS: Final = "select id, events from subscription where id = any($1::text[])"


class Waking:
    """What wakes sockets.

    Parameters
    ----------
    sockets
        Those that are open now.
    ended
        Whether a token lets nobody in any more.
    """

    def __init__(
        self, database: Database, sockets: Collection[Socket], ended: Callable[[Token], bool]
    ) -> None:
        self._database = database
        self._sockets = sockets
        self._ended = ended
        self._noticed = asyncio.Event()

    async def run(self) -> None:
        """Wake the sockets that there is something for, until cancelled."""
        tasks = [asyncio.create_task(each()) for each in (self._listen, self._wake, self._watch)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _listen(self) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._database.url, autocommit=True
                )
                async with connection:
                    await connection.execute("listen subscription_events")
                    async for _ in connection.notifies():
                        self._noticed.set()
            except psycopg.Error:
                await asyncio.sleep(AGAIN_SECONDS)

    async def _wake(self) -> None:
        """Ask once, for all sockets, which subscriptions have new events."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._noticed.wait(), POLL_SECONDS)
            self._noticed.clear()
            ids = {id for socket in self._sockets for id in socket.bindings}
            if not ids:
                continue
            try:
                rows = await self._database.run(EVENTS, (Texts(sorted(ids)),))
            except Refusal:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            counts: dict[str, int] = dict(rows)
            for socket in self._sockets:
                for id, binding in socket.bindings.items():
                    if counts.get(id, binding.sent + 1) > binding.sent:
                        socket.woken.set()

    async def _watch(self) -> None:
        """Close sockets whose token has ended, and wake those to which a heartbeat is due."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for socket in self._sockets:
                if any(self._ended(each.token) for each in socket.bindings.values()):
                    socket.close(TOKEN_ENDED)
                elif any(each.is_idle() for each in socket.bindings.values()):
                    socket.woken.set()
