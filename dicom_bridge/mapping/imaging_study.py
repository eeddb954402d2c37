"""ImagingStudy as the instances of a study tell it; a pure fold, so twice is the same as once.

References
----------
* FHIR R4 ImagingStudy, Mappings, "DICOM Tag Mapping"
* docs/representation.md, "From objects to the ImagingStudy"
* PS3.3 Sections C.7.2.1, C.7.3.1, C.12.1
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from dicom_bridge.mapping import convert, origin
from dicom_bridge.mapping.origin import Source, Sources
from resources import codes

RFC_3986: Final = "urn:ietf:rfc:3986"
WITHOUT_OFFSET: Final = (
    "The time of the study came without an offset from UTC; it is taken as Europe/London."
)


class Arrived(NamedTuple):
    """What the fold needs of one instance row."""

    sop_uid: str
    series_uid: str
    sop_class: str
    modality: str
    series_number: int | None
    number: int | None
    frames: int
    organization: str
    """Id of the Organization that sent it."""
    header: Mapping[str, Any]


def found(
    study_uid: str, arrived: list[Arrived], accession_system: str, sources: Sources | None = None
) -> dict[str, Any]:
    """The ImagingStudy that these instances make, without subject and request.

    Parameters
    ----------
    arrived
        In the order they came: the first speaks for the study, the first of a series for it.
    accession_system
        Identifier system of the accession number, by its issuer.
    sources
        Who created what, by what was claimed; what is not in it is by its sender.
    """
    header = arrived[0].header
    study: dict[str, Any] = {
        "resourceType": "ImagingStudy",
        "identifier": identifiers(study_uid, header, accession_system),
        "status": "available",
    }
    started = convert.as_datetime(
        str(header.get("StudyDate", "")),
        str(header.get("StudyTime", "")),
        str(header.get("TimezoneOffsetFromUTC", "")),
    )
    if started:
        study["started"] = started
    if "T" in started and convert.lacks_offset(header):
        study["note"] = [{"text": WITHOUT_OFFSET}]
    if concepts := convert.as_concepts(header.get("ProcedureCodeSequence", ())):
        study["procedureCode"] = concepts
    if description := header.get("StudyDescription"):
        study["description"] = str(description)
    study["series"] = [_series(rows, sources or {}) for rows in by_series(arrived).values()]
    return study


def identifiers(
    study_uid: str, header: Mapping[str, Any], accession_system: str
) -> list[dict[str, Any]]:
    """Study Instance UID and accession number as identifiers (docs/representation.md)."""
    held: list[dict[str, Any]] = [
        {
            "type": {"coding": [codes.STUDY_INSTANCE_UID_TYPE.json]},
            "system": codes.DICOM_UID,
            "value": f"urn:oid:{study_uid}",
        }
    ]
    if accession := header.get("AccessionNumber"):
        held.append(
            {
                "type": {"coding": [codes.ACCESSION_NUMBER_TYPE.json, codes.ACCESSION_NUMBER.json]},
                "system": accession_system,
                "value": str(accession),
            }
        )
    return held


def by_series(arrived: Iterable[Arrived]) -> dict[str, list[Arrived]]:
    """The rows of each series, by its UID."""
    series: dict[str, list[Arrived]] = {}
    for row in arrived:
        series.setdefault(row.series_uid, []).append(row)
    return series


def _series(rows: list[Arrived], sources: Sources) -> dict[str, Any]:
    first, header = rows[0], rows[0].header
    source = origin.source_of(first.organization, header, sources)
    created = origin.created(header)
    series: dict[str, Any] = {
        "extension": [*source.extensions, *origin.when(created)],
        "uid": first.series_uid,
    }
    if first.series_number is not None and first.series_number >= 0:
        series["number"] = first.series_number
    series["modality"] = {"system": codes.DCM, "code": first.modality or "OT"}
    if description := header.get("SeriesDescription"):
        series["description"] = str(description)
    if site := convert.as_body_site(str(header.get("BodyPartExamined", ""))):
        series["bodySite"] = site
    if side := convert.as_laterality(str(header.get("Laterality", ""))):
        series["laterality"] = side
    started = convert.as_datetime(
        str(header.get("SeriesDate", "")),
        str(header.get("SeriesTime", "")),
        str(header.get("TimezoneOffsetFromUTC", "")),
    )
    if started:
        series["started"] = started
    series["performer"] = [{"actor": {"reference": f"Organization/{first.organization}"}}]
    series["instance"] = [
        _instance(row, sources, source, created) for row in sorted(rows, key=_by_number)
    ]
    return series


def _by_number(row: Arrived) -> tuple[int, str]:
    """The order that `resources.imaging_study` keeps: what has no number comes last."""
    known = row.number is not None and row.number >= 0
    return (row.number or 0) if known else 1 << 31, row.sop_uid


def _instance(row: Arrived, sources: Sources, of_series: Source, created: str) -> dict[str, Any]:
    instance: dict[str, Any] = {}
    extensions: list[dict[str, Any]] = []
    if row.frames > 1:
        extensions.append({"url": codes.NUMBER_OF_FRAMES, "valueUnsignedInt": row.frames})
    source = origin.source_of(row.organization, row.header, sources)
    if source != of_series:
        extensions += source.extensions
    own = origin.created(row.header)
    if origin.is_apart(own, created):
        extensions += origin.when(own)
    if extensions:
        instance["extension"] = extensions
    instance["uid"] = row.sop_uid
    instance["sopClass"] = {"system": RFC_3986, "code": f"urn:oid:{row.sop_class}"}
    if row.number is not None and row.number >= 0:
        instance["number"] = row.number
    if title := _title(row.header):
        instance["title"] = title
    return instance


def _title(header: Mapping[str, Any]) -> str:
    if document := header.get("DocumentTitle"):
        return str(document)
    concepts: Sequence[Mapping[str, Any]] = header.get("ConceptNameCodeSequence") or ({},)
    return str(concepts[0].get("CodeMeaning", ""))
