"""Documents that lie, or mean harm, or are another's: kept with their study, believed never."""

from collections.abc import Callable
from typing import Any

import pytest
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping.patient import contradicts
from dicom_bridge.reports import reading
from resources import codes, validate
from tests import build
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import found
from tests.dicom_bridge.reports.conftest import a_study_of
from tests.dicom_bridge.reports.test_coming import (
    a_code,
    a_pdf,
    a_structured_report,
    an_item,
    bring,
)
from tests.dicom_bridge.test_ingest import NHS, PERSON

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T15, T21, F10")]

Change = Callable[[Dataset], None]
SCRIPT = "</div><script>alert(1)</script>&lt;&#0;"
CONTROLS = "\x00\x01\x07\x0b\x0c\x7f\x85\u2028\ufeff\ufffe"
REPORT = a_code("11528-7", "LN", "Report")


def first_text(ds: Dataset) -> Dataset:
    item: Dataset = ds.ContentSequence[0].ContentSequence[0]
    return item


def says(text: str) -> Change:
    def change(ds: Dataset) -> None:
        ds.SpecificCharacterSet = "ISO_IR 192"
        first_text(ds).TextValue = text

    return change


def has(**members: Any) -> Change:
    def change(ds: Dataset) -> None:
        for keyword, value in members.items():
            setattr(ds, keyword, value)

    return change


def titled(value: str, meaning: str) -> Change:
    return lambda ds: has(ConceptNameCodeSequence=a_code(value, "LN", meaning))(ds)


def refers_to(*uids: str) -> Change:
    def change(ds: Dataset) -> None:
        series, study = Dataset(), Dataset()
        series.ReferencedSOPSequence = []
        for uid in uids or (ds.SOPInstanceUID,):
            one = Dataset()
            one.ReferencedSOPInstanceUID = uid
            series.ReferencedSOPSequence.append(one)
        study.StudyInstanceUID, study.ReferencedSeriesSequence = "1.2.3", [series]
        ds.PredecessorDocumentsSequence = Sequence([study])
        ds.CurrentRequestedProcedureEvidenceSequence = Sequence([study])

    return change


def goes_round(ds: Dataset) -> None:
    """Content items by reference to their own ancestors (PS3.3 Section C.17.3.2.4)."""
    again = Dataset()
    again.RelationshipType, again.ReferencedContentItemIdentifier = "CONTAINS", [1, 1]
    first_text(ds).ContentSequence = Sequence([again, again])
    ds.ContentSequence.append(again)


def nests(ds: Dataset) -> None:
    item = an_item("TEXT", REPORT, "deep")
    for _ in range(120):
        item = an_item("CONTAINER", REPORT, "", item)
    ds.ContentSequence = Sequence([item])


def names_nothing(ds: Dataset) -> None:
    for one in ds.ContentSequence:
        one.ConceptNameCodeSequence = Sequence()
        del one.ContentSequence[0].ConceptNameCodeSequence


def is_verified_by(name: str, when: str) -> Change:
    def change(ds: Dataset) -> None:
        ds.VerifyingObserverSequence[0].VerifyingObserverName = name
        ds.VerifyingObserverSequence[0].VerificationDateTime = when

    return change


def has_text_as_content(ds: Dataset) -> None:
    del ds.ContentSequence
    ds.add_new("ContentSequence", "LO", "x")


