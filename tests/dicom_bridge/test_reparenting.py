"""One study for a request: what comes under another Study Instance UID joins it, untouched."""

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from dicom_bridge import check, ingest, retrieval
from dicom_bridge.bridge import Bridge
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from resources import codes, elements
from tests import build
from tests.dicom_bridge.build import SOP_CLASSES, a_uid, an_instance, part10
from tests.dicom_bridge.conftest import CT1, CT2, found, take_in, write
from tests.dicom_bridge.test_ingest import NHS, PERSON, accession, order

pytestmark = pytest.mark.anyio

SYSTEM = RequestContext(Principal.system("test"), "read")
OTHERS = {
    "key images": ("KO", "1.2.840.10008.5.1.4.1.1.88.59"),
    "presentation state": ("PR", "1.2.840.10008.5.1.4.1.1.11.1"),
    "dose report": ("SR", "1.2.840.10008.5.1.4.1.1.88.67"),
    "encapsulated PDF": ("DOC", "1.2.840.10008.5.1.4.1.1.104.1"),
    "structured report": ("SR", "1.2.840.10008.5.1.4.1.1.88.11"),
}
"""What is no image, whichever way it comes (PS3.4 Table B.5-1)."""


def an_object(kind: str, **members: Any) -> Dataset:
    """An object that is no image: as much of it as a study needs to know."""
    ds = an_instance("SR", **members)
    ds.Modality, ds.SOPClassUID = OTHERS[kind]
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    return ds


async def settled(bridge: Bridge) -> list[dict[str, Any]]:
    await bridge.quiet.drained()
    return await found(bridge, "ImagingStudy")


async def bring(bridge: Bridge, *instances: Dataset, peer: Any = CT1) -> None:
    """Take in and settle, each burst by itself."""
    for ds in instances:
        await take_in(bridge, ds, peer)
    await bridge.quiet.drained()


async def bytes_of(bridge: Bridge, study_uid: str) -> dict[str, Dataset]:
    """What leaves of a study, by SOP Instance UID."""
    found = await retrieval.instances(bridge, SYSTEM, study_uid)
    paths = [await bridge.blobs.path(one.blob, found.permit) for one in found.instances]
    read = [dcmread(path) for path in paths]
    return {str(ds.SOPInstanceUID): ds for ds in read}


@pytest.mark.requirement("R012.3")
async def test_a_second_study_uid_of_a_request_opens_no_second_study(bridge: Bridge) -> None:
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON, series_number=2)

    await bring(bridge, first)
    await bring(bridge, second)

    (study,) = await settled(bridge)
    listed = {one["uid"] for series in study["series"] for one in series["instance"]}
    assert listed == {str(first.SOPInstanceUID), str(second.SOPInstanceUID)}
    assert await found(bridge, "Task") == []


@pytest.mark.standard("PS3.3 C.12.1.1.9")
@pytest.mark.requirement("R008.3")
async def test_what_is_given_out_says_what_it_was(bridge: Bridge) -> None:
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON, series_number=2, pixel=9)
    second.StudyID = "77"
    await bring(bridge, first)
    await bring(bridge, second)

    given_out = (await bytes_of(bridge, first.StudyInstanceUID))[second.SOPInstanceUID]

    assert given_out.StudyInstanceUID == first.StudyInstanceUID
    assert given_out.StudyID == first.StudyID
    (was,) = given_out.OriginalAttributesSequence
    assert was.ReasonForTheAttributeModification == "COERCE"
    assert was.AttributeModificationDateTime
    assert was.ModifyingSystem
    (before,) = was.ModifiedAttributesSequence
    assert (before.StudyInstanceUID, before.StudyID) == (second.StudyInstanceUID, "77")
    assert given_out.PixelData == second.PixelData
    del given_out["OriginalAttributesSequence"]
    given_out.StudyInstanceUID, given_out.StudyID = second.StudyInstanceUID, "77"
    assert given_out.to_json_dict() == second.to_json_dict()


