"""Documents that come: a report becomes a DiagnosticReport once, and nothing else is disturbed."""

from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from dicom_bridge import ingest
from dicom_bridge.bridge import Bridge
from dicom_bridge.reports import coming
from resources import codes
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import CT2, found, take_in, write
from tests.dicom_bridge.reports.conftest import a_study_of, documents_of, issue, make
from tests.dicom_bridge.test_ingest import PERSON

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R012.1")]

# Who says what (PS3.3 C.17.2): completion, verification, preliminary flag -> DiagnosticReport.
FLAGS = (
    ("COMPLETE", "VERIFIED", "FINAL", "final"),
    ("COMPLETE", "VERIFIED", "", "final"),
    ("COMPLETE", "UNVERIFIED", "FINAL", "preliminary"),
    ("COMPLETE", "VERIFIED", "PRELIMINARY", "preliminary"),
    ("PARTIAL", "VERIFIED", "FINAL", "partial"),
    ("PARTIAL", "UNVERIFIED", "", "partial"),
    ("", "", "", "preliminary"),
)


def a_code(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def an_item(kind: str, name: Sequence, text: str = "", *children: Dataset) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", kind, name
    if kind == "TEXT":
        item.TextValue = text
    if children:
        item.ContentSequence = Sequence(children)
    return item


def a_structured_report(
    image: Dataset,
    title: Sequence | None = None,
    flags: tuple[str, str, str] = ("COMPLETE", "VERIFIED", "FINAL"),
    **members: Any,
) -> Dataset:
    """A report on an image, as the workstation of another maker writes it."""
    ds = an_instance(
        "SR", study_uid=image.StudyInstanceUID, series_number=50, **{**PERSON, **members}
    )
    ds.ValueType = "CONTAINER"
    ds.ConceptNameCodeSequence = title or a_code("11528-7", "LN", "Radiology Report")
    ds.CompletionFlag, ds.VerificationFlag, ds.PreliminaryFlag = flags
    ds.ContentDate, ds.ContentTime = "20260315", "083000"
    if flags[1] == "VERIFIED":
        verifier = Dataset()
        verifier.VerifyingObserverName = "Marchetti^Lia^^Dr"
        verifier.VerifyingOrganization = "Elsewhere"
        verifier.VerificationDateTime = "20260315090000"
        verifier.VerifyingObserverIdentificationCodeSequence = Sequence()
        ds.VerifyingObserverSequence = Sequence([verifier])
    ds.ContentSequence = Sequence(
        [
            an_item(
                "CONTAINER",
                a_code("59776-5", "LN", "Findings"),
                "",
                an_item("TEXT", a_code("121071", "DCM", "Finding"), "Ventricles <wide>."),
            ),
            an_item(
                "CONTAINER",
                a_code("19005-8", "LN", "Impressions"),
                "",
                an_item("TEXT", a_code("121073", "DCM", "Impression"), "Hydrocephalus."),
            ),
        ]
    )
    return ds


def a_pdf(image: Dataset, title: str, content: bytes = b"%PDF-1.4 words") -> Dataset:
    ds = an_instance("SR", study_uid=image.StudyInstanceUID, series_number=60, **PERSON)
    ds.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.104.1")
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.Modality, ds.DocumentTitle = "DOC", title
    ds.ConceptNameCodeSequence = Sequence()
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocument = content + bytes(len(content) % 2)
    ds.EncapsulatedDocumentLength = len(content)
    return ds


async def bring(bridge: Bridge, *instances: Dataset) -> None:
    for ds in instances:
        await take_in(bridge, ds)
    await bridge.quiet.drained()


@pytest.mark.standard("PS3.16 TID 2000")
async def test_a_structured_report_becomes_a_report_of_its_study(bridge: Bridge) -> None:
    study, image = await a_study_of(bridge)
    document = a_structured_report(image)

    await bring(bridge, document)

    (report,) = await found(bridge, "DiagnosticReport")
    assert report["status"] == "final"
    assert report["imagingStudy"] == [{"reference": f"ImagingStudy/{study['id']}"}]
    assert report["basedOn"] == [{"reference": "ServiceRequest/sr1"}]
    assert report["subject"] == study["subject"]
    assert report["issued"].startswith("2026-03-15T09:00:00")
    assert report["conclusion"] == "Hydrocephalus."
    assert "Ventricles &lt;wide&gt;." in report["text"]["div"]
    assert report["resultsInterpreter"] == [{"display": "Dr Lia Marchetti"}]
    assert report["performer"] == [{"reference": "Organization/lead"}]
    uid = f"urn:oid:{document.SOPInstanceUID}"
    assert {"system": codes.DICOM_UID, "value": uid} in report["identifier"]


@pytest.mark.standard("PS3.3 C.17.2")
@pytest.mark.parametrize(("completion", "verification", "preliminary", "status"), FLAGS)
async def test_its_flags_say_its_status(
    bridge: Bridge, completion: str, verification: str, preliminary: str, status: str
) -> None:
    _, image = await a_study_of(bridge)

    flags = (completion, verification, preliminary)
    await bring(bridge, a_structured_report(image, flags=flags))

    (report,) = await found(bridge, "DiagnosticReport")
    assert report["status"] == status


async def test_a_pdf_that_is_called_a_report_becomes_one_to_be_verified(bridge: Bridge) -> None:
    _, image = await a_study_of(bridge)

    await bring(bridge, a_pdf(image, "Report of the CT"))

    (report,) = await found(bridge, "DiagnosticReport")
    assert report["status"] == "preliminary"
    (form,) = report["presentedForm"]
    assert (form["contentType"], form["size"]) == ("application/pdf", 14)
    assert form["hash"]


@pytest.mark.parametrize("what", ["consent form", "dose", "measurements", "key images"])
async def test_what_is_no_report_stays_an_object_of_its_study(bridge: Bridge, what: str) -> None:
    _, image = await a_study_of(bridge)
    made = {
        "consent form": a_pdf(image, "Consent form"),
        "dose": a_structured_report(image, a_code("113701", "DCM", "X-Ray Dose Report")),
        "measurements": a_structured_report(
            image, a_code("126000", "DCM", "Imaging Measurement Report")
        ),
        "key images": a_structured_report(image, a_code("113000", "DCM", "Of Interest")),
    }[what]

    await bring(bridge, made)

    assert await found(bridge, "DiagnosticReport") == []
    assert await found(bridge, "Task") == []
    (study,) = await found(bridge, "ImagingStudy")
    assert study["numberOfInstances"] == 2


async def test_a_report_that_comes_again_is_the_same_report(bridge: Bridge) -> None:
    _, image = await a_study_of(bridge)
    document = a_structured_report(image)

    await bring(bridge, document)
    await bring(bridge, document, an_instance(**PERSON, study_uid=image.StudyInstanceUID))
    await ingest.settle(bridge, str(image.StudyInstanceUID))

    assert len(await found(bridge, "DiagnosticReport")) == 1


async def test_what_we_made_of_a_report_does_not_become_another(bridge: Bridge) -> None:
    study, image = await a_study_of(bridge)
    await issue(bridge, study)
    await make(bridge)

    ours = await documents_of(bridge, image.StudyInstanceUID)
    await bring(bridge, *ours)

    assert len(ours) == 2
    assert len(await found(bridge, "DiagnosticReport")) == 1
    assert await make(bridge) == 0


async def test_a_report_that_came_is_not_made_into_documents_again(bridge: Bridge) -> None:
    _, image = await a_study_of(bridge)
    await bring(bridge, a_structured_report(image))

    assert await make(bridge) == 0
    assert len(await documents_of(bridge, image.StudyInstanceUID)) == 1


@pytest.mark.requirement("R009.1")
async def test_an_addendum_that_comes_is_added_to_the_report_it_follows(bridge: Bridge) -> None:
    _, image = await a_study_of(bridge)
    first = a_structured_report(image)
    await bring(bridge, first)
    added = a_structured_report(image, a_code("55107-7", "LN", "Addendum"))
    reference, series, study = Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPClassUID = first.SOPClassUID
    reference.ReferencedSOPInstanceUID = first.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = first.SeriesInstanceUID, [reference]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = image.StudyInstanceUID, [series]
    added.PredecessorDocumentsSequence = Sequence([study])

    await bring(bridge, added)

    reports = {one["id"]: one for one in await found(bridge, "DiagnosticReport")}
    root = reports[coming.id_of(str(first.SOPInstanceUID))]
    addendum = reports[coming.id_of(str(added.SOPInstanceUID))]
    assert root["status"] == "appended"
    extension = {one["url"]: one for one in addendum["extension"]}[codes.ADDENDUM_OF]
    assert extension["valueReference"] == {"reference": f"DiagnosticReport/{root['id']}"}


@pytest.mark.standard("threats T12")
@pytest.mark.parametrize("fault", ["no content", "deep", "no names", "text of a number"])
async def test_a_malformed_report_disturbs_nothing(bridge: Bridge, fault: str) -> None:
    _, image = await a_study_of(bridge)
    document = a_structured_report(image)
    if fault == "no content":
        del document.ContentSequence
    elif fault == "deep":
        item = an_item("CONTAINER", a_code("1", "X", "deep"))
        for _ in range(200):
            item = an_item("CONTAINER", a_code("1", "X", "deep"), "", item)
        document.ContentSequence = Sequence([item])
    elif fault == "no names":
        for item in document.ContentSequence:
            del item.ConceptNameCodeSequence
            del item.ContentSequence[0].ValueType
    else:
        document.ContentSequence[0].ContentSequence[0].TextValue = "1\x002\x07"

    await bring(bridge, document, an_instance(**PERSON, study_uid=image.StudyInstanceUID))

    (study,) = await found(bridge, "ImagingStudy")
    assert study["numberOfInstances"] == 3
    assert await bridge.database.run("SELECT 1 FROM unsettled") == []
    reports = await found(bridge, "DiagnosticReport")
    tasks = await found(bridge, "Task", code=codes.RECONCILE.token)
    assert len(reports) + len(tasks) == 1


async def test_a_report_of_a_second_study_uid_is_of_the_one_study(bridge: Bridge) -> None:
    study, image = await a_study_of(bridge)
    stray = an_instance(**PERSON)

    await bring(bridge, a_structured_report(stray))

    (report,) = await found(bridge, "DiagnosticReport")
    assert report["imagingStudy"] == [{"reference": f"ImagingStudy/{study['id']}"}]
    assert len(await documents_of(bridge, image.StudyInstanceUID)) == 1


async def test_a_report_of_others_names_who_sent_it(bridge: Bridge) -> None:
    _, image = await a_study_of(bridge)
    (request,) = await found(bridge, "ServiceRequest")
    await write(bridge, {**request, "performer": [{"reference": "Organization/other"}]})

    document = a_structured_report(image)
    await take_in(bridge, document, CT2)
    await bridge.quiet.drained()

    (report,) = await found(bridge, "DiagnosticReport")
    assert report["performer"] == [{"reference": "Organization/other"}]
