"""Events: what an AE that subscribes is told when the Task of a UPS has changed.

A version of a Task and the one before say what has happened; a report says no more of it than
the standard asks for. Who tells, and how, is `dimse.ups_events` and `dicomweb.ups_events`.

References
----------
* PS3.4 Section CC.2.4, Table CC.2.4-1 (event types and their information)
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import ups, ups_attributes
from dicom_bridge.mapping.concepts import coded, shown
from dicom_bridge.mapping.demographics import dataset
from dicom_bridge.mapping.matching import dataset_matches
from dicom_bridge.mapping.ups import Workitem
from dicom_bridge.ups import keeping, reading
from fhir_server.context import RequestContext
from fhir_server.search.stored import Stored
from resources.errors import Refusal
from subscriptions import events as happened
from subscriptions.events import Event, Subscriber

STATE_REPORT, CANCEL_REQUESTED, PROGRESS_REPORT, ASSIGNED = 1, 2, 3, 5
"""Event Type IDs; 4 tells that an SCP goes down, which peers find out by themselves."""

ROWS: Final = """
select task, state, filter, changed from ups_subscription
where ae = $1 and whose = $2 and task in ('', $3)
"""

Json = Mapping[str, Any]


class Report(NamedTuple):
    """One event report: of which UPS, its Event Type ID, and its Event Information."""

    uid: str
    kind: int
    information: Dataset


async def waiting(bridge: Bridge, subscriber: Subscriber, most: int) -> list[Event]:
    """Give the events that an AE has not been told of."""
    return await happened.after(bridge.database, subscriber.id, subscriber.delivered, most)


async def reports(bridge: Bridge, subscriber: Subscriber, event: Event) -> list[Report]:
    """Give what an AE is told of an event: nothing, where it is not about what it wants."""
    context = RequestContext(subscriber.principal(), "notification", "ups")
    try:
        after = await bridge.store.vread(context, event.type, event.id, event.version)
        before = None
        if event.version > 1:
            before = await bridge.store.vread(context, event.type, event.id, event.version - 1)
    except Refusal:  # it may not be seen any more
        return []
    if not ups.is_one(after.json) or not await _wants(bridge, context, subscriber, after):
        return []
    item = await _item(bridge, context, after)
    was = before.json if before is not None and ups.is_one(before.json) else None
    found = _initial(item) if event.key == 0 else of(was, item)
    return [Report(item.uid, kind, information) for kind, information in found]


async def _item(bridge: Bridge, context: RequestContext, task: Stored) -> Workitem:
    """Gather what reports say: of whom and what a step is about they say nothing."""
    kept = await keeping.beside(bridge.database, [task.id])
    owner = await reading.read(bridge, context, [ups.local(task.json.get("owner", {}))])
    organizations = [ups.local(one.get("organization", {})) for one in owner.values()]
    around = owner | await reading.read(bridge, context, organizations)
    beside = kept[task.id].attributes if task.id in kept else Dataset()
    return Workitem(ups.uid_of(task.json), task.json, beside, around)


def of(before: Json | None, item: Workitem) -> Iterator[tuple[int, Dataset]]:
    """Say what has happened between two versions of a Task, in the order of the standard.

    What goes at once from SCHEDULED to an end has been IN PROGRESS on the way (CC.2.2.3).
    """
    after = item.task
    state, was = ups.state_of(after), ups.state_of(before) if before else None
    readiness = ups.readiness_of(after)
    if was == ups.SCHEDULED and state in (ups.COMPLETED, ups.CANCELED):
        yield (
            STATE_REPORT,
            dataset(ProcedureStepState=ups.IN_PROGRESS, InputReadinessState=readiness),
        )
    if state != was or (before is not None and ups.readiness_of(before) != readiness):
        yield from _initial(item)
    if before is None:
        return
    asked = ups.cancellation_of(after)
    if asked and asked != ups.cancellation_of(before):
        yield CANCEL_REQUESTED, _asked(asked)
    progress = ups.progress_of(after)
    if progress != ups.progress_of(before):
        one = dataset(ProcedureStepProgress=str(progress.get("percent", "")))
        one.ProcedureStepProgressDescription = str(progress.get("description", ""))
        yield PROGRESS_REPORT, dataset(ProcedureStepProgressInformationSequence=[one])
    if after.get("owner") != before.get("owner"):
        yield ASSIGNED, _assigned(item)


def _initial(item: Workitem) -> Iterator[tuple[int, Dataset]]:
    """Report the state of a UPS."""
    state = ups.state_of(item.task)
    ds = dataset(ProcedureStepState=state, InputReadinessState=ups.readiness_of(item.task))
    if state == ups.CANCELED:
        ds.ProcedureStepDiscontinuationReasonCodeSequence = ups.discontinuation(item.task)
        if reason := shown(item.task.get("statusReason", {})):
            ds.ReasonForCancellation = reason
    yield STATE_REPORT, ds


def _asked(asked: Json) -> Dataset:
    ds = dataset(RequestingAE=str(asked.get("requester", ""))[:16])
    if "reason" in asked:
        ds.ReasonForCancellation = str(asked["reason"])
    if "code" in asked:
        ds.ProcedureStepDiscontinuationReasonCodeSequence = coded(asked["code"])
    if "contact" in asked:
        ds.ContactURI = str(asked["contact"])
    if "contact-name" in asked:
        ds.ContactDisplayName = str(asked["contact-name"])
    return ds


def _assigned(item: Workitem) -> Dataset:
    ds = dataset(
        ScheduledStationNameCodeSequence=list(
            item.kept.get("ScheduledStationNameCodeSequence") or ()
        )
    )
    if (owner := ups.owner_of(item)) is not None:
        ds.HumanPerformerCodeSequence = owner.HumanPerformerCodeSequence
        ds.HumanPerformerOrganization = owner.HumanPerformerOrganization
    return ds


async def _wants(
    bridge: Bridge, context: RequestContext, subscriber: Subscriber, task: Stored
) -> bool:
    """Whether an AE subscribes to this UPS: by itself, or to all that there are."""
    rows = await bridge.database.run(ROWS, (subscriber.endpoint, subscriber.headers[0], task.id))
    by_task = {row[0]: row[1:] for row in rows}
    if task.id in by_task:
        return bool(by_task[task.id][0] == "on")
    if "" not in by_task:
        return False
    state, kept, changed = by_task[""]
    if state == "suspended":
        try:
            first = await bridge.store.vread(context, "Task", task.id, 1)
        except Refusal:
            return False
        if first.instant >= changed:
            return False
    if not kept:
        return True
    beside = await keeping.beside(bridge.database, [task.id])
    (item,) = await reading.items(bridge, context, [task], beside)
    return dataset_matches(keeping.from_json(kept), ups_attributes.written(item))
