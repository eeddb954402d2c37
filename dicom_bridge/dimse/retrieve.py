"""C-GET in the Study Root model: instances go back over the association they are asked on.

The data sets are sent as they are stored. One that was stored in a transfer syntax for which the
peer has no presentation context cannot be sent: its sub-operation has failed, and the final
status names it, so that no retrieval that lacks something looks complete.

References
----------
* PS3.4 Section C.4.3 (C-GET), Table C.4-3 (statuses), C.6.2 (Study Root)
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge import retrieval
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse.find import CANCELLED, PENDING, failed
from dicom_bridge.dimse.messages import StoredInstance
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.instance import require_uid
from dicom_bridge.mapping.matching import text
from dicom_bridge.retrieval import Retrieved
from fhir_server.context import RequestContext
from resources.errors import Exhausted, Invalid, NotFound, Refusal

# PS3.4 Section C.4.3.1.3.1: level -> the unique keys that the identifier has.
UNIQUE: Final[Mapping[str, tuple[str, ...]]] = {
    "STUDY":  ("StudyInstanceUID",),
    "SERIES": ("StudyInstanceUID", "SeriesInstanceUID"),
    "IMAGE":  ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}  # fmt: skip
MOST_UIDS: Final = 1000
OUT_OF_RESOURCES: Final = 0xA701

Answers = Iterator[int | tuple[int | Dataset, Dataset | None]]

_log = logging.getLogger(__name__)


def handle_get(event: Any, bridge: Bridge, portal: Portal) -> Answers:
    """Answer a C-GET request: the number of sub-operations, then each instance."""
    context = event.assoc.sender.context("C-GET")
    try:
        wanted = read(event.identifier)
        found = portal.call(_retrieved(bridge, context, wanted))
        stored = [_stored(bridge, one) for one in found]
    except Refusal as refusal:
        yield 1
        yield _failed(refusal), None
        return
    except Exception:
        _log.exception("C-GET from %s failed", event.assoc.sender.peer.ae)
        yield 1
        yield failed(Refusal("the request could not be answered")), None
        return
    instances = [instance for group in stored for instance in group]
    yield len(instances)
    for instance in instances:
        if event.is_cancelled:
            yield CANCELLED, None
            return
        yield PENDING, instance


def _failed(refusal: Refusal) -> Dataset:
    """PS3.4 Table C.4-3 has a word of its own for "Out of Resources"."""
    status = failed(refusal)
    if isinstance(refusal, Exhausted):
        status.Status = OUT_OF_RESOURCES
    return status


def read(identifier: Dataset) -> list[tuple[str, ...]]:
    """Read what is asked for: UIDs of study, series and instance, as many as the level has.

    The unique key of the level itself may be a list of UIDs, those above are one.

    Raises
    ------
    Invalid
        No level of this model, or a unique key is missing or is no UID.
    """
    level = text(identifier.get("QueryRetrieveLevel")).strip()
    if level not in UNIQUE:
        raise Invalid("Query/Retrieve Level is STUDY, SERIES or IMAGE", "QueryRetrieveLevel")
    *above, own = UNIQUE[level]
    start = tuple(require_uid(text(identifier.get(keyword)), keyword) for keyword in above)
    uids = text(identifier.get(own)).split("\\")
    if len(uids) > MOST_UIDS:
        raise Invalid(f"More than {MOST_UIDS} UIDs", own)
    return [(*start, require_uid(uid, own)) for uid in dict.fromkeys(uids)]


async def _retrieved(
    bridge: Bridge, context: RequestContext, wanted: list[tuple[str, ...]]
) -> list[Retrieved]:
    """Find what the peer may have; what it may not know of is as if it were not there."""
    found = []
    for uids in wanted:
        try:
            found.append(await retrieval.instances(bridge, context, *uids))
        except NotFound:
            continue
    return found


def _stored(bridge: Bridge, found: Retrieved) -> list[StoredInstance]:
    return [
        StoredInstance(
            bridge.blobs.path(one.blob, found.permit),
            one.dataset_offset,
            one.sop_class,
            one.sop_uid,
            one.transfer_syntax,
        )
        for one in found.instances
    ]
