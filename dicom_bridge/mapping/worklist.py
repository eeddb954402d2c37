"""A step to be acquired, as a Modality Worklist item.

Pure: everything a step is made of is handed in as FHIR JSON; what comes out is a data set with
every attribute we can give, of which an answer takes what was asked for (`return_keys`).

References
----------
* PS3.4 Table K.6-1 (Attributes for the Modality Worklist Information Model)
* PS3.3 Sections C.4.10 (Scheduled Procedure Step), C.4.11 (Requested Procedure), C.4.12 (Imaging
  Service Request), C.2.2 and C.2.3 (Patient)
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from pydicom.dataset import Dataset

from dicom_bridge.mapping.concepts import coded, shown
from dicom_bridge.mapping.demographics import component, dataset, patient_module, person_name
from dicom_bridge.mapping.modality import modality_of
from resources import codes

LOCAL: Final = ZoneInfo("Europe/London")
"""DICOM says dates and times in the time of the place where they are read."""

Resource = Mapping[str, Any]
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Step(NamedTuple):
    """What one worklist item is made of."""

    task: Resource
    """Task(acquire)."""
    request: Resource
    """The ServiceRequest: one requested procedure."""
    patient: Resource
    justification: Resource = NOTHING
    """Task(justify), completed and authorised."""
    appointment: Resource = NOTHING
    study: Resource = NOTHING
    """The ImagingStudy registered for the request."""
    others: Mapping[str, Resource] = NOTHING
    """PractitionerRole, Practitioner, Organization, Device and Location by relative reference."""


# FHIR ServiceRequest.priority -> PS3.3 Section C.4.11, Requested Procedure Priority.
PRIORITY: Final = {"stat": "STAT", "asap": "HIGH", "urgent": "HIGH", "routine": "ROUTINE"}


def item(step: Step, station: str) -> Dataset:
    """Make the worklist item of a step.

    Parameters
    ----------
    station
        AE title that asks. A step given to no device is scheduled for whoever of the acquiring
        organisation asks, since Scheduled Station AE Title may not be empty.
    """
    ds = Dataset()
    for part in (patient_module(step.patient), _imaging_request(step), _procedure(step)):
        ds.update(part)
    ds.ScheduledProcedureStepSequence = [_scheduled_step(step, station)]
    return ds


def step_id(task: Resource) -> str:
    """Give a step its Scheduled Procedure Step ID: 16 characters at most (VR SH).

    The Task's own identifier if it fits, else its id, else a digest of the id.
    """
    candidates = [one.get("value", "") for one in task.get("identifier", ())]
    fitting = next((c for c in [*candidates, task.get("id", "")] if 0 < len(c) <= 16), "")
    return fitting or hashlib.sha256(str(task.get("id")).encode()).hexdigest()[:16]


def study_uid_of(step: Step) -> str:
    """Give the Study Instance UID that the images shall carry.

    That of the registered study; without one, a UID made from the request's id, the same each
    time it is asked for (PS3.5 Annex B.2).
    """
    for identifier in step.study.get("identifier", ()):
        if identifier.get("system") == codes.DICOM_UID:
            return str(identifier.get("value", "")).removeprefix("urn:oid:")
    name = f"{codes.BASE}/ServiceRequest/{step.request.get('id')}"
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"


def _imaging_request(step: Step) -> Dataset:
    request = step.request
    requester = request.get("requester", {})
    name = _name_of(step, requester)
    ds = dataset(
        AccessionNumber="",
        IssuerOfAccessionNumberSequence=[],
        ReferringPhysicianName=name,
        RequestingPhysician=name,
        RequestingService=_organization_of(step, requester),
        ImagingServiceRequestComments=_notes(request),
        PlacerOrderNumberImagingServiceRequest=_identifier(request, "PLAC"),
        FillerOrderNumberImagingServiceRequest=_identifier(request, "FILL"),
        NamesOfIntendedRecipientsOfResults=name,
    )
    accession = next(_identifiers(request, "ACSN"), None)
    if accession:
        ds.AccessionNumber = str(accession.get("value", ""))[:16]
        system = str(accession.get("system", ""))
        if system.startswith(f"{codes.ACCESSION}/"):
            issuer = system.removeprefix(f"{codes.ACCESSION}/")
            ds.IssuerOfAccessionNumberSequence = [dataset(LocalNamespaceEntityID=issuer)]
    return ds


def _procedure(step: Step) -> Dataset:
    request = step.request
    code = request.get("code", {})
    reasons = request.get("reasonCode", ())
    return dataset(
        StudyInstanceUID=study_uid_of(step),
        ReferencedStudySequence=[],
        RequestedProcedureID=_requested_procedure_id(request),
        RequestedProcedureDescription=shown(code),
        RequestedProcedureCodeSequence=coded(code),
        RequestedProcedurePriority=PRIORITY.get(request.get("priority", "routine"), "ROUTINE"),
        ReasonForTheRequestedProcedure="; ".join(filter(None, map(shown, reasons))),
        ReasonForRequestedProcedureCodeSequence=[o for r in reasons for o in coded(r)],
        RequestedProcedureComments=_notes(step.justification),
        PatientTransportArrangements="",
    )


def _scheduled_step(step: Step, station: str) -> Dataset:
    code = step.request.get("code", {})
    start = _start(step)
    performers = [
        _name_of(step, one) for one in _participants(step, ("Practitioner", "PractitionerRole"))
    ]
    return dataset(
        ScheduledStationAETitle=_station(step) or station,
        ScheduledProcedureStepStartDate=start.strftime("%Y%m%d") if start else "",
        ScheduledProcedureStepStartTime=start.strftime("%H%M%S") if start else "",
        Modality=modality_of(step.request, step.task, step.study),
        ScheduledPerformingPhysicianName=next(filter(None, performers), ""),
        ScheduledProcedureStepDescription=shown(code),
        ScheduledProtocolCodeSequence=coded(code),
        ScheduledProcedureStepID=step_id(step.task),
        ScheduledStationName="",
        ScheduledProcedureStepLocation=_location(step),
        ScheduledProcedureStepStatus=_status(step),
        CommentsOnTheScheduledProcedureStep=_notes(step.task),
        RequestedContrastAgent="",
        PreMedication="",
    )


def _start(step: Step) -> datetime | None:
    for said in (
        step.appointment.get("start"),
        step.task.get("executionPeriod", {}).get("start"),
        step.task.get("restriction", {}).get("period", {}).get("start"),
    ):
        if said and "T" in said:
            return datetime.fromisoformat(said).astimezone(LOCAL)
        if said and len(said) == 10:
            return datetime.fromisoformat(said)
    return None


def _status(step: Step) -> str:
    """PS3.3 Section C.4.10, Scheduled Procedure Step Status."""
    if step.task.get("status") == "in-progress":
        return "STARTED"
    arrived = step.appointment.get("status") in {"arrived", "checked-in", "fulfilled"}
    return "ARRIVED" if arrived else "SCHEDULED"


def _station(step: Step) -> str:
    """AE title of the device that the step, or its appointment, is given to."""
    for reference in (step.task.get("owner", {}), *_participants(step, ("Device",))):
        device = step.others.get(reference.get("reference", ""), {})
        for identifier in device.get("identifier", ()):
            if identifier.get("system") == codes.AE_TITLE:
                return str(identifier.get("value", ""))
    return ""


def _participants(step: Step, types: Sequence[str]) -> list[Resource]:
    actors = [one.get("actor", {}) for one in step.appointment.get("participant", ())]
    return [a for a in actors if str(a.get("reference", "")).split("/")[0] in types]


def _location(step: Step) -> str:
    for reference in (*_participants(step, ("Location",)), step.task.get("location", {})):
        named = step.others.get(reference.get("reference", ""), {}).get("name")
        if shown := named or reference.get("display"):
            return str(shown)
    return ""


def _name_of(step: Step, reference: Resource) -> str:
    """Name of a Practitioner, or of the one in a PractitionerRole."""
    found = step.others.get(reference.get("reference", ""), {})
    practitioner = found.get("practitioner", {})
    if practitioner:
        found = step.others.get(practitioner.get("reference", ""), {})
    names = found.get("name", ())
    if isinstance(names, list) and names:
        return person_name(names)
    return component(practitioner.get("display") or reference.get("display") or "")


def _organization_of(step: Step, reference: Resource) -> str:
    found = step.others.get(reference.get("reference", ""), {})
    if found.get("resourceType") == "Organization":
        return str(found.get("name", ""))
    owner = found.get("organization", {})
    name = step.others.get(owner.get("reference", ""), {}).get("name")
    return str(name or owner.get("display") or "")


def _identifiers(resource: Resource, type: str) -> Iterator[Resource]:
    return (
        identifier
        for identifier in resource.get("identifier", ())
        if any(c.get("code") == type for c in identifier.get("type", {}).get("coding", ()))
    )


def _identifier(resource: Resource, type: str) -> str:
    return next((str(one.get("value", "")) for one in _identifiers(resource, type)), "")


def _requested_procedure_id(request: Resource) -> str:
    """Its own identifier if it has one, else the accession number: it may not be empty."""
    own = (
        str(one.get("value", ""))
        for one in request.get("identifier", ())
        if str(one.get("system", "")).startswith(codes.REQUESTED_PROCEDURE)
    )
    short = str(request.get("id", ""))[:16]
    return next(own, "") or _identifier(request, "ACSN") or short


def _notes(resource: Resource) -> str:
    return "\n".join(note.get("text", "") for note in resource.get("note", ()))
