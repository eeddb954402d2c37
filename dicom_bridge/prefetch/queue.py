"""Queue: Tasks that are to be done, the most urgent first, each by one process at a time.

A Task that a process has taken is leased to it; who dies in the middle is followed by another one
when the lease has run out, which sends what is still missing.

References
----------
* R003.2, R003.3 of the requirements; docs/representation.md, "Prefetch"
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from fhir_server.postgres.database import Database, Texts

SECOND: Final = 1_000_000
LEASE: Final = 180 * SECOND
"""Microseconds for which a Task under way is nobody else's, unless it is renewed."""
AGAIN_SECONDS: Final = (30, 120, 600, 1800, 3600, 3 * 3600, 6 * 3600)
"""When it is tried again; then the Task has failed, and a person may ask for it again."""

ADD: Final = """
INSERT INTO prefetch (task, peer, deadline, attempts, due) VALUES ($1, $2, $3, 0, $4)
ON CONFLICT (task) DO NOTHING
"""
TAKE: Final = f"""
UPDATE prefetch SET lease_until = $1 + {LEASE}, attempts = attempts + 1
WHERE task = (
  SELECT p.task FROM prefetch p
  WHERE p.due <= $1 AND (p.lease_until IS NULL OR p.lease_until <= $1)
    AND p.peer <> ALL($2::text[])
    AND NOT EXISTS (SELECT FROM prefetch o WHERE o.peer = p.peer AND o.lease_until > $1)
  ORDER BY p.deadline, p.due, p.task LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING task, peer, attempts, deadline
"""
RENEW: Final = "UPDATE prefetch SET lease_until = $2 WHERE task = $1 AND attempts = $3"
THERE: Final = "SELECT FROM prefetch WHERE task = $1"
DONE: Final = "DELETE FROM prefetch WHERE task = $1"
AGAIN: Final = """
UPDATE prefetch SET due = $2, lease_until = NULL WHERE task = $1 AND attempts = $3
"""
NEXT: Final = """
SELECT min(greatest(due, coalesce(lease_until, due))) FROM prefetch WHERE peer <> ALL($1::text[])
"""


class Due(NamedTuple):
    """A Task that was taken: its id, where it goes, how often it was tried, and when it is late."""

    task: str
    peer: str
    attempts: int
    deadline: int

    @property
    def is_last(self) -> bool:
        """Whether it is not tried again after this."""
        return self.attempts > len(AGAIN_SECONDS)


async def take(database: Database, now: int, busy: Sequence[str] = ()) -> Due | None:
    """Take the most urgent Task for another peer than the busy ones; nobody else has it then.

    A peer that another process is sending to is busy too.
    """
    rows: list[Any] = list(await database.run(TAKE, (now, Texts(busy))))
    return Due(*rows[0]) if rows else None


async def renew(database: Database, one: Due, now: int) -> None:
    """Keep a Task that goes on."""
    await database.run(RENEW, (one.task, now + LEASE, one.attempts))


async def next_due(database: Database, busy: Sequence[str] = ()) -> int | None:
    """When there is something for another peer than the busy ones, microseconds since 1970."""
    due = (await database.run(NEXT, (Texts(busy),)))[0][0]
    return None if due is None else int(due)


async def again(database: Database, one: Due, now: int) -> None:
    """Say when a Task is tried again, and let go of it."""
    due = now + AGAIN_SECONDS[one.attempts - 1] * SECOND
    await database.run(AGAIN, (one.task, due, one.attempts))
