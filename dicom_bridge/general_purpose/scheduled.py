"""Scheduled steps: the worklist, and what a workstation does with an item of it.

Claiming one is claiming its Task, by the same function and the same lock as over UPS, and written
over the same version as a claim over FHIR: two never hold one item.

References
----------
* PS3.4-2009 Section K.6.2 (worklist), F.10.2.1 (N-ACTION), F.10.2.2 (N-GET)
"""

from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.general_purpose import performed, performers
from dicom_bridge.general_purpose.statuses import INVALID_ARGUMENT, NO_LONGER, refused
from dicom_bridge.mapping import general_purpose, ups
from dicom_bridge.mapping.general_purpose import (
    COMPLETED,
    DISCONTINUED,
    IN_PROGRESS,
    SCHEDULED,
    SUSPENDED,
)
from dicom_bridge.mapping.matching import dataset_matches, text
from dicom_bridge.mapping.ups import Workitem
from dicom_bridge.ups import keeping, performing, reading, requirements, statuses
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import content
from resources.content import written_instant

ASKED: Final = {name: state for state, name in general_purpose.STATUS.items()} | {
    SUSPENDED: ups.IN_PROGRESS
}
"""Status that is asked for -> state of the UPS among which those are."""
BECOMES: Final = {SCHEDULED: "ready", IN_PROGRESS: "in-progress", SUSPENDED: "on-hold"}
"""Status -> Task.status of what is put aside, taken up again, or given back."""
ENDS: Final = {COMPLETED: ups.COMPLETED, DISCONTINUED: ups.CANCELED}


async def search(bridge: Bridge, context: RequestContext, keys: Dataset) -> list[Dataset]:
    """Read the steps that match, of those that the peer's organisation is to do or does.

    Raises
    ------
    Exhausted
        More than one query looks at.
    """
    requirements.check_form(keys)
    asked = Dataset()
    asked.ProcedureStepState = ASKED.get(
        text(keys.get("GeneralPurposeScheduledProcedureStepStatus")).strip(), ""
    )
    for keyword in ("PatientID", "SOPInstanceUID"):
        if keyword in keys:
            asked[keyword] = keys[keyword]
    found = await reading.workitems(bridge, context, asked)
    ours = [one for one in found if _is_theirs(one, context.principal.organization)]
    came = await performed.of(bridge, [str(one.task["id"]) for one in ours])
    steps = [
        general_purpose.written(one, came.get(str(one.task["id"]), []), bridge.ae_title)
        for one in ours
    ]
    matching = [ds for ds in steps if dataset_matches(keys, ds)]
    return sorted(matching, key=lambda ds: text(ds.get("ScheduledProcedureStepStartDateTime")))


async def retrieve(bridge: Bridge, context: RequestContext, uid: str) -> Dataset:
    """Read one step.

    Raises
    ------
    NotFound
        There is none, or none that the asker may see.
    """
    async with bridge.store.begin(context) as work:
        task, kept = await keeping.find(work, uid)
    (item,) = await reading.items(bridge, context, [task], {task.id: kept})
    came = await performed.of(bridge, [task.id])
    return general_purpose.written(item, came.get(task.id, []), bridge.ae_title)


async def act(bridge: Bridge, context: RequestContext, uid: str, information: Dataset) -> None:
    """Change the status of a step: claim it, put it aside or give it back, or end it.

    Raises
    ------
    Refused
        The status does not follow, or the Transaction UID is not that of the holder.
    """
    requirements.check_form(information)
    status = text(information.get("GeneralPurposeScheduledProcedureStepStatus")).strip()
    transaction_uid = text(information.get("TransactionUID")).strip()
    async with bridge.store.begin(context) as work:
        task, _ = await keeping.find(work, uid)
        present = general_purpose.status_of(task.json)
        if present == SCHEDULED:
            who = await performers.claiming(work, context, information, task.json)
        else:
            who = await performers.holding(work, context, task.json)
    if status in ENDS or (present == SCHEDULED and status == IN_PROGRESS):
        asked = Dataset()
        asked.ProcedureStepState = ENDS.get(status, ups.IN_PROGRESS)
        asked.TransactionUID = transaction_uid
        answer = await _moved(bridge, who, uid, asked)
        if answer is not statuses.SUCCESS:
            raise refused(NO_LONGER)
        if status == IN_PROGRESS:
            await _name(bridge, who, uid, information)
    elif status in BECOMES:
        await _put(bridge, who, uid, status, transaction_uid)
    else:
        raise refused(INVALID_ARGUMENT, "GeneralPurposeScheduledProcedureStepStatus")
    await _note(bridge, context, who, task)