@pytest.mark.requirement("R012.3")
async def test_the_bytes_that_came_stay_and_come_again_as_the_same(bridge: Bridge) -> None:
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON)
    await bring(bridge, first)
    await bring(bridge, second)

    again = await take_in(bridge, second)

    assert again.already
    ((blob, offset),) = await bridge.database.run("SELECT blob, dataset_offset FROM original")
    kept = (await bridge.blobs.own(blob)).read_bytes()
    assert kept.endswith(part10(second)[offset:])
    assert await check.problems(bridge, deep=True) == []


async def test_a_study_of_its_own_streams_the_bytes_that_came(bridge: Bridge) -> None:
    await order(bridge)
    first = an_instance(**PERSON)

    await bring(bridge, first)

    assert await bridge.database.run("SELECT 1 FROM original") == []
    (held,) = (await retrieval.instances(bridge, SYSTEM, first.StudyInstanceUID)).instances
    assert (await bridge.blobs.own(held.blob)).read_bytes() == part10(first)


@pytest.mark.standard("PS3.5 A")
@pytest.mark.parametrize(
    "syntax",
    [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.4.80",
    ],
)
async def test_it_is_given_out_in_the_transfer_syntax_that_it_came_in(
    bridge: Bridge, syntax: str
) -> None:
    await order(bridge)
    first = an_instance(**PERSON)
    second = an_instance(**PERSON, series_number=2, pixel=5, transfer_syntax=syntax)
    if syntax.startswith("1.2.840.10008.1.2.4"):
        second.PixelData = encapsulate([b"\xff\xd8anything\xff\xd9"])
        second["PixelData"].is_undefined_length = True
    await bring(bridge, first)
    await bring(bridge, second)

    given_out = (await bytes_of(bridge, first.StudyInstanceUID))[second.SOPInstanceUID]

    assert given_out.file_meta.TransferSyntaxUID == syntax
    assert given_out.PixelData == second.PixelData
    assert given_out.StudyInstanceUID == first.StudyInstanceUID


@pytest.mark.requirement("R012.2")
@pytest.mark.parametrize("kind", OTHERS)
async def test_what_is_no_image_joins_the_study_and_is_counted_as_none(
    bridge: Bridge, kind: str
) -> None:
    await order(bridge)
    await bring(bridge, an_instance(**PERSON, frames=3))

    await bring(bridge, an_object(kind, **PERSON, series_number=9))

    (study,) = await settled(bridge)
    assert study["numberOfInstances"] == 2
    assert elements.extension_value(study, codes.NUMBER_OF_IMAGES) == 3


@pytest.mark.requirement("R012.3")
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(order_=st.permutations(range(6)), bursts=st.lists(st.booleans(), min_size=6, max_size=6))
async def test_any_order_of_arrival_gives_the_same_study(
    bridge: Bridge, order_: list[int], bursts: list[bool]
) -> None:
    number = next(_requests)
    request = build.a_request(
        f"sr{number}", subject={"reference": "Patient/p1"}, identifier=[accession(f"N{number}")]
    )
    for member in ("requester", "performer", "reasonReference", "supportingInfo", "encounter"):
        request.pop(member, None)
    patient = build.a_patient("p1", identifier=[{"system": codes.NHS_NUMBER, "value": NHS}])
    await write(bridge, patient, request)
    uids = [a_uid(), a_uid(), a_uid()]
    said = {**PERSON, "accession": f"N{number}"}
    objects = [
        an_instance(**said, study_uid=uids[0]),
        an_instance(**said, study_uid=uids[0], series_number=2, frames=4),
        an_object("structured report", **said, study_uid=uids[0], series_number=7),
        an_instance(**said, study_uid=uids[1], series_number=3),
        an_object("key images", **said, study_uid=uids[1], series_number=8),
        an_object("presentation state", **said, study_uid=uids[2], series_number=9),
    ]

    for at, is_end in zip(order_, bursts, strict=True):
        await take_in(bridge, objects[at])
        if is_end:
            await bridge.quiet.drained()
    await bridge.quiet.drained()

    (study,) = await found(bridge, "ImagingStudy", basedon=f"ServiceRequest/sr{number}")
    (uid,) = {
        one["value"].removeprefix("urn:oid:")
        for one in study["identifier"]
        if one["system"] == codes.DICOM_UID
    }
    given_out = await bytes_of(bridge, uid)
    assert set(given_out) == {str(ds.SOPInstanceUID) for ds in objects}
    assert {ds.StudyInstanceUID for ds in given_out.values()} == {uid}
    assert (study["numberOfInstances"], study["numberOfSeries"]) == (6, 6)
    assert elements.extension_value(study, codes.NUMBER_OF_IMAGES) == 1 + 4 + 1


