"""Check: blobs, instance rows and ImagingStudies agree.

What is found is told, nothing is mended: a blob without a row is swept by its own duty, a damaged
corrected copy is made again when it is scrubbed, anything else is for a person to look at.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Final

from dicom_bridge import following
from dicom_bridge.blobs import GRACE_SECONDS, Blobs
from dicom_bridge.bridge import Bridge
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Row, Texts
from resources import imaging_study

PAGE: Final = 200

ROWS: Final = """
SELECT sop_uid, blob, dataset_offset, transfer_syntax FROM instance
WHERE sop_uid > $1 ORDER BY sop_uid LIMIT $2
"""
BESIDE: Final = """
SELECT sop_uid, blob, dataset_offset, transfer_syntax FROM instance_conflict
UNION ALL
SELECT o.sop_uid, o.blob, o.dataset_offset, i.transfer_syntax
FROM original o JOIN instance i USING (sop_uid)
"""
WITHOUT_ROW: Final = """
SELECT k.blob FROM unnest($1::text[]) AS k(blob)
WHERE NOT EXISTS (SELECT 1 FROM instance i WHERE i.blob = k.blob)
  AND NOT EXISTS (SELECT 1 FROM instance_conflict c WHERE c.blob = k.blob)
  AND NOT EXISTS (SELECT 1 FROM original o WHERE o.blob = k.blob)
"""
STUDIES: Final = """
SELECT study_uid, imaging_study FROM study s
WHERE study_uid > $1 AND NOT EXISTS (SELECT 1 FROM unsettled u WHERE u.study_uid = s.study_uid)
ORDER BY study_uid LIMIT $2
"""
HELD: Final = """
SELECT study_uid, array_agg(sop_uid) FROM instance WHERE study_uid = ANY($1) GROUP BY study_uid
"""
UNLISTED: Final = """
SELECT DISTINCT i.study_uid FROM instance i
WHERE NOT EXISTS (SELECT 1 FROM study s WHERE s.study_uid = i.study_uid)
  AND NOT EXISTS (SELECT 1 FROM unsettled u WHERE u.study_uid = i.study_uid)
"""


async def problems(
    bridge: Bridge, *, deep: bool = False, grace_seconds: float = GRACE_SECONDS
) -> list[str]:
    """Everything that does not agree, a sentence each, by UID.

    Parameters
    ----------
    deep
        Read every blob and compare its digest.
    grace_seconds
        A blob younger than this may be without a row: its row may still be under way.
    """
    found = [problem async for problem in _missing(bridge.database, bridge.blobs, deep)]
    orphans = await without_row(bridge.database, bridge.blobs, grace_seconds)
    found += [f"blob {key} belongs to no instance" for key in orphans]
    found += [problem async for problem in _unlisted(bridge)]
    return found


async def without_row(database: Database, blobs: Blobs, grace_seconds: float) -> list[str]:
    """Blobs older than that to which no row leads."""
    keys = blobs.keys(grace_seconds)
    orphans: list[str] = []
    while page := await asyncio.to_thread(_next_page, keys):
        rows = await database.run(WITHOUT_ROW, (Texts(page),))
        orphans += [key for (key,) in rows]
    return orphans


async def sweep(database: Database, blobs: Blobs, grace_seconds: float = GRACE_SECONDS) -> int:
    """Remove what a crash left behind: blobs without a row, files never finished; how many."""
    orphans = await without_row(database, blobs, grace_seconds)
    return await asyncio.to_thread(blobs.sweep, iter(orphans), grace_seconds)


async def _missing(database: Database, blobs: Blobs, deep: bool) -> AsyncIterator[str]:
    async for rows in _pages(database, ROWS):
        for sop_uid, problem in await asyncio.to_thread(_of_rows, rows, blobs, deep):
            is_mended = await following.is_mendable(database, blobs, sop_uid)
            yield f"{problem}; the copy is made again of what came" if is_mended else problem
    beside = await database.run(BESIDE)
    for _, problem in await asyncio.to_thread(_of_rows, beside, blobs, deep):
        yield problem


async def _unlisted(bridge: Bridge) -> AsyncIterator[str]:
    context = RequestContext(Principal.system("check"), "read", origin="check")
    async for rows in _pages(bridge.database, STUDIES):
        uids = Texts([str(row[0]) for row in rows])
        held = {study: set(uids) for study, uids in await bridge.database.run(HELD, (uids,))}
        resources = await bridge.store.many(context, [f"ImagingStudy/{id_}" for _, id_ in rows])
        for study_uid, id_ in rows:
            study = resources.get(f"ImagingStudy/{id_}")
            listed = set(imaging_study.instance_uids(study.json)) if study else set()
            if listed != held.get(study_uid, set()):
                yield f"ImagingStudy/{id_} does not list what is held of study {study_uid}"
    for (study_uid,) in await bridge.database.run(UNLISTED):
        yield f"study {study_uid} is held, and no ImagingStudy lists it"


async def _pages(database: Database, sql: str) -> AsyncIterator[list[Row]]:
    after = ""
    while rows := await database.run(sql, (after, PAGE)):
        yield rows
        after = str(rows[-1][0])


def _next_page(keys: Iterator[str]) -> list[str]:
    return list(islice(keys, PAGE))


def _of_rows(rows: list[Row], blobs: Blobs, deep: bool) -> list[tuple[str, str]]:
    found = []
    for sop_uid, blob, offset, transfer_syntax in rows:
        if not blobs.exists(blob):
            found.append((sop_uid, f"the bytes of instance {sop_uid} are gone"))
        elif deep and not blobs.is_sound(blob, offset, transfer_syntax):
            found.append((sop_uid, f"the bytes of instance {sop_uid} have changed"))
    return found
