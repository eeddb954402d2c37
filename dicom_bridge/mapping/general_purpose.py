"""A step as General Purpose Scheduled Procedure Step, as workstations knew it before the UPS.

Pure: it is the UPS of the same Task, in the words of the retired information model.

References
----------
* PS3.4-2009 Section K.6.2 (General Purpose Worklist), Table K.6-2; F.10 and F.11 (GP-SPS, GP-PPS)
* PS3.3-2009 Sections C.4.17 to C.4.19; docs/representation.md, "General purpose worklist"
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge.mapping import ups, ups_attributes, worklist
from dicom_bridge.mapping.demographics import dataset
from dicom_bridge.mapping.matching import text
from dicom_bridge.mapping.ups import Workitem

META: Final = "1.2.840.10008.5.1.4.32"
WORKLIST: Final = "1.2.840.10008.5.1.4.32.1"
SCHEDULED_STEP: Final = "1.2.840.10008.5.1.4.32.2"
PERFORMED_STEP: Final = "1.2.840.10008.5.1.4.32.3"
"""PS3.6-2009 Table A-1: the Meta SOP Class, and the three SOP classes that it stands for."""

SCHEDULED, IN_PROGRESS, SUSPENDED = "SCHEDULED", "IN PROGRESS", "SUSPENDED"
COMPLETED, DISCONTINUED = "COMPLETED", "DISCONTINUED"

STATUS: Final[Mapping[str, str]] = {
    ups.SCHEDULED:   SCHEDULED,
    ups.IN_PROGRESS: IN_PROGRESS,
    ups.COMPLETED:   COMPLETED,
    ups.CANCELED:    DISCONTINUED,
}  # fmt: skip
"""State of the UPS -> General Purpose Scheduled Procedure Step Status; on hold is SUSPENDED."""

SAME: Final = (
    "StudyInstanceUID", "ScheduledProcedureStepStartDateTime", "ExpectedCompletionDateTime",
    "ScheduledProcedureStepModificationDateTime", "ScheduledWorkitemCodeSequence",
    "ScheduledStationNameCodeSequence", "ScheduledStationClassCodeSequence",
    "ScheduledStationGeographicLocationCodeSequence", "ScheduledHumanPerformersSequence",
    "ReferencedRequestSequence", "CommentsOnTheScheduledProcedureStep",
)  # fmt: skip
"""Attributes that both information models have under the same name."""

SAID: Final = (
    "PerformedStationNameCodeSequence", "PerformedStationClassCodeSequence",
    "PerformedStationGeographicLocationCodeSequence", "PerformedProcessingApplicationsCodeSequence",
    "PerformedWorkitemCodeSequence", "PerformedProcedureStepDescription",
    "CommentsOnThePerformedProcedureStep", "RequestedSubsequentWorkitemCodeSequence",
    "NonDICOMOutputCodeSequence", "OutputInformationSequence", "ActualHumanPerformersSequence",
)  # fmt: skip
"""What a performed step says in the same words as the UPS Performed Procedure Sequence."""

FINAL: Final = (
    "PerformedStationNameCodeSequence", "PerformedWorkitemCodeSequence",
    "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
    "PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime",
)  # fmt: skip
"""What a performed step must have said when it is COMPLETED."""


def status_of(task: Mapping[str, Any]) -> str:
    """Give the status of a step."""
    return SUSPENDED if task.get("status") == "on-hold" else STATUS[ups.state_of(task)]


def written(item: Workitem, performed: list[str], ae_title: str) -> Dataset:
    """Write a scheduled step.

    Parameters
    ----------
    performed
        UIDs of the performed steps that came of it.
    ae_title
        Where its studies are retrieved from.
    """
    step = ups_attributes.written(item)
    ds = dataset(
        SOPClassUID=SCHEDULED_STEP,
        SOPInstanceUID=item.uid,
        GeneralPurposeScheduledProcedureStepStatus=status_of(item.task),
        GeneralPurposeScheduledProcedureStepPriority=str(step.ScheduledProcedureStepPriority),
        ScheduledProcedureStepID=worklist.step_id(item.task),
        ScheduledProcessingApplicationsCodeSequence=[],
        MultipleCopiesFlag="N",
        InputAvailabilityFlag=(
            "COMPLETE" if text(step.get("InputReadinessState")) == "READY" else "PARTIAL"
        ),
        InputInformationSequence=list(_inputs(step, ae_title)),
        RelevantInformationSequence=[],
        ResultingGeneralPurposePerformedProcedureStepsSequence=[
            dataset(ReferencedSOPClassUID=PERFORMED_STEP, ReferencedSOPInstanceUID=uid)
            for uid in performed
        ],
        ActualHumanPerformersSequence=_performers(item),
    )
    for element in step:
        if element.keyword in SAME or element.tag.group == 0x0010:
            ds.add(element)
    return ds


def performed_item(ds: Dataset) -> Dataset:
    """Say what a performed step says, as the item that the UPS has of it."""
    one = Dataset()
    for keyword in SAID:
        if keyword in ds:
            one[keyword] = ds[keyword]
    for end in ("Start", "End"):
        parts = [text(ds.get(f"PerformedProcedureStep{end}{part}")) for part in ("Date", "Time")]
        setattr(one, f"PerformedProcedureStep{end}DateTime", "".join(parts))
    if "OutputInformationSequence" not in one:
        one.OutputInformationSequence = []
    return one


def performer_codes(ds: Dataset) -> Iterator[tuple[str, str]]:
    """Give coding scheme and code of whom a step names as its human performers."""
    for item in ds.get("ActualHumanPerformersSequence") or ():
        for code in item.get("HumanPerformerCodeSequence") or ():
            value = text(code.get("CodeValue") or code.get("LongCodeValue")).strip()
            if value:
                yield text(code.get("CodingSchemeDesignator")).strip(), value


def _performers(item: Workitem) -> list[Dataset]:
    """Name who performs a step, once somebody does."""
    said = item.kept.get("UnifiedProcedureStepPerformedProcedureSequence") or (Dataset(),)
    named = list(said[0].get("ActualHumanPerformersSequence") or ())
    if named or ups.state_of(item.task) == ups.SCHEDULED:
        return named
    owner = ups.owner_of(item)
    return [owner] if owner is not None else []


def _inputs(step: Dataset, ae_title: str) -> Iterator[Dataset]:
    """Name the instances of each study, as the hierarchical reference macro has them."""
    studies: dict[str, list[Dataset]] = {}
    for one in step.get("InputInformationSequence") or ():
        series = dataset(
            SeriesInstanceUID=text(one.get("SeriesInstanceUID")),
            RetrieveAETitle=ae_title,
            ReferencedSOPSequence=list(one.get("ReferencedSOPSequence") or ()),
        )
        studies.setdefault(text(one.get("StudyInstanceUID")), []).append(series)
    for uid, series_of in studies.items():
        yield dataset(StudyInstanceUID=uid, ReferencedSeriesSequence=series_of)
