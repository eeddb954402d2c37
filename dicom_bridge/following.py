"""Following: objects are given out naming the study that instances are of now, not the one before.

It happens whichever comes first. What comes is looked at when it is read (its DICOM JSON says which
studies it names); what was there before is read again once a study that it names is given up
(`reparenting`). A corrected object is always made of what came, so it says once what that was; and
one that is damaged is made of it again.

References
----------
* PS3.3 Section C.12.1.1.9 (Original Attributes Sequence)
* docs/adr, "An object of a second study is re-parented"
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

import orjson

from dicom_bridge import coercing, instance, orders, references, reparenting
from dicom_bridge.blobs import Blobs
from dicom_bridge.bridge import Bridge
from dicom_bridge.coercing import Change
from dicom_bridge.instance import Instance
from dicom_bridge.references import Pair
from fhir_server.access.principal import Principal
from fhir_server.audit import ledger
from fhir_server.context import RequestContext, now
from fhir_server.postgres.database import Database, Texts
from fhir_server.store.unit_of_work import Work
from resources.errors import NotDicom, NotFound, Refusal

Named = Mapping[str, Collection[str]]
"""SOP Instance UID of an object -> the other studies that it may name."""

GIVEN_UP: Final = """
SELECT DISTINCT o.study_uid FROM original o JOIN instance i ON i.sop_uid = o.sop_uid
WHERE o.study_uid = ANY($1) AND i.study_uid <> o.study_uid
"""
ROW: Final = """
SELECT i.sop_uid, i.study_uid, i.transfer_syntax, i.organization, s.imaging_study, s.patient,
  i.blob, i.dataset_offset, i.size, i.header,
  coalesce(o.study_uid, i.study_uid), coalesce(o.blob, i.blob),
  coalesce(o.dataset_offset, i.dataset_offset), coalesce(o.size, i.size),
  coalesce(o.header, i.header)
FROM instance i JOIN study s ON s.study_uid = i.study_uid
LEFT JOIN original o ON o.sop_uid = i.sop_uid
WHERE i.sop_uid = $1
"""
MOVED: Final = """
SELECT o.study_uid, o.sop_uid, i.study_uid
FROM original o JOIN instance i ON i.sop_uid = o.sop_uid
JOIN study s ON s.study_uid = i.study_uid
WHERE o.sop_uid = ANY($1) AND i.study_uid <> o.study_uid AND s.patient = $2
"""
"""Instances of the same patient that were re-parented: nobody learns so what others have."""
CHANGE: Final = """
UPDATE instance SET blob = $3, dataset_offset = $4, size = $5, header = $6, json = NULL,
    layout = NULL
