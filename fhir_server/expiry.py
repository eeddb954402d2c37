"""Expiry: what was handed to another organisation and is not begun in time comes back.

The first step of an onward request that is past its due time, while nothing of it was begun and no
slot is booked, is cancelled as expired. What follows from that is the pathway's: the request is
revoked, and the step of the lead is on its worklist again.

References
----------
* FHIR R4 Task.restriction.period; docs/representation.md, "Onward requests"
"""

import logging
from typing import Any, Final

from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.naming import local, split, versioned
from fhir_server.search.query import Query, parse
from fhir_server.search.stored import Stored
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Work
from resources import codes, content, elements, onward_request, provenance
from resources.content import written_instant
from resources.errors import Conflict
from resources.task import step_of

OURSELVES: Final = Principal.system("expiry")
WAITING: Final = "requested,received,accepted,ready"
BEGUN: Final = frozenset({"in-progress", "on-hold", "completed"})
BOOKED: Final = "booked,arrived,checked-in,fulfilled"
AT_ONCE: Final = "200"
REASON: Final = "It was not begun by its due time."

_log: Final = logging.getLogger(__name__)


class Expiry:
    """The duty.

    Parameters
    ----------
    base
        Address of the FHIR root.
    """

    def __init__(self, store: Store, base: str) -> None:
        self._store = store
        self._base = base

    async def work(self, instant: int) -> int:
        """End what was due before an instant; how many steps there were."""
        ended, cursor = 0, ""
        context = RequestContext(OURSELVES, "search-type", "worker")
        while True:
            page = await self._store.search(context, _due(instant, cursor))
            for stored in page.matches:
                try:
                    ended += await self._end(stored, instant)
                except Conflict:
                    continue  # somebody took the step meanwhile
                except Exception:
                    # One that cannot be ended does not hold up the others.
                    _log.exception("an onward request did not expire", extra={"id": stored.id})
            if page.next is None:
                return ended
            cursor = page.next

    async def _end(self, seen: Stored, instant: int) -> bool:
        context = RequestContext(OURSELVES, "update", "worker", instant=instant)
        async with self._store.begin(context) as work:
            request = await self._request(work, seen)
            if request is None or await self._has_begun(work, request.reference):
                return False
            members: dict[str, Any] = {
                "status": "cancelled",
                "businessStatus": codes.EXPIRED.concept,
                "statusReason": {"text": REASON},
                "lastModified": written_instant(instant),
            }
            changed = content.replaced(content.read(seen.text), members)
            stored = await work.update("Task", seen.id, changed, seen.version)
            act = provenance.act(
                [versioned(stored)],
                written_instant(instant),
                codes.EXPIRED.concept,
                provenance.Agent(OURSELVES.subject),
                codes.ASSEMBLER,
            )
            await work.create(content.made(act))
        return True

    async def _request(self, work: Work, task: Stored) -> Stored | None:
        """The onward request that a step belongs to, while it is under way."""
        for reference in elements.references(task.json.get("basedOn")):
            type_, id = split(local(reference, self._base))
            if type_ == "ServiceRequest" and step_of(task.json) != codes.MONITOR.code:
                stored = await work.read(type_, id)
                is_open = stored.json.get("status") == "active"
                return stored if is_open and onward_request.is_onward(stored.json) else None
        return None

    async def _has_begun(self, work: Work, request: str) -> bool:
        booked = [("based-on", request), ("status", BOOKED), ("_count", "1")]
        if await work.search(parse("Appointment", booked, strict=True)):
            return True
        steps = await work.search(
            parse("Task", [("based-on", request), ("_count", "100")], strict=True)
        )
        return any(
            one.json.get("status") in BEGUN and step_of(one.json) != codes.MONITOR.code
            for one in steps
        )


def _due(instant: int, cursor: str) -> Query:
    pairs = [
        ("intent", onward_request.INTENT),
        ("status", WAITING),
        ("due", f"lt{written_instant(instant)}"),
        ("_count", AT_ONCE),
        ("_total", "none"),
    ]
    return parse("Task", [*pairs, ("_cursor", cursor)] if cursor else pairs, strict=True)
