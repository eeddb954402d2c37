"""C-GET and C-MOVE: instances go back over the association they are asked on, or to another peer.

The data sets are sent as they are stored. One that was stored in a transfer syntax for which the
receiver has no presentation context cannot be sent: its sub-operation has failed, and the final
status names it, so that no retrieval that lacks something looks complete.

A move tells the receiver's organisation what the study is: both, who asks and who receives, must
be allowed to read it, and both stand in the audit.

References
----------
* PS3.4 Sections C.4.2 (C-MOVE), C.4.3 (C-GET), Tables C.4-2 and C.4-3 (statuses)
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge import query, retrieval
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import models, peers, sending
from dicom_bridge.dimse.find import CANCELLED, PENDING, failed
from dicom_bridge.dimse.messages import StoredInstance
from dicom_bridge.dimse.models import STUDY_ROOT, Model
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.dimse.said import said
from dicom_bridge.instance import require_uid
from dicom_bridge.mapping.matching import text
from dicom_bridge.retrieval import Retrieved
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from resources.errors import Exhausted, Invalid, NotFound, Refusal

MOST_UIDS: Final = 1000
OUT_OF_RESOURCES: Final = 0xA701
NOWHERE: Final = (None, None)
"""A destination that is not known: 0xA801 (PS3.4 Table C.4-2)."""

Wanted = Sequence[tuple[str, ...]]
"""UIDs of study, series and instance, as many as the level has."""
Answers = Iterator[Any]

_log = logging.getLogger(__name__)


def handle_get(event: Any, bridge: Bridge, portal: Portal) -> Answers:
    """Answer a C-GET request: the number of sub-operations, then each instance."""
    sender = event.assoc.sender
    found = _found(event, lambda: portal.call(_to_send(bridge, [sender.context("C-GET")], event)))
    yield from _instances(event, found)


def handle_move(event: Any, bridge: Bridge, portal: Portal) -> Answers:
    """Answer a C-MOVE request: where to, the number of sub-operations, then each instance."""
    sender = event.assoc.sender
    ae = str(event.move_destination).strip()
    try:
        receiver = portal.call(peers.find(bridge.database, ae))
    except Refusal as refusal:
        receiver = None
        _log.warning("C-MOVE to %s: %s", ae, refusal.reason)
    if receiver is None:
        with contextlib.suppress(Refusal):  # who is refused is refused, audited or not
            portal.call(_nowhere(bridge, sender.context("C-MOVE")))
        yield NOWHERE
        return
    to = RequestContext(receiver.principal, "C-MOVE", origin=sender.address)
    receives = [] if receiver.organization == sender.peer.organization else [to]
    originator = sender.peer.ae

    def to_send() -> list[StoredInstance]:
        contexts = [sender.context("C-MOVE"), *receives]
        return portal.call(_to_send(bridge, contexts, event, originator))

    found = _found(event, to_send)
    line: dict[str, Any] = {}
    if not isinstance(found, Dataset):
        try:
            line = event.assoc.ae.line(receiver)
        except Refusal as refusal:
            found = failed(refusal)
    yield _place(receiver, found, line)
    yield from _instances(event, found)


async def _nowhere(bridge: Bridge, context: RequestContext) -> None:
    entry = ledger.entry(
        context, outcome=ledger.MINOR_FAILURE, detail="the destination of a move is not known"
    )
    await bridge.ledger.append(entry)


def read(identifier: Dataset, model: Model = STUDY_ROOT) -> list[tuple[str, ...]]:
    """Read what is asked for: the unique keys of the level, the last of them one of its list.

    The unique key of the level itself may be a list of values, those above are one.

    Raises
    ------
    Invalid
        No level of this model, or a unique key is missing or is no UID.
    """
    *above, own = model.unique[models.level_of(identifier, model)]
    start = tuple(_key(text(identifier.get(keyword)), keyword) for keyword in above)
    values = text(identifier.get(own)).split("\\")
    if len(values) > MOST_UIDS:
        raise Invalid(f"More than {MOST_UIDS} values", own)
    return [(*start, _key(value, own)) for value in dict.fromkeys(values)]


def _key(value: str, keyword: str) -> str:
    if keyword != "PatientID":
        return require_uid(value, keyword)
    if not value.strip() or any(mark in value for mark in "\\*?"):
        raise Invalid("PatientID must have one value", keyword)
    return value


def _found(event: Any, find: Callable[[], list[StoredInstance]]) -> list[StoredInstance] | Dataset:
    """Find what is to be sent; the status that says why nothing is."""
    try:
        return find()
    except Refusal as refusal:
        status = failed(refusal)
        if isinstance(refusal, Exhausted):  # the tables have a word of their own for it
            status.Status = OUT_OF_RESOURCES
        return status
    except Exception:
        _log.exception("a retrieval by %s failed", event.assoc.sender.peer.ae)
        return failed(Refusal("the request could not be answered"))


def _instances(event: Any, found: list[StoredInstance] | Dataset) -> Answers:
    if isinstance(found, Dataset):
        yield 1
        yield found, None
        return
    yield len(found)
    for instance in found:
        if event.is_cancelled:
            yield CANCELLED, None
            return
        yield PENDING, instance


def _place(
    receiver: Peer, found: list[StoredInstance] | Dataset, line: dict[str, Any]
) -> tuple[Any, ...]:
    """Say where the sub-operations go; nothing is opened where there is nothing to send."""
    instances = [] if isinstance(found, Dataset) else found
    return receiver.host, receiver.port, {"contexts": sending.contexts_for(instances), **line}


async def _of_all(
    bridge: Bridge, contexts: Sequence[RequestContext], event: Any
) -> list[Retrieved]:
    """Find what all of them may have."""
    kept: list[Retrieved] = []
    for number, context in enumerate(contexts):
        found = await _of_one(bridge, context, event)
        if number == 0:
            kept = found
            continue
        theirs = {one.sop_uid for each in found for one in each.instances}
        kept = [
            each._replace(instances=[one for one in each.instances if one.sop_uid in theirs])
            for each in kept
        ]
    return kept


async def _of_one(bridge: Bridge, context: RequestContext, event: Any) -> list[Retrieved]:
    """Find what somebody may have; what they may not know of is as if it were not there."""
    model = models.of(event)
    wanted: Wanted = read(said(event, "identifier"), model)
    if model is models.PATIENT_ROOT:
        wanted = [uids for keys in wanted for uids in await _of_patient(bridge, context, keys)]
    found = []
    for uids in wanted:
        try:
            found.append(await retrieval.instances(bridge, context, *uids))
        except NotFound:
            continue
    return found


async def _of_patient(
    bridge: Bridge, context: RequestContext, keys: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """Name the studies of a patient, or the one asked for if it is theirs."""
    patient, *uids = keys
    asked = {"PatientID": patient} | ({"StudyInstanceUID": uids[0]} if uids else {})
    studies = await query.studies(bridge, context, asked)
    if studies.more:
        raise Exhausted("Too many studies of this patient: ask for some of them")
    return [(row.study_uid, *uids[1:]) for row in studies.rows]


async def _to_send(
    bridge: Bridge, contexts: Sequence[RequestContext], event: Any, originator: str | None = None
) -> list[StoredInstance]:
    """Find what all of them may have, and bring its bytes to where they can be read."""
    found = await _of_all(bridge, contexts, event)
    return [one for each in found for one in await stored(bridge, each, originator)]


async def stored(bridge: Bridge, found: Retrieved, originator: str | None) -> list[StoredInstance]:
    """Give what was found as it is sent: from its files."""
    paths = await bridge.blobs.paths(
        [(one.blob, one.length) for one in found.instances], found.permit
    )
    return [
        StoredInstance(
            path,
            one.dataset_offset,
            one.sop_class,
            one.sop_uid,
            one.transfer_syntax,
            originator,
        )
        for one, path in zip(found.instances, paths, strict=True)
    ]
