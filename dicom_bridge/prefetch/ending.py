"""Ending: what a prefetch Task says while it is done, and when it has ended.

Whoever may read the Task sees how far it is, what of each study was delivered (number of objects
and digest of their UIDs, at a version), or what is missing and why. A transfer is audited for the
organisation that received it, with those that the objects come from.

References
----------
* FHIR R4 Task: status, statusReason, output; docs/representation.md, "Prefetch"
* DICOM PS3.15 Section A.5.3.7 (DICOM Instances Transferred)
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.prefetch import queue
from dicom_bridge.prefetch.manifest import Share
from dicom_bridge.prefetch.queue import Due
from dicom_bridge.prefetch.record import OURSELVES
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.naming import normal
from fhir_server.postgres.database import Texts
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import content, prefetch
from resources.errors import Conflict, Gone, NotFound

Json = Mapping[str, Any]

ATTEMPTS: Final = 5
STEP_PERCENT: Final = 10
"""How often it is said how far a Task is: each version is kept."""
UNDER_WAY: Final = ("requested", "in-progress")
SENDERS: Final = """
SELECT DISTINCT organization FROM instance WHERE sop_uid = ANY($1::text[]) ORDER BY organization
"""

_log = logging.getLogger(__name__)


class Ending:
    """Versions of the Tasks that a mover works on."""

    def __init__(self, bridge: Bridge, fhir_base: str) -> None:
        self._bridge, self._base = bridge, fhir_base
        self._percent: dict[str, int] = {}

    async def begun(self, one: Due, peer: Peer | None) -> Json | None:
        """Say that a Task is under way, and give it; None if it is not to be done any more."""

        def change(task: Json, instant: str) -> dict[str, Any]:
            if peer is None or not peer.destination:
                reason = {"text": f"There is no destination {one.peer}."}
                return {"status": "failed", "statusReason": reason}
            said: dict[str, Any] = {"status": "in-progress"}
            if task["status"] == "requested":
                said["executionPeriod"] = {"start": instant}
                said["extension"] = prefetch.progress(task, 0, "Begun")
            return said

        self._percent[one.task] = 0
        task = await self._change(one, change)
        return None if task is None or task["status"] == "failed" else task

    async def said(self, one: Due, percent: int) -> None:
        """Say how far a Task is, now and then."""
        if percent < self._percent.get(one.task, 0) + STEP_PERCENT or percent >= 100:
            return
        self._percent[one.task] = percent
        await self._change(
            one, lambda task, _: {"extension": prefetch.progress(task, percent, "Under way")}
        )

    async def completed(self, one: Due, outputs: Sequence[Any]) -> None:
        """End a Task of which all has arrived."""

        def change(task: Json, instant: str) -> dict[str, Any]:
            return {
                "status": "completed",
                "output": list(outputs),
                "executionPeriod": {**task.get("executionPeriod", {}), "end": instant},
                "extension": prefetch.progress(task, 100, "All has arrived"),
                "statusReason": None,
            }

        await self._end(one, change)

    async def failed(self, one: Due, outputs: Sequence[Any], told: Sequence[str]) -> None:
        """End a Task of which something has not arrived, and say what."""

        def change(task: Json, instant: str) -> dict[str, Any]:
            return {
                "status": "failed",
                "statusReason": {"text": f"{one.peer}: {prefetch.words(told)}"},
                "output": list(outputs) or None,
                "executionPeriod": {**task.get("executionPeriod", {}), "end": instant},
            }

        _log.error("a prefetch has failed", extra={"id": one.task})
        await self._end(one, change)

    async def waits(self, one: Due, told: Sequence[str]) -> None:
        """Say why a Task is tried again later."""
        words = f"{one.peer}: {prefetch.words(told)}"
        await self._change(
            one,
            lambda task, _: {
                "extension": prefetch.progress(task, self._percent.get(one.task, 0), words[:1024])
            },
        )

    async def note(
        self, context: RequestContext, peer: Peer, share: Share, lacking: Collection[str]
    ) -> None:
        """Audit the transfer of a study: who has received it, and whose objects it is."""
        uids = [one.sop_uid for one in share.found.instances]
        rows = await self._bridge.database.run(SENDERS, (Texts(uids),))
        senders = ", ".join(f"Organization/{row[0]}" for row in rows)
        await self._bridge.ledger.append(
            ledger.entry(
                context,
                outcome=ledger.MINOR_FAILURE if lacking else ledger.SUCCESS,
                type="ImagingStudy",
                id=share.study.id,
                version=share.study.version,
                patient=share.found.patient,
                hits=len(share.listed) - len(lacking),
                detail=f"from {senders} to Organization/{peer.organization} at {peer.ae}",
            )
        )

    async def _end(self, one: Due, change: Any) -> None:
        """Write the last version, and forget the Task, in one transaction."""
        self._percent.pop(one.task, None)
        await self._change(one, change, (queue.DONE, (one.task,)))

    async def _change(
        self, one: Due, change: Any, also: tuple[str, tuple[Any, ...]] | None = None
    ) -> Json | None:
        """Write a version of a Task; None if somebody has ended it."""
        for _ in range(ATTEMPTS):
            try:
                async with self._bridge.store.begin(_context()) as work:
                    if also is not None:
                        work.add(*also)
                    return await self._written(work, one, change)
            except Conflict:
                continue
        raise Conflict(f"Task/{one.task} does not stand still")

    async def _written(self, work: Work, one: Due, change: Any) -> Json | None:
        try:
            stored: Stored = await work.read("Task", one.task)
        except (NotFound, Gone):
            return None
        task = normal(stored, self._base)
        if task.get("status") not in UNDER_WAY:
            return None
        instant = content.written_instant(work.context.instant)
        members = {**change(task, instant), "lastModified": instant}
        changed = content.replaced(content.read(stored.text), members)
        return (await work.update("Task", stored.id, changed, stored.version)).json


def _context() -> RequestContext:
    return RequestContext(OURSELVES, "job", "worker")