async def _moved(bridge: Bridge, who: RequestContext, uid: str, asked: Dataset) -> statuses.Warned:
    """Change the state of the UPS; whoever claims what another was quicker to claim is told so."""
    try:
        return await performing.move(bridge, who, uid, asked)
    except statuses.Refused as refusal:
        is_claim = asked.ProcedureStepState == ups.IN_PROGRESS
        if is_claim and refusal.failure is statuses.WRONG_TRANSACTION:
            raise statuses.refused(statuses.ALREADY_IN_PROGRESS) from refusal
        raise


async def _put(
    bridge: Bridge, who: RequestContext, uid: str, status: str, transaction_uid: str
) -> None:
    """Put a step aside, take it up again or give it back, as its holder."""

    async def once(work: Work) -> None:
        task, kept = await keeping.find(work, uid)
        present = general_purpose.status_of(task.json)
        if present in (COMPLETED, DISCONTINUED):
            raise refused(NO_LONGER)
        if present == SCHEDULED:
            raise refused(INVALID_ARGUMENT, "GeneralPurposeScheduledProcedureStepStatus")
        if not await keeping.holds(bridge, task, kept, transaction_uid):
            is_claim = present == status == IN_PROGRESS
            raise statuses.refused(
                statuses.ALREADY_IN_PROGRESS if is_claim else statuses.WRONG_TRANSACTION
            )
        if present == status:
            return
        after: dict[str, Any] = {
            **task.json,
            "status": BECOMES[status],
            "lastModified": written_instant(who.instant),
        }
        if status == SCHEDULED:
            after["owner"] = {"reference": f"Organization/{who.principal.organization}"}
        written = await work.update("Task", task.id, content.made(after), if_match=task.version)
        lock = "" if status == SCHEDULED else kept.lock
        keeping.put(work, kept._replace(lock=lock, held=written.version))

    await performing.in_time(bridge, who, once)


async def _name(bridge: Bridge, who: RequestContext, uid: str, information: Dataset) -> None:
    """Keep who performs a step, as the workstation names them."""
    named = information.get("ActualHumanPerformersSequence")
    if not named:
        return
    one, said = Dataset(), Dataset()
    one.ActualHumanPerformersSequence = named
    said.UnifiedProcedureStepPerformedProcedureSequence = [one]
    said.TransactionUID = text(information.get("TransactionUID")).strip()
    await performing.change(bridge, who, uid, said)


async def _note(bridge: Bridge, context: RequestContext, who: RequestContext, task: Stored) -> None:
    """Name the workstation too, where it has acted in somebody's name."""
    if who is not context:
        patient = ups.local(task.json.get("for", {})).partition("/")[2]
        detail = f"for {who.principal.subject}"
        entry = ledger.entry(context, type="Task", id=task.id, patient=patient, detail=detail)
        await bridge.ledger.append(entry)


def _is_theirs(item: Workitem, organization: str | None) -> bool:
    """Whether a step is this organisation's to do, or somebody of it does it."""
    owner = ups.local(item.task.get("owner", {}))
    own = f"Organization/{organization}"
    if owner.startswith("Organization/"):
        return owner == own
    role = item.around.get(owner)
    return role is None or ups.local(role.get("organization", {})) == own
