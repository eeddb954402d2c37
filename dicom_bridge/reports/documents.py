"""A report as DICOM documents of its study: Basic Text SR (TID 2000) and Encapsulated PDF.

The content items are made with highdicom, which has no Basic Text SR of its own; the modules
around them are put together here. The same version of a report gives the same documents: UIDs are
derived from its name, nothing is taken from the clock.

References
----------
* PS3.3 Sections A.35.1 (Basic Text SR IOD), A.45.1 (Encapsulated PDF IOD), C.17.2 (SR Document
  General Module), C.24.2 (Encapsulated Document Module)
* PS3.16 TID 2000 (Basic Diagnostic Imaging Report), TID 1001, TID 1204; CID 7000, 7001, 7002
* docs/representation.md, "Reports for DICOM workstations"
"""

import re
import uuid
from collections.abc import Mapping
from collections.abc import Sequence as Listed
from datetime import datetime
from typing import Any, Final, NamedTuple

from highdicom.sr import (
    CodedConcept,
    ContainerContentItem,
    LanguageOfContentItemAndDescendants,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    TextContentItem,
)
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from dicom_bridge.mapping.demographics import component
from dicom_bridge.mapping.matching import vr_of
from dicom_bridge.reports import portable
from dicom_bridge.reports.portable import Line
from dicom_bridge.reports.said import Said
from resources import codes

BASIC_TEXT_SR: Final = "1.2.840.10008.5.1.4.1.1.88.11"
ENCAPSULATED_PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
SERIES_NUMBER: Final = {"sr": "9001", "pdf": "9002"}

OF_PATIENT: Final = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
)  # fmt: skip
OF_STUDY: Final = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
    "StudyID", "StudyDescription", "TimezoneOffsetFromUTC",
)  # fmt: skip
OPTIONAL: Final = frozenset({"IssuerOfPatientID", "StudyDescription", "TimezoneOffsetFromUTC"})
"""Type 3 here; the others are of type 1 or 2."""

# Section (CID 7001) -> what its text is (CID 7002).
ELEMENTS: Final = {
    codes.SECTION_CLINICAL_INFORMATION: ("121060", "History"),
    codes.SECTION_FINDINGS:             ("121071", "Finding"),
    codes.SECTION_CONCLUSION:           ("121073", "Impression"),
    codes.ADDENDUM_DOCUMENT:            ("121077", "Conclusion"),
}  # fmt: skip

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Study(NamedTuple):
    """The study that a document joins: header of its first object, and references to its images."""

    header: Mapping[str, Any]
    images: Listed[tuple[str, str, str]] = ()
    """Series, SOP class and SOP Instance UID of each."""


class Author(NamedTuple):
    """Who stands for the report: name as PN, organisation and its ODS code."""

    name: str
    organization: str
    ods: str = ""


class Version(NamedTuple):
    """One version of one report: a name that is unique everywhere, its number, and its time."""

    name: str
    number: int
    instant: datetime
    """In the time zone of the study."""
    predecessor: tuple[str, str, str] | None = None
    """Series, SOP class and SOP Instance UID of the document that this one replaces."""


def uid(name: str) -> str:
    """A UID of the name: the same name always gives the same one (PS3.5 Section B.2).

    Examples
    --------
    >>> uid("a") == uid("a"), uid("a") == uid("b"), uid("a")[:5]
    (True, False, '2.25.')
    """
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"


def sop_uid(version: Version, kind: str) -> str:
    """SOP Instance UID of a document."""
    return uid(f"{version.name}/_history/{version.number}/{kind}")


def structured(said: Said, author: Author, study: Study, version: Version) -> Dataset:
    """Make the Basic Text SR."""
    ds = _composite(BASIC_TEXT_SR, "sr", "SR", author, study, version)
    ds.CompletionFlag = "COMPLETE"
    ds.PreliminaryFlag = "FINAL"
    ds.VerificationFlag = "VERIFIED" if author.name else "UNVERIFIED"
    if author.name:
        ds.VerifyingObserverSequence = [_verifier(author, version)]
    if version.predecessor:
        ds.PredecessorDocumentsSequence = [_evidence(ds.StudyInstanceUID, [version.predecessor])]
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.ReferencedRequestSequence = [_request(study.header)]
    if study.images:
        ds.CurrentRequestedProcedureEvidenceSequence = [
            _evidence(ds.StudyInstanceUID, study.images)
        ]
    root = _content(said, author)
    for element in root:
        ds[element.tag] = element
    return ds


def encapsulated(said: Said, author: Author, study: Study, version: Version) -> Dataset:
    """Make the Encapsulated PDF; it names the SR of the same version as its source."""
    ds = _composite(ENCAPSULATED_PDF, "pdf", "DOC", author, study, version)
    ds.ConversionType = "WSD"
    ds.AcquisitionDateTime = ""
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    put(ds, "DocumentTitle", said.title[:1024])
    ds.ConceptNameCodeSequence = [_title(said)]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    attached = b"" if said.is_addendum else said.attachment
    document = attached or _pdf(said, study, version)
    ds.EncapsulatedDocumentLength = len(document)
    ds.EncapsulatedDocument = document + bytes(len(document) % 2)
    source = Dataset()
    source.ReferencedSOPClassUID = BASIC_TEXT_SR
    source.ReferencedSOPInstanceUID = sop_uid(version, "sr")
    ds.SourceInstanceSequence = [source]
    return ds


