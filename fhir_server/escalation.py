"""Escalation: an acknowledgement that does not come is asked for again, and then of others.

A duty of the worker. Each step is one unit of work: the Task (owner, candidates, business status,
the time of the step, when the next one is due), a Communication to whoever is asked and a
Provenance. A step that somebody else took meanwhile is not taken again: the Task has moved on.

References
----------
* R010.3, R009.2 of the requirements; docs/acknowledgement.md, "When no answer comes"
* FHIR R4 Task, Communication, CareTeam
"""

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fhir_server import delegation, recipients
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.naming import local, versioned
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Work
from resources import acknowledgement, codes, content, provenance
from resources.acknowledgement import Policy
from resources.content import written_instant
from resources.errors import Conflict
from resources.request_names import NAMES

Json = Mapping[str, Any]

_log = logging.getLogger(__name__)

OURSELVES: Final = Principal.system("acknowledgement")
AT_ONCE: Final = 200
"""Tasks looked at by one search."""


class Escalation:
    """The duty.

    Parameters
    ----------
    policy
        By when reports are acknowledged.
    fhir_base
        Address of the FHIR root.
    """

    def __init__(self, store: Store, policy: Policy, fhir_base: str) -> None:
        self._store = store
        self._policy = policy
        self._base = fhir_base

    async def work(self, instant: int) -> int:
        """Take every step that is due at an instant (microseconds since 1970 UTC); say how many.

        After an outage all steps that were missed are taken, in order.
        """
        taken, cursor = 0, ""
        while True:
            page = await self._store.search(
                RequestContext(OURSELVES, "search-type", "worker"), _due(instant, cursor)
            )
            for stored in page.matches:
                try:
                    taken += await self._all_steps(stored, instant)
                except Exception:
                    # One that cannot be escalated does not hold up the others.
                    _log.exception("an acknowledgement was not escalated", extra={"id": stored.id})
            if page.next is None:
                return taken
            cursor = page.next

    async def _all_steps(self, stored: Stored, instant: int) -> int:
        taken = 0
        while await self._step(stored, instant):
            taken += 1
            context = RequestContext(OURSELVES, "read", "worker")
            stored = await self._store.read(context, "Task", stored.id)
        return taken

    async def _step(self, seen: Stored, instant: int) -> bool:
        """Take the next step of one Task, if it is due; False when there is none to take."""
        if seen.json.get("status") not in acknowledgement.OPEN:
            return False
        found = acknowledgement.next_step(self._policy, seen.json)
        now = datetime.fromtimestamp(instant / 1_000_000, UTC)
        if found is None or found[1] > now:
            await self._tell_when(seen, found, instant)
            return False
        context = RequestContext(OURSELVES, "update", "worker", instant=instant)
        try:
            async with self._store.begin(context) as work:
                await self._take(work, seen, found[0])
        except Conflict:
            return False  # somebody has changed the Task since: it is looked at again next time
        return True

    async def _tell_when(
        self, seen: Stored, found: tuple[str, datetime] | None, instant: int
    ) -> None:
        """Bring a Task up to deadlines that were changed since it was made."""
        when = _written(found[1]) if found else ""
        extension = acknowledgement.with_next_step(self._policy, seen.json, when)
        if extension == seen.json.get("extension", []):
            return
        context = RequestContext(OURSELVES, "update", "worker", instant=instant)
        changed = content.replaced(content.read(seen.text), {"extension": extension or None})
        try:
            async with self._store.begin(context) as work:
                await work.update("Task", seen.id, changed, seen.version)
        except Conflict:
            return

    async def _take(self, work: Work, seen: Stored, step: str) -> None:
        task, instant = seen.json, written_instant(work.context.instant)
        owner = local(task.get("owner", {}).get("reference", ""), self._base)
        asked = owner if step == "remind" else await self._next_owner(work, task, owner, step)
        after: dict[str, Any] = {
            **task,
            "output": acknowledgement.saying(task, step, instant),
            "lastModified": instant,
        }
        if step != "remind":
            after["businessStatus"] = codes.ESCALATED.concept
        if asked != owner:
            after["owner"] = {"reference": asked}
            after["extension"] = acknowledgement.with_candidate(after, owner)
        following = acknowledgement.next_step(self._policy, after)
        when = _written(following[1]) if following else ""
        after["extension"] = acknowledgement.with_next_step(self._policy, after, when)
        members = {name: after[name] for name in after if after[name] != task.get(name)}
        if after["extension"] == [] and "extension" in task:
            members["extension"] = None
        changed = content.replaced(content.read(seen.text), members)
        stored = await work.update("Task", seen.id, changed, seen.version)
        requester = local(task["requester"]["reference"], self._base)
        told = acknowledgement.alert(after, requester, dict.fromkeys([asked, owner]), instant, step)
        id = uuid.uuid5(NAMES, f"{stored.reference}/{step}")
        message = await work.create(content.made(told), str(id))
        await work.create(content.made(self._act(stored, message, step, instant)))

    def _act(self, stored: Stored, message: Stored, step: str, instant: str) -> dict[str, Any]:
        return provenance.act(
            [versioned(stored), versioned(message)],
            instant,
            codes.ACKNOWLEDGEMENT_NOTES[step].concept,
            provenance.Agent(OURSELVES.subject),
            codes.ASSEMBLER,
        )

    async def _next_owner(self, work: Work, task: Json, owner: str, step: str) -> str:
        """Who is asked now: the team of the owner, or the reporter's fail-safe officer."""
        if step == "escalate-team":
            if not owner.startswith("PractitionerRole/"):
                return owner
            found = await delegation.teams(work, owner)
            if found:
                return f"CareTeam/{found[0]['id']}"
            return await recipients.organization(work, owner, self._base) or owner
        reporting = await recipients.organization(
            work, local(task["requester"]["reference"], self._base), self._base
        )
        return await recipients.fail_safe(work, reporting)


def _due(instant: int, cursor: str) -> Any:
    pairs = [
        ("code", codes.ACKNOWLEDGE.token),
        ("status", ",".join(acknowledgement.OPEN)),
        ("escalates", f"le{written_instant(instant)}"),
        ("_count", str(AT_ONCE)),
        ("_total", "none"),
    ]
    return parse("Task", [*pairs, ("_cursor", cursor)] if cursor else pairs, strict=True)


def _written(when: datetime) -> str:
    return written_instant(int(when.timestamp() * 1_000_000))
