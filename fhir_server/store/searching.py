"""How many searches run at once, so that what is quick never waits for what is slow.

A search may take seconds (`find.SECONDS`), and a connection with it. Some connections are left to
reads and writes; a search that finds no place among the others is refused, and may come back.

References
----------
* FHIR R4 search, "Server Conformance"; RFC 9110 Section 15.6.4 (503)
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fhir_server.postgres.database import WAIT_SECONDS
from resources.errors import Exhausted

PART: Final = 2, 3
"""Of three connections, two may be busy with searches."""


class Places:
    """The searches of a process that has so many connections.

    Examples
    --------
    >>> Places(10).number
    6
    """

    def __init__(self, connections: int) -> None:
        part, whole = PART
        self.number = max(connections * part // whole, 1)
        self._free = asyncio.Semaphore(self.number)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Take a place; nobody waits longer for it than for a connection.

        Raises
        ------
        Exhausted
            None became free in time.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise Exhausted("Too many searches are under way; try again later.") from None
        try:
            yield
        finally:
            self._free.release()
