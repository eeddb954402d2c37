"""Performing: a UPS is taken, worked on and ended, or somebody asks for it to be cancelled.

Each is one version of its Task, written only over the version that was looked at: of two that take
one UPS at the same moment, by whichever protocol, one finds it taken.

References
----------
* PS3.4 Sections CC.2.1 (Change UPS State), CC.2.2 (Request UPS Cancel), CC.2.6 (N-SET)
* PS3.18 Sections 11.6 (Update), 11.7 (Change State), 11.8 (Request Cancellation)
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import ups, ups_tasks
from dicom_bridge.mapping.concepts import shown
from dicom_bridge.mapping.matching import text
from dicom_bridge.ups import keeping, performers, requirements, statuses
from dicom_bridge.ups.keeping import Kept
from dicom_bridge.ups.statuses import Failure, Warned, refused
from fhir_server import delegation
from fhir_server.context import RequestContext
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import content
from resources.content import written_instant
from resources.errors import Exhausted, Forbidden, Stale

ATTEMPTS: Final = 8
"""How often it is looked again at what somebody else was quicker to change."""

Answer = TypeVar("Answer")


async def change(bridge: Bridge, context: RequestContext, uid: str, ds: Dataset) -> Warned:
    """Set attributes of a UPS: of one under way only as its holder.

    Raises
    ------
    Refused
        It has ended, is held by another, or is asked for what is not changed so.
    """

    async def once(work: Work) -> Warned:
        task, kept = await keeping.find(work, uid)
        requirements.check_changed(ds)
        state = ups.state_of(task.json)
        if state in (ups.COMPLETED, ups.CANCELED):
            raise refused(statuses.NO_LONGER)
        transaction_uid = text(ds.get("TransactionUID")).strip()
        if state == ups.SCHEDULED and transaction_uid:
            raise refused(statuses.NOT_IN_PROGRESS, "TransactionUID")
        if state == ups.IN_PROGRESS:
            await _require_holder(bridge, task, kept, transaction_uid)
        after = ups_tasks.changed(task.json, ds, written_instant(context.instant))
        written = await _write(work, task, after)
        said = ups_tasks.kept(kept.attributes, ds, requirements.PATIENT)
        keeping.put(work, kept._replace(attributes=said, held=written.version))
        asked = text(ds.get("ProcedureStepLabel")).strip()
        is_so = not asked or asked == shown(written.json.get("code", {}))
        return statuses.SUCCESS if is_so else statuses.COERCED

    return await in_time(bridge, context, once)


async def move(bridge: Bridge, context: RequestContext, uid: str, information: Dataset) -> Warned:
    """Change the state of a UPS: take it, or end it as its holder.

    Raises
    ------
    Refused
        The state does not follow, the Transaction UID is none or not that of the holder, or what
        was done has not been said.
    """
    asked = text(information.get("ProcedureStepState")).strip()
    transaction_uid = text(information.get("TransactionUID")).strip()

    async def once(work: Work) -> Warned:
        task, kept = await keeping.find(work, uid)
        requirements.check_form(information)
        state = ups.state_of(task.json)
        becomes = requirements.LEGAL.get((state, asked))
        if becomes is None:
            raise refused(statuses.INVALID_ARGUMENT, "ProcedureStepState")
        if asked != ups.SCHEDULED:
            await _require_transaction(bridge, task, kept, transaction_uid)
        if isinstance(becomes, Failure):
            raise refused(becomes, "ProcedureStepState")
        if becomes is not statuses.SUCCESS:
            return becomes
        instant = written_instant(context.instant)
        if asked == ups.IN_PROGRESS:
            owner = await performers.performer(work, context.principal)
            written = await _write(work, task, ups_tasks.claimed(task.json, owner, instant))
            lock = keeping.digest(transaction_uid)
            keeping.put(work, kept._replace(lock=lock, held=written.version))
            return statuses.SUCCESS
        if asked == ups.COMPLETED:
            requirements.check_final(kept.attributes)
        after = ups_tasks.ended(task.json, asked, kept.attributes, instant)
        await _write(work, task, after)
        return statuses.SUCCESS

    return await in_time(bridge, context, once)


async def cancel(bridge: Bridge, context: RequestContext, uid: str, information: Dataset) -> Warned:
    """Cancel a UPS that nobody has begun; ask the performer of one under way to do so.

    Raises
    ------
    Refused
        It is completed.
    Forbidden
        The asker neither asked for it nor has it to do.
    """

    async def once(work: Work) -> Warned:
        task, _ = await keeping.find(work, uid)
        requirements.check_form(information)
        state = ups.state_of(task.json)
        if state == ups.CANCELED:
            return statuses.ALREADY_CANCELED
        if state == ups.COMPLETED:
            raise refused(statuses.ALREADY_COMPLETED)
        instant = written_instant(context.instant)
        parties = await delegation.parties(work, _shortened(task), "")
        if not parties:
            raise Forbidden("this step is others' to cancel", "Task.owner", "relationship")
        if state == ups.SCHEDULED:
            status = "cancelled" if "requester" in parties else "rejected"
            after = ups_tasks.called_off(task.json, status, information, instant)
        else:
            by = performers.identifier(context.principal)["value"]
            after = ups_tasks.asked_to_cancel(task.json, information, by, instant)
        await _write(work, task, after)
        return statuses.SUCCESS

    return await in_time(bridge, context, once)


async def in_time(
    bridge: Bridge, context: RequestContext, once: Callable[[Work], Awaitable[Answer]]
) -> Answer:
    """Do something in a unit of work; look again where somebody else was quicker."""
    for _ in range(ATTEMPTS):
        try:
            async with bridge.store.begin(context) as work:
                return await once(work)
        except Stale:
            continue
    raise Exhausted("The UPS is being changed by others: ask again")


async def _write(work: Work, task: Stored, after: dict[str, object]) -> Stored:
    return await work.update("Task", task.id, content.made(after), if_match=task.version)


async def _require_transaction(
    bridge: Bridge, task: Stored, kept: Kept, transaction_uid: str
) -> None:
    """Refuse a Transaction UID that is not the right one (PS3.4 Table CC.1.1-2).

    Of a UPS that nobody has taken any is; of one that has ended, the one that it was held with.
    """
    state = ups.state_of(task.json)
    if state == ups.IN_PROGRESS:
        await _require_holder(bridge, task, kept, transaction_uid)
        return
    if not transaction_uid:
        raise refused(statuses.NO_TRANSACTION, "TransactionUID")
    if state == ups.SCHEDULED and not keeping.is_uid(transaction_uid):
        raise refused(statuses.INVALID_ARGUMENT, "TransactionUID")
    if state != ups.SCHEDULED and kept.lock != keeping.digest(transaction_uid):
        raise refused(statuses.WRONG_TRANSACTION, "TransactionUID")


async def _require_holder(bridge: Bridge, task: Stored, kept: Kept, transaction_uid: str) -> None:
    if not transaction_uid:
        raise refused(statuses.NO_TRANSACTION, "TransactionUID")
    if not await keeping.holds(bridge, task, kept, transaction_uid):
        raise refused(statuses.WRONG_TRANSACTION, "TransactionUID")


def _shortened(task: Stored) -> dict[str, object]:
    """Give what says who the parties are, with references written short."""
    json = task.json
    return {
        "code": json.get("code", {}),
        **{
            name: {"reference": ups.local(json[name])}
            for name in ("owner", "requester")
            if name in json
        },
    }
