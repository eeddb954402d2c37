"""Work on exports: what the worker role does about orders.

An order is worked on by one worker, who says now and then that it is still at it; one whose worker
died is begun again. What is written is what the asker saw when asking, as it was then: a resource
that has changed meanwhile is written in its version of that moment. The ledger gets a row a file
and a row a patient.

References
----------
* HL7 Bulk Data Access 2.0: ``transactionTime``, "the server SHALL include any matching resources
  modified up to and including this instant"
* R014 of the requirements: who got to see what, and whose
"""

import asyncio
import json
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

from fhir_server.audit import ledger
from fhir_server.context import now
from fhir_server.export.files import Folder, Lines
from fhir_server.export.orders import COLUMNS, Order
from fhir_server.postgres.database import Database, Texts
from fhir_server.search.stored import Stored
from fhir_server.store import walking
from fhir_server.store.walking import Place, Walk
from resources.compartments import patient_of
from resources.content import written_instant

PAGE: Final = 500
DEAD_MICROSECONDS: Final = 120 * 1_000_000
"""An order whose worker has not been heard of for this long has none."""

ENTRIES_AT_ONCE: Final = 1000

_log = logging.getLogger(__name__)

_CLAIM: Final = f"""
update export set state = 'running', beat = $1, done = 0 where id = (
  select id from export
  where state = 'accepted' or (state = 'running' and beat < $2)
  order by requested limit 1 for update skip locked)
returning {COLUMNS}
"""

_BEAT: Final = """
update export set beat = $2, done = $3 where id = $1 and state = 'running' returning id
"""

_END: Final = """
update export set state = $2, manifest = $3 where id = $1 and state = 'running' returning id
"""

_EXPIRED: Final = "delete from export where expires <= $1 returning id"
_KNOWN: Final = "select id from export where id = any($1)"


class Cancelled(Exception):  # noqa: N818 - nothing went wrong
    """The order is no longer wanted."""


async def work(database: Database, root: Path, base_url: str) -> int:
    """Work on all orders that wait, forget those that have expired, and say how many there were."""
    count = 0
    count += len(await database.run(_EXPIRED, (now(),)))
    await _sweep(database, root)
    while rows := await database.run(_CLAIM, (now(), now() - DEAD_MICROSECONDS)):
        await _fulfil(database, Order(*rows[0]), root, base_url)
        count += 1
    return count


async def _sweep(database: Database, root: Path) -> None:
    """Remove the folders that belong to no order; an order is there before its folder is."""
    found = await asyncio.to_thread(Folder.all, root)
    if found:
        rows = await database.run(_KNOWN, (Texts([folder.id for folder in found]),))
        known = {id for (id,) in rows}
        for folder in found:
            if folder.id not in known:
                await asyncio.to_thread(folder.remove)


async def _fulfil(database: Database, order: Order, root: Path, base_url: str) -> None:
    """Write the files of an order, and its manifest; what fails is told to its asker as failed."""
    folder = Folder(root, order.id)
    try:
        await asyncio.to_thread(folder.begin)
        job = Job(database, order, folder, base_url)
        for type in order.types:
            await job.write(type)
        await job.audit()
        await database.run(_END, (order.id, "complete", job.manifest()))
    except Cancelled:
        await asyncio.to_thread(folder.remove)
    except Exception:
        _log.exception("an export failed", extra={"request": order.id})
        await asyncio.to_thread(folder.remove)
        await database.run(_END, (order.id, "failed", None))


class Job:
    """An order being fulfilled."""

    def __init__(self, database: Database, order: Order, folder: Folder, base_url: str) -> None:
        self._database = database
        self._order = order
        self._folder = folder
        self._base_url = base_url
        self._done = 0
        self._counts: dict[str, int] = {}
        self._patients: Counter[str] = Counter()

    async def write(self, type: str) -> None:
        """Write all of one type."""
        lines = Lines(self._folder, type)
        walk = Walk(
            (type,),
            patients=None if self._order.patients is None else tuple(self._order.patients),
            about_patients=self._order.about_patients,
            since=self._order.since,
            until=self._order.requested,
        )
        context = self._order.context
        place: Place | None = Place()
        while place is not None:
            leg = await walking.page(self._database, context, walk, place, PAGE)
            await self._add(lines, leg.rows)
            place = leg.next
        after: str | None = ""
        while after is not None:
            rows, after = await walking.changed_since(self._database, context, walk, after, PAGE)
            held = await asyncio.to_thread(lines.have, {row.id for row in rows})
            await self._add(lines, [row for row in rows if row.id not in held])
        self._counts |= lines.counts

    async def _add(self, lines: Lines, rows: list[Stored]) -> None:
        if rows:
            await asyncio.to_thread(lines.add, [row.text for row in rows])
            about = (patient_of(row.json, self._base_url) for row in rows)
            self._patients.update(each for each in about if each is not None)
            self._done += len(rows)
        if not await self._database.run(_BEAT, (self._order.id, now(), self._done)):
            raise Cancelled

    async def audit(self) -> None:
        """Tell the ledger what was exported, and about whom."""
        context = replace(self._order.context, instant=now())
        entries = [
            ledger.entry(context, type=name.partition(".")[0], query=name, hits=count)
            for name, count in self._counts.items()
        ]
        entries += [
            ledger.entry(context, type="Patient", id=patient, patient=patient, hits=count)
            for patient, count in self._patients.items()
        ]
        for at in range(0, len(entries), ENTRIES_AT_ONCE):
            some = entries[at : at + ENTRIES_AT_ONCE]
            await self._database.run(ledger.INSERT, ledger.arrays(some))

    def manifest(self) -> str:
        """Write the answer of the status request."""
        base = f"{self._base_url}/_export/{self._order.id}"
        return json.dumps({
            "transactionTime": written_instant(self._order.requested),
            "request": self._order.address,
            "requiresAccessToken": True,
            "output": [
                {"type": name.partition(".")[0], "url": f"{base}/{name}", "count": count}
                for name, count in self._counts.items()
            ],
            "error": [],
        })  # fmt: skip