WHERE sop_uid = $1 AND blob = $2
"""
MARK: Final = """
INSERT INTO unsettled (study_uid, mark, folded, since, organization) VALUES ($1, 1, 1, $2, $3)
ON CONFLICT (study_uid) DO UPDATE SET mark = unsettled.mark + 1
"""
"""Settling makes what is made of an object; its ImagingStudy says what it said."""
CHANGED: Final = "SELECT 1 FROM instance WHERE sop_uid = $1 AND blob = $2"

_log = logging.getLogger(__name__)


class _Row(NamedTuple):
    """An object as it is given out, and as it came."""

    sop_uid: str
    study_uid: str
    transfer_syntax: str
    organization: str
    imaging_study: str
    patient: str
    blob: str
    offset: int
    size: int
    header: bytes
    came_in: str
    came_blob: str
    came_offset: int
    came_size: int
    came_header: bytes


def named(study_uid: str, read: Iterable[tuple[str, bytes]]) -> dict[str, set[str]]:
    """The other studies that objects may name, by their DICOM JSON; those that name none left out.

    Examples
    --------
    >>> named("1.2", [("1.3", b'{"0020000D":{"Value":["1.2"],"vr":"UI"}}')])
    {}
    """
    found = ((sop_uid, references.studies(json) - {study_uid}) for sop_uid, json in read)
    return {sop_uid: others for sop_uid, others in found if others}


async def follow(bridge: Bridge, names: Named) -> set[str]:
    """Correct objects that name instances by a study that these were re-parented from; say which.

    What is made of a corrected object is to be made anew.
    """
    everything = {study for studies in names.values() for study in studies}
    if not everything:
        return set()
    rows = await bridge.database.run(GIVEN_UP, (Texts(everything),))
    given_up = {study for (study,) in rows}
    changed = set()
    for sop_uid, studies in names.items():
        if given_up.intersection(studies) and await _follow(bridge, sop_uid):
            changed.add(sop_uid)
    return changed


async def _follow(bridge: Bridge, sop_uid: str) -> bool:
    row = await _row(bridge.database, sop_uid)
    if row is None:
        return False
    try:
        here = await _pairs(bridge, row.blob, row.offset, row.size, row.transfer_syntax)
        if not await _moved(bridge, here, row.patient):
            return False
        return await _remake(bridge, row, "references followed")
    except (NotDicom, NotFound) as refusal:
        _log.warning("instance %s keeps what it names: %s", sop_uid, refusal.reason)
        return False


async def mend(bridge: Bridge, sop_uid: str, damaged: str) -> bool:
    """Make a corrected object of what came again; False where it is that which is damaged.

    Parameters
    ----------
    damaged
        The blob that is not what it was.
    """
    row = await _row(bridge.database, sop_uid)
    is_copy = row is not None and damaged == row.blob
    if row is None or not is_copy or not await is_mendable(bridge.database, bridge.blobs, sop_uid):
        return False
    try:
        is_made = await _remake(bridge, row, "made of what came again")
    except Refusal as refusal:
        _log.error("instance %s cannot be corrected again: %s", sop_uid, refusal.reason)
        return False
    await bridge.database.run(MARK, (row.study_uid, now(), row.organization))
    return is_made


async def is_mendable(database: Database, blobs: Blobs, sop_uid: str) -> bool:
    """Whether an object was corrected and what came of it is whole."""
    row = await _row(database, sop_uid)
    if row is None or row.came_blob == row.blob:
        return False
    came = (row.came_blob, row.came_offset, row.transfer_syntax)
    return await asyncio.to_thread(blobs.is_sound, *came)


async def _row(database: Database, sop_uid: str) -> _Row | None:
    rows = await database.run(ROW, (sop_uid,))
    return _Row._make(rows[0]) if rows else None


async def _pairs(bridge: Bridge, blob: str, offset: int, size: int, syntax: str) -> set[Pair]:
    path = await bridge.blobs.own(blob, offset + size)

    def read() -> set[Pair]:
        try:
            return set(references.pairs(instance.read_data_set(path, offset, syntax)[0]))
        except Exception as error:  # whatever a parser makes of hostile bytes
            raise NotDicom("the data set cannot be read") from error

    return await asyncio.to_thread(read)


async def _moved(bridge: Bridge, pairs: set[Pair], patient: str) -> dict[Pair, str]:
    rows = await bridge.database.run(MOVED, (Texts({sop for _, sop in pairs}), patient))
    return {(study, sop): there for study, sop, there in rows if (study, sop) in pairs}


async def _remake(bridge: Bridge, row: _Row, why: str) -> bool:
    """Make the corrected object of what came, and give that out from now on."""
    context = RequestContext(Principal.system("settle"), "settle", origin="settle")
    came = (row.came_blob, row.came_offset, row.came_size, row.transfer_syntax)
    moved = await _moved(bridge, await _pairs(bridge, *came), row.patient)
    if row.came_in != row.study_uid:
        moved[row.came_in, ""] = row.study_uid
    values = reparenting.changes(orjson.loads(row.came_header), orjson.loads(row.header))
    path = await bridge.blobs.own(row.came_blob, row.came_offset + row.came_size)
    async with bridge.store.begin(context) as work:
        of = await orders.sender(work, row.organization)
        change = Change(values, moved, of.name, context.instant)
        one = await asyncio.to_thread(
            coercing.coerced, bridge.blobs, (path, row.came_offset, row.transfer_syntax), change
        )
        _put(work, row, one, why)
    return bool(await bridge.database.run(CHANGED, (row.sop_uid, one.digest)))


def _put(work: Work, row: _Row, one: Instance, why: str) -> None:
    instant = work.context.instant
    work.add(reparenting.KEEP, (row.study_uid, Texts([row.sop_uid]), instant))
    header = orjson.dumps(one.header)
    changed = (row.sop_uid, row.blob, one.digest, one.dataset_offset, one.size, header)
    work.add(CHANGE, changed)
    entry = ledger.entry(
        work.context,
        type="ImagingStudy",
        id=row.imaging_study,
        patient=row.patient,
        query=f"SOPInstanceUID={row.sop_uid}",
        hits=1,
        detail=why,
    )
    work.add(ledger.INSERT, ledger.arrays([entry]))
