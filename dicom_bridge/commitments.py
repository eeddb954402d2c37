"""Commitments: what peers want to be sure of before they delete their own copy.

A request is kept before it is answered, so that its report is made whatever dies meanwhile; the row
of the ledger that tells of it is kept with it, and the report has one of its own. We
commit ourselves to an instance whose row and bytes are here, durably, as they are when its sender
hears success of a C-STORE; of one that the peer may not know of we say that there is none.

References
----------
* PS3.4 Annex J (Storage Commitment Service Class); PS3.3 Section C.14.1.1 (Failure Reason)
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from dicom_bridge import retrieval
from dicom_bridge.bridge import Bridge
from dicom_bridge.leases import AGAIN_SECONDS, SECOND, waits
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Texts
from resources.errors import Invalid, Refusal

NO_SUCH_INSTANCE: Final = 0x0112
CLASS_INSTANCE_CONFLICT: Final = 0x0119

MOST_ITEMS: Final = 20_000
LEASE: Final = 300 * SECOND
"""Microseconds for which a report under way is nobody else's: longer than a peer may take to
answer on its own association and then on ours."""
PATIENCE: Final = SECOND
"""Microseconds after which who is still associated waits for the report."""
OTHERS: Final = 10 * SECOND
"""So much later another process makes the first report than the one to which the peer speaks."""
WAITS: Final = waits("$1", LEASE)
IS_OURS: Final = "(peer, transaction_uid) IN (SELECT * FROM unnest($3::text[], $4::text[]))"
STARTS: Final = f"{WAITS} + CASE WHEN attempts > 0 OR {IS_OURS} THEN 0 ELSE {OTHERS} END"

KEEP: Final = """
INSERT INTO commitment (peer, transaction_uid, items, asked, attempts, due)
VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT DO NOTHING RETURNING 1
"""
TAKE: Final = f"""
UPDATE commitment SET lease_until = $1 + {LEASE}, attempts = attempts + 1
WHERE (peer, transaction_uid) IN (
  SELECT peer, transaction_uid FROM commitment WHERE {STARTS} <= $1 AND peer <> ALL($2::text[])
  ORDER BY due LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING peer, transaction_uid, items, attempts
"""
DONE: Final = "DELETE FROM commitment WHERE peer = $1 AND transaction_uid = $2"
AGAIN: Final = """
UPDATE commitment SET due = $3, lease_until = NULL WHERE peer = $1 AND transaction_uid = $2
"""
NEXT: Final = f"SELECT min({STARTS}) FROM commitment WHERE peer <> ALL($2::text[])"
HELD: Final = """
SELECT sop_uid, sop_class, study_uid, blob, organization FROM instance WHERE sop_uid = ANY($1)
"""


class Item(NamedTuple):
    """One instance that is asked for."""

    sop_class: str
    sop_uid: str


class Asked(NamedTuple):
    """One request that is to be reported."""

    peer: str
    transaction_uid: str
    items: Sequence[Item]
    attempts: int


class Report(NamedTuple):
    """What we commit ourselves to, and what not, with the Failure Reason of each."""

    committed: Sequence[Item]
    failed: Sequence[tuple[Item, int]]


async def keep(
    database: Database,
    context: RequestContext,
    peer: str,
    transaction_uid: str,
    items: Sequence[Item],
    due: int,
) -> bool:
    """Keep a request; False if this transaction of this peer is known already.

    Parameters
    ----------
    due
        When it is to be reported at the latest, microseconds since 1970.

    Raises
    ------
    Invalid
        It asks for nothing, or for more than anybody has.
    """
    if not 0 < len(items) <= MOST_ITEMS:
        raise Invalid(f"Between 1 and {MOST_ITEMS} instances", "ReferencedSOPSequence")
    pairs = orjson.dumps([tuple(item) for item in items])
    async with database.transaction() as transaction:
        row = (peer, transaction_uid, pairs, context.instant, due)
        kept = await transaction.run(KEEP, row)
        if kept:
            entry = ledger.entry(
                context, query=_said(transaction_uid), hits=len(items), detail="asked for"
            )
            await transaction.run(ledger.INSERT, ledger.arrays([entry]))
    return bool(kept)


def _said(transaction_uid: str) -> str:
    """What joins the rows of a request and of its report."""
    return f"TransactionUID={transaction_uid}"


async def take(
    database: Database, now: int, busy: Sequence[str] = (), ours: Sequence[tuple[str, str]] = ()
) -> Asked | None:
    """Take a request of another peer than the busy ones whose report is due.

    It is nobody else's for a while.

    Parameters
    ----------
    ours
        Peers and their transactions that were asked for over associations of this process.
    """
    rows: list[Any] = list(await database.run(TAKE, (now, Texts(busy), *_columns(ours))))
    if not rows:
        return None
    peer, transaction_uid, items, attempts = rows[0]
    return Asked(peer, transaction_uid, [Item(*item) for item in orjson.loads(items)], attempts)


async def next_due(
    database: Database, now: int, busy: Sequence[str] = (), ours: Sequence[tuple[str, str]] = ()
) -> int | None:
    """When another peer than the busy ones is to be told, in microseconds since 1970, if any is."""
    due = (await database.run(NEXT, (now, Texts(busy), *_columns(ours))))[0][0]
    return None if due is None else int(due)


def _columns(ours: Sequence[tuple[str, str]]) -> tuple[Texts, Texts]:
    return Texts([peer for peer, _ in ours]), Texts([uid for _, uid in ours])


async def done(database: Database, asked: Asked) -> None:
    """Forget a request: the peer has been told."""
    await database.run(DONE, (asked.peer, asked.transaction_uid))


async def again(database: Database, asked: Asked, now: int) -> bool:
    """Say when a peer that could not be told is tried again; False if it is given up."""
    if asked.attempts > len(AGAIN_SECONDS):
        await done(database, asked)
        return False
    due = now + AGAIN_SECONDS[asked.attempts - 1] * SECOND
    await database.run(AGAIN, (asked.peer, asked.transaction_uid, due))
    return True


async def report(bridge: Bridge, context: RequestContext, asked: Asked) -> Report:
    """Say to which instances we commit ourselves, to who is behind the context."""
    items = asked.items
    wanted = {item.sop_uid for item in items}
    rows = await bridge.database.run(HELD, (Texts(wanted),))
    held = {row[0]: row[1:] for row in rows}
    theirs = {uid for uid, row in held.items() if row[3] == context.principal.organization}
    others = {row[1] for uid, row in held.items() if uid not in theirs}
    for study_uid in sorted(others):
        theirs |= await _permitted(bridge, context, study_uid)
    committed: list[Item] = []
    failed: list[tuple[Item, int]] = []
    for item in items:
        row = held.get(item.sop_uid)
        if row is None or item.sop_uid not in theirs or not await bridge.blobs.holds(row[2]):
            failed.append((item, NO_SUCH_INSTANCE))
        elif row[0] != item.sop_class:
            failed.append((item, CLASS_INSTANCE_CONFLICT))
        else:
            committed.append(item)
    detail = f"{len(committed)} committed, {len(failed)} not"
    entry = ledger.entry(
        context, query=_said(asked.transaction_uid), hits=len(committed), detail=detail
    )
    await bridge.ledger.append(entry)
    return Report(committed, failed)


async def _permitted(bridge: Bridge, context: RequestContext, study_uid: str) -> set[str]:
    try:
        found = await retrieval.instances(bridge, context, study_uid)
    except Refusal:
        return set()
    return {one.sop_uid for one in found.instances}
