"""Every issued report is there for a workstation that knows DICOM alone, once, and as it is now."""

import asyncio
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_bridge import check
from dicom_bridge.bridge import Bridge
from dicom_bridge.reports import documents
from fhir_server.context import RequestContext
from resources import codes, content, elements
from tests import build
from tests.dicom_bridge.conftest import found, write
from tests.dicom_bridge.reports.conftest import (
    SYSTEM,
    a_study_of,
    complaints,
    documents_of,
    issue,
    make,
    printed,
    written,
)

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R002.1")]

SR = "1.2.840.10008.5.1.4.1.1.88.11"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"


async def said(bridge: Bridge, study_uid: str) -> tuple[Dataset, Dataset]:
    """The one SR and the one PDF of a study."""
    sr, pdf = sorted(await documents_of(bridge, study_uid), key=lambda ds: ds.SOPClassUID == PDF)
    assert (sr.SOPClassUID, pdf.SOPClassUID) == (SR, PDF)
    return sr, pdf


def drawn(pdf: bytes) -> bytes:
    """The page contents of a PDF, as its own cross-reference table leads to them."""
    start = int(pdf.rpartition(b"startxref\n")[2].split()[0])
    assert pdf[start:].startswith(b"xref")
    pieces = pdf.split(b"/Filter/FlateDecode>>stream\n")[1:]
    return b"".join(zlib.decompress(one.partition(b"\nendstream")[0]) for one in pieces)


async def test_a_final_report_is_an_sr_and_a_pdf_of_its_study(bridge: Bridge) -> None:
    study, image = await a_study_of(bridge)
    await issue(bridge, study)

    assert await make(bridge) == 2

    sr, pdf = await said(bridge, image.StudyInstanceUID)
    for ds in (sr, pdf):
        assert (ds.PatientID, ds.AccessionNumber) == (image.PatientID, "A1")
        assert ds.StudyDate == image.StudyDate
    assert (sr.CompletionFlag, sr.VerificationFlag) == ("COMPLETE", "VERIFIED")
    (verifier,) = sr.VerifyingObserverSequence
    assert "Castell" in str(verifier.VerifyingObserverName)
    assert verifier.VerifyingOrganization == "Northmoor Hospital"
    (evidence,) = sr.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    (one,) = series.ReferencedSOPSequence
    assert one.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert b"No intracranial haemorrhage." in drawn(pdf.EncapsulatedDocument)
    (study,) = await found(bridge, "ImagingStudy")
    assert study["numberOfInstances"] == 3
    assert elements.extension_value(study, codes.NUMBER_OF_IMAGES) == 1


@pytest.mark.standard("PS3.3 A.35.1")
@pytest.mark.parametrize("name", ["Test^Ann", "Łukasz^Ωmega=王^小東", "Ünal^Çiğdem"])
async def test_others_read_both_without_an_error(bridge: Bridge, tmp_path: Path, name: str) -> None:
    study, image = await a_study_of(bridge, patient_name="Test^Ann")
    await bridge.database.run(
        "UPDATE instance SET header = convert_to(replace(convert_from(header, 'UTF8'), "
        "'Test^Ann', $1), 'UTF8')",
        (name,),
    )
    await issue(bridge, study, conclusion="No haemorrhage. Größe 5 µm, ≥ 3 Ω & <none>.")
    await make(bridge)

    sr, pdf = await said(bridge, image.StudyInstanceUID)
    files = [written(ds, tmp_path) for ds in (sr, pdf)]

    assert [await complaints(file) for file in files] == [[], []]
    assert str(sr.PatientName) == name
    if shutil.which("dsrdump"):
        shown = await printed("dsrdump", "+U8", "+Pl", str(files[0]))
        assert "No haemorrhage. Größe 5 µm, ≥ 3 Ω & <none>." in shown
        assert "VERIFIED" in shown
        await printed("dcm2pdf", str(files[1]), str(tmp_path / "report.pdf"))
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-1.4")


async def test_what_the_page_cannot_show_is_there_to_be_copied(bridge: Bridge) -> None:
    study, image = await a_study_of(bridge)
    await issue(bridge, study, conclusion="Пневмония")
    await make(bridge)

    _, pdf = await said(bridge, image.StudyInstanceUID)

    page = drawn(pdf.EncapsulatedDocument)
    assert b"<FEFF" + "Пневмония".encode("utf-16-be").hex().upper().encode() + b">" in page
    assert b"structured report of this study has them" in page


async def test_it_is_made_once_however_often_the_duty_runs(bridge: Bridge) -> None:
    study, image = await a_study_of(bridge)
    await issue(bridge, study)

    made = [await make(bridge) for _ in range(3)]

    assert made == [2, 0, 0]
    assert len(await documents_of(bridge, image.StudyInstanceUID)) == 2
    assert len(await found(bridge, "DiagnosticReport")) == 1


