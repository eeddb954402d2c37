"""The seals: a chain of digests over the ledger, so that no row can be changed unnoticed.

Rows are chained in (log, xid, n) order, as far as no transaction still open can add one (see
`fhir_server.store.changes` for that horizon). A link covers some thousands of rows; its digest is
over the digest before it and every column of every row. To edit, delete, insert or reorder a
sealed row means to break a link; to mend it means to write all later links again, which shows as
soon as the head is compared with one that somebody has kept elsewhere.

References
----------
* FIPS 180-4 (SHA-256)
* docs/adr/0012: what a chain shows, and what it does not
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from fhir_server.audit.ledger import COLUMNS
from fhir_server.postgres.database import Database, Transaction

ROWS: Final = 5000
"""Rows in one link."""


class Seal(NamedTuple):
    """One link: its last row, how many rows it covers, and the digest."""

    number: int
    log: int
    xid: int
    n: int
    rows: int
    digest: bytes


class Fault(NamedTuple):
    """A link that does not hold, and how it shows."""

    number: int
    reason: str


NOTHING: Final = Seal(0, 0, 0, 0, 0, bytes(32))
"""What the first link is chained to."""

_ROW: Final = f"log, xid::text::bigint, n, {COLUMNS}"

UNSEALED: Final = f"""
select {_ROW} from audit, (select number from log) as present
where (log, xid, n) > ($1, $2::text::xid8, $3)
  and (log < present.number or xid < pg_snapshot_xmin(pg_current_snapshot()))
order by log, xid, n limit $4
"""

SEALED: Final = f"""
select {_ROW} from audit
where (log, xid, n) > ($1, $2::text::xid8, $3) and (log, xid, n) <= ($4, $5::text::xid8, $6)
order by log, xid, n limit $7
"""

EARLIER: Final = "select from audit where (log, xid, n) <= (0, '0'::xid8, 0) limit 1"
"""No row that was ever written is as early as `NOTHING`: no link would cover it."""

_SEAL: Final = "number, log, xid::text::bigint, n, rows, digest"

LAST: Final = f"select {_SEAL} from audit_seal order by number desc limit 1"

AFTER: Final = f"select {_SEAL} from audit_seal where number > $1 order by number limit 100"

ADD: Final = """
insert into audit_seal(number, instant, log, xid, n, rows, digest)
values ($1, $2, $3, $4::text::xid8, $5, $6, $7)
on conflict (number) do nothing returning number
"""


async def seal(database: Database, instant: int, most: int = ROWS) -> int:
    """Seal what has come since the last link, so many rows a link; give the number of rows.

    Of two processes that seal at once, one adds the link and the other leaves it at that.
    """
    count = 0
    while True:
        last = await head(database) or NOTHING
        rows = await database.run(UNSEALED, (last.log, str(last.xid), last.n, most))
        if not rows:
            return count
        log, xid, n, *_ = rows[-1]
        digest = _digest(last.digest, rows)
        link = last.number + 1, instant, log, str(xid), n, len(rows), digest
        if not await database.run(ADD, link):
            return count
        count += len(rows)


async def head(database: Database | Transaction) -> Seal | None:
    """The last link; keep its number and digest where nobody who keeps the ledger can write."""
    rows = await database.run(LAST)
    return Seal._make(rows[0]) if rows else None


async def verify(database: Database | Transaction, *kept: Seal) -> list[Fault]:
    """Walk the whole chain and tell which links do not hold; an empty list is good news.

    Parameters
    ----------
    kept
        Heads kept elsewhere: each of these links must still be there and be the same.
    """
    faults: list[Fault] = []
    if await database.run(EARLIER):
        faults.append(Fault(1, "a row was inserted before the beginning"))
    before = NOTHING
    heads = {head.number: head for head in kept}
    async for link in _links(database):
        if link.number != before.number + 1:
            faults.append(Fault(link.number, "a link before this one is missing"))
        faults += await _broken(database, before, link)
        if heads.get(link.number, link) != link:
            faults.append(Fault(link.number, "it is not the link that was kept"))
        before = link
    if before.number < (last := max(heads, default=0)):
        faults.append(Fault(last, "the end of the chain is missing"))
    return faults


async def _links(database: Database | Transaction) -> AsyncIterator[Seal]:
    number = 0
    while rows := await database.run(AFTER, (number,)):
        for row in rows:
            yield Seal._make(row)
        number = rows[-1][0]


async def _broken(database: Database | Transaction, before: Seal, link: Seal) -> list[Fault]:
    rows = await database.run(
        SEALED,
        (before.log, str(before.xid), before.n, link.log, str(link.xid), link.n, link.rows + 1),
    )
    if len(rows) < link.rows:
        return [Fault(link.number, f"{link.rows - len(rows)} rows are missing")]
    if len(rows) > link.rows:
        return [Fault(link.number, "a row was inserted")]
    if _digest(before.digest, rows) != link.digest:
        return [Fault(link.number, "a row or the seal was changed")]
    return []


def _digest(before: bytes, rows: list[tuple[Any, ...]]) -> bytes:
    """Chain rows: each column as its length and its bytes, so that no two rows read the same.

    The last column, `purpose`, came later: where it is null the row reads as it did before, and
    where it is not, its sign is one that no other column begins with.
    """
    chain = hashlib.sha256(before)
    for *row, purpose in rows:
        for value in row:
            if value is None:
                chain.update(b"-;")
            else:
                data = value if isinstance(value, bytes) else str(value).encode()
                chain.update(b"%d:%b" % (len(data), data))
        if purpose is not None:
            data = purpose.encode()
            chain.update(b"+%d:%b" % (len(data), data))
    return chain.digest()
