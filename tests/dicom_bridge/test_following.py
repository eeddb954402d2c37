"""Whatever names an instance by its study names the one that it is of, whichever came first."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_bridge import check, ingest, references, retrieval, scrub
from dicom_bridge.bridge import Bridge
from resources.errors import NotFound
from tests.dicom_bridge.build import a_uid, an_instance, part10
from tests.dicom_bridge.conftest import CT2, found, take_in
from tests.dicom_bridge.test_ingest import PERSON, order
from tests.dicom_bridge.test_reparenting import SYSTEM, an_object, bring, bytes_of

pytestmark = pytest.mark.anyio

CT = "1.2.840.10008.5.1.4.1.1.2"


def item(**members: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in members.items():
        setattr(ds, keyword, value)
    return ds


def by_series(images: list[Dataset], below: str) -> list[Dataset]:
    series: dict[str, list[Dataset]] = {}
    for ds in images:
        one = item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=ds.SOPInstanceUID)
        series.setdefault(str(ds.SeriesInstanceUID), []).append(one)
    return [item(SeriesInstanceUID=uid, **{below: instances}) for uid, instances in series.items()]


def hierarchical(
    study_uid: str, images: list[Dataset], below: str = "ReferencedSOPSequence"
) -> Any:
    """PS3.3 Table C.17-3: a study, its series, their instances."""
    return [item(StudyInstanceUID=study_uid, ReferencedSeriesSequence=by_series(images, below))]


def key_images(of: str, images: list[Dataset], **said: Any) -> Dataset:
    """PS3.3 A.35.4, C.17.6.2: Key Object Selection."""
    ds = an_object("key images", **said)
    ds.CurrentRequestedProcedureEvidenceSequence = hierarchical(of, images)
    return ds


def structured_report(of: str, images: list[Dataset], **said: Any) -> Dataset:
    """PS3.3 C.17.2: evidence, other evidence, predecessors, and the request by its study."""
    ds = an_object("structured report", **said)
    ds.CurrentRequestedProcedureEvidenceSequence = hierarchical(of, images)
    ds.PertinentOtherEvidenceSequence = hierarchical(of, images[:1])
    ds.PredecessorDocumentsSequence = hierarchical(of, images[:1])
    return ds


def presentation_state(of: str, images: list[Dataset], **said: Any) -> Dataset:
    """PS3.3 C.11.14 names a study; C.11.11 does not, and stays as it is."""
    ds = an_object("presentation state", **said)
    ds.ReferencedSeriesSequence = by_series(images, "ReferencedImageSequence")
    ds.BlendingSequence = hierarchical(of, images, "ReferencedImageSequence")
    return ds


def segmentation(of: str, images: list[Dataset], **said: Any) -> Dataset:
    """PS3.3 C.12.2: Common Instance Reference."""
    ds = an_instance("CT", **said, frames=2)
    ds.Modality, ds.SOPClassUID = "SEG", "1.2.840.10008.5.1.4.1.1.66.4"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    other = hierarchical(of, images, "ReferencedInstanceSequence")
    ds.StudiesContainingOtherReferencedInstancesSequence = other
    return ds


def structure_set(of: str, images: list[Dataset], **said: Any) -> Dataset:
    """PS3.3 C.8.8.5: the study is named as if it were an instance."""
    ds = an_object("structured report", **said)
    ds.Modality, ds.SOPClassUID = "RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=of,
        RTReferencedSeriesSequence=by_series(images, "ContourImageSequence"),
    )
    ds.ReferencedFrameOfReferenceSequence = [
        item(FrameOfReferenceUID="1.2.3", RTReferencedStudySequence=[study])
    ]
    return ds


KINDS: dict[str, Callable[..., Dataset]] = {
    "key images": key_images,
    "structured report": structured_report,
    "presentation state": presentation_state,
    "segmentation": segmentation,
    "structure set": structure_set,
}


def named(ds: Dataset) -> Iterator[tuple[str, str]]:
    """Every instance that is named below a study, by a walk of this test's own."""

    def below(one: Dataset, study: str) -> Iterator[tuple[str, str]]:
        for element in one:
            if element.VR != "SQ" or element.keyword == "OriginalAttributesSequence":
                continue
            for inner in element.value:
                now = str(inner.get("StudyInstanceUID", study))
                is_study = element.keyword == "RTReferencedStudySequence"
                if is_study:
                    now = str(inner.ReferencedSOPInstanceUID)
                elif "ReferencedSOPInstanceUID" in inner and now:
                    yield now, str(inner.ReferencedSOPInstanceUID)
                yield from below(inner, now)

    yield from below(ds, "")


