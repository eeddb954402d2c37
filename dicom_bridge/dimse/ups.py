"""Unified Procedure Step: N-CREATE, N-SET, N-GET and N-ACTION.

References
----------
* PS3.4 Annex CC: CC.2.1 to CC.2.7, Tables CC.2-1 to CC.2-5 (DIMSE service groups), CC.3.1
"""

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_bridge import failures
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.dimse.said import said
from dicom_bridge.instance import require_uid
from dicom_bridge.mapping.return_keys import character_set_for
from dicom_bridge.mapping.ups import PUSH
from dicom_bridge.ups import creating, keeping, performing, reading, statuses, subscribing
from dicom_bridge.ups.statuses import Warned, refused
from fhir_server.context import RequestContext
from resources.errors import Refusal, TooLarge

WATCH: Final = "1.2.840.10008.5.1.4.34.6.2"
PULL: Final = "1.2.840.10008.5.1.4.34.6.3"
EVENT: Final = "1.2.840.10008.5.1.4.34.6.4"
QUERY: Final = "1.2.840.10008.5.1.4.34.6.5"

CHANGE_STATE, REQUEST_CANCEL, SUBSCRIBE, UNSUBSCRIBE, SUSPEND = 1, 2, 3, 4, 5
"""Action Type IDs (PS3.4 Tables CC.2.1-1, CC.2.2-1 and CC.2.3-1)."""

ACTIONS: Final[Mapping[int, tuple[str, ...]]] = {
    CHANGE_STATE:   (PULL,),
    REQUEST_CANCEL: (PUSH, WATCH),
    SUBSCRIBE:      (WATCH,),
    UNSUBSCRIBE:    (WATCH,),
    SUSPEND:        (WATCH,),
}  # fmt: skip
"""Action -> the SOP classes under which it is asked for (PS3.4 Tables CC.2-1 to CC.2-3)."""

CREATED: Final = (PUSH,)
CHANGED: Final = (PULL,)
READ: Final = (PUSH, PULL, WATCH)
ACTED: Final = (PUSH, PULL, WATCH)
FOUND: Final = (PULL, WATCH, QUERY)
"""N-CREATE, N-SET, N-GET, N-ACTION and C-FIND: the SOP classes that have it."""

EVERY: Final = (PUSH, WATCH, PULL, QUERY)
"""SOP classes that a peer negotiates with us; Event we negotiate with the peer."""

UNRECOGNIZED: Final = 0x0211

Answer = tuple[int | Dataset, Dataset | None]

_log = logging.getLogger(__name__)


def handle_create(event: Any, bridge: Bridge, portal: Portal) -> Answer:
    """Answer an N-CREATE request: somebody gives work."""
    if _sop_class(event) not in CREATED:
        return UNRECOGNIZED, None
    uid, named = event.request.AffectedSOPInstanceUID, None
    if uid is None:  # PS3.7 Section 10.1.5.1.4: then it is ours to give
        uid, named = generate_uid(None), Dataset()
        named.AffectedSOPInstanceUID = uid

    def work(context: RequestContext) -> Coroutine[Any, Any, Warned]:
        checked = require_uid(str(uid), "SOPInstanceUID")
        return creating.create(bridge, context, checked, said(event, "attribute_list"))

    status = _answered(event, portal, work)
    if named is not None and status == statuses.MODIFIED.status:
        status = statuses.SUCCESS.status  # pynetdicom tells of the UID with success alone
    return status, named


def handle_set(event: Any, bridge: Bridge, portal: Portal) -> Answer:
    """Answer an N-SET request: more is said of a UPS."""
    if _sop_class(event) not in CHANGED:
        return UNRECOGNIZED, None
    uid = str(event.request.RequestedSOPInstanceUID)
    return _answered(
        event,
        portal,
        lambda context: performing.change(bridge, context, uid, said(event, "modification_list")),
    ), None


def handle_action(event: Any, bridge: Bridge, portal: Portal) -> Answer:
    """Answer an N-ACTION request: change of state, cancellation, or about subscriptions."""
    uid, action = str(event.request.RequestedSOPInstanceUID), event.request.ActionTypeID
    classes = ACTIONS.get(action)
    if classes is None:
        return _status(refused(statuses.NO_SUCH_ACTION)), None
    if _sop_class(event) not in classes:
        return UNRECOGNIZED, None

    def work(context: RequestContext) -> Coroutine[Any, Any, Warned]:
        information = Dataset()
        if event.request.ActionInformation is not None:
            information = said(event, "action_information")
        doing = {
            CHANGE_STATE: performing.move,
            REQUEST_CANCEL: performing.cancel,
            SUBSCRIBE: subscribing.subscribe_peer,
            UNSUBSCRIBE: subscribing.unsubscribe_peer,
            SUSPEND: subscribing.suspend_peer,
        }[action]
        return doing(bridge, context, uid, information)

    return _answered(event, portal, work), None


def handle_get(event: Any, bridge: Bridge, portal: Portal) -> Answer:
    """Answer an N-GET request: what there is of a UPS, as far as it is asked for."""
    if _sop_class(event) not in READ:
        return UNRECOGNIZED, None
    uid = str(event.request.RequestedSOPInstanceUID)
    try:
        ds = portal.call(reading.retrieve(bridge, event.assoc.sender.context("UPS"), uid))
    except Refusal as refusal:
        return _status(refusal), None
    except Exception:
        _log.exception("a step could not be read for %s", event.assoc.sender.peer.ae)
        return failures.PROCESSING_FAILURE, None
    return statuses.SUCCESS.status, picked(ds, event.attribute_identifiers)


def picked(ds: Dataset, tags: list[Any]) -> Dataset:
    """Take the attributes that are asked for, or all; what is not known has no value."""
    if tags:
        some = Dataset()
        for tag in tags:
            if tag in ds:
                some[tag] = ds[tag]
            elif keyword_for_tag(tag) not in ("", "TransactionUID", "SpecificCharacterSet"):
                setattr(some, keyword_for_tag(tag), None)
        ds = some
    if (character_set := character_set_for(ds)) is not None:
        ds.SpecificCharacterSet = character_set
    return ds


def _answered(
    event: Any, portal: Portal, work: Callable[[RequestContext], Coroutine[Any, Any, Warned]]
) -> int | Dataset:
    try:
        _require_small(event.request)
        return portal.call(work(event.assoc.sender.context("UPS"))).status
    except Refusal as refusal:
        _log.info("a step of %s is refused: %s", event.assoc.sender.peer.ae, refusal.reason)
        return _status(refusal)
    except Exception:
        _log.exception("a step of %s failed", event.assoc.sender.peer.ae)
        return failures.PROCESSING_FAILURE


def _require_small(request: Any) -> None:
    """Refuse a data set that is larger than what is kept, before it is read."""
    for name in ("AttributeList", "ModificationList", "ActionInformation"):
        data_set = getattr(request, name, None)
        if data_set is not None and len(data_set.getvalue()) > keeping.MOST_KEPT:
            raise TooLarge(f"A UPS may have {keeping.MOST_KEPT} octets")


def _status(refusal: Refusal) -> Dataset:
    ds = Dataset()
    ds.Status = statuses.status_of(refusal)
    ds.ErrorComment = failures.comment(refusal)
    return ds


def _sop_class(event: Any) -> str:
    return str(event.context.abstract_syntax)