REPORTS: dict[str, tuple[Change, bool]] = {
    "a script as text": (says(SCRIPT), True),
    "control characters as text": (says(CONTROLS), True),
    "no text": (says(""), True),
    "text in no character set": (has(SpecificCharacterSet="NO SUCH SET"), True),
    "a script as title": (titled("1", SCRIPT + "report"), True),
    "control characters as title": (
        titled("11528\x01", "\x00Rep\x07ort"), True,
    ),
    "a code of 3000 characters": (
        titled("1" * 3000, "R" * 5000), True,
    ),
    "items by reference in a circle": (goes_round, True),
    "items that have no name": (names_nothing, True),
    "itself as predecessor": (refers_to(), True),
    "predecessors that climb": (refers_to("../../x", "1.2\x00", "1.2.3"), True),
    "a verifier of control characters": (is_verified_by("\x01^\x02" + "x" * 5000, "x"), True),
    "a verification at the end of time": (is_verified_by("A", "99991231235959-1200"), True),
    "a verification at its beginning": (is_verified_by("A", "00010101000000+1400"), True),
    "an accession number of NUL": (has(AccessionNumber="\x00*|,"), True),
    "flags with more": (has(CompletionFlag="COMPLETE\x00", VerificationFlag="VERIFIED "), True),
    "no title": (has(ConceptNameCodeSequence=Sequence(), DocumentTitle="Report"), True),
    "120 levels": (nests, False),
    "text as content": (has_text_as_content, False),
}  # fmt: skip


@pytest.mark.standard("PS3.3 C.17.3")
@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_a_hostile_report_is_told_as_it_is_or_a_person_is_asked(bridge: Bridge) -> None:
    _, image = await a_study_of(bridge)
    documents = {}
    with config.disable_value_validation():
        for name, (change, _) in REPORTS.items():
            ds = a_structured_report(image)
            change(ds)
            documents[name] = ds
        await bring(bridge, *documents.values())

    (study,) = await found(bridge, "ImagingStudy")
    assert study["numberOfInstances"] == 1 + len(documents)
    assert await bridge.database.run("SELECT 1 FROM unsettled") == []
    reports = {
        identifier["value"]: one
        for one in await found(bridge, "DiagnosticReport", _count="100")
        for identifier in one["identifier"]
    }
    for name, ds in documents.items():
        report = reports.get(f"urn:oid:{ds.SOPInstanceUID}")
        assert (report is not None) is REPORTS[name][1], name
        if report is not None:
            assert validate.check(report) == [], name
            assert "<script" not in str(report.get("text")), name
    asked = await found(bridge, "Task", code=codes.RECONCILE.token)
    assert len(asked) == sum(not is_one for _, is_one in REPORTS.values())


@pytest.mark.standard("threats T11")
def test_a_report_of_endlessly_many_items_is_not_shown() -> None:
    ds = a_structured_report(an_instance())
    ds.ContentSequence = Sequence([an_item("TEXT", REPORT, "x")] * 10_000)

    with pytest.raises(ValueError, match="too large"):
        reading.read(ds, "lead")


PDF = b"%PDF-1.4 words"
PDFS: dict[str, tuple[bytes, dict[str, Any], bool]] = {
    "a program": (b"MZ\x90\0\3", {}, False),
    "a page with a script": (b"<html><script>alert(1)</script>", {}, False),
    "nothing": (b"", {}, False),
    "a PDF behind a page": (b"<html>" + b" " * 2000 + PDF, {}, False),
    "a PDF that is called a page": (PDF, {"MIMETypeOfEncapsulatedDocument": "text/html"}, False),
    "a type with a header": (
        PDF, {"MIMETypeOfEncapsulatedDocument": "application/pdf\r\nX: y"}, False,
    ),
    "a PDF of no type": (PDF, {"MIMETypeOfEncapsulatedDocument": ""}, True),
    "a length that lies": (PDF, {"EncapsulatedDocumentLength": 0xFFFFFFFF}, True),
    "a title of control characters": (PDF, {"DocumentTitle": "<script>report\x00\x07"}, True),
    "a PDF with a script": (b"%PDF-1.4 /OpenAction << /S /JavaScript /JS (x) >>", {}, True),
}  # fmt: skip