async def given_out(bridge: Bridge, study_uid: Any, sop_uid: Any) -> Dataset:
    return (await bytes_of(bridge, str(study_uid)))[str(sop_uid)]


@pytest.mark.standard("PS3.3 C.12.1.1.9")
@pytest.mark.requirement("R012.3")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("order_", "at_once"),
    [("ABD", False), ("ADB", False), ("DAB", False), ("ABD", True), ("DBA", False)],
)
async def test_what_names_an_instance_names_the_study_that_it_is_of(
    bridge: Bridge, kind: str, order_: str, at_once: bool
) -> None:
    """A: the image whose study it is; B: images that come under another UID; D: the document."""
    await order(bridge)
    first = an_instance(**PERSON)
    second = [
        an_instance(**PERSON, study_uid=f"{first.StudyInstanceUID}.2", series_number=n)
        for n in (2, 3)
    ]
    uid = str(second[0].StudyInstanceUID)
    document = KINDS[kind](uid, second, **PERSON, study_uid=uid, series_number=7)
    arrivals = {"A": [first], "B": second, "D": [document]}

    for letter in order_:
        for ds in arrivals[letter]:
            await take_in(bridge, ds)
        if not at_once:
            await bridge.quiet.drained()
    await bridge.quiet.drained()
    await ingest.settle_leftovers(bridge, older_than_seconds=-60)

    assert len(await found(bridge, "ImagingStudy")) == 1
    (there,) = {ds.StudyInstanceUID for ds in (await all_of(bridge)).values()}
    copy = await given_out(bridge, there, document.SOPInstanceUID)
    pairs = list(named(copy))
    assert {sop for _, sop in pairs} == {str(ds.SOPInstanceUID) for ds in second}
    assert {named_study for named_study, _ in pairs} == {there}
    for named_study, sop in pairs:
        assert (await retrieval.instances(bridge, SYSTEM, named_study, None, sop)).instances
    assert await check.problems(bridge, deep=True) == []


async def all_of(bridge: Bridge) -> dict[str, Dataset]:
    (row,) = await bridge.database.run("SELECT study_uid FROM study")
    return await bytes_of(bridge, row[0])


@pytest.mark.standard("PS3.3 C.12.1.1.9")
async def test_the_copy_says_once_what_was_named_and_the_bytes_that_came_stay(
    bridge: Bridge,
) -> None:
    await order(bridge)
    first = an_instance(**PERSON)
    second = an_instance(**PERSON, series_number=2)
    uid = str(second.StudyInstanceUID)
    document = key_images(uid, [second], **PERSON, study_uid=uid, series_number=7)
    await bring(bridge, first)
    await bring(bridge, document)
    await bring(bridge, second)

    copy = await given_out(bridge, first.StudyInstanceUID, document.SOPInstanceUID)

    (was,) = copy.OriginalAttributesSequence
    (before,) = was.ModifiedAttributesSequence
    assert before.StudyInstanceUID == uid
    assert before.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID == uid
    rows = await bridge.database.run(
        "SELECT blob, dataset_offset FROM original WHERE sop_uid = $1",
        (str(document.SOPInstanceUID),),
    )
    ((blob, offset),) = rows
    assert (await bridge.blobs.own(blob)).read_bytes().endswith(part10(document)[offset:])
    again = await take_in(bridge, document)
    assert again.already
    del copy["OriginalAttributesSequence"]
    copy.StudyInstanceUID = uid
    copy.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = uid
    assert copy.to_json_dict() == document.to_json_dict()


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_document_of_another_study_of_the_patient_follows_too(
    bridge: Bridge, is_first: bool
) -> None:
    """It is not re-parented itself: nothing else in it is changed."""
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON, series_number=2)
    prior = an_instance(**{**PERSON, "accession": ""}, series_number=5)
    document = structured_report(
        str(second.StudyInstanceUID), [second],
        **{**PERSON, "accession": ""}, study_uid=prior.StudyInstanceUID, series_number=7,
    )  # fmt: skip
    document.PertinentOtherEvidenceSequence += hierarchical(str(prior.StudyInstanceUID), [prior])
    await bring(bridge, prior, first)
    for ds in (document, second) if is_first else (second, document):
        await bring(bridge, ds)
    await ingest.settle_leftovers(bridge, older_than_seconds=-60)

    copy = await given_out(bridge, prior.StudyInstanceUID, document.SOPInstanceUID)

    assert set(named(copy)) == {
        (str(first.StudyInstanceUID), str(second.SOPInstanceUID)),
        (str(prior.StudyInstanceUID), str(prior.SOPInstanceUID)),
    }
    (was,) = copy.OriginalAttributesSequence
    assert "StudyInstanceUID" not in was.ModifiedAttributesSequence[0]
    assert copy.StudyInstanceUID == prior.StudyInstanceUID


