"""A lead with studies, and another organisation with a PACS that work is scheduled at."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_bridge import ingest
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from dicom_bridge.prefetch.mover import Mover
from dicom_bridge.prefetch.planning import Planner
from resources import codes
from tests import build
from tests.dicom_bridge.build import a_series, a_uid, an_instance
from tests.dicom_bridge.conftest import BASE, CT1, found, take_in, write
from tests.dicom_bridge.prefetch.archive import KOS, PR, Pacs

Json = dict[str, Any]
PATIENCE_SECONDS = 90.0


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    made = Pacs()
    made.open()
    yield made
    made.close()


@pytest.fixture
async def planner(bridge: Bridge, pacs: Pacs) -> Planner:
    """A planner that has begun, with the PACS as a destination."""
    await peers.add(bridge.database, pacs.peer)
    made = Planner(bridge, BASE)
    await made.work()
    return made


def composite(**attributes: Any) -> list[Dataset]:
    """Three images, a presentation state, a key object selection and an SR of one study."""
    images = a_series(3, **attributes)
    study_uid = str(images[0].StudyInstanceUID)
    others = [
        an_instance("SR", study_uid=study_uid, series_number=number, **attributes)
        for number in (2, 3, 4)
    ]
    for ds, sop_class, modality in zip(others, (PR, KOS), ("PR", "KO"), strict=False):
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
        ds.Modality = modality
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(a_uid())
    return [*images, *others]


async def held(bridge: Bridge, *instances: Dataset, peer: Any = CT1) -> Json:
    """Take in a study; its ImagingStudy."""
    for ds in instances:
        await take_in(bridge, ds, peer)
    uid = str(instances[0].StudyInstanceUID)
    await ingest.settle(bridge, uid)
    (study,) = await found(bridge, "ImagingStudy", identifier=f"urn:dicom:uid|urn:oid:{uid}")
    return study


def uids(instances: Sequence[Dataset]) -> set[str]:
    return {str(ds.SOPInstanceUID) for ds in instances}


async def a_report_step(bridge: Bridge, study: Json, **members: Any) -> Json:
    """A step at the organisation with the PACS, about a study."""
    step = build.a_step(
        "report",
        focus={"reference": f"ImagingStudy/{study['id']}"},
        basedOn=None,
        **{
            "for": study["subject"],
            "requester": {"reference": "Organization/lead"},
            "owner": {"reference": "Organization/other"},
            "restriction": {"period": {"end": "2026-12-01T09:00:00Z"}},
            **members,
        },
    )
    await write(bridge, step)
    return step


async def prefetches(bridge: Bridge, **criteria: str) -> list[Json]:
    """The Tasks, the oldest first."""
    code = f"{codes.IMAGING_STEP}|prefetch"
    return await found(bridge, "Task", code=code, _sort="_lastUpdated", **criteria)


async def move(bridge: Bridge, holds: Callable[[], Awaitable[bool]], processes: int = 1) -> None:
    """Let movers work until something holds."""
    moving = [asyncio.ensure_future(Mover(bridge, BASE).run()) for _ in range(processes)]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await holds():
                await asyncio.sleep(0.02)
    finally:
        for one in moving:
            one.cancel()
        await asyncio.gather(*moving, return_exceptions=True)


async def moved(bridge: Bridge) -> None:
    """Let a mover work until nothing is due."""

    async def nothing() -> bool:
        return not await bridge.database.run("SELECT 1 FROM prefetch WHERE attempts = 0") and not (
            await bridge.database.run("SELECT 1 FROM prefetch WHERE lease_until IS NOT NULL")
        )

    await move(bridge, nothing)


async def now_due(bridge: Bridge) -> None:
    """Let what waits be tried now."""
    await bridge.database.run("UPDATE prefetch SET due = 0, attempts = 0, lease_until = NULL")
