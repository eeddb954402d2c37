"""Performed steps: what a workstation does about a step that it has claimed, told as it goes on.

What it says is kept as it says it. When the performed step is COMPLETED, it is what the scheduled
one has been done by, and only then can that be called COMPLETED. Each N-SET is a version of the
Task, written over the one that was looked at: whoever changes it meanwhile, by whichever protocol,
finds that out and takes nothing away.

References
----------
* PS3.4-2009 Section F.11.2.1 (N-CREATE), F.11.2.2 (N-SET), F.11.2.3 (N-GET), Table F.11.2-1
"""

from collections.abc import Sequence
from typing import Any, Final

from psycopg.errors import UniqueViolation
from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.general_purpose import performers
from dicom_bridge.general_purpose.statuses import (
    DUPLICATE,
    ENDED,
    INVALID_VALUE,
    MISSING,
    NO_SUCH_STEP,
    NOT_FINAL,
    NOT_IN_PROGRESS,
    OTHER_TRANSACTION,
    refused,
)
from dicom_bridge.mapping import general_purpose, ups
from dicom_bridge.mapping.general_purpose import (
    COMPLETED,
    DISCONTINUED,
    IN_PROGRESS,
    PERFORMED_STEP,
)
from dicom_bridge.mapping.matching import text
from dicom_bridge.ups import keeping, performing, requirements
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Texts
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import content
from resources.content import written_instant

STATUS: Final = "GeneralPurposePerformedProcedureStepStatus"
REFERENCED: Final = "ReferencedGeneralPurposeScheduledProcedureStepSequence"
TRANSACTION: Final = "ReferencedGeneralPurposeScheduledProcedureStepTransactionUID"
FIXED: Final = frozenset({
    REFERENCED, "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "PerformedProcedureStepID", "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime", "SOPInstanceUID", "SOPClassUID",
})  # fmt: skip
"""Table F.11.2-1: "Not allowed" in N-SET."""
AT_FIRST: Final = (
    "PerformedProcedureStepID", "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
)  # fmt: skip
"""Attributes of type 1 in N-CREATE, besides the status."""

FIND: Final = "SELECT task, organization, status, json FROM performed_step WHERE uid = $1"
OF: Final = "SELECT uid, task FROM performed_step WHERE task = ANY($1) ORDER BY uid"
ADD: Final = """
INSERT INTO performed_step (uid, task, organization, status, json) VALUES ($1, $2, $3, $4, $5)
"""
SET: Final = """
UPDATE performed_step SET status = $2, json = $3 WHERE uid = $1 AND status = 'IN PROGRESS'
"""


async def begin(bridge: Bridge, context: RequestContext, uid: str, ds: Dataset) -> None:
    """Keep that a step is being performed.

    Raises
    ------
    Refused
        It does not begin IN PROGRESS, there is one of this UID, or the scheduled step is not
        claimed under the Transaction UID that it names.
    """
    requirements.check_form(ds)
    if text(ds.get(STATUS)).strip() != IN_PROGRESS:
        raise refused(INVALID_VALUE, STATUS)
    for keyword in AT_FIRST:
        if not text(ds.get(keyword)):
            raise refused(MISSING, keyword)
    organization = context.principal.organization
    try:
        async with bridge.store.begin(context) as work:
            if await work.rows(FIND, (uid,)):
                raise refused(DUPLICATE, "SOPInstanceUID")
            task, _ = await _scheduled(bridge, work, ds)
            work.add(ADD, (uid, task.id, organization, IN_PROGRESS, keeping.as_json(_own(ds))))
    except UniqueViolation as error:  # told twice at the same moment
        raise refused(DUPLICATE, "SOPInstanceUID") from error
    await _note(bridge, context, task)


