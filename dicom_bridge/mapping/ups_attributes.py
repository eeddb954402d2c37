"""The attributes of a Unified Procedure Step, written from its Task and what that refers to.

Pure, as all of `mapping`. What FHIR says counts before what was said over DICOM.

References
----------
* PS3.4 Table CC.2.5-3; PS3.3 Sections C.30.1 to C.30.4 (Unified Procedure Step modules)
"""

from collections.abc import Iterator
from typing import Final

from pydicom.dataset import Dataset

from dicom_bridge.mapping import ups, worklist
from dicom_bridge.mapping.concepts import shown
from dicom_bridge.mapping.demographics import dataset, patient_module
from dicom_bridge.mapping.ups import Resource, Workitem
from dicom_bridge.mapping.worklist import NOTHING, Step
from resources import task

REQUEST: Final = (
    "StudyInstanceUID", "AccessionNumber", "IssuerOfAccessionNumberSequence",
    "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID", "RequestedProcedureDescription", "RequestedProcedureCodeSequence",
    "ReasonForTheRequestedProcedure", "RequestingPhysician", "RequestingService",
)  # fmt: skip
"""PS3.3 Table C.30.4-1, Referenced Request Sequence: what we can say of a ServiceRequest."""

EMPTY: Final = (
    "ScheduledProcessingParametersSequence", "ScheduledStationNameCodeSequence",
    "ScheduledStationClassCodeSequence", "ScheduledStationGeographicLocationCodeSequence",
    "ScheduledHumanPerformersSequence", "InputInformationSequence", "ReferencedRequestSequence",
    "ReplacedProcedureStepSequence", "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)  # fmt: skip
"""PS3.4 Table CC.2.5-3: sequences of type 2, which are there even where there is nothing to say."""


def written(item: Workitem) -> Dataset:
    """Write a UPS: every attribute that we can give, but the Transaction UID (CC.2.7.3)."""
    ds = dataset(**{keyword: [] for keyword in EMPTY})
    ds.update(patient_module(_patient(item)))
    ds.update(item.kept)
    ds.update(_scheduled(item))
    ds.update(_related(item))
    ds.update(_progress(item))
    if (performed := _performed(item)) is not None:
        ds.UnifiedProcedureStepPerformedProcedureSequence = [performed]
    ds.SOPClassUID, ds.SOPInstanceUID = ups.PUSH, item.uid
    return ds


def _scheduled(item: Workitem) -> Dataset:
    json, kept = item.task, item.kept
    period = json.get("restriction", {}).get("period", {})
    start = period.get("start") or json.get("executionPeriod", {}).get("start")
    priority = ups.PRIORITY.get(str(json.get("priority", "routine")), "MEDIUM")
    if priority == "MEDIUM" and kept.get("ScheduledProcedureStepPriority") == "LOW":
        priority = "LOW"
    step = task.step_of(json)
    label = shown(json.get("code", {})) or "Procedure step"
    ds = dataset(
        ScheduledProcedureStepPriority=priority,
        ScheduledProcedureStepModificationDateTime=ups.moment(ups.modified(json)),
        ProcedureStepLabel=label,
        WorklistLabel=kept.get("WorklistLabel") or (step or "imaging").upper(),
        ScheduledProcedureStepStartDateTime=ups.moment(str(start or json.get("authoredOn", ""))),
        ScheduledWorkitemCodeSequence=ups.workitem_codes(json),
        InputReadinessState=ups.readiness_of(json),
    )
    if "end" in period:
        ds.ExpectedCompletionDateTime = ups.moment(str(period["end"]))
    notes = "\n".join(str(note.get("text", "")) for note in json.get("note", ()))
    ds.CommentsOnTheScheduledProcedureStep = (
        str(kept.get("CommentsOnTheScheduledProcedureStep") or "") or notes[:10240]
    )
    if (owner := ups.owner_of(item)) is not None:
        ds.ScheduledHumanPerformersSequence = [owner]
    return ds


def _related(item: Workitem) -> Dataset:
    """Say what the step is about: the request, and the studies that it looks at."""
    ds = Dataset()
    named = list(dict.fromkeys(ups.referred(item.task)))
    studies = [item.around[n] for n in named if n.startswith("ImagingStudy/") and n in item.around]
    requests = [n for n in named if n.startswith("ServiceRequest/") and n in item.around]
    first = studies[0] if studies else NOTHING
    if requests:
        step = Step(item.task, item.around[requests[0]], _patient(item), study=first,
                    others=item.around)  # fmt: skip
        whole = worklist.item(step, "")
        request = Dataset()
        for keyword in REQUEST:
            if keyword in whole:
                request[keyword] = whole[keyword]
        ds.ReferencedRequestSequence = [request]
        ds.StudyInstanceUID = whole.StudyInstanceUID
    if studies:
        ds.StudyInstanceUID = ups.own_uid(first) or ""
        if not item.kept.get("InputInformationSequence"):
            ds.InputInformationSequence = [one for study in studies for one in _inputs(study)]
    return ds


def _inputs(study: Resource) -> Iterator[Dataset]:
    """Name the instances of a study, series by series (PS3.3 Table 10-3b)."""
    for series in study.get("series", ()):
        instances = [
            dataset(
                ReferencedSOPClassUID=str(
                    one.get("sopClass", {}).get("code", "")
                ).removeprefix("urn:oid:"),
                ReferencedSOPInstanceUID=str(one.get("uid", "")),
            )
            for one in series.get("instance", ())
        ]  # fmt: skip
        yield dataset(
            TypeOfInstances="DICOM",
            StudyInstanceUID=ups.own_uid(study) or "",
            SeriesInstanceUID=str(series.get("uid", "")),
            ReferencedSOPSequence=instances,
        )


def _progress(item: Workitem) -> Dataset:
    json = item.task
    state = ups.state_of(json)
    ds = dataset(ProcedureStepState=state)
    kept = item.kept.get("ProcedureStepProgressInformationSequence") or ()
    progress = Dataset()
    if kept:
        progress.update(kept[0])
    said = ups.progress_of(json)
    if "percent" in said:
        progress.ProcedureStepProgress = str(said["percent"])
    if "description" in said:
        progress.ProcedureStepProgressDescription = str(said["description"])
    if json.get("status") == "on-hold" and "ProcedureStepProgressDescription" not in progress:
        progress.ProcedureStepProgressDescription = "On hold"
    if state == ups.CANCELED:
        end = json.get("executionPeriod", {}).get("end") or ups.modified(json)
        progress.ProcedureStepCancellationDateTime = ups.moment(str(end))
        progress.ProcedureStepDiscontinuationReasonCodeSequence = ups.discontinuation(json)
        if reason := shown(json.get("statusReason", {})):
            progress.ReasonForCancellation = reason[:10240]
    ds.ProcedureStepProgressInformationSequence = [progress] if len(progress) else []
    return ds


def _performed(item: Workitem) -> Dataset | None:
    """Say what was done: as its performer said it, and of a Task ended in FHIR what that says."""
    said = item.kept.get("UnifiedProcedureStepPerformedProcedureSequence") or ()
    if said:
        one: Dataset = said[0]
        return one
    if ups.state_of(item.task) != ups.COMPLETED:
        return None
    period = item.task.get("executionPeriod", {})
    end = ups.moment(str(period.get("end") or ups.modified(item.task)))
    station = dataset(CodeValue="FHIR", CodingSchemeDesignator=ups.OURS, CodeMeaning="Done in FHIR")
    performed = dataset(
        PerformedStationNameCodeSequence=[station],
        PerformedWorkitemCodeSequence=ups.workitem_codes(item.task),
        PerformedProcedureStepStartDateTime=ups.moment(str(period.get("start", ""))) or end,
        PerformedProcedureStepEndDateTime=end,
        OutputInformationSequence=[],
    )
    if (owner := ups.owner_of(item)) is not None:
        performed.ActualHumanPerformersSequence = [owner]
    return performed


def _patient(item: Workitem) -> Resource:
    return item.around.get(ups.local(item.task.get("for", {})), NOTHING)
