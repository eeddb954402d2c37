"""What is made for a formal review comes by C-STORE and joins the study under review (R008.3)."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from resources import codes
from tests import build
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import Archive, found, write
from tests.dicom_bridge.test_ingest import PERSON, accession, order
from tests.dicom_bridge.test_reparenting import an_object

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R008.3")]


async def send(archive: Archive, *instances: Dataset) -> None:
    for status in await archive.call(archive.send, *instances):
        assert status.Status == 0x0000
    await archive.bridge.quiet.drained()


async def under_review(archive: Archive) -> tuple[Dataset, dict[str, Any]]:
    """An image of a study that came by C-STORE, and the study, of which a review is asked."""
    await order(archive.bridge)
    first = an_instance(**PERSON)
    await send(archive, first)
    (study,) = await found(archive.bridge, "ImagingStudy")
    await ask(archive.bridge, study)
    return first, study


async def ask(bridge: Bridge, *studies: dict[str, Any]) -> None:
    review = build.a_request(
        "sr2",
        subject={"reference": "Patient/p1"},
        identifier=[accession("R1")],
        category=[codes.KIND_REVIEW_FORMAL.concept],
        supportingInfo=[{"reference": f"ImagingStudy/{one['id']}"} for one in studies],
    )
    for member in ("requester", "performer", "reasonReference", "encounter"):
        review.pop(member, None)
    await write(bridge, review)


@pytest.mark.parametrize("kind", ["presentation state", "key images", "structured report"])
async def test_an_object_of_a_review_opens_no_second_study(archive: Archive, kind: str) -> None:
    first, study = await under_review(archive)

    await send(archive, an_object(kind, **PERSON, accession="R1", series_number=5))

    (now,) = await found(archive.bridge, "ImagingStudy")
    assert now["id"] == study["id"]
    assert now["numberOfInstances"] == 2
    assert f"urn:oid:{first.StudyInstanceUID}" in [one["value"] for one in now["identifier"]]
    assert {"reference": "ServiceRequest/sr2"} in now["basedOn"]


async def test_new_images_of_a_review_join_it_too_however_often_they_are_sent(
    archive: Archive,
) -> None:
    await under_review(archive)
    reformat = an_instance(**PERSON, accession="R1", series_number=7)

    await send(archive, reformat)
    await send(archive, reformat)

    (now,) = await found(archive.bridge, "ImagingStudy")
    assert now["numberOfInstances"] == 2
    assert await found(archive.bridge, "Task") == []


async def test_what_is_made_in_the_study_under_review_itself_is_just_there(
    archive: Archive,
) -> None:
    first, _ = await under_review(archive)
    state = an_object("presentation state", **PERSON, accession="R1", series_number=5)
    state.StudyInstanceUID = first.StudyInstanceUID

    await send(archive, state)

    (now,) = await found(archive.bridge, "ImagingStudy")
    assert now["numberOfInstances"] == 2
