"""Availability: which peers are to be told that the instances of a study can be had.

The need to tell is written in the transaction that lists the instances in their ImagingStudy, so
that it is told whatever dies meanwhile, and of what all may read: a peer hears of a study only what
its organisation sees.

References
----------
* PS3.4 Annex R (Instance Availability Notification), Table R.3.2-1
"""

import uuid
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pydicom.dataset import Dataset

from dicom_bridge import retrieval
from dicom_bridge.bridge import Bridge
from dicom_bridge.leases import AGAIN_SECONDS, SECOND, waits
from dicom_bridge.mapping.demographics import dataset
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Texts
from resources import codes

LEASE: Final = 120 * SECOND
"""Microseconds for which a notification under way is nobody else's."""
WAITS: Final = waits("$1", LEASE)

NOTE: Final = """
INSERT INTO availability (peer, study_uid, noted, attempts, due)
SELECT ae, $1, $2, 0, $2 FROM peer WHERE informed
ON CONFLICT (peer, study_uid) DO UPDATE
    SET noted = excluded.noted, attempts = 0, due = excluded.due
"""
TAKE: Final = f"""
UPDATE availability SET lease_until = $1 + {LEASE}, attempts = attempts + 1
WHERE (peer, study_uid) IN (
  SELECT peer, study_uid FROM availability WHERE {WAITS} <= $1 AND peer <> ALL($2::text[])
  ORDER BY due LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING peer, study_uid, noted, attempts, lease_until
"""
DONE: Final = "DELETE FROM availability WHERE peer = $1 AND study_uid = $2 AND noted = $3"
AGAIN: Final = """
UPDATE availability SET due = $4 WHERE peer = $1 AND study_uid = $2 AND noted = $3
"""
RELEASE: Final = """
UPDATE availability SET lease_until = NULL
WHERE peer = $1 AND study_uid = $2 AND lease_until = $3
"""
NEXT: Final = f"SELECT min({WAITS}) FROM availability WHERE peer <> ALL($2::text[])"


class Due(NamedTuple):
    """One study that a peer is to be told of."""

    peer: str
    study_uid: str
    noted: int
    attempts: int
    lease_until: int

    @property
    def uid(self) -> str:
        """SOP Instance UID of the notification: the same one each time it is tried."""
        name = f"{codes.BASE}/availability/{self.peer}/{self.study_uid}/{self.noted}"
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"


async def take(database: Database, now: int, busy: Sequence[str] = ()) -> Due | None:
    """Take what is due for another peer than the busy ones; it is nobody else's for a while."""
    rows: list[Any] = list(await database.run(TAKE, (now, Texts(busy))))
    return Due(*rows[0]) if rows else None


async def next_due(database: Database, now: int, busy: Sequence[str] = ()) -> int | None:
    """When another peer than the busy ones is to be told, in microseconds since 1970, if any is."""
    due = (await database.run(NEXT, (now, Texts(busy))))[0][0]
    return None if due is None else int(due)


async def done(database: Database, one: Due) -> None:
    """Forget that a peer was to be told, unless the study has changed since."""
    await database.run(DONE, (one.peer, one.study_uid, one.noted))
    await database.run(RELEASE, (one.peer, one.study_uid, one.lease_until))


async def again(database: Database, one: Due, now: int) -> bool:
    """Say when a peer that could not be told is tried again; False if it is given up."""
    if one.attempts > len(AGAIN_SECONDS):
        await done(database, one)
        return False
    due = now + AGAIN_SECONDS[one.attempts - 1] * SECOND
    await database.run(AGAIN, (one.peer, one.study_uid, one.noted, due))
    await database.run(RELEASE, (one.peer, one.study_uid, one.lease_until))
    return True


async def notification(bridge: Bridge, context: RequestContext, study_uid: str) -> Dataset:
    """Write what a peer is told of a study (PS3.4 Table R.3.2-1).

    Raises
    ------
    NotFound
        Its organisation may not know of it.
    """
    found = await retrieval.instances(bridge, context, study_uid)
    series: dict[str, list[Dataset]] = {}
    for one in found.instances:
        series.setdefault(one.series_uid, []).append(
            dataset(
                ReferencedSOPClassUID=one.sop_class,
                ReferencedSOPInstanceUID=one.sop_uid,
                InstanceAvailability="ONLINE",
                RetrieveAETitle=bridge.ae_title,
            )
        )
    return dataset(
        ReferencedPerformedProcedureStepSequence=[],
        StudyInstanceUID=study_uid,
        ReferencedSeriesSequence=[
            dataset(SeriesInstanceUID=uid, ReferencedSOPSequence=instances)
            for uid, instances in series.items()
        ],
    )
