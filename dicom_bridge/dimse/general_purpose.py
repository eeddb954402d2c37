"""General Purpose Worklist: C-FIND, and N-CREATE, N-SET, N-GET and N-ACTION of its steps.

The three SOP classes may be negotiated each by itself, or all by the Meta SOP Class.

References
----------
* PS3.4-2009 Annexes F.10 (GP-SPS), F.11 (GP-PPS), F.12 (Meta SOP Class), K.6.2 (worklist); retired
"""

import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_bridge import failures
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import find
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.dimse.said import said
from dicom_bridge.dimse.ups import picked
from dicom_bridge.general_purpose import performed, scheduled, statuses
from dicom_bridge.instance import require_uid
from dicom_bridge.mapping.general_purpose import META, PERFORMED_STEP, SCHEDULED_STEP, WORKLIST
from fhir_server.context import RequestContext
from resources.errors import Refusal

CREATED: Final = (META, PERFORMED_STEP)
CHANGED: Final = (META, PERFORMED_STEP)
READ: Final = (META, SCHEDULED_STEP, PERFORMED_STEP)
ACTED: Final = (META, SCHEDULED_STEP)
FOUND: Final = (META, WORKLIST)
"""N-CREATE, N-SET, N-GET, N-ACTION and C-FIND: the SOP classes that have it."""

EVERY: Final = (META, WORKLIST, SCHEDULED_STEP, PERFORMED_STEP)

MODIFY_STATUS: Final = 1
"""Action Type ID "Request GP-SPS status modification" (Table F.10.2-1)."""
NO_SUCH_ACTION: Final = 0x0123
UNRECOGNIZED: Final = 0x0211

Answer = tuple[int | Dataset, Dataset | None]

_log = logging.getLogger(__name__)


def handle_find(event: Any, bridge: Bridge, portal: Portal) -> Iterator[Answer]:
    """Answer a query of the worklist, step by step."""
    if str(event.request.AffectedSOPClassUID) != WORKLIST:
        return iter([(UNRECOGNIZED, None)])

    def look(keys: Dataset) -> list[Dataset]:
        context = event.assoc.sender.context("GPWL C-FIND")
        return portal.call(scheduled.search(bridge, context, keys))

    return find.worklist(event, "general purpose worklist query", look)


def handle_action(event: Any, bridge: Bridge, portal: Portal) -> Answer:
    """Answer an N-ACTION request: a scheduled step is claimed, put aside or ended."""
    if str(event.request.RequestedSOPClassUID) != SCHEDULED_STEP:
        return UNRECOGNIZED, None
    if event.request.ActionTypeID != MODIFY_STATUS:
        return NO_SUCH_ACTION, None
    uid = str(event.request.RequestedSOPInstanceUID)

    def work(context: RequestContext) -> Coroutine[Any, Any, None]:
        information = Dataset()
        if event.request.ActionInformation is not None:
            information = said(event, "action_information")
        return scheduled.act(bridge, context, uid, information)

    return _answered(event, portal, work), None


def handle_create(event: Any, bridge: Bridge, portal: Portal) -> Answer:
    """Answer an N-CREATE request: a step is being performed."""
    if str(event.request.AffectedSOPClassUID) != PERFORMED_STEP:
        return UNRECOGNIZED, None
    uid, named = event.request.AffectedSOPInstanceUID, None
    if uid is None:  # PS3.7 Section 10.1.5.1.4: then it is ours to give
        uid, named = generate_uid(None), Dataset()
        named.AffectedSOPInstanceUID = uid

    def work(context: RequestContext) -> Coroutine[Any, Any, None]:
        checked = require_uid(str(uid), "SOPInstanceUID")
        return performed.begin(bridge, context, checked, said(event, "attribute_list"))

    return _answered(event, portal, work), named


def handle_set(event: Any, bridge: Bridge, portal: Portal) -> Answer:
    """Answer an N-SET request: more is said of a performed step, or it has ended."""
    if str(event.request.RequestedSOPClassUID) != PERFORMED_STEP:
        return UNRECOGNIZED, None
    uid = str(event.request.RequestedSOPInstanceUID)
    return _answered(
        event,
        portal,
        lambda context: performed.change(bridge, context, uid, said(event, "modification_list")),
    ), None


def handle_get(event: Any, bridge: Bridge, portal: Portal) -> Answer:
    """Answer an N-GET request: what there is of a scheduled or a performed step."""
    retrieve = {SCHEDULED_STEP: scheduled.retrieve, PERFORMED_STEP: performed.retrieve}.get(
        str(event.request.RequestedSOPClassUID)
    )
    if retrieve is None:
        return UNRECOGNIZED, None
    uid = str(event.request.RequestedSOPInstanceUID)
    try:
        ds = portal.call(retrieve(bridge, event.assoc.sender.context("GPWL"), uid))
    except Refusal as refusal:
        return _status(refusal), None
    except Exception:
        _log.exception("a step could not be read for %s", event.assoc.sender.peer.ae)
        return failures.PROCESSING_FAILURE, None
    return statuses.SUCCESS, picked(ds, event.attribute_identifiers)


def _answered(
    event: Any, portal: Portal, work: Callable[[RequestContext], Coroutine[Any, Any, None]]
) -> int | Dataset:
    try:
        portal.call(work(event.assoc.sender.context("GPWL")))
    except Refusal as refusal:
        _log.info("a step of %s is refused: %s", event.assoc.sender.peer.ae, refusal.reason)
        return _status(refusal)
    except Exception:
        _log.exception("a step of %s failed", event.assoc.sender.peer.ae)
        return failures.PROCESSING_FAILURE
    return statuses.SUCCESS


def _status(refusal: Refusal) -> Dataset:
    ds = Dataset()
    ds.Status = statuses.code_of(refusal)
    ds.ErrorComment = failures.comment(refusal)
    return ds