@pytest.mark.standard("PS3.3 C.24.2, ISO 32000-1")
@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_what_is_called_a_pdf_and_is_none_is_not_given_out_as_one(bridge: Bridge) -> None:
    _, image = await a_study_of(bridge)
    documents = {}
    with config.disable_value_validation():
        for name, (content, members, _) in PDFS.items():
            ds = a_pdf(image, "Report", content)
            has(**members)(ds)
            documents[name] = ds
        await bring(bridge, *documents.values())

    reports = {
        identifier["value"]: one
        for one in await found(bridge, "DiagnosticReport", _count="100")
        for identifier in one["identifier"]
    }
    for name, ds in documents.items():
        report = reports.get(f"urn:oid:{ds.SOPInstanceUID}")
        assert (report is not None) is PDFS[name][2], name
        if report is not None:
            assert validate.check(report) == [], name
            (form,) = (one for one in report["presentedForm"] if "hash" in one)
            assert form["contentType"] == "application/pdf"
    asked = await found(bridge, "Task", code=codes.RECONCILE.token)
    assert len(asked) == sum(not is_one for _, _, is_one in PDFS.values())


async def test_a_document_in_a_structured_report_is_none_of_it(bridge: Bridge) -> None:
    _, image = await a_study_of(bridge)
    ds = a_structured_report(image)
    ds.EncapsulatedDocument = b"<html><script>alert(1)</script> "

    await bring(bridge, ds)

    (report,) = await found(bridge, "DiagnosticReport")
    assert not any(one.get("contentType") == "application/pdf" for one in report["presentedForm"])


# --- somebody else ------------------------------------------------------------------------------

OTHER_NHS = build.nhs_number(78)


@pytest.mark.requirement("R018.3")
@pytest.mark.parametrize(
    "person",
    [
        {"birth_date": "19500505", "patient_name": "Other^Bob"},
        {"patient_id": "", "issuer": "", "birth_date": "19500505"},
    ],
)
async def test_a_report_of_another_patient_is_not_believed(
    bridge: Bridge, person: dict[str, Any]
) -> None:
    _, image = await a_study_of(bridge)

    await bring(bridge, a_structured_report(image, **person), a_pdf_of(image, person))

    assert await found(bridge, "DiagnosticReport") == []
    asked = await found(bridge, "Task", code=codes.RECONCILE.token)
    assert len(asked) == 2
    assert {one["description"] for one in asked} == {
        "A report came with the images that names another patient."
    }
    assert await bridge.database.run("SELECT 1 FROM unsettled") == []


def a_pdf_of(image: Dataset, person: dict[str, Any]) -> Dataset:
    ds = a_pdf(image, "Report")
    for keyword, name in (
        ("PatientID", "patient_id"),
        ("IssuerOfPatientID", "issuer"),
        ("PatientBirthDate", "birth_date"),
    ):
        setattr(ds, keyword, person.get(name, getattr(ds, keyword)))
    return ds


@pytest.mark.requirement("R018.3")
@pytest.mark.parametrize(
    ("header", "is_another"),
    [
        ({"PatientID": NHS, "PatientBirthDate": "19700101"}, False),
        ({"PatientID": NHS, "PatientBirthDate": "19700102"}, True),
        ({"PatientID": OTHER_NHS, "PatientBirthDate": "19700101"}, True),
        ({"PatientID": "A1", "IssuerOfPatientID": "ZZ902"}, False),
        ({"PatientName": "Other^Bob"}, False),
        ({}, False),
    ],
)
def test_a_header_of_another_number_or_date_of_birth_is_anothers(
    header: dict[str, Any], is_another: bool
) -> None:
    identifiers = [{"system": codes.NHS_NUMBER, "value": NHS}]
    known = {"identifier": identifiers, "birthDate": "1970-01-01"}

    assert contradicts(known, header) is is_another
    assert not contradicts({}, header)


async def test_an_image_disturbs_no_report(bridge: Bridge) -> None:
    """What comes with a hostile report is taken in all the same."""
    _, image = await a_study_of(bridge)
    ds = a_structured_report(image)
    nests(ds)

    await bring(bridge, ds, an_instance(**PERSON, study_uid=image.StudyInstanceUID))

    (study,) = await found(bridge, "ImagingStudy")
    assert study["numberOfInstances"] == 3