async def test_who_has_asked_for_an_object_before_it_was_corrected_gets_the_corrected_one_soon(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "REMEMBERED_SECONDS", 0.0)
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON, series_number=2)
    there = str(first.StudyInstanceUID)
    document = key_images(
        str(second.StudyInstanceUID), [second], **PERSON, study_uid=there, series_number=7
    )
    uids = there, None, str(document.SOPInstanceUID)
    await bring(bridge, first, document)
    (before,) = (await retrieval.instances(bridge, SYSTEM, *uids)).instances
    await bring(bridge, second)

    (after,) = (await retrieval.instances(bridge, SYSTEM, *uids)).instances

    assert after.blob != before.blob


class Holding(ThreadPoolExecutor):
    """Reads objects, and says what it has read when the test lets it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.has_read, self.may_say = threading.Event(), threading.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def held() -> Any:
            made = fn(*args, **kwargs)
            self.has_read.set()
            self.may_say.wait(60)
            return made

        return super().submit(held)


async def test_a_document_that_is_being_read_while_its_images_move_follows(
    bridge: Bridge,
) -> None:
    """What was read of it is of the time before: it is looked at once more."""
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON, series_number=2)
    there = str(first.StudyInstanceUID)
    document = key_images(
        str(second.StudyInstanceUID), [second], **PERSON, study_uid=there, series_number=7
    )
    await bring(bridge, first)
    bridge.executor = holding = Holding()
    await take_in(bridge, document)
    reading = asyncio.ensure_future(ingest.settle(bridge, there))
    await asyncio.to_thread(holding.has_read.wait, 60)

    await take_in(bridge, second)
    moving = asyncio.ensure_future(ingest.settle(bridge, str(second.StudyInstanceUID)))
    async with asyncio.timeout(60):
        while not await bridge.database.run("SELECT 1 FROM original"):
            await asyncio.sleep(0.01)
    holding.may_say.set()
    await asyncio.gather(reading, moving)
    await bridge.quiet.drained()
    bridge.executor = None
    holding.shutdown()

    copy = await given_out(bridge, there, document.SOPInstanceUID)
    assert set(named(copy)) == {(there, str(second.SOPInstanceUID))}
    assert await bridge.database.run("SELECT 1 FROM instance WHERE json IS NULL") == []


@pytest.mark.standard("threats T1")
async def test_nobody_learns_from_a_document_where_another_patient_s_images_went(
    bridge: Bridge,
) -> None:
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON, series_number=2)
    await bring(bridge, first)
    await bring(bridge, second)
    other = {"patient_id": "9000000017", "patient_name": "Zhang^Wei", "accession": "B1"}
    uid = a_uid()
    document = key_images(str(second.StudyInstanceUID), [second], **other, study_uid=uid)

    await bring(bridge, document, peer=CT2)

    copy = await given_out(bridge, uid, document.SOPInstanceUID)
    assert set(named(copy)) == {(str(second.StudyInstanceUID), str(second.SOPInstanceUID))}
    assert "OriginalAttributesSequence" not in copy


async def test_of_what_is_named_only_what_has_moved_is_named_anew() -> None:
    images = [an_instance(study_uid="1.2.1", series_number=n % 2) for n in range(4)]
    ds = structured_report("1.2.1", images, study_uid="1.2.9")
    moved = {("1.2.1", str(images[0].SOPInstanceUID)): "1.2.2"}

    before = references.follow(ds, moved)

    assert set(before) == {
        "CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence",
        "PredecessorDocumentsSequence",
    }  # fmt: skip
    evidence = [
        (
            one.StudyInstanceUID,
            sorted(
                sop.ReferencedSOPInstanceUID
                for series in one.ReferencedSeriesSequence
                for sop in series.ReferencedSOPSequence
            ),
        )
        for one in ds.CurrentRequestedProcedureEvidenceSequence
    ]
    assert evidence == [
        ("1.2.1", sorted(str(one.SOPInstanceUID) for one in images[1:])),
        ("1.2.2", [str(images[0].SOPInstanceUID)]),
    ]
    assert len(ds.CurrentRequestedProcedureEvidenceSequence[1].ReferencedSeriesSequence) == 1


async def test_the_request_of_a_re_parented_object_is_that_of_the_study_it_joins(
    bridge: Bridge,
) -> None:
    """PS3.3 Table C.17-2: Referenced Request Sequence names the study that was asked for."""
    await order(bridge)
    first = an_instance(**PERSON)
    document = an_object("structured report", **PERSON, series_number=7)
    document.ReferencedRequestSequence = [item(StudyInstanceUID=document.StudyInstanceUID)]
    await bring(bridge, first)
    await bring(bridge, document)

    copy = await given_out(bridge, first.StudyInstanceUID, document.SOPInstanceUID)

    assert copy.ReferencedRequestSequence[0].StudyInstanceUID == first.StudyInstanceUID


SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2",
            "1.2.840.10008.1.2.1.99"]  # fmt: skip


@pytest.mark.standard("PS3.5 A")
@pytest.mark.parametrize("syntax", SYNTAXES)
async def test_references_are_followed_in_every_transfer_syntax(
    bridge: Bridge, syntax: str
) -> None:
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON, series_number=2)
    uid = str(second.StudyInstanceUID)
    document = key_images(
        uid, [second], **PERSON, study_uid=uid, series_number=7, transfer_syntax=syntax
    )
    await bring(bridge, first)
    await bring(bridge, document, second)

    copy = await given_out(bridge, first.StudyInstanceUID, document.SOPInstanceUID)

    assert set(named(copy)) == {(str(first.StudyInstanceUID), str(second.SOPInstanceUID))}
    assert copy.file_meta.TransferSyntaxUID == syntax


async def _corrected(bridge: Bridge) -> tuple[Dataset, Dataset, str]:
    """A study with one image that was re-parented: that which joins, and the blob of its copy."""
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON, series_number=2)
    await bring(bridge, first)
    await bring(bridge, second)
    rows = await bridge.database.run(
        "SELECT blob FROM instance WHERE sop_uid = $1", (str(second.SOPInstanceUID),)
    )
    return first, second, str(rows[0][0])


async def _flip(bridge: Bridge, blob: str) -> None:
    path = await bridge.blobs.own(blob)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


async def a_round(bridge: Bridge) -> int:
    return sum([await scrub.scrub(bridge, minute, 1) for minute in range(24 * 60 + 1)])


@pytest.mark.requirement("R012.1")
@pytest.mark.parametrize("harm", ["flipped", "gone"])
async def test_a_damaged_corrected_copy_is_made_of_what_came_again(
    bridge: Bridge, harm: str
) -> None:
    first, second, blob = await _corrected(bridge)
    if harm == "flipped":
        await _flip(bridge, blob)
    else:
        (await bridge.blobs.own(blob)).unlink()

    assert await a_round(bridge) == 0
    await ingest.settle_leftovers(bridge, older_than_seconds=-60)

    copy = await given_out(bridge, first.StudyInstanceUID, second.SOPInstanceUID)
    assert copy.StudyInstanceUID == first.StudyInstanceUID
    assert copy.PixelData == second.PixelData
    assert await check.problems(bridge, deep=True) == []
    assert await found(bridge, "Task", code="instance-damaged") == []
    assert await bridge.database.run("SELECT 1 FROM instance WHERE json IS NULL") == []


@pytest.mark.requirement("R012.1")
async def test_check_says_that_a_damaged_copy_can_be_made_again(bridge: Bridge) -> None:
    _, second, blob = await _corrected(bridge)
    await _flip(bridge, blob)

    (problem,) = await check.problems(bridge, deep=True)

    assert str(second.SOPInstanceUID) in problem
    assert "made again" in problem


@pytest.mark.requirement("R012.1")
async def test_a_damaged_copy_of_what_is_damaged_too_is_served_no_more_and_told(
    bridge: Bridge,
) -> None:
    first, second, blob = await _corrected(bridge)
    ((came,),) = await bridge.database.run("SELECT blob FROM original")
    await _flip(bridge, blob)
    await _flip(bridge, came)

    assert await a_round(bridge) == 2

    with pytest.raises(NotFound):
        await given_out(bridge, first.StudyInstanceUID, second.SOPInstanceUID)
    assert await a_round(bridge) == 0, "it is told once"
    (_, *others) = await found(bridge, "Task", code="instance-damaged")
    assert len(others) <= 1
    problems = await check.problems(bridge, deep=True)
    assert not any("made again" in problem for problem in problems)
