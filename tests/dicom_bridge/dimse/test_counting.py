"""What is asked on the DICOM port is counted, by what it was and how it was answered."""

import asyncio
from collections import Counter

import pytest
from pydicom.dataset import Dataset

from dicom_bridge import counting
from dicom_bridge.counting import Counting
from dicom_bridge.dimse import scp
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import Archive

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@pytest.fixture
def counted(archive: Archive) -> Counter[tuple[str, int]]:
    """What the archive counts."""
    found: Counter[tuple[str, int]] = Counter()

    def count(interaction: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        found[interaction, status] += 1

    archive.bridge.counting = Counting(count)
    return found


async def test_stores_echoes_and_associations_are_counted(
    archive: Archive, counted: Counter[tuple[str, int]]
) -> None:
    await archive.call(archive.send, an_instance(), an_instance())
    await archive.call(archive.echo)
    await archive.call(archive.associate, calling="STRANGER")
    async with asyncio.timeout(5):
        while counted["association", 403] == 0:  # it is counted once the peer has been told
            await asyncio.sleep(0.01)

    assert counted == {
        ("association", 200): 2,
        ("association", 403): 1,
        ("C-STORE", 200): 2,
        ("C-ECHO", 200): 1,
    }


async def test_a_store_that_is_refused_is_counted_as_a_failure(
    archive: Archive, counted: Counter[tuple[str, int]]
) -> None:
    broken = an_instance()
    broken.StudyInstanceUID = "not-a-uid"

    (status,) = await archive.call(archive.send, broken)

    assert status.Status != 0x0000
    assert counted["C-STORE", 500] == 1


async def test_queries_are_counted_once_they_are_answered(
    archive: Archive, counted: Counter[tuple[str, int]]
) -> None:
    def ask() -> None:
        association = archive.associate((STUDY_ROOT_FIND, scp.PLAIN[0]))
        query = Dataset()
        query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", ""
        list(association.send_c_find(query, STUDY_ROOT_FIND))
        query.QueryRetrieveLevel = "NONSENSE"
        list(association.send_c_find(query, STUDY_ROOT_FIND))
        association.release()

    await archive.call(ask)

    assert counted["C-FIND", 200] == 1
    assert counted["C-FIND", 500] == 1


@pytest.mark.standard("PS3.7 C")
@pytest.mark.parametrize(
    ("code", "counted_as"),
    [(0x0000, 200), (0xFF00, 200), (0xFF01, 200), (0xB000, 202), (0xFE00, 202), (0x0001, 202),
     (0xA700, 500), (0xA900, 500), (0xC001, 500), (0x0110, 500), (0x0122, 500)],
)  # fmt: skip
def test_a_status_is_counted_by_its_type(code: int, counted_as: int) -> None:
    assert counting.status_of(code) == counted_as
