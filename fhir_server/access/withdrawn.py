"""Withdrawn: tokens that count no more although they have not ended, known in every process.

A token is named by its ``jti``, by the authorisation that it comes from, or by the epoch of the
client that it was given to (`of_client`). Whoever withdraws one writes a row and notifies; each
process that checks tokens listens, and knows within moments. It reads all rows again when it begins
and whenever its connection was lost.

RFC 7009 (token revocation); RFC 9700 Section 4.14. PostgreSQL documentation: LISTEN, NOTIFY.
"""

import asyncio
import logging
import time
from typing import Final

import psycopg

CHANNEL: Final = "withdrawn"
AGAIN_SECONDS: Final = 1.0

WITHDRAW: Final = """
WITH added AS (
    INSERT INTO withdrawn (id, expires) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING
)
SELECT pg_notify('withdrawn', $1)
"""
"""Withdraw a token by its jti, or all of an authorisation by its id; the rows end with them."""
WITHDRAW_EMERGENCY: Final = """
WITH found AS (
    SELECT authorized, until FROM emergency WHERE id = $1
), ended AS (
    UPDATE authorized SET withdrawn = $2 WHERE id IN (SELECT authorized FROM found)
        AND withdrawn IS NULL
), added AS (
    INSERT INTO withdrawn (id, expires) SELECT authorized, until FROM found
    ON CONFLICT (id) DO NOTHING
)
SELECT pg_notify('withdrawn', authorized) FROM found
"""
"""Withdraw the tokens of an emergency access by the id of its review."""
ALL: Final = "SELECT id FROM withdrawn WHERE expires > %s"

_log = logging.getLogger(__name__)


def of_client(client: str, epoch: str) -> str:
    """Give the id by which all tokens of a client that bear this epoch are withdrawn.

    Examples
    --------
    >>> of_client("app", "5f0c")
    'client:app:5f0c'
    """
    return f"client:{client}:{epoch}"


class Withdrawn:
    """What is withdrawn, as one process knows it."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def has(self, *ids: str) -> bool:
        """Say whether one of these is withdrawn."""
        return not self._ids.isdisjoint(ids)

    async def follow(self, url: str) -> None:
        """Know all that is withdrawn in the database at this URL, until cancelled."""
        while True:
            try:
                await self._listen(url)
            except psycopg.OperationalError:
                _log.warning("withdrawn tokens: the database is away")
                await asyncio.sleep(AGAIN_SECONDS)

    async def _listen(self, url: str) -> None:
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            cursor = await connection.execute(ALL, (time.time_ns() // 1000,))
            self._ids = {id for (id,) in await cursor.fetchall()}
            async for notice in connection.notifies():
                self._ids.add(notice.payload)
