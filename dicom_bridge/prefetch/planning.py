"""Planning: what is scheduled becomes a Task that brings its studies to where they are needed.

A follower of the change log: a step or an appointment that appears, moves or ends, and a study that
gets more objects, or may be seen by more, while somebody waits for it. Which Task covers which
state of a study is kept beside the Task, so whoever begins again after a crash makes what is
missing and nothing twice, and objects that come late make the next Task, or join one that has not
begun.

References
----------
* R003.2 to R003.4 of the requirements; docs/adr/0048
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.prefetch import queue, record
from dicom_bridge.prefetch.record import OURSELVES, Wanted
from fhir_server.context import RequestContext, now
from fhir_server.naming import local, normal, split
from fhir_server.search import date
from fhir_server.search.stored import Stored
from fhir_server.store import changes
from fhir_server.store.changes import Change, Cursor
from fhir_server.store.unit_of_work import Work
from resources import codes, content, elements, prefetch, priors
from resources.errors import Conflict, Exhausted, Refusal
from resources.priors import Rules

Json = Mapping[str, Any]

FOLLOWER: Final = "prefetch"
AT_ONCE: Final = 500
ATTEMPTS: Final = 5
"""How often something is planned that others change meanwhile."""
OF_A_PATIENT: Final[Mapping[str, str]] = {"ImagingStudy": "subject", "Consent": "patient"}
"""What has all planned again that is open for a patient: images, and who may see them."""
CONCERN: Final = ("Task", "Appointment", *OF_A_PATIENT)
LATE: Final = 2**62
"""The deadline of what has none."""

PLACE: Final = "SELECT log, xid, key FROM follower WHERE name = $1"
KEEP: Final = """
INSERT INTO follower (name, log, xid, key) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET log = $2, xid = $3, key = $4
"""
ANY: Final = "SELECT EXISTS (SELECT FROM peer WHERE destination)"
COVERED: Final = """
SELECT imaging_study, state, task FROM prefetch_covered WHERE trigger = $1 AND peer = $2
"""
COVER: Final = """
INSERT INTO prefetch_covered (trigger, peer, imaging_study, state, task)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (trigger, peer, imaging_study) DO UPDATE SET state = $4, task = $5
"""
PENDING: Final = """
SELECT c.task FROM prefetch_covered c JOIN prefetch p ON p.task = c.task
WHERE c.trigger = $1 AND p.attempts = 0 AND ($2 = '' OR p.peer = $2)
GROUP BY c.task, p.due ORDER BY p.due
"""
MOVE: Final = "UPDATE prefetch SET deadline = $2 WHERE task = $1"

_log = logging.getLogger(__name__)


class Planner:
    """The follower.

    Parameters
    ----------
    fhir_base
        Address of the FHIR root.
    rules
        Which priors matter.
    """

    def __init__(self, bridge: Bridge, fhir_base: str, rules: Rules = priors.DEFAULT) -> None:
        self._bridge, self._base, self._rules = bridge, fhir_base, rules

    async def work(self) -> int:
        """Plan what the changes since last time ask for; say how many Tasks that made or moved.

        What was scheduled before there was any destination is not planned.
        """
        database = self._bridge.database
        if not (await database.run(ANY))[0][0]:
            return 0
        rows = await database.run(PLACE, (FOLLOWER,))
        if not rows:
            await database.run(KEEP, (FOLLOWER, *await changes.horizon(database)))
            return 0
        place, planned = Cursor._make(rows[0]), 0
        while lines := await changes.follow(database, place, AT_ONCE):
            for name in await self._concerned(lines):
                planned += await self._try(name)
            place = lines[-1].cursor
            await database.run(KEEP, (FOLLOWER, *place))
        return planned

    async def plan(self, name: str) -> int:
        """Plan one thing that is scheduled; say how many Tasks that made or moved."""
        context = RequestContext(OURSELVES, "job", "worker")
        async with self._bridge.store.begin(context) as work:
            trigger = await record.read(work, name, self._base)
            if prefetch.is_prefetch(trigger):
                return await self._enqueue(work, trigger)
            if not trigger or not prefetch.is_trigger(trigger):
                return 0
            if not prefetch.is_open(trigger):
                return await self._give_up(work, name)
            places = await record.organizations(work, trigger, self._base)
            found = await peers.destinations(self._bridge.database, places)
            return sum([await self._bring(work, trigger, name, peer) for peer in found])

    async def _concerned(self, lines: Sequence[Change]) -> list[str]:
        """What is scheduled that changes are about, each once."""
        keys = [one.key for one in lines if one.type in CONCERN]
        found: dict[str, None] = {}
        patients: dict[str, None] = {}
        for stored in (await changes.versions(self._bridge.database, keys)).values():
            if stored.deleted:
                continue
            json = normal(stored, self._base)
            if stored.type in OF_A_PATIENT:
                named = json.get(OF_A_PATIENT[stored.type])
                patients |= dict.fromkeys(elements.references(named))
            elif prefetch.is_trigger(json) or _is_asked_for(json):
                found[stored.reference] = None
        for patient in patients:
            async with self._bridge.store.begin(_reading()) as work:
                name = local(patient, self._base)
                found |= dict.fromkeys(await record.triggers_of(work, name, self._base))
        return list(found)

    async def _try(self, name: str) -> int:
        for _ in range(ATTEMPTS):
            try:
                return await self.plan(name)
            except Conflict:
                continue  # somebody was faster: it is looked at again
            except Exhausted:
                raise
            except Refusal as refusal:
                _log.error("%s is not prefetched for: %s", name, refusal.reason)
                return 0
            except Exception:
                _log.exception("%s is not prefetched for", name)
                return 0
        _log.error("%s is not prefetched for: it does not stand still", name)
        return 0

    async def _bring(self, work: Work, trigger: Json, name: str, peer: Peer) -> int:
        """See to it that a peer gets what something scheduled needs there."""
        patient = local(prefetch.patient(trigger), self._base)
        if not patient:
            asked = await record.requests(work, trigger, self._base)
            named = [each for one in asked for each in elements.references(one.get("subject"))]
            patient = next(iter(named), "")
        if not patient:
            return 0
        studies = await record.visible(self._bridge, peer.principal, patient, self._base)
        found = await record.wanted(work, trigger, studies, self._rules, self._base)
        if found is None:
            return 0
        ids = [*found.own, *found.priors]
        held = await record.states(self._bridge, ids, peer.principal.subject)
        rows = await work.rows(COVERED, (name, peer.ae))
        covered = {str(study): str(state) for study, state, _ in rows}
        stale = [one for one in ids if one in held and covered.get(one) != held[one]]
        pending = [str(one) for (one,) in await work.rows(PENDING, (name, peer.ae))]
        moved = sum([await self._move(work, one, trigger) for one in pending])
        if not stale:
            return moved
        if pending:
            id = await self._join(work, pending[-1], found, stale)
        else:
            id = await self._make(work, trigger, name, peer, found, stale, held)
        for one in stale:
            work.add(COVER, (name, peer.ae, one, held[one], id))
        return 1

    async def _make(
        self, work: Work, trigger: Json, name: str, peer: Peer, found: Wanted,
        stale: Sequence[str], held: Mapping[str, str],
    ) -> str:  # fmt: skip
        own = [one for one in found.own if one in stale]
        focus = f"ImagingStudy/{own[0]}" if own else found.focus or f"ImagingStudy/{stale[0]}"
        inputs = [_input(one, found) for one in stale if f"ImagingStudy/{one}" != focus]
        instant = content.written_instant(work.context.instant)
        made = prefetch.task(
            trigger, name, peer.organization, found.subject, focus, inputs, instant
        )
        states = " ".join(f"{one}={held[one]}" for one in sorted(stale))
        seed = f"{codes.BASE}/prefetch/{name}/{peer.ae}/{states}"
        id = str(uuid.uuid5(uuid.NAMESPACE_URL, seed))
        await work.update("Task", id, content.made(made), first=Conflict)
        work.add(queue.ADD, (id, peer.ae, _deadline(made), now()))
        return id

    async def _join(self, work: Work, id: str, found: Wanted, stale: Sequence[str]) -> str:
        """Let a Task that has not begun bring more."""
        stored = await work.read("Task", id)
        brought = prefetch.studies(stored.json)
        more = [prefetch.parameter(*_input(one, found)) for one in stale if one not in brought]
        if more:
            listed = [*stored.json.get("input", ()), *more]
            await _change(work, stored, {"input": listed})
        return id

    async def _move(self, work: Work, id: str, trigger: Json) -> int:
        """Bring a Task that has not begun up to when it is needed now."""
        stored = await work.read("Task", id)
        when = prefetch.needed(trigger)
        period = stored.json.get("restriction", {}).get("period", {})
        if not when or period.get("end") == when:
            return 0
        changed = {"restriction": {"period": {"end": when}}}
        await _change(work, stored, changed)
        work.add(MOVE, (id, _deadline(changed)))
        return 1

    async def _give_up(self, work: Work, name: str) -> int:
        """Cancel what has not begun: it is not needed any more."""
        given_up = 0
        for (id,) in await work.rows(PENDING, (name, "")):
            stored = await work.read("Task", str(id))
            if stored.json.get("status") == "requested":
                reason = {"text": "What it was for is not going to be done."}
                await _change(work, stored, {"status": "cancelled", "statusReason": reason})
                given_up += 1
            work.add(queue.DONE, (str(id),))
        work.add("DELETE FROM prefetch_covered WHERE trigger = $1", (name,))
        return given_up

    async def _enqueue(self, work: Work, task: Json) -> int:
        """Take up a Task that a person has made, or made again of one that failed."""
        if await work.rows(queue.THERE, (task["id"],)):
            return 0
        type_, id = split(elements.references(task.get("owner"))[0])
        found = await peers.destinations(self._bridge.database, [id])
        if task.get("status") != "requested" or type_ != "Organization" or not found:
            return 0
        work.add(queue.ADD, (task["id"], found[0].ae, _deadline(task), now()))
        return 1


def _is_asked_for(json: Json) -> bool:
    is_owned = bool(elements.references(json.get("owner")))
    return prefetch.is_prefetch(json) and json.get("status") == "requested" and is_owned


def _input(study: str, found: Wanted) -> tuple[codes.Coding, str]:
    kind = codes.IO_IMAGING_STUDY if study in found.own else codes.IO_PRIOR
    return kind, f"ImagingStudy/{study}"


def _deadline(task: Json) -> int:
    when = task.get("restriction", {}).get("period", {}).get("end")
    return date.period(when)[0] if when else LATE


async def _change(work: Work, stored: Stored, members: dict[str, Any]) -> None:
    members["lastModified"] = content.written_instant(work.context.instant)
    changed = content.replaced(content.read(stored.text), members)
    await work.update("Task", stored.id, changed, stored.version)


def _reading() -> RequestContext:
    return RequestContext(OURSELVES, "search-type", "worker")
