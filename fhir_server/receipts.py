"""Receipts: that a report reached its recipient, and that they opened it, taken from the ledger.

A duty of the worker follows the audit ledger, so reading a report costs nothing more than its
audit row. *Delivered*: the recipient fetched a worklist that the Task is on, or the Task; or their
system did, or took a notification of it. *Opened*: the recipient read the report. Each is written
into the Task with the time at which it happened, not the time at which it was noticed.

References
----------
* R010.3 of the requirements; docs/adr, "Receipts come from the ledger"
* FHIR R4 Task: received, accepted; executionPeriod.start
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from fhir_server import delegation, notified, recipients
from fhir_server.context import RequestContext
from fhir_server.escalation import OURSELVES
from fhir_server.naming import local, versioned
from fhir_server.postgres.database import Database
from fhir_server.search.query import parse
from fhir_server.search.returned import PARAMETERS
from fhir_server.search.stored import Stored
from fhir_server.store import changes
from fhir_server.store.changes import Cursor
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Work
from resources import acknowledgement, codes, content, elements, provenance
from resources.content import written_instant
from resources.errors import Conflict, Refusal

Json = Mapping[str, Any]

FOLLOWER: Final = "acknowledgement"
"""Our name among the followers; the place is one in the ledger, (log, xid, n)."""

AT_ONCE: Final = 2000

MACHINES: Final = frozenset({"application", "device", "system"})
"""Roles that bring a report to somebody, and do not open it."""

UNOPENED: Final = "requested,received"

PLACE: Final = "select log, xid, key from follower where name = $1"

READ: Final = """
select log, xid::text::bigint, n, instant, interaction, type, id, version, subject, organization,
    role, query
from audit
where (log, xid, n) > ($1, $2::text::xid8, $3) and (log < $4 or log = $4 and xid <= $5::text::xid8)
  and outcome = 0 and role <> 'system'
  and (interaction in ('read', 'vread') and type in ('DiagnosticReport', 'Task')
       or interaction = 'search-type' and type = 'Task' and hits > 0)