def put(ds: Dataset, keyword: str, value: Any) -> None:
    """Set a value that came from elsewhere as it is, also where it breaks the rules of its VR."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    vr = vr_of(keyword)
    ds[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)


def _composite(
    sop_class: str, kind: str, modality: str, author: Author, study: Study, version: Version
) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, sop_uid(version, kind)
    for keyword in (*OF_PATIENT, *OF_STUDY):
        value = str(study.header.get(keyword, ""))
        if value or keyword not in OPTIONAL:
            put(ds, keyword, value)
    ds.SeriesInstanceUID = uid(f"{version.name}/{kind}")
    ds.SeriesNumber, ds.InstanceNumber = SERIES_NUMBER[kind], str(version.number)
    ds.Modality = modality
    ds.SeriesDescription = "Report"
    ds.Manufacturer = "Isocentre"
    put(ds, "InstitutionName", author.organization[:64])
    if author.ods:
        ds.InstitutionCodeSequence = [_code(author.ods[:16], "99ODS", author.organization[:64])]
    date, time = f"{version.instant:%Y%m%d}", f"{version.instant:%H%M%S}"
    ds.InstanceCreationDate = ds.ContentDate = ds.SeriesDate = date
    ds.InstanceCreationTime = ds.ContentTime = ds.SeriesTime = time
    ds.InstanceCreatorUID = PYDICOM_IMPLEMENTATION_UID
    return ds


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = value, scheme
    item.CodeMeaning = component(meaning)[:64] or value
    return item


def _title(said: Said) -> Dataset:
    return _code(codes.DIAGNOSTIC_IMAGING_REPORT.code, "LN", "Diagnostic imaging report")


def _verifier(author: Author, version: Version) -> Dataset:
    item = Dataset()
    put(item, "VerifyingObserverName", author.name)
    item.VerifyingObserverIdentificationCodeSequence = []
    put(item, "VerifyingOrganization", author.organization[:64] or "Unknown")
    item.VerificationDateTime = f"{version.instant:%Y%m%d%H%M%S}"
    return item


def _request(header: Mapping[str, Any]) -> Dataset:
    """PS3.3 Table C.17-3, Referenced Request Sequence: what the report answers."""
    item = Dataset()
    put(item, "StudyInstanceUID", str(header.get("StudyInstanceUID", "")))
    item.ReferencedStudySequence = []
    put(item, "AccessionNumber", str(header.get("AccessionNumber", "")))
    for keyword in (
        "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
        "RequestedProcedureID", "RequestedProcedureDescription",
    ):  # fmt: skip
        put(item, keyword, "")
    item.RequestedProcedureCodeSequence = []
    return item


def _evidence(study_uid: str, references: Listed[tuple[str, str, str]]) -> Dataset:
    """PS3.3 Table C.17-3a: hierarchical references to objects of one study."""
    series: dict[str, list[Dataset]] = {}
    for series_uid, sop_class, instance_uid in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance_uid
        series.setdefault(series_uid, []).append(item)
    study = Dataset()
    study.StudyInstanceUID = study_uid
    study.ReferencedSeriesSequence = []
    for series_uid, items in series.items():
        one = Dataset()
        one.SeriesInstanceUID, one.ReferencedSOPSequence = series_uid, items
        study.ReferencedSeriesSequence.append(one)
    return study


def _content(said: Said, author: Author) -> Dataset:
    """The content tree of TID 2000."""
    title = CodedConcept("18748-4", "LN", "Diagnostic imaging report")
    root = ContainerContentItem(title, template_id="2000")
    language = CodedConcept("en-GB", "RFC5646", "English (United Kingdom)")
    items: list[Dataset] = [*LanguageOfContentItemAndDescendants(language)]
    if author.name:
        person = PersonObserverIdentifyingAttributes(
            author.name, organization_name=author.organization[:64] or None
        )
        items += ObserverContext(CodedConcept("121006", "DCM", "Person"), person)
    for section in said.sections:
        heading = CodedConcept(section.code.code, "LN", section.code.display)
        container = ContainerContentItem(heading, relationship_type="CONTAINS")
        value, meaning = ELEMENTS[section.code]
        container.ContentSequence = Sequence(
            TextContentItem(
                CodedConcept(value, "DCM", meaning), _CONTROL.sub(" ", text), "CONTAINS"
            )
            for text in section.paragraphs
        )
        items.append(container)
    root.ContentSequence = Sequence(items)
    return root


def _pdf(said: Said, study: Study, version: Version) -> bytes:
    header = study.header
    name = str(header.get("PatientName", "")).replace("^", " ").replace("=", " / ").strip()
    born = str(header.get("PatientBirthDate", ""))
    person = f"{name} · {header.get('PatientID', '')} · born {born or 'unknown'}"
    lines = [Line(said.title, 16, bold=True), Line(person, 11), *map(Line, said.preamble)]
    lines.append(Line(f"Version {version.number} of {version.instant:%d/%m/%Y %H:%M}"))
    if accession := header.get("AccessionNumber"):
        lines.append(Line(f"Accession number {accession}"))
    for section in said.sections:
        lines.append(Line(section.heading, 12, bold=True))
        lines += [Line(text) for text in section.paragraphs]
    return portable.written(said.title, lines, person)
