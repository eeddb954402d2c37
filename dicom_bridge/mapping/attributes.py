"""Keys of a DICOM query on one side, FHIR search criteria and DICOM JSON rows on the other.

What can be said in FHIR search is said so, and the database finds it together with what the
gate allows. The rest (a StudyID, a wildcard in an accession number) is matched on the rows that
were found: it can only take rows away, never show one that the gate does not.

References
----------
* PS3.4 Tables C.6-1, C.6-2, C.6-3, C.6-4, C.6-5 (keys of the Query/Retrieve models), C.2.2.2
* PS3.18 Sections 8.3.4 (query parameters), 10.6.1 and 10.6.3 (Search Transaction)
* FHIR R4 ImagingStudy and Patient, search parameters
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from dicom_bridge.mapping.matching import (
    name_resembles,
    name_words,
    span_of,
    value_matches,
    vr_of,
)
from fhir_server.search.string import beginning, pattern
from resources import codes
from resources.errors import Invalid

Pairs = tuple[tuple[str, str], ...]
Json = Mapping[str, Any]

# PS3.18 Table 10.6.3-3: what is returned for a study, whatever is asked (with PS3.4 Table C.6-5).
STUDY: Final = frozenset({
    "StudyDate", "StudyTime", "AccessionNumber", "InstanceAvailability", "ModalitiesInStudy",
    "ReferringPhysicianName", "TimezoneOffsetFromUTC", "RetrieveURL", "PatientName", "PatientID",
    "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID",
    "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "StudyDescription",
    "SOPClassesInStudy", "InstitutionName",
})  # fmt: skip

# PS3.18 Table 10.6.3-4.
SERIES: Final = frozenset({
    "Modality", "TimezoneOffsetFromUTC", "SeriesDescription", "RetrieveURL", "SeriesInstanceUID",
    "SeriesNumber", "NumberOfSeriesRelatedInstances", "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime", "RequestAttributesSequence", "StudyInstanceUID",
    "BodyPartExamined", "Laterality", "SeriesDate", "SeriesTime", "InstitutionName",
})  # fmt: skip

# PS3.18 Table 10.6.3-5.
INSTANCE: Final = frozenset({
    "SOPClassUID", "SOPInstanceUID", "InstanceAvailability", "TimezoneOffsetFromUTC",
    "RetrieveURL", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames",
    "StudyInstanceUID", "SeriesInstanceUID",
})  # fmt: skip


# PS3.18 Section 10.6.3.3: other attributes of the level, given when they are asked for: those of
# the modules Patient, General Study and Patient Study (PS3.3 C.7.1.1, C.7.2.1 and C.7.2.2).
STUDY_MORE: Final = frozenset({
    "OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames", "PatientBirthName",
    "PatientBirthTime", "PatientMotherBirthName", "PatientComments", "EthnicGroup",
    "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientIdentityRemoved",
    "PatientAge", "PatientSize", "PatientWeight", "PatientSizeCodeSequence", "Occupation",
    "AdditionalPatientHistory", "AdmissionID", "IssuerOfAdmissionIDSequence", "ReasonForVisit",
    "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "MedicalAlerts",
    "Allergies", "SmokingStatus", "PregnancyStatus", "PatientSexNeutered", "LastMenstrualDate",
    "PatientState", "ConsultingPhysicianName", "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy", "ReferringPhysicianIdentificationSequence",
    "IssuerOfAccessionNumberSequence", "ReferencedStudySequence", "RequestingService",
    "ProcedureCodeSequence", "ReasonForPerformedProcedureCodeSequence",
})  # fmt: skip

# General Series, General Equipment and Frame of Reference (PS3.3 C.7.3.1, C.7.5.1, C.7.4.1).
SERIES_MORE: Final = frozenset({
    "SeriesDescriptionCodeSequence", "PerformingPhysicianName", "OperatorsName", "ProtocolName",
    "PatientPosition", "AnatomicRegionSequence", "ReferencedPerformedProcedureStepSequence",
    "PerformedProcedureStepID", "PerformedProcedureStepDescription",
    "PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime",
    "PerformedProtocolCodeSequence", "CommentsOnThePerformedProcedureStep", "Manufacturer",
    "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "ManufacturerModelName",
    "DeviceSerialNumber", "SoftwareVersions", "FrameOfReferenceUID", "PositionReferenceIndicator",
})  # fmt: skip


class Asked(NamedTuple):
    """A query, taken apart by who answers it."""

    pairs: Pairs = ()
    """FHIR search parameters of ImagingStudy with their values."""
    names: Pairs = ()
    """String parameters of Patient with a pattern: ``%`` any number of characters, ``_`` one."""
    rest: Mapping[str, str] = {}
    """Keys to be matched on the rows found."""
    words: Pairs = ()
    """String parameters of ImagingStudy with a pattern, as in `names`."""
    fuzzy: bool = False
    """Names are matched by how their words begin (PS3.18 Section 8.3.4.2)."""


def studies(keys: Mapping[str, str], *, fuzzy: bool = False) -> Asked:
    """Say in FHIR search what is asked of the study level.

    Parameters
    ----------
    keys
        Keyword to value; an empty value matches everything and is no criterion.

    Raises
    ------
    Invalid
        A date, a time or a UID that is none.

    Examples
    --------
    >>> asked = studies({"AccessionNumber": "A1", "PatientName": "Okaf*", "StudyID": "7"})
    >>> asked.pairs, asked.names, asked.rest
    ((('identifier', 'A1'),), (('family', 'okaf%'),), {'StudyID': '7'})
    """
    given = {name: key.strip() for name, key in keys.items() if key.strip(" *")}
    pairs: list[tuple[str, str]] = []
    rest: dict[str, str] = {}
    for name, key in given.items():
        rule = RULES.get(name)
        said = rule(key) if rule else None
        pairs += said or ()
        if said is None or name in INEXACT:
            rest[name] = key
    name = given.get("PatientName", "")
    names = _fuzzy_names(name) if fuzzy else _names(name)
    return Asked(tuple(pairs), names, rest, _words(given), fuzzy)


def matches(row: Json, rest: Mapping[str, str], *, fuzzy: bool = False) -> bool:
    """Tell whether a row of DICOM JSON matches the keys; dotted keywords look into sequences."""
    return all(_matches(row, name.split("."), key, fuzzy) for name, key in rest.items())


def values(attribute: Json | None) -> list[str]:
    """Write the values of a DICOM JSON attribute as DICOM writes them (PS3.18 Section F.2)."""
    written = []
    for value in (attribute or {}).get("Value", ()):
        if isinstance(value, Mapping):
            groups = (value.get(g, "") for g in ("Alphabetic", "Ideographic", "Phonetic"))
            written.append("=".join(groups).rstrip("="))
        elif value is not None:
            written.append(str(value))
    return written


def keyword_of(attribute: str) -> str | None:
    """Read an attribute of a query parameter: keyword or tag, dotted within sequences.

    Examples
    --------
    >>> keyword_of("00100020"), keyword_of("PatientID"), keyword_of("NoSuch")
    ('PatientID', 'PatientID', None)
    >>> keyword_of("00400275.00401001")
    'RequestAttributesSequence.RequestedProcedureID'
    """
    keywords = []
    for part in attribute.split("."):
        tagged = _TAG.fullmatch(part) is not None
        keyword = keyword_for_tag(int(part, 16)) if tagged else part
        if not keyword or tag_for_keyword(keyword) is None:
            return None
        keywords.append(keyword)
    return ".".join(keywords)


def tag_of(keyword: str) -> str:
    """Give the eight hexadecimal digits under which DICOM JSON has an attribute."""
    return f"{tag_for_keyword(keyword) or 0:08X}"


Rule = Callable[[str], Pairs | None]


def _uids(parameter: str, before: str = "") -> Rule:
    def rule(key: str) -> Pairs:
        uids = [uid.strip() for uid in re.split(r"[\\,]", key) if uid.strip()]
        if not uids or not all(_UID.fullmatch(uid) for uid in uids):
            raise Invalid("A UID to be matched is malformed")
        return ((parameter, ",".join(before + uid for uid in uids)),)

    return rule


def _token(parameter: str, system: str = "") -> Rule:
    def rule(key: str) -> Pairs | None:
        if "*" in key or "?" in key:
            return None
        codes_asked = [one.strip() for one in key.split("\\") if one.strip()]
        return ((parameter, ",".join(system + escaped(one) for one in codes_asked)),)

    return rule


def _patient_id(key: str) -> Pairs | None:
    """By any identifier of the patient: the one in the images may be another of theirs."""
    return _token("patient.identifier")(key)


def _started(key: str) -> Pairs:
    """Narrow to the days asked for and one on each side.

    An ImagingStudy has its start as an instant, DICOM the day where the modality stands; the
    exact day is matched on the rows.
    """
    span = span_of("DA", key)
    bounds = []
    if span.low:
        bounds.append(("started", f"ge{_beside(_day(span.low), -1)}"))
    if span.high:
        bounds.append(("started", f"le{_beside(_day(span.high), 1)}"))
    return tuple(bounds)


def _beside(day: date, days: int) -> date:
    """Give a day so many days later, or itself at the ends of the calendar."""
    try:
        return day + timedelta(days=days)
    except OverflowError:
        return day


def _birth_date(key: str) -> Pairs:
    span = span_of("DA", key)
    bounds = [("ge", span.low), ("le", span.high)] if span.low != span.high else [("", span.low)]
    return tuple(("patient.birthdate", f"{prefix}{_day(day)}") for prefix, day in bounds if day)


def _day(text: str) -> date:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        raise Invalid("A date to be matched does not exist", "StudyDate") from None


def _sex(key: str) -> Pairs | None:
    gender = {"M": "male", "F": "female", "O": "other"}.get(key)
    return (("patient.gender", gender),) if gender else None


def _name(_key: str) -> Pairs:
    return ()


def _words(given: Mapping[str, str]) -> Pairs:
    key = given.get("InstitutionName", "")
    return (("source-name", pattern(key, "*", "?")),) if key else ()


# Attribute -> the rule that says it in FHIR search; None from a rule: it cannot be said.
RULES: Final[Mapping[str, Rule]] = {
    "StudyInstanceUID":  _uids("identifier", f"{codes.DICOM_UID}|urn:oid:"),
    "SeriesInstanceUID": _uids("series"),
    "SOPInstanceUID":    _uids("instance"),
    "StudyDate":         _started,
    "AccessionNumber":   _token("identifier"),
    "ModalitiesInStudy": _token("modality", f"{codes.DCM}|"),
    "Modality":          _token("modality", f"{codes.DCM}|"),
    "PatientID":         _patient_id,
    "PatientName":       _name,
    "PatientBirthDate":  _birth_date,
    "PatientSex":        _sex,
    "InstitutionName":   _name,
}  # fmt: skip

INEXACT: Final = frozenset({"StudyDate"})
"""What FHIR search only narrows."""

NARROWING: Final = ("SeriesInstanceUID", "SOPInstanceUID", "Modality", "InstitutionName")
"""Keys of series and instances by which FHIR search finds their study."""

MOST_WORDS: Final = 20

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_UID: Final = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*")


def _names(key: str) -> Pairs:
    r"""Split a name pattern into patterns for the parts of a FHIR name.

    The components that are given must match; those that are not are free, so ``Okafor`` finds
    ``Okafor^Ada``. A pattern that begins with a wildcard and names no component may be meant for
    any part of the name. Only family and given names are looked at (PS3.4 Section C.2.2.2.1
    leaves the matching of names to the SCP).

    Examples
    --------
    >>> _names("*ada*"), _names("OKAFOR^A?a May")
    ((('name', '%ada%'),), (('family', 'okafor'), ('given', 'a_a'), ('given', 'may')))
    """
    family, *others = (part.strip() for part in key.split("=")[0].split("^"))
    if not others and family.startswith("*"):
        return (("name", pattern(family, "*", "?")),) if family.strip("*") else ()
    words = _few([word for part in others[:2] for word in part.split()])
    named = [("family", family), *(("given", word) for word in words)]
    return tuple((code, pattern(part, "*", "?")) for code, part in named if part.strip("*"))


def _fuzzy_names(key: str) -> Pairs:
    """Ask for names of which some part begins with each word.

    Examples
    --------
    >>> _fuzzy_names("Åsa OKAF*")
    (('name', 'asa%'), ('name', 'okaf%'))
    """
    return tuple(("name", beginning(word)) for word in _few(name_words(key)))


def _few(words: list[str]) -> list[str]:
    """Take each word of a name once; a name has few (PS3.5 Section 6.2: 64 characters)."""
    each = list(dict.fromkeys(words))
    if len(each) > MOST_WORDS:
        raise Invalid(f"A name to be matched has {MOST_WORDS} words at most", "PatientName")
    return each


def escaped(value: str) -> str:
    """FHIR Search, "escaping search parameters"."""
    return re.sub(r"([\\,|$])", r"\\\1", value)


def _matches(row: Json, path: list[str], key: str, fuzzy: bool) -> bool:
    name, *inner = path
    attribute = row.get(tag_of(name))
    if inner:
        items = (attribute or {}).get("Value", ())
        return any(isinstance(i, Mapping) and _matches(i, inner, key, fuzzy) for i in items)
    if fuzzy and vr_of(name) == "PN":
        return name_resembles(key, values(attribute))
    return value_matches(vr_of(name), key, values(attribute))


def known(keywords: Iterable[str], level: frozenset[str]) -> list[str]:
    """Keep the keywords that a level answers, sequences by their first part."""
    return [one for one in keywords if one.split(".")[0] in level]