order by log, xid, n limit $6
"""

KEEP: Final = """
insert into follower (name, log, xid, key) values ($1, $2, $3, $4)
on conflict (name) do update set log = $2, xid = $3, key = $4
"""


class Row(NamedTuple):
    """What is looked at of a row of the ledger (`audit.tables.Audit`)."""

    log: int
    xid: int
    n: int
    instant: int
    interaction: str
    type: str
    id: str | None
    version: int | None
    subject: str
    organization: str | None
    role: str
    query: str | None


class Receipts:
    """The duty.

    Parameters
    ----------
    fhir_base
        Address of the FHIR root.
    """

    def __init__(self, database: Database, store: Store, fhir_base: str) -> None:
        self._database = database
        self._store = store
        self._base = fhir_base

    async def work(self) -> int:
        """Note what the ledger says since last time; say of how many Tasks something was noted.

        The first time begins now. What was noted before is not noted again, so a place that was
        not kept because all died does no harm.
        """
        noted = await self._notified()
        end = await changes.horizon(self._database)
        places = await self._database.run(PLACE, (FOLLOWER,))
        place = Cursor._make(places[0]) if places else end
        while True:
            limits = (place.log, str(place.xid), place.key, end.log, str(end.xid), AT_ONCE)
            rows = [Row._make(row) for row in await self._database.run(READ, limits)]
            for row in _sole(rows):
                noted += await self._note(row)
            place = Cursor(*rows[-1][:3]) if len(rows) == AT_ONCE else end
            await self._database.run(KEEP, (FOLLOWER, *place))
            if place == end:
                return noted

    async def _notified(self) -> int:
        """Note what subscribers have taken."""
        told = await notified.told(self._database)
        noted = 0
        for one in told:
            subject = f"Subscription/{one.subscription}"
            row = Row(0, 0, one.number, one.instant, "notification", "Task", one.task, None,
                      subject, one.organization, "application", None)  # fmt: skip
            noted += await self._note(row)
        await notified.keep(self._database, told)
        return noted

    async def _note(self, row: Row) -> int:
        try:
            if row.type == "DiagnosticReport":
                return await self._report_read(row)
            return await self._worklist_fetched(row)
        except Refusal:
            return 0  # a search that was allowed then and is none any more

    async def _report_read(self, row: Row) -> int:
        found = await self._tasks([("focus", f"DiagnosticReport/{row.id}")], UNOPENED)
        noted = 0
        for task in found:
            focus = elements.references(task.json.get("focus"))
            is_version = row.version is None or not focus or focus[0].endswith(f"/{row.version}")
            if is_version and task.instant <= row.instant:
                noted += await self._receive(task, row, opened=row.role not in MACHINES)
        return noted

    async def _worklist_fetched(self, row: Row) -> int:
        if row.id is not None:
            asked = [("_id", row.id)]
        else:
            said = [each.partition("=") for each in (row.query or "").partition("?")[2].split("&")]
            asked = [
                (unquote(name), unquote(value))
                for name, _, value in said
                if value and name.partition(":")[0] not in PARAMETERS
            ]
        found = await self._tasks(asked, "requested")
        noted = 0
        for task in found:
            if task.instant <= row.instant:
                noted += await self._receive(task, row, opened=False)
        return noted

    async def _tasks(self, asked: list[tuple[str, str]], status: str) -> list[Stored]:
        pairs = [
            *asked,
            ("code", codes.ACKNOWLEDGE.token),
            ("status", status),
            ("_count", "500"),
            ("_total", "none"),
        ]
        context = RequestContext(OURSELVES, "search-type", "worker")
        page = await self._store.search(
            context, parse("Task", pairs, strict=True, own_base=self._base)
        )
        return page.matches

    async def _receive(self, task: Stored, row: Row, *, opened: bool) -> int:
        """Write into a Task that it was delivered or opened, if it was by who answers for it."""
        if not self._may_be_theirs(task.json, row, opened=opened):
            return 0
        try:
            async with self._store.begin(RequestContext(OURSELVES, "update", "worker")) as work:
                if not await self._is_theirs(work, task.json, row, opened=opened):
                    return 0
                changed = _received(task, row.instant, work.context.instant, opened=opened)
                stored = await work.update("Task", task.id, changed, task.version)
                await work.create(content.made(_receipt(stored, row, opened=opened)))
        except Conflict:
            return 0  # somebody answered meanwhile
        return 1

    def _may_be_theirs(self, task: Json, row: Row, *, opened: bool) -> bool:
        """What can be said without a look at teams and organisations."""
        owner = local(task.get("owner", {}).get("reference", ""), self._base)
        by_machine = row.role in MACHINES and not opened
        return by_machine or owner.startswith("CareTeam/") or owner in _own(row)

    async def _is_theirs(self, work: Work, task: Json, row: Row, *, opened: bool) -> bool:
        """Whether the reader is who was asked: the person, or somebody of the place or team.

        A colleague who looks at a report that is for one person has not opened it for them; that
        person's own system has brought it to them.
        """
        owner = local(task.get("owner", {}).get("reference", ""), self._base)
        if owner in _own(row):
            return True
        if owner.startswith("CareTeam/"):
            team = await recipients.read(work, owner)
            return bool(_own(row) & delegation.members(team, self._base))
        at = await recipients.organization(work, owner, self._base)
        return row.role in MACHINES and not opened and at == f"Organization/{row.organization}"


def _own(row: Row) -> set[str]:
    return {row.subject, f"Organization/{row.organization}"}


def _sole(rows: Iterable[Row]) -> list[Row]:
    """Leave out what says nothing new: the same asker who asks the same thing again and again.

    The first and the last of them are kept: what was issued before the first was delivered by it,
    and what was issued in between by the last at the latest.
    """
    kept: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = (row.subject, row.organization, row.type, row.id, row.version, row.query)
        kept.setdefault(key, []).append(row)
    ends = [row for same in kept.values() for row in dict.fromkeys((same[0], same[-1]))]
    return sorted(ends, key=lambda row: (row.instant, row.n))


def _received(task: Stored, instant: int, now: int, *, opened: bool) -> content.Content:
    when = written_instant(instant)
    json, delivered = task.json, codes.IO_DELIVERED.code
    members: dict[str, Any] = {
        "status": "accepted" if opened else "received",
        "lastModified": written_instant(now),
    }
    if acknowledgement.said(json, delivered) is None:
        members["output"] = acknowledgement.saying(json, delivered, when)
    if opened:
        members["executionPeriod"] = {**json.get("executionPeriod", {}), "start": when}
        if not codes.has(json.get("businessStatus"), codes.ESCALATED):
            members["businessStatus"] = codes.VIEWED.concept
    return content.replaced(content.read(task.text), members)


def _receipt(stored: Stored, row: Row, *, opened: bool) -> dict[str, Any]:
    focus = elements.references(stored.json.get("focus"))
    note = codes.NOTE_OPENED if opened else codes.NOTE_DELIVERED
    made = provenance.act(
        [versioned(stored)],
        written_instant(stored.instant),
        note.concept,
        provenance.Agent(row.subject, row.organization),
        by_system=True,
        entities=[provenance.source(one) for one in focus],
    )
    return {**made, "occurredDateTime": written_instant(row.instant)}
