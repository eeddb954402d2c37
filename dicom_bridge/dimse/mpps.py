"""Modality Performed Procedure Step: N-CREATE when a modality begins, N-SET until it has ended.

References
----------
* PS3.4 Annex F: F.7.2.1 (N-CREATE), F.7.2.2 (N-SET); PS3.7 Annex C (statuses)
"""

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_bridge import failures, performed
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.dimse.said import said
from dicom_bridge.instance import require_uid
from dicom_bridge.performed import HasEnded
from fhir_server.context import RequestContext
from resources.errors import Conflict, Exhausted, Forbidden, Invalid, NotFound, Refusal

SOP_CLASS: Final = "1.2.840.10008.3.1.2.3.3"
SUCCESS: Final = 0x0000
FAILURE: Final[dict[type[Refusal], int]] = {
    HasEnded: 0x0110,
    Invalid: 0x0106,
    Forbidden: 0x0124,
    NotFound: 0x0112,
    Conflict: 0x0111,
    Exhausted: 0x0213,
    Refusal: 0x0110,
}
"""PS3.7 Annex C; 0x0110 also says that a step "may no longer be updated" (PS3.4 Table F.7.2-2)."""

Answer = tuple[int | Dataset, Dataset | None]

_log = logging.getLogger(__name__)


def handle_create(event: Any, bridge: Bridge, portal: Portal) -> Answer:
    """Answer an N-CREATE request: a step has begun."""
    uid = event.request.AffectedSOPInstanceUID
    named = None
    if uid is None:  # PS3.7 Section 10.1.5.1.4: then it is ours to give
        uid, named = generate_uid(None), Dataset()
        named.AffectedSOPInstanceUID = uid
    return _answered(
        event, portal, named, lambda context: performed.begin(
            bridge, context, require_uid(str(uid), "SOPInstanceUID"), said(event, "attribute_list")
        )
    )  # fmt: skip


def handle_set(event: Any, bridge: Bridge, portal: Portal) -> Answer:
    """Answer an N-SET request: more is known of a step, or it has ended."""
    uid = str(event.request.RequestedSOPInstanceUID)
    return _answered(
        event,
        portal,
        None,
        lambda context: performed.change(bridge, context, uid, said(event, "modification_list")),
    )


def _answered(
    event: Any,
    portal: Portal,
    named: Dataset | None,
    work: Callable[[RequestContext], Coroutine[Any, Any, None]],
) -> Answer:
    try:
        portal.call(work(event.assoc.sender.context("MPPS")))
    except Refusal as refusal:
        _log.info("a performed step of %s is refused: %s", _peer(event), refusal.reason)
        return _status(refusal), None
    except Exception:
        _log.exception("a performed step of %s failed", _peer(event))
        return failures.PROCESSING_FAILURE, None
    return SUCCESS, named


def _status(refusal: Refusal) -> Dataset:
    ds = Dataset()
    ds.Status = next(FAILURE[kind] for kind in type(refusal).__mro__ if kind in FAILURE)
    ds.ErrorComment = failures.comment(refusal)
    return ds


def _peer(event: Any) -> str:
    return str(event.assoc.sender.peer.ae)
