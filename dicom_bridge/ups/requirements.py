"""What a UPS must say when it is made, when it is changed and before it has ended, as tables.

References
----------
* PS3.4 Table CC.2.5-3 (N-CREATE, N-SET, Final State), CC.1.1-2 (state transitions)
"""

from collections.abc import Mapping
from typing import Any, Final

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from dicom_bridge.mapping.matching import text
from dicom_bridge.mapping.ups import CANCELED, COMPLETED, IN_PROGRESS, SCHEDULED
from dicom_bridge.ups import statuses
from dicom_bridge.ups.statuses import Failure, Warned, refused

DEEPEST: Final = 16
"""Sequences within sequences of a UPS."""

AT_FIRST: Final = (
    "ScheduledProcedureStepPriority", "ProcedureStepLabel",
    "ScheduledProcedureStepStartDateTime", "InputReadinessState",
)  # fmt: skip
"""Attributes of type 1 in an N-CREATE request. The state is looked at by itself; a Worklist Label
that is missing is given, and told of as a modification."""

NOT_AT_FIRST: Final = (
    "TransactionUID", "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)  # fmt: skip
"""Attributes that a UPS that is made has without a value."""

VALUES: Final[Mapping[str, frozenset[str]]] = {
    "ScheduledProcedureStepPriority": frozenset({"HIGH", "MEDIUM", "LOW"}),
    "InputReadinessState": frozenset({"INCOMPLETE", "UNAVAILABLE", "READY"}),
}
"""PS3.3 Section C.30.2, Enumerated Values."""

PATIENT: Final = (
    "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID", "OtherPatientIDsSequence", "PatientBirthDate", "PatientSex",
)  # fmt: skip
"""Whom a UPS is about: the Patient says it, once it is made."""

FIXED: Final = frozenset({
    *PATIENT, "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "ReferencedRequestSequence",
    "ReplacedProcedureStepSequence", "AdmissionID", "IssuerOfAdmissionIDSequence",
    "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence",
})  # fmt: skip
"""Table CC.2.5-3: "Not allowed" in N-SET."""

DONE: Final = (
    "PerformedStationNameCodeSequence", "PerformedWorkitemCodeSequence",
    "PerformedProcedureStepStartDateTime", "PerformedProcedureStepEndDateTime",
)  # fmt: skip
DONE_MAYBE_EMPTY: Final = ("OutputInformationSequence",)
"""Final State requirement "P": what the item of UPS Performed Procedure Sequence says of what is
COMPLETED; the output is of type 2. Requirement "X", for what is CANCELED, are a date and a reason,
which are given where the performer gave none."""

LEGAL: Final[Mapping[tuple[str, str], Failure | Warned]] = {
    (SCHEDULED, SCHEDULED):     statuses.ONLY_CREATED_SCHEDULED,
    (SCHEDULED, IN_PROGRESS):   statuses.SUCCESS,
    (SCHEDULED, COMPLETED):     statuses.NOT_IN_PROGRESS,
    (SCHEDULED, CANCELED):      statuses.NOT_IN_PROGRESS,
    (IN_PROGRESS, SCHEDULED):   statuses.ONLY_CREATED_SCHEDULED,
    (IN_PROGRESS, IN_PROGRESS): statuses.ALREADY_IN_PROGRESS,
    (IN_PROGRESS, COMPLETED):   statuses.SUCCESS,
    (IN_PROGRESS, CANCELED):    statuses.SUCCESS,
    (COMPLETED, SCHEDULED):     statuses.ONLY_CREATED_SCHEDULED,
    (COMPLETED, IN_PROGRESS):   statuses.NO_LONGER,
    (COMPLETED, COMPLETED):     statuses.ALREADY_DONE,
    (COMPLETED, CANCELED):      statuses.NO_LONGER,
    (CANCELED, SCHEDULED):      statuses.ONLY_CREATED_SCHEDULED,
    (CANCELED, IN_PROGRESS):    statuses.NO_LONGER,
    (CANCELED, COMPLETED):      statuses.NO_LONGER,
    (CANCELED, CANCELED):       statuses.ALREADY_CANCELED,
}  # fmt: skip
"""Table CC.1.1-2: what becomes of an asked change of state, by the present and the asked one."""


def check_form(ds: Dataset, depth: int = DEEPEST) -> None:
    """Refuse what is no attribute as the dictionary has it: nobody could read it then.

    Raises
    ------
    Refused
        An attribute has another VR than its own, or sequences are nested deeper than any use is.
    """
    for element in ds:
        keyword = element.keyword
        if keyword and element.VR not in dictionary_VR(element.tag).split(" or "):
            raise refused(statuses.INVALID_VALUE, keyword)
        if element.VR == "SQ":
            if not depth:
                raise refused(statuses.INVALID_VALUE, keyword)
            for item in element.value or ():
                check_form(item, depth - 1)


def check_made(ds: Dataset) -> None:
    """Refuse a UPS that does not begin as one.

    Raises
    ------
    Refused
        It is not SCHEDULED, misses what it must have or has what it must not.
    """
    check_form(ds)
    if _value(ds, "ProcedureStepState") != SCHEDULED:
        raise refused(statuses.NOT_SCHEDULED, "ProcedureStepState")
    for keyword in AT_FIRST:
        if keyword not in ds:
            raise refused(statuses.MISSING, keyword)
        if not _value(ds, keyword):
            raise refused(statuses.MISSING_VALUE, keyword)
    for keyword in NOT_AT_FIRST:
        if ds.get(keyword):
            raise refused(statuses.INVALID_VALUE, keyword)
    _check_values(ds)


def check_changed(ds: Dataset) -> None:
    """Refuse a change of what an N-SET does not change.

    Raises
    ------
    Refused
        It is about the state, the patient or the like, or a value is none.
    """
    check_form(ds)
    if "ProcedureStepState" in ds:
        is_first = _value(ds, "ProcedureStepState") == SCHEDULED
        failure = statuses.ONLY_CREATED_SCHEDULED if is_first else statuses.INVALID_VALUE
        raise refused(failure, "ProcedureStepState")
    for element in ds:
        if element.keyword in FIXED:
            raise refused(statuses.INVALID_VALUE, element.keyword)
        if element.keyword in AT_FIRST and not _value(ds, element.keyword):
            raise refused(statuses.MISSING_VALUE, element.keyword)
    _check_values(ds)


def check_final(kept: Dataset) -> None:
    """Refuse to call a UPS COMPLETED whose performer has not said what was done.

    Raises
    ------
    Refused
        The Final State requirements are not met.
    """
    items = list(kept.get("UnifiedProcedureStepPerformedProcedureSequence") or ())
    if len(items) != 1:
        raise refused(statuses.NOT_FINAL, "UnifiedProcedureStepPerformedProcedureSequence")
    for keyword in DONE:
        if not items[0].get(keyword):
            raise refused(statuses.NOT_FINAL, keyword)
    for keyword in DONE_MAYBE_EMPTY:
        if keyword not in items[0]:
            raise refused(statuses.NOT_FINAL, keyword)


def _check_values(ds: Dataset) -> None:
    for keyword, values in VALUES.items():
        if keyword in ds and _value(ds, keyword) not in values:
            raise refused(statuses.INVALID_VALUE, keyword)


def _value(ds: Any, keyword: str) -> str:
    return text(ds.get(keyword)).strip()
