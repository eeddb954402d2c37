"""Retrieval: which held instances somebody may have, and their bytes in pieces.

Pixels are covered by the permission to read the ImagingStudy that lists them: one gated, audited
read of it is behind everything that leaves here, and an instance that it does not list is not
there.

References
----------
* PS3.18 Section 10.4 (Retrieve Transaction); PS3.4 Section C.4.3 (C-GET)
"""

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from dicom_bridge import holdings
from dicom_bridge.bridge import Bridge
from dicom_bridge.holdings import Held
from fhir_server.access import gate
from fhir_server.access.gate import Permit
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.search.stored import Stored
from resources import imaging_study
from resources.errors import NotFound

CHUNK: Final = 1 << 20
NOTHING: Final = "There is no such study, series or instance"
REMEMBERED_INSTANCES: Final = 4096
REMEMBERED_SECONDS: Final = 10.0
REMEMBERED: Final = 256
"""ImagingStudy versions whose list of instances is kept at hand."""


class Retrieved(NamedTuple):
    """Instances somebody may have, in the order of series and instance numbers."""

    instances: Sequence[Held]
    permit: Permit
    patient: str


async def instances(
    bridge: Bridge,
    context: RequestContext,
    study_uid: str,
    series_uid: str | None = None,
    sop_uid: str | None = None,
) -> Retrieved:
    """Say what may be retrieved of a study, a series or one instance.

    Raises
    ------
    NotFound
        Nothing, or nothing the asker may know of.
    """
    key = (study_uid, series_uid, sop_uid)
    known, until = _held.pop(key, (None, 0.0))
    is_known = known is not None and time.monotonic() < until
    if known is not None and is_known and bridge.blobs.is_at_hand(known.blob, known.length):
        permit, listed = await _read(bridge, context, known.imaging_study)
        if known.sop_uid in listed:
            _held[key] = known, until
            return Retrieved((known,), permit, known.patient)
    held = await holdings.instances(bridge.database, study_uid, series_uid, sop_uid)
    if not held:
        raise await _nothing(bridge, context, study_uid)
    permit, listed = await _read(bridge, context, held[0].imaging_study)
    visible = [one for one in held if one.sop_uid in listed]
    if not visible:
        raise await _nothing(bridge, context, study_uid)
    if sop_uid is not None:
        _held[key] = visible[0], time.monotonic() + REMEMBERED_SECONDS
        if len(_held) > REMEMBERED_INSTANCES:
            _held.popitem(last=False)
    return Retrieved(visible, permit, held[0].patient)


async def metadata(
    bridge: Bridge,
    context: RequestContext,
    study_uid: str,
    series_uid: str | None = None,
    sop_uid: str | None = None,
) -> tuple[list[holdings.Metadata], Permit]:
    """Give the DICOM JSON of a study, a series or one instance.

    Raises
    ------
    NotFound
        Nothing, or nothing the asker may know of.
    """
    id = await holdings.imaging_study(bridge.database, study_uid)
    if id is None:
        raise await _nothing(bridge, context, study_uid)
    permit, listed = await _read(bridge, context, id)
    rows = await holdings.metadata(bridge.database, study_uid, series_uid, sop_uid)
    visible = [row for row in rows if row.sop_uid in listed]
    if not visible:
        raise await _nothing(bridge, context, study_uid)
    return visible, permit


async def take(file: int, start: int, length: int) -> bytes | bytearray:
    """Read a run of octets of an open file; the loop does not wait for the disk.

    What is in the page cache is read at once, the rest in a thread.
    """
    found = _cached(file, start, length)
    if found is not None:
        return found
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, partial(_whole, file, start, length))


async def stream(path: Path, start: int, length: int) -> AsyncIterator[bytes | bytearray]:
    """Read a run of octets of a file in large pieces."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while length > 0:
            piece = await take(file, start, min(CHUNK, length))
            yield piece
            start += len(piece)
            length -= len(piece)
    finally:
        os.close(file)


async def _nothing(bridge: Bridge, context: RequestContext, study_uid: str) -> NotFound:
    """Keep in the ledger that something was asked for that is not there.

    Who may read no study at all is told that, as of one that is there.
    """
    entry = ledger.entry(
        context,
        outcome=ledger.MINOR_FAILURE,
        type="ImagingStudy",
        query=f"StudyInstanceUID={study_uid}",
        detail="NotFound",
    )
    await bridge.ledger.append(entry)
    gate.reach(context, "r", "ImagingStudy")
    return NotFound(NOTHING)


_held: OrderedDict[tuple[str, str | None, str | None], tuple[Held, float]] = OrderedDict()
"""Single instances asked for lately: frame after frame of one needs no second look for a while, as
long as its file is what the row speaks of; whether it is listed is asked every time. A row is
changed when its object is corrected."""
_listed: OrderedDict[tuple[str, int], frozenset[str]] = OrderedDict()


async def _read(bridge: Bridge, context: RequestContext, id: str) -> tuple[Permit, frozenset[str]]:
    try:
        stored, permit = await bridge.store.read_permitted(context, "ImagingStudy", id)
    except NotFound as hidden:  # its id would tell that there is one
        raise NotFound(NOTHING) from hidden
    return permit, _instances_of(stored)


def _instances_of(study: Stored) -> frozenset[str]:
    """List the instances of one version of an ImagingStudy; a version never changes."""
    key = (study.id, study.version)
    listed = _listed.get(key)
    if listed is None:
        listed = _listed[key] = frozenset(imaging_study.instance_uids(study.json))
        if len(_listed) > REMEMBERED:
            _listed.popitem(last=False)
    return listed


def _cached(file: int, start: int, length: int) -> bytearray | None:
    buffer = bytearray(length)
    try:
        read = os.preadv(file, [buffer], start, os.RWF_NOWAIT)
    except OSError:
        return None
    return buffer if read == length else None


def _whole(file: int, start: int, length: int) -> bytes:
    pieces = []
    while length > 0:
        piece = os.pread(file, length, start)
        if not piece:
            raise EOFError("a stored instance is shorter than its row says")
        pieces.append(piece)
        start += len(piece)
        length -= len(piece)
    return b"".join(pieces)
