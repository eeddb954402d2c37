"""Reading: one UPS, or the worklist of those that match.

References
----------
* PS3.4 Sections CC.2.7 (N-GET), CC.2.8 (C-FIND); PS3.18 Sections 11.5 (Retrieve), 11.9 (Search)
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import ups, ups_attributes
from dicom_bridge.mapping.matching import RANGE_VRS, dataset_matches, span_of, text
from dicom_bridge.mapping.ups import Workitem
from dicom_bridge.ups import keeping, requirements
from dicom_bridge.ups.keeping import Kept
from fhir_server.context import RequestContext
from fhir_server.search import query
from fhir_server.search.stored import Stored
from resources import codes
from resources.errors import Exhausted

PAGE: Final = 500
MOST: Final = 5000
"""Steps that one query looks at."""

Resource = dict[str, Any]

_log = logging.getLogger(__name__)


async def retrieve(bridge: Bridge, context: RequestContext, uid: str) -> Dataset:
    """Read one UPS, with all that we can say of it.

    Raises
    ------
    NotFound
        There is none, or none that the asker may see.
    """
    task, kept = await keeping.look(bridge, context, uid)
    (item,) = await items(bridge, context, [task], {task.id: kept})
    return ups_attributes.written(item)


async def search(bridge: Bridge, context: RequestContext, keys: Dataset) -> list[Dataset]:
    """Read the UPSs that match, the soonest first.

    Raises
    ------
    Exhausted
        More steps than one query looks at.
    Invalid
        A key that is a date or a time is none, or of another VR than its attribute.
    """
    requirements.check_form(keys)
    _check(keys)
    found = await workitems(bridge, context, keys)
    written = list(_written(found))
    matching = [ds for ds in written if dataset_matches(keys, ds)]
    return sorted(matching, key=lambda ds: text(ds.ScheduledProcedureStepStartDateTime))


async def workitems(bridge: Bridge, context: RequestContext, keys: Dataset) -> list[Workitem]:
    """Gather the UPSs among which those are that match.

    Raises
    ------
    Exhausted
        As `search`.
    """
    tasks = await _tasks(bridge, context, keys)
    kept = await keeping.beside(bridge.database, [task.id for task in tasks])
    return await items(bridge, context, tasks, kept)


def _written(found: Iterable[Workitem]) -> Iterator[Dataset]:
    """Write UPSs; one that cannot be written, whatever it says, keeps nobody from the others."""
    for item in found:
        try:
            yield ups_attributes.written(item)
        except Exception:
            _log.exception("a step could not be written: Task/%s", item.task.get("id"))


async def items(
    bridge: Bridge, context: RequestContext, tasks: Sequence[Stored], kept: dict[str, Kept]
) -> list[Workitem]:
    """Gather what UPSs are made of, as far as the asker may see it."""
    named = list(dict.fromkeys(name for task in tasks for name in ups.referred(task.json)))
    around = await read(bridge, context, named)
    behind = [
        ups.local(one.get(member, {}))
        for name, one in around.items()
        for member in ("requester", "organization", "practitioner")
    ]
    around |= await read(bridge, context, [name for name in behind if name not in around])
    made = [
        Workitem(
            ups.uid_of(task.json),
            task.json,
            kept[task.id].attributes if task.id in kept else Dataset(),
            around,
        )
        for task in tasks
    ]
    await keeping.name(
        bridge.database,
        {
            item.uid: item.task["id"]
            for item in made
            if item.task["id"] not in kept
            and ups.own_uid(item.task) is None
            and not ups.is_derivable(item.task["id"])
        },
    )
    return made


def _check(keys: Dataset) -> None:
    """Refuse dates and times that are none, whether there is anything to match or not."""
    for element in keys:
        if element.VR == "SQ":
            for item in element.value or ():
                _check(item)
        elif element.VR in RANGE_VRS and text(element.value).strip():
            span_of(element.VR, text(element.value))


async def _tasks(bridge: Bridge, context: RequestContext, keys: Dataset) -> list[Stored]:
    """Find the Tasks among which those are that match: as few as the record can tell."""
    state = text(keys.get("ProcedureStepState")).strip()
    statuses = [status for status, name in ups.STATE.items() if state in ("", "*", name)]
    if not statuses:
        return []
    pairs = [("status", ",".join(statuses)), ("_total", "none")]
    patient = text(keys.get("PatientID")).strip()
    if "\0" in patient:
        return []
    if patient and not any(mark in patient for mark in "*?\\,|$"):
        pairs.append(("patient.identifier", patient))
    pairs += _named(text(keys.get("SOPInstanceUID")).strip(), await _known(bridge, keys))
    found: list[Stored] = []
    cursor: str | None = None
    while True:
        more = [("_cursor", cursor)] if cursor else []
        asked = query.parse("Task", [*pairs, ("_count", str(PAGE)), *more], strict=True)
        page = await bridge.store.search(context, asked)
        found += [stored for stored in page.matches if ups.is_one(stored.json)]
        cursor = page.next
        if cursor is None:
            return found
        if len(found) > MOST:
            raise Exhausted("Too many steps match: ask for a state, a day or a patient")


async def _known(bridge: Bridge, keys: Dataset) -> str | None:
    """Look up which Task is behind a single UID that is asked for."""
    uid = text(keys.get("SOPInstanceUID")).strip()
    rows = await bridge.database.run(keeping.BY_UID, (uid,)) if keeping.is_uid(uid) else []
    return str(rows[0][1]) if rows else None


def _named(uid: str, known: str | None) -> list[tuple[str, str]]:
    if not keeping.is_uid(uid):
        return []
    if known is not None:
        return [("_id", known)]
    if (id := ups.id_of(uid)) is not None:
        return [("_id", id)]
    return [("identifier", f"{codes.DICOM_UID}|urn:oid:{uid}")]


async def read(
    bridge: Bridge, context: RequestContext, names: Iterable[str]
) -> dict[str, Resource]:
    """Read what names of the form ``Type/id`` stand for, as far as the asker may."""
    wanted = [name for name in dict.fromkeys(names) if "/" in name]
    found = await bridge.store.many(context, wanted) if wanted else {}
    return {reference: dict(stored.json) for reference, stored in found.items()}
