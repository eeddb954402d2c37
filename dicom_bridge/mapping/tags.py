"""Table: DICOM keyword, level, and the element of ImagingStudy or Patient that it becomes.

`HEADER` is what `instance.read` keeps of every instance, and all that `settle` needs.

References
----------
* FHIR R4 ImagingStudy, Mappings, "DICOM Tag Mapping"
* PS3.3 Tables C.7-1 (Patient), C.7-3 (General Study), C.7-5a (General Series), C.12-1 (SOP Common)
* PS3.18 Tables 10.6.3-3, 10.6.3-4, 10.6.3-5 (attributes of a QIDO-RS answer)
"""

from typing import Final, NamedTuple

from pydicom.datadict import dictionary_VR, tag_for_keyword

PATIENT: Final = "PATIENT"
STUDY: Final = "STUDY"
SERIES: Final = "SERIES"
INSTANCE: Final = "INSTANCE"


class Tag(NamedTuple):
    """One attribute: its level, keyword, FHIR element (empty: only for DICOM answers)."""

    level: str
    keyword: str
    element: str
    qido: bool = False
    """Whether QIDO-RS returns it at its level."""


TAGS: Final = (
    Tag(PATIENT, "PatientName", "Patient.name", True),
    Tag(PATIENT, "PatientID", "Patient.identifier", True),
    Tag(PATIENT, "IssuerOfPatientID", "Patient.identifier", True),
    Tag(PATIENT, "IssuerOfPatientIDQualifiersSequence", "Patient.identifier"),
    Tag(PATIENT, "OtherPatientIDsSequence", "Patient.identifier"),
    Tag(PATIENT, "PatientBirthDate", "Patient.birthDate", True),
    Tag(PATIENT, "PatientSex", "Patient.gender", True),
    Tag(STUDY, "StudyInstanceUID", "identifier", True),
    Tag(STUDY, "StudyDate", "started", True),
    Tag(STUDY, "StudyTime", "started", True),
    Tag(STUDY, "TimezoneOffsetFromUTC", "started", True),
    Tag(STUDY, "AccessionNumber", "identifier", True),
    Tag(STUDY, "IssuerOfAccessionNumberSequence", "identifier"),
    Tag(STUDY, "StudyDescription", "description", True),
    Tag(STUDY, "ProcedureCodeSequence", "procedureCode"),
    Tag(STUDY, "ReferringPhysicianName", "referrer", True),
    Tag(STUDY, "StudyID", "", True),
    Tag(SERIES, "SeriesInstanceUID", "series.uid", True),
    Tag(SERIES, "SeriesNumber", "series.number", True),
    Tag(SERIES, "Modality", "series.modality", True),
    Tag(SERIES, "SeriesDescription", "series.description", True),
    Tag(SERIES, "BodyPartExamined", "series.bodySite"),
    Tag(SERIES, "Laterality", "series.laterality"),
    Tag(SERIES, "SeriesDate", "series.started"),
    Tag(SERIES, "SeriesTime", "series.started"),
    Tag(SERIES, "PerformedProcedureStepStartDate", "", True),
    Tag(SERIES, "PerformedProcedureStepStartTime", "", True),
    Tag(SERIES, "RequestAttributesSequence", "", True),
    Tag(SERIES, "InstitutionName", "series.extension"),
    Tag(SERIES, "InstitutionCodeSequence", "series.extension"),
    Tag(SERIES, "StationName", ""),
    Tag(INSTANCE, "SOPClassUID", "series.instance.sopClass", True),
    Tag(INSTANCE, "SOPInstanceUID", "series.instance.uid", True),
    Tag(INSTANCE, "InstanceNumber", "series.instance.number", True),
    Tag(INSTANCE, "InstanceCreationDate", "series.instance.extension"),
    Tag(INSTANCE, "InstanceCreationTime", "series.instance.extension"),
    Tag(INSTANCE, "ContentDate", "series.instance.extension"),
    Tag(INSTANCE, "ContentTime", "series.instance.extension"),
    Tag(INSTANCE, "Rows", "", True),
    Tag(INSTANCE, "Columns", "", True),
    Tag(INSTANCE, "BitsAllocated", "", True),
    Tag(INSTANCE, "NumberOfFrames", "series.instance.extension", True),
    Tag(INSTANCE, "ConceptNameCodeSequence", "series.instance.title"),
    Tag(INSTANCE, "DocumentTitle", "series.instance.title"),
)  # fmt: skip

HEADER: Final[dict[int, str]] = {
    int(tag_for_keyword(row.keyword) or 0): row.keyword for row in TAGS
}
"""Tag number to keyword of every attribute kept in `instance.header`."""

VR: Final[dict[str, str]] = {row.keyword: dictionary_VR(row.keyword) for row in TAGS}

IN_SEQUENCES: Final[dict[int, str]] = {
    int(tag_for_keyword(keyword) or 0): keyword
    for keyword in (
        "CodeValue",
        "LongCodeValue",
        "URNCodeValue",
        "CodingSchemeDesignator",
        "CodeMeaning",
        "LocalNamespaceEntityID",
        "UniversalEntityID",
        "UniversalEntityIDType",
        "PatientID",
        "IssuerOfPatientID",
        "TypeOfPatientID",
        "AccessionNumber",
        "StudyInstanceUID",
        "RequestedProcedureID",
        "RequestedProcedureDescription",
        "ScheduledProcedureStepID",
    )
}
"""What is kept of the items of a sequence."""
