"""A performed procedure step, as a modality tells of it, and the Procedure that it becomes.

References
----------
* PS3.4 Annex F, Table F.7.2-1 (attributes of N-CREATE, N-SET and the final state)
* PS3.3 Sections C.4.13 to C.4.16 (Performed Procedure Step modules); FHIR R4 Procedure
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge.mapping import convert, matching
from dicom_bridge.plain import legible
from resources import codes

Resource = Mapping[str, Any]

IN_PROGRESS: Final = "IN PROGRESS"
STATUS: Final = {
    IN_PROGRESS:    "in-progress",
    "COMPLETED":    "completed",
    "DISCONTINUED": "stopped",
}  # fmt: skip
"""Performed Procedure Step Status (0040,0252) -> Procedure.status."""
FINAL: Final = frozenset({"completed", "stopped", "not-done", "entered-in-error"})

WRONG_ENTRY: Final = "110514"
"""DCM 110514, "Incorrect worklist entry selected" (PS3.16 CID 9300)."""

LISTS: Final = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
"""Of a performed series (PS3.4 Table F.7.2-1): what was made."""

OPERATORS: Final = (
    "OperatorsName", "PerformingPhysicianName",
)  # fmt: skip


def text(value: object) -> str:
    """Write an element's value, without what no FHIR string has."""
    return legible(matching.text(value))


def header_of(ds: Dataset) -> dict[str, Any]:
    """Give patient and accession number as `orders.belonging` wants them."""
    scheduled = _first(ds, "ScheduledStepAttributesSequence")
    header = {
        keyword: text(ds.get(keyword))
        for keyword in (
            "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
        )
    }  # fmt: skip
    return {**header, "AccessionNumber": text(scheduled.get("AccessionNumber"))}


def issuer_of(ds: Dataset) -> str:
    """Give the issuer of the accession number, empty if the step names none."""
    scheduled = _first(ds, "ScheduledStepAttributesSequence")
    return text(_first(scheduled, "IssuerOfAccessionNumberSequence").get("LocalNamespaceEntityID"))


def study_uid_of(ds: Dataset) -> str:
    """Give the Study Instance UID that the step is done under."""
    return text(_first(ds, "ScheduledStepAttributesSequence").get("StudyInstanceUID"))


def is_scheduled(ds: Dataset) -> bool:
    """Whether it was chosen from a worklist: it names a procedure or an accession number."""
    return any(
        text(item.get(keyword))
        for item in ds.get("ScheduledStepAttributesSequence") or ()
        for keyword in ("RequestedProcedureID", "AccessionNumber", "ScheduledProcedureStepID")
    )


def procedure(
    uid: str, ds: Dataset, patient: str, request: Resource | None, organization: str
) -> dict[str, Any]:
    """Make the Procedure of a step that has begun.

    Parameters
    ----------
    uid
        SOP Instance UID of the performed procedure step.
    patient, organization
        Ids of the Patient, and of the Organization that performs it.
    request
        The ServiceRequest that it fulfils, if that is known.
    """
    made: dict[str, Any] = {
        "resourceType": "Procedure",
        "identifier": [{"system": codes.DICOM_UID, "value": f"urn:oid:{uid}"}],
        "status": "in-progress",
        "subject": {"reference": f"Patient/{patient}"},
        "performer": list(_performers(ds, organization)),
    }
    if request is not None:
        made["basedOn"] = [{"reference": f"ServiceRequest/{request['id']}"}]
        if "code" in request:
            made["code"] = request["code"]
    if "code" not in made and (said := _code(ds)):
        made["code"] = said
    if start := _when(ds, "Start"):
        made["performedPeriod"] = {"start": start}
    return made


def changed(before: Resource, ds: Dataset) -> dict[str, Any]:
    """Say what becomes of the Procedure when the modality sets attributes of the step."""
    after = dict(before)
    status = text(ds.get("PerformedProcedureStepStatus")).strip()
    after["status"] = STATUS.get(status, before["status"])
    if end := _when(ds, "End"):
        period: Mapping[str, Any] = before.get("performedPeriod", {})
        after["performedPeriod"] = {**period, "end": end}
    if after["status"] == "stopped" and (reason := reason_of(ds)):
        after["statusReason"] = reason
    if comment := text(ds.get("CommentsOnThePerformedProcedureStep")).strip():
        after["note"] = [*before.get("note", ()), {"text": comment}]
    return after


def reason_of(ds: Dataset) -> dict[str, Any] | None:
    """Give why a step was discontinued: Performed Procedure Step Discontinuation Reason Code."""
    items = _json(ds, "PerformedProcedureStepDiscontinuationReasonCodeSequence")
    return next(iter(convert.as_concepts(items)), None)


def instance_uids(ds: Dataset) -> list[str]:
    """Name the images and other objects that the series of a step list, each once."""
    return list(
        dict.fromkeys(
            uid
            for series in ds.get("PerformedSeriesSequence") or ()
            for keyword in LISTS
            for one in series.get(keyword) or ()
            if (uid := text(one.get("ReferencedSOPInstanceUID")).strip())
        )
    )


def _code(ds: Dataset) -> dict[str, Any] | None:
    said = next(iter(convert.as_concepts(_json(ds, "ProcedureCodeSequence"))), None)
    description = text(ds.get("PerformedProcedureStepDescription")).strip()
    return said or ({"text": description} if description else None)


def _performers(ds: Dataset, organization: str) -> Iterator[dict[str, Any]]:
    """Name the operators, where the series that are listed do; else the organisation alone."""
    of = {"reference": f"Organization/{organization}"}
    series = ds.get("PerformedSeriesSequence") or ()
    names = [text(item.get(keyword)) for item in series for keyword in OPERATORS]
    shown = dict.fromkeys(filter(None, map(_shown, names)))
    for name in shown:
        yield {"actor": {"display": name}, "onBehalfOf": of}
    if not shown:
        yield {"actor": of}


def performers(before: Resource, ds: Dataset, organization: str) -> list[dict[str, Any]]:
    """Name who performed it, once the series are listed; else as it was said before."""
    if ds.get("PerformedSeriesSequence"):
        return list(_performers(ds, organization))
    return list(before.get("performer", ()))


def _shown(name: str) -> str:
    human = convert.as_human_name(name)
    parts = [*human.get("prefix", ()), *human.get("given", ()), human.get("family", "")]
    return " ".join(part for part in parts if part)


def _when(ds: Dataset, which: str) -> str:
    date, time = (text(ds.get(f"PerformedProcedureStep{which}{part}")) for part in ("Date", "Time"))
    return convert.as_datetime(date, time, text(ds.get("TimezoneOffsetFromUTC")))


def _first(ds: Dataset, keyword: str) -> Dataset:
    items: Sequence[Dataset] = ds.get(keyword) or ()
    return items[0] if items else Dataset()


def _json(ds: Dataset, keyword: str) -> list[dict[str, str]]:
    """Give the items of a code sequence by keyword."""
    return [
        {element.keyword: text(element.value) for element in item if element.keyword}
        for item in ds.get(keyword) or ()
    ]