async def change(bridge: Bridge, context: RequestContext, uid: str, ds: Dataset) -> None:
    """Keep what else is said of a performed step, or that it has ended.

    Raises
    ------
    Refused
        There is none of this organisation, it has ended, or what was done has not been said.
    """

    async def once(work: Work) -> Stored:
        status, before, _ = await _find(work, context, uid)
        if status in (COMPLETED, DISCONTINUED):
            raise refused(ENDED)
        requirements.check_form(ds)
        for element in ds:
            if element.keyword in FIXED:
                raise refused(INVALID_VALUE, element.keyword)
        becomes = text(ds.get(STATUS)).strip() or status
        if becomes not in (IN_PROGRESS, COMPLETED, DISCONTINUED):
            raise refused(INVALID_VALUE, STATUS)
        after = Dataset()
        after.update(before)
        after.update(_own(ds))
        task, kept = await _scheduled(bridge, work, after)
        attributes = Dataset()
        attributes.update(kept.attributes)
        if becomes == COMPLETED:
            for keyword in general_purpose.FINAL:
                if not after.get(keyword):
                    raise refused(NOT_FINAL, keyword)
            one = general_purpose.performed_item(after)
            attributes.UnifiedProcedureStepPerformedProcedureSequence = [one]
        written = {**task.json, "lastModified": written_instant(work.context.instant)}
        task = await work.update("Task", task.id, content.made(written), if_match=task.version)
        keeping.put(work, kept._replace(attributes=attributes, held=task.version))
        work.add(SET, (uid, becomes, keeping.as_json(after)))
        return task

    async with bridge.store.begin(context) as work:
        _, _, named = await _find(work, context, uid)
        who = await performers.holding(work, context, (await work.read("Task", named)).json)
    await _note(bridge, context, await performing.in_time(bridge, who, once))


async def retrieve(bridge: Bridge, context: RequestContext, uid: str) -> Dataset:
    """Read a performed step, but not under which Transaction UID it is performed.

    Raises
    ------
    Refused
        There is none of this organisation.
    """
    async with bridge.store.begin(context) as work:
        _, ds, _ = await _find(work, context, uid)
    for item in ds.get(REFERENCED) or ():
        if TRANSACTION in item:
            del item[TRANSACTION]
    ds.SOPClassUID, ds.SOPInstanceUID = PERFORMED_STEP, uid
    return ds


async def of(bridge: Bridge, tasks: Sequence[str]) -> dict[str, list[str]]:
    """Give the UIDs of the performed steps that came of Tasks, by their ids."""
    found: dict[str, list[str]] = {}
    rows: list[Any] = list(await bridge.database.run(OF, (Texts(tasks),))) if tasks else []
    for uid, task in rows:
        found.setdefault(task, []).append(uid)
    return found


async def _scheduled(bridge: Bridge, work: Work, ds: Dataset) -> tuple[Stored, keeping.Kept]:
    """Find the step that is performed, claimed as it says."""
    items = list(ds.get(REFERENCED) or ())
    if len(items) != 1:
        raise refused(INVALID_VALUE, REFERENCED)
    named = text(items[0].get("ReferencedSOPInstanceUID")).strip()
    task, kept = await keeping.find(work, named)
    if ups.state_of(task.json) != ups.IN_PROGRESS:
        raise refused(NOT_IN_PROGRESS, REFERENCED)
    if not await keeping.holds(bridge, task, kept, text(items[0].get(TRANSACTION)).strip()):
        raise refused(OTHER_TRANSACTION, TRANSACTION)
    return task, kept


async def _find(work: Work, context: RequestContext, uid: str) -> tuple[str, Dataset, str]:
    """Find a performed step of this organisation: its status, what it says, and of which Task."""
    rows: list[Any] = list(await work.rows(FIND, (uid,)))
    if not rows or rows[0][1] != context.principal.organization:
        raise refused(NO_SUCH_STEP)
    task, _, status, json = rows[0]
    return str(status), keeping.from_json(json), str(task)


async def _note(bridge: Bridge, context: RequestContext, task: Stored) -> None:
    patient = ups.local(task.json.get("for", {})).partition("/")[2]
    entry = ledger.entry(context, type="Task", id=task.id, patient=patient, detail="performed step")
    await bridge.ledger.append(entry)


def _own(ds: Dataset) -> Dataset:
    """Give what is said of a step itself: no command elements, no character set."""
    said = Dataset()
    said.update({
        element.tag: element for element in ds
        if element.tag.group != 0 and element.keyword != "SpecificCharacterSet"
    })  # fmt: skip
    return said
