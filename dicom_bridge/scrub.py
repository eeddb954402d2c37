"""Scrub: every blob is read again, in turn, and one whose bits have changed is served no more.

Blobs are named by digests, which are spread evenly: the names are cut into as many slices as there
are minutes in a round, and a minute reads one. Nothing remembers how far it is, so nothing can
forget; a round is one minute longer than whole days, so that a server which is down at the same
time every day does not miss the same slice every time.

A damaged blob is set aside and the organisation that sent it finds a Task: it can send the
instance again, and then it is whole. A corrected copy is made again of what came, if that is whole.

References
----------
* docs/requirements.md, R012.1: objects are stored permanently
"""

import asyncio
import logging
from collections import defaultdict
from typing import Final

from dicom_bridge import following
from dicom_bridge.blobs import Blobs
from dicom_bridge.bridge import Bridge
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext, now
from fhir_server.postgres.database import Row
from resources import codes, content
from resources.content import written_instant

PAGE: Final = 64
NAMES: Final = 1 << 64
"""Slices are cut from the first 64 bits of a name."""
MINUTE: Final = 60_000_000
OURSELVES: Final = Principal.system("scrub")

ROWS: Final = """
SELECT f.blob, f.dataset_offset, f.transfer_syntax, f.sop_uid, s.imaging_study, f.organization,
  f.is_made
FROM (
  SELECT i.blob, i.dataset_offset, i.transfer_syntax, i.sop_uid, i.study_uid, i.organization,
    o.sop_uid IS NOT NULL AS is_made
  FROM instance i LEFT JOIN original o USING (sop_uid) WHERE i.blob > $1 AND i.blob < $2
  UNION ALL
  SELECT o.blob, o.dataset_offset, i.transfer_syntax, o.sop_uid, i.study_uid, o.organization,
    false
  FROM original o JOIN instance i USING (sop_uid) WHERE o.blob > $1 AND o.blob < $2
) f LEFT JOIN study s USING (study_uid)
ORDER BY f.blob LIMIT $3
"""
"""What is served, and what it was made of where it is a corrected copy."""

_log = logging.getLogger(__name__)


async def scrub(bridge: Bridge, minute: int, days: int) -> int:
    """Read the blobs whose turn it is, and say how many were damaged.

    Parameters
    ----------
    minute
        Counted from any moment.
    days
        In how many days every blob is read; 0 reads none.
    """
    if days == 0:
        return 0
    slices = days * 24 * 60 + 1
    turn = minute % slices
    read = await _read(bridge, _name(turn, slices), _name(turn + 1, slices))
    lost = [(row, new) for row, new in read if not await following.mend(bridge, row[3], row[0])]
    damaged = [row for row, is_new in lost if is_new]
    told: dict[tuple[str, str], list[str]] = defaultdict(list)
    for _, _, _, sop_uid, imaging_study, organization, _ in damaged:
        _log.error("the bytes of instance %s have changed", sop_uid)
        told[imaging_study or "", organization].append(sop_uid)
    for (imaging_study, organization), uids in told.items():
        await _tell(bridge, imaging_study, organization, uids)
    return len(damaged)


async def _read(bridge: Bridge, after: str, before: str) -> list[tuple[Row, bool]]:
    damaged: list[tuple[Row, bool]] = []
    while rows := await bridge.database.run(ROWS, (after, before, PAGE)):
        damaged += await asyncio.to_thread(_set_aside, bridge.blobs, rows)
        after = str(rows[-1][0])
    return damaged


def _set_aside(blobs: Blobs, rows: list[Row]) -> list[tuple[Row, bool]]:
    """Set aside what is damaged; which of it is lost for now, and whether that is new.

    What is not there at all is for `check` to tell; but a corrected copy is made again of what
    came, if it can be.
    """
    found = []
    for row in rows:
        key, offset, transfer_syntax = row[:3]
        if blobs.is_sound(key, offset, transfer_syntax):
            continue
        if not blobs.exists(key):
            found += [(row, False)] if row[6] else []
        else:
            blobs.set_aside(key, offset, transfer_syntax)
            if blobs.exists(key):
                _log.warning("the bytes of instance %s had changed and are mended", row[3])
            else:
                found.append((row, True))
    return found


async def _tell(bridge: Bridge, imaging_study: str, organization: str, uids: list[str]) -> None:
    instant = now()
    written = written_instant(instant)
    task = {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "priority": "urgent",
        "code": codes.INSTANCE_DAMAGED.concept,
        "description": f"No longer served until they are sent again: {', '.join(sorted(uids))}",
        "authoredOn": written,
        "lastModified": written,
        "owner": {"reference": f"Organization/{organization}"},
    }
    if imaging_study:
        task["focus"] = {"reference": f"ImagingStudy/{imaging_study}"}
    context = RequestContext(OURSELVES, "create", "scrub", instant=instant)
    async with bridge.store.begin(context) as work:
        await work.create(content.made(task))


def _name(turn: int, slices: int) -> str:
    """Give the first name of a slice; past the last it is one that comes after every name."""
    return f"{NAMES * turn // slices:016x}" if turn < slices else "g"