_requests = itertools.count(100)


@pytest.mark.requirement("R012.1")
async def test_what_follows_without_a_request_goes_where_the_study_went(bridge: Bridge) -> None:
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON)
    await bring(bridge, first)
    await bring(bridge, second)
    late = an_object(
        "key images", **PERSON, accession="", study_uid=second.StudyInstanceUID, series_number=8
    )

    await bring(bridge, late)

    (study,) = await settled(bridge)
    assert study["numberOfInstances"] == 3


@pytest.mark.requirement("R018.3")
async def test_who_has_nothing_to_do_with_the_patient_joins_no_study(bridge: Bridge) -> None:
    await order(bridge)
    await bring(bridge, an_instance(**PERSON))

    await bring(bridge, an_instance(**PERSON, accession_issuer="ZZ901"), peer=CT2)

    assert len(await settled(bridge)) == 2
    (task,) = await found(bridge, "Task")
    assert "another Study Instance UID" in task["description"]


async def test_the_patient_of_a_second_study_is_the_patient_of_the_first(bridge: Bridge) -> None:
    await order(bridge)
    first = an_instance(**PERSON)
    await bring(bridge, first)

    await bring(bridge, an_instance(patient_id=build.nhs_number(78)))

    studies = await settled(bridge)
    assert len(studies) == 2
    assert len({one["subject"]["reference"] for one in studies}) == 2


@pytest.mark.requirement("R008.3")
async def test_objects_of_a_review_join_the_study_under_review(bridge: Bridge) -> None:
    await order(bridge)
    first = an_instance(**PERSON)
    await bring(bridge, first)
    (study,) = await settled(bridge)
    review = build.a_request(
        "sr2",
        subject={"reference": "Patient/p1"},
        identifier=[accession("R1")],
        category=[codes.KIND_REVIEW_FORMAL.concept],
        supportingInfo=[{"reference": f"ImagingStudy/{study['id']}"}],
    )
    for member in ("requester", "performer", "reasonReference", "encounter"):
        review.pop(member, None)
    await write(bridge, review)
    made = an_object("presentation state", **PERSON, accession="R1", series_number=5)

    await bring(bridge, made)

    (study,) = await settled(bridge)
    assert study["numberOfInstances"] == 2
    based_on = {one["reference"] for one in study["basedOn"]}
    assert based_on == {"ServiceRequest/sr1", "ServiceRequest/sr2"}
    given_out = (await bytes_of(bridge, first.StudyInstanceUID))[made.SOPInstanceUID]
    assert given_out.AccessionNumber == "A1"
    (was,) = given_out.OriginalAttributesSequence
    assert was.ModifiedAttributesSequence[0].AccessionNumber == "R1"


async def test_two_studies_of_a_request_that_come_at_once_are_one(bridge: Bridge) -> None:
    await order(bridge)
    instances = [an_instance(**PERSON, series_number=number) for number in range(1, 5)]
    for ds in instances:
        await take_in(bridge, ds)

    await bridge.quiet.drained()

    (study,) = await settled(bridge)
    assert study["numberOfInstances"] == len(instances)


async def test_a_crash_between_moving_and_settling_loses_nothing(bridge: Bridge) -> None:
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON)
    await bring(bridge, first)
    await take_in(bridge, second)
    await ingest._settle(bridge, str(second.StudyInstanceUID))

    assert await ingest.settle_leftovers(bridge, older_than_seconds=-60) >= 1

    (study,) = await settled(bridge)
    assert study["numberOfInstances"] == 2


def test_the_classes_of_these_tests_are_no_images() -> None:
    assert not {uid for _, uid in OTHERS.values()} & {
        uid for name, uid in SOP_CLASSES.items() if name != "SR"
    }
