"""What a modality says it has made is compared with what arrived; what is missing is asked for."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_bridge import announced
from dicom_bridge.bridge import Bridge
from fhir_server.context import now
from resources import codes
from tests.dicom_bridge.build import a_uid, an_instance
from tests.dicom_bridge.conftest import Archive, found, take_in, write
from tests.dicom_bridge.dimse.test_mpps import begun, ended, tell

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.standard("PS3.4 F.7.2"),
    pytest.mark.requirement("R014.3"),
]

MINUTE = 60_000_000


def listing(images: list[Dataset], status: str = "COMPLETED", others: int = 0) -> Dataset:
    """The end of a step that lists these images, and so many other objects."""
    ds = ended(status)
    (series,) = ds.PerformedSeriesSequence
    series.ReferencedImageSequence = [
        _reference(one.SOPClassUID, one.SOPInstanceUID) for one in images
    ]
    series.ReferencedNonImageCompositeSOPInstanceSequence = [
        _reference("1.2.840.10008.5.1.4.1.1.88.67", a_uid()) for _ in range(others)
    ]
    return ds


def _reference(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


async def questions(bridge: Bridge, minutes: int = 31) -> list[dict[str, Any]]:
    """What is asked once so many minutes have gone by."""
    await announced.look(bridge, now() + minutes * MINUTE, 30)
    tasks = await found(bridge, "Task", code=codes.RECONCILE.token)
    return [one for one in tasks if "have not arrived" in one["description"]]


async def performed(archive: Archive, ds: Dataset) -> str:
    uid = a_uid()
    assert await archive.call(tell, archive, (uid, begun()), (uid, ds)) == [0, 0]
    (procedure,) = await found(
        archive.bridge, "Procedure", identifier=f"urn:dicom:uid|urn:oid:{uid}"
    )
    return str(procedure["id"])


async def test_images_that_do_not_arrive_are_asked_for_once(archive: Archive) -> None:
    images = [an_instance() for _ in range(3)]
    procedure = await performed(archive, listing(images, others=1))
    await take_in(archive.bridge, images[0])

    (task,) = await questions(archive.bridge)
    again = await questions(archive.bridge, 60)

    assert task["description"].startswith("3 objects ")
    assert task["focus"] == {"reference": f"Procedure/{procedure}"}
    assert task["owner"] == {"reference": "Organization/lead"}
    assert task["status"] == "requested"
    assert [one["id"] for one in again] == [task["id"]]


async def test_nobody_is_asked_before_the_time_is_over(archive: Archive) -> None:
    await performed(archive, listing([an_instance()]))

    assert await questions(archive.bridge, 29) == []


async def test_nobody_is_asked_where_all_has_arrived(archive: Archive) -> None:
    image = an_instance()
    await take_in(archive.bridge, image)
    await performed(archive, listing([image]))

    assert await questions(archive.bridge) == []
    assert await archive.bridge.database.run("SELECT 1 FROM announced") == []


async def test_the_question_is_answered_when_all_have_come(archive: Archive) -> None:
    images = [an_instance() for _ in range(2)]
    await performed(archive, listing(images))
    await questions(archive.bridge)

    await take_in(archive.bridge, images[0])
    (before,) = await questions(archive.bridge)
    await take_in(archive.bridge, images[1])
    (after,) = await questions(archive.bridge)

    assert (before["status"], after["status"]) == ("requested", "completed")
    assert await questions(archive.bridge, 600) == [after]


async def test_what_a_discontinued_step_has_made_is_looked_for_too(archive: Archive) -> None:
    await performed(archive, listing([an_instance()], "DISCONTINUED"))

    (task,) = await questions(archive.bridge)

    assert task["description"].startswith("1 object ")


async def test_the_question_that_a_person_has_closed_is_not_asked_again(archive: Archive) -> None:
    await performed(archive, listing([an_instance()]))
    (task,) = await questions(archive.bridge)

    await write(archive.bridge, {**task, "status": "cancelled"})

    (again,) = await questions(archive.bridge, 90)
    assert (again["id"], again["status"]) == (task["id"], "cancelled")