@pytest.mark.parametrize("noted", [[], ["sr"], ["sr", "pdf"]])
async def test_who_died_half_way_makes_what_is_missing_and_nothing_twice(
    bridge: Bridge, noted: list[str]
) -> None:
    study, image = await a_study_of(bridge)
    await issue(bridge, study)
    await make(bridge)
    sr, pdf = await said(bridge, image.StudyInstanceUID)
    gone = {"sr": sr, "pdf": pdf}[(["sr", "pdf", "pdf"])[len(noted)]].SOPInstanceUID
    await bridge.database.run("DELETE FROM follower WHERE name = 'report-objects'")
    await bridge.database.run("DELETE FROM instance WHERE sop_uid = $1", (str(gone),))
    if len(noted) < 2:
        await bridge.database.run("DELETE FROM report_object WHERE sop_uid = $1", (str(gone),))

    assert await make(bridge) == 1

    again = await said(bridge, image.StudyInstanceUID)
    assert [ds.SOPInstanceUID for ds in again] == [sr.SOPInstanceUID, pdf.SOPInstanceUID]
    assert await make(bridge) == 0
    assert len(await found(bridge, "DiagnosticReport")) == 1


async def test_two_workers_at_once_make_no_more_than_one(bridge: Bridge) -> None:
    study, image = await a_study_of(bridge)
    await issue(bridge, study)

    await asyncio.gather(make(bridge), make(bridge))

    assert len(await documents_of(bridge, image.StudyInstanceUID)) == 2
    assert len(await found(bridge, "DiagnosticReport")) == 1


@pytest.mark.standard("PS3.3 C.17.2")
@pytest.mark.requirement("R009.1")
async def test_an_addendum_is_a_new_document_that_names_the_one_it_replaces(
    bridge: Bridge,
) -> None:
    study, image = await a_study_of(bridge)
    await issue(bridge, study)
    await make(bridge)
    first, _ = await said(bridge, image.StudyInstanceUID)
    added = {"url": codes.ADDENDUM_OF, "valueReference": {"reference": "DiagnosticReport/dr1"}}

    await issue(bridge, study, "dr2", extension=[added], conclusion="Old infarct after all.")
    assert await make(bridge) == 2

    there = await documents_of(bridge, image.StudyInstanceUID)
    (second,) = [
        ds for ds in there
        if ds.SOPClassUID == SR and ds.SOPInstanceUID != first.SOPInstanceUID
    ]  # fmt: skip
    (before,) = second.PredecessorDocumentsSequence
    (series,) = before.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.SeriesInstanceUID == first.SeriesInstanceUID
    texts = [
        str(item.TextValue)
        for section in second.ContentSequence
        for item in section.get("ContentSequence", ())
    ]
    assert any("Old infarct after all." in text for text in texts)
    assert any("No intracranial haemorrhage." in text for text in texts)


async def test_a_withdrawn_report_is_superseded_by_word_of_that(bridge: Bridge) -> None:
    study, image = await a_study_of(bridge)
    await issue(bridge, study)
    await make(bridge)
    first, _ = await said(bridge, image.StudyInstanceUID)

    await _change(bridge, status="entered-in-error")
    await make(bridge)

    there = await documents_of(bridge, image.StudyInstanceUID)
    newest = max((ds for ds in there if ds.SOPClassUID == SR), key=lambda ds: ds.InstanceNumber)
    assert newest.SOPInstanceUID != first.SOPInstanceUID
    assert "withdrawn" in str(newest.ContentSequence[-1].ContentSequence[0].TextValue)
    assert newest.PredecessorDocumentsSequence


@pytest.mark.requirement("R018.3")
async def test_a_report_of_another_patient_has_no_document_in_the_study(bridge: Bridge) -> None:
    """It would say of one patient what was found in another."""
    study, image = await a_study_of(bridge)
    await write(bridge, build.a_patient("p2"))
    await write(bridge, build.a_report("dr1", study=study["id"]))
    moved = {name: value for name, value in study.items() if name != "meta"}
    await write(bridge, {**moved, "subject": {"reference": "Patient/p2"}})

    made = await make(bridge)

    assert (made, await documents_of(bridge, image.StudyInstanceUID)) == (0, [])


@pytest.mark.requirement("R018.3")
async def test_documents_leave_a_study_that_is_found_to_be_of_another_patient(
    bridge: Bridge,
) -> None:
    study, image = await a_study_of(bridge)
    await write(bridge, build.a_patient("p2"))
    await issue(bridge, study)
    assert await make(bridge) == 2

    await _move(bridge, study["id"], "p2")
    await make(bridge)

    assert await documents_of(bridge, image.StudyInstanceUID) == []
    (moved,) = await found(bridge, "ImagingStudy", _id=study["id"])
    assert moved["numberOfInstances"] == 1
    assert await bridge.database.run("SELECT patient FROM study") == [("p2",)]


