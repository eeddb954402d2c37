"""Holdings: what is held of a study, as whoever gives it out needs it.

Only instances of settled studies are listed: until then no ImagingStudy says who may see them.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fhir_server.postgres.database import Database
from fhir_server.store.referrers import Runs
from resources.errors import Conflict
from resources.identifiers import find_study_uid

HELD: Final = """
SELECT i.sop_uid, i.study_uid, i.series_uid, i.sop_class, i.transfer_syntax, i.size,
       i.dataset_offset, i.blob, i.number, i.frames, s.imaging_study, s.patient,
       CASE WHEN $3::text IS NOT NULL THEN i.layout END
FROM instance i JOIN study s ON s.study_uid = i.study_uid
WHERE i.study_uid = $1
  AND ($2::text IS NULL OR i.series_uid = $2)
  AND ($3::text IS NULL OR i.sop_uid = $3)
ORDER BY i.series_number NULLS LAST, i.series_uid, i.number NULLS LAST, i.sop_uid
"""

METADATA: Final = """
SELECT i.sop_uid, i.json, i.blob, i.dataset_offset, i.transfer_syntax
FROM instance i
WHERE i.study_uid = $1
  AND ($2::text IS NULL OR i.series_uid = $2)
  AND ($3::text IS NULL OR i.sop_uid = $3)
ORDER BY i.series_number NULLS LAST, i.series_uid, i.number NULLS LAST, i.sop_uid
"""

IMAGING_STUDY: Final = "SELECT imaging_study FROM study WHERE study_uid = $1"

HELD_OF: Final = """
SELECT 1 FROM instance WHERE study_uid IN (
  SELECT study_uid FROM study WHERE imaging_study = $2
  UNION SELECT $1::text WHERE NOT EXISTS (SELECT FROM study WHERE study_uid = $1::text)
) LIMIT 1
"""
"""Another ImagingStudy that bears the UID, beside the one that lists the images, is not kept."""


class Held(NamedTuple):
    """One instance that is held, and the ImagingStudy and Patient (ids) that it belongs to."""

    sop_uid: str
    study_uid: str
    series_uid: str
    sop_class: str
    transfer_syntax: str
    size: int
    """Bytes of the data set."""
    dataset_offset: int
    """Where the data set begins in the blob, in bytes."""
    blob: str
    number: int | None
    frames: int
    imaging_study: str
    patient: str
    layout: bytes | None = None
    """Where its frames are, as `layouts` writes it, if it was asked for alone."""

    @property
    def length(self) -> int:
        """Octets of its file."""
        return self.dataset_offset + self.size


class Metadata(NamedTuple):
    """DICOM JSON of one instance; None while it is still being made: then read the blob."""

    sop_uid: str
    json: bytes | None
    blob: str
    dataset_offset: int
    transfer_syntax: str


async def instances(
    database: Database, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
) -> list[Held]:
    """The instances of a study, a series, or one, in the order of series and instance numbers."""
    return [Held(*row) for row in await database.run(HELD, (study_uid, series_uid, sop_uid))]


async def metadata(
    database: Database, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
) -> list[Metadata]:
    """The DICOM JSON of the instances of a study, a series, or of one, in the same order."""
    rows = await database.run(METADATA, (study_uid, series_uid, sop_uid))
    return [Metadata(*row) for row in rows]


async def imaging_study(database: Database, study_uid: str) -> str | None:
    """Id of the ImagingStudy of a settled study."""
    rows = await database.run(IMAGING_STUDY, (study_uid,))
    return str(rows[0][0]) if rows else None


async def keep(runs: Runs, study: Mapping[str, Any]) -> None:
    """Refuse to delete an ImagingStudy whose images are held: nobody could see them any more.

    Raises
    ------
    Conflict
        Instances of the study are held, settled or not.
    """
    id = str(study.get("id"))
    if await runs.run(HELD_OF, (find_study_uid(study), id)):
        raise Conflict(f"Images of ImagingStudy/{id} are held; it stays.")
