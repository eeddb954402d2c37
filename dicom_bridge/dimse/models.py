"""Models: the Query/Retrieve information models, their levels and unique keys, as data.

References
----------
* PS3.4 Sections C.6.1 (Patient Root) and C.6.2 (Study Root), C.4.1.2.1 (baseline behaviour),
  C.4.2.2.1 and C.4.3.2.1 (C-MOVE and C-GET); PS3.4 Tables C.6.1.3-1 and C.6.2.3-1 (SOP classes)
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydicom.dataset import Dataset

from dicom_bridge.mapping import attributes
from dicom_bridge.mapping.matching import text
from resources.errors import Invalid


class Model(NamedTuple):
    """One information model.

    Parameters
    ----------
    unique
        Level to its unique keys: those of the levels above, then its own. From the top down.
    """

    name: str
    unique: Mapping[str, tuple[str, ...]]


PATIENT_ROOT: Final = Model(
    "Patient Root",
    {
        "PATIENT": ("PatientID",),
        "STUDY":   ("PatientID", "StudyInstanceUID"),
        "SERIES":  ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
        "IMAGE":   ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
    },
)  # fmt: skip
STUDY_ROOT: Final = Model(
    "Study Root",
    {
        "STUDY":  ("StudyInstanceUID",),
        "SERIES": ("StudyInstanceUID", "SeriesInstanceUID"),
        "IMAGE":  ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
    },
)  # fmt: skip

FIND: Final = {
    "1.2.840.10008.5.1.4.1.2.1.1": PATIENT_ROOT,
    "1.2.840.10008.5.1.4.1.2.2.1": STUDY_ROOT,
}
MOVE: Final = {
    "1.2.840.10008.5.1.4.1.2.1.2": PATIENT_ROOT,
    "1.2.840.10008.5.1.4.1.2.2.2": STUDY_ROOT,
}
GET: Final = {
    "1.2.840.10008.5.1.4.1.2.1.3": PATIENT_ROOT,
    "1.2.840.10008.5.1.4.1.2.2.3": STUDY_ROOT,
}
"""SOP classes, and the model that each is of."""

MODEL: Final = {**FIND, **MOVE, **GET}

PATIENT: Final = frozenset({
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
})  # fmt: skip
"""PS3.4 Table C.6-1: keys of the patient, as far as our rows have them."""

KEYS: Final[Mapping[str, frozenset[str]]] = {
    "PATIENT": PATIENT,
    "STUDY":   attributes.STUDY,
    "SERIES":  attributes.SERIES,
    "IMAGE":   attributes.INSTANCE,
}  # fmt: skip
"""Level to the keys that are matched and returned there; in the Study Root model the attributes of
the patient are those of the study (PS3.4 Section C.6.2)."""


def of(event: Any) -> Model:
    """Tell of which model a request is, by its presentation context."""
    return MODEL[str(event.context.abstract_syntax)]


def level_of(identifier: Dataset, model: Model) -> str:
    """Read the Query/Retrieve Level.

    Raises
    ------
    Invalid
        It is not a level of this model.
    """
    level = text(identifier.get("QueryRetrieveLevel")).strip()
    if level not in model.unique:
        *others, last = model.unique
        names = f"{', '.join(others)} or {last}"
        raise Invalid(f"Query/Retrieve Level is {names}", "QueryRetrieveLevel")
    return level