@pytest.mark.requirement("R002.1")
async def test_documents_follow_a_report_and_its_study_to_the_right_patient(
    bridge: Bridge,
) -> None:
    study, image = await a_study_of(bridge)
    await write(bridge, build.a_patient("p2"))
    report = build.a_report("dr1", study=study["id"])
    await write(bridge, report)
    assert await make(bridge) == 2
    await _move(bridge, study["id"], "p2")
    await make(bridge)

    await write(bridge, {**report, "subject": {"reference": "Patient/p2"}})
    assert await make(bridge) == 2

    documents = await documents_of(bridge, image.StudyInstanceUID)
    assert {ds.Modality for ds in documents} == {"SR", "DOC"}
    assert all("PredecessorDocumentsSequence" not in ds for ds in documents)


async def _move(bridge: Bridge, study: str, patient: str) -> None:
    """Correct whose a study is, as its organisation does by FHIR."""
    (known,) = await found(bridge, "ImagingStudy", _id=study)
    rest = {name: value for name, value in known.items() if name != "meta"}
    await write(bridge, {**rest, "subject": {"reference": f"Patient/{patient}"}})


async def test_a_draft_is_nothing_yet(bridge: Bridge) -> None:
    study, image = await a_study_of(bridge)
    await issue(bridge, study, status="preliminary")

    assert await make(bridge) == 0
    assert await documents_of(bridge, image.StudyInstanceUID) == []


async def test_a_report_that_was_there_before_the_images_gets_its_documents(
    bridge: Bridge,
) -> None:
    study, image = await a_study_of(bridge)
    await issue(bridge, study)
    await bridge.database.run("UPDATE study SET imaging_study = 'elsewhere'")
    assert await make(bridge) == 0

    await bridge.database.run("UPDATE study SET imaging_study = $1", (study["id"],))
    await _touch(bridge, study["id"])

    assert await make(bridge) == 2
    assert len(await documents_of(bridge, image.StudyInstanceUID)) == 2


@pytest.mark.requirement("R015.2")
async def test_the_documents_say_that_the_reporting_organisation_created_them(
    bridge: Bridge,
) -> None:
    study, _ = await a_study_of(bridge)
    await issue(
        bridge,
        study,
        performer=[{"reference": "Organization/other"}],
        resultsInterpreter=[{"display": "Dr Elsewhere"}],
    )
    await make(bridge)

    (study,) = await found(bridge, "ImagingStudy")
    series = [one for one in study["series"] if one["modality"]["code"] in ("SR", "DOC")]
    assert len(series) == 2
    for one in series:
        source = elements.extension_value(one, codes.SOURCE_ORGANIZATION)
        assert source["reference"] == "Organization/other"
        assert elements.extension_value(one, codes.SOURCE_BASIS) == "institution-code"
        assert elements.extension_value(one, codes.SOURCE_INSTANT)


def test_the_same_version_always_has_the_same_uids() -> None:
    named = "https://a.example/fhir/DiagnosticReport/1@1.2.3"

    assert documents.uid(named) == documents.uid(named)
    assert len(documents.uid(named)) <= 64


@pytest.mark.standard("FHIR Security Labels")
@pytest.mark.parametrize("before", ["documents were made", "none were"])
async def test_a_report_for_its_writers_alone_has_no_documents(bridge: Bridge, before: str) -> None:
    study, image = await a_study_of(bridge)
    await issue(bridge, study)
    if before == "documents were made":
        assert await make(bridge) == 2

    label = {"system": codes.V3_CONFIDENTIALITY, "code": "R"}
    await _change(bridge, meta={"security": [label]})
    await make(bridge)

    assert await documents_of(bridge, image.StudyInstanceUID) == []
    (study,) = await found(bridge, "ImagingStudy")
    assert (study["numberOfInstances"], study["numberOfSeries"]) == (1, 1)
    rows = await bridge.database.run("SELECT instances, series FROM study")
    assert rows == [(1, 1)]
    assert await bridge.database.run("SELECT count(*) FROM series") == [(1,)]
    assert await check.problems(bridge, grace_seconds=60) == []


async def _change(bridge: Bridge, **members: Any) -> None:
    async with bridge.store.begin(RequestContext(SYSTEM.principal, "update")) as work:
        held = await work.read("DiagnosticReport", "dr1")
        changed = content.replaced(content.read(held.text), members)
        await work.update("DiagnosticReport", "dr1", changed, held.version)


async def _touch(bridge: Bridge, id: str) -> None:
    (study,) = await found(bridge, "ImagingStudy", _id=id)
    await write(bridge, {**study, "description": "Seen again"})
