"""The change log: what was written, in an order that nobody who follows it can miss a line of.

A line is named by (log, xid, key): the number of the log, the transaction that wrote it and the
key of the version. Lines are read in that order, and only those of transactions older than every
transaction still open (the horizon of the snapshot): behind the horizon nothing can appear any
more. There is no lock and no counter, so writers do not wait for each other; a transaction that
stays open holds followers back, but never makes them skip.

The order is that of transaction ids, not of commits; for one resource both are the same.

Transaction ids begin again where a database is restored from a dump or moved by logical
replication. The log then gets a new number (`renew`), and a cursor of the old one reads the old
log to its end before it goes on with the new one. A physical copy (base backup, ``pg_upgrade``)
keeps its ids and its log.

On a replica the same statement takes the replica's horizon. A line whose version cannot be seen
there is "not yet", never "gone": ask again.

References
----------
* PostgreSQL documentation: "pg_current_snapshot", "pg_snapshot_xmin"
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from fhir_server.postgres.database import Database, Integers, Transaction
from fhir_server.search.stored import Stored


class Cursor(NamedTuple):
    """A place in the log: everything up to this line has been seen."""

    log: int
    xid: int
    key: int


BEGINNING: Final = Cursor(1, 0, 0)
"""Before the first line there ever was."""


class Change(NamedTuple):
    """One line: a version was written. `interaction` is C, U or D."""

    log: int
    xid: int
    key: int
    type: str
    id: str
    interaction: str
    instant: int

    @property
    def cursor(self) -> Cursor:
        """The place of this line."""
        return Cursor(self.log, self.xid, self.key)


FOLLOW: Final = """
select c.log, c.xid::text::bigint, c.key, c.type, c.id, c.interaction, c.instant
from change as c, log
where c.log = $1 and (c.xid, c.key) > ($2::text::xid8, $3)
  and (c.log < log.number or c.xid < pg_snapshot_xmin(pg_current_snapshot()))
order by c.xid, c.key limit $4
"""

NUMBER: Final = "select number from log"

HORIZON: Final = """
select number, pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1, 9223372036854775807
from log
"""

RENEW: Final = "select renew_log()"

READ: Final = """
select v.key, v.type, v.id, v.version, v.instant, v.interaction, v.body
from version as v where v.key = any($1::bigint[])
"""


async def follow(database: Database, cursor: Cursor, limit: int = 1000) -> list[Change]:
    """Give the lines after a cursor, in order; none if there are none yet.

    The cursor to come back with is that of the last line.
    """
    while True:
        rows = await database.run(FOLLOW, (cursor.log, str(cursor.xid), cursor.key, limit))
        if rows:
            return [Change._make(row) for row in rows]
        if cursor.log >= (await database.run(NUMBER))[0][0]:
            return []
        cursor = Cursor(cursor.log + 1, 0, 0)


async def horizon(database: Database) -> Cursor:
    """The place to begin for who wants to know only what comes from now on."""
    return Cursor._make((await database.run(HORIZON))[0])


async def versions(database: Database, keys: Sequence[int]) -> dict[int, Stored]:
    """Read the versions of lines; one that is missing is not there yet."""
    rows = await database.run(READ, (Integers(keys),))
    return {key: Stored._make((*columns, body or b"")) for key, *columns, body in rows}


async def renew(database: Database | Transaction) -> int:
    """Begin a new log, after a restore from a dump and before anything is written to it.

    The audit ledger's chain goes on in the new log as well. `renew_log` (migration 0034) does it as
    the owner of the tables, whoever calls it.
    """
    return int((await database.run(RENEW))[0][0])
