"""A Patient, and the name of a person, as DICOM says them.

References
----------
* PS3.3 Sections C.2.2 (Patient Identification) and C.2.3 (Patient Demographic)
* PS3.5 Section 6.2.1 (PN)
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge.mapping.matching import vr_of
from resources import codes

Resource = Mapping[str, Any]

# FHIR administrative-gender -> PS3.3 Section C.2.3, Patient's Sex.
SEX: Final = {"male": "M", "female": "F", "other": "O"}

LENGTH: Final = {"SH": 16, "LO": 64, "PN": 64, "ST": 1024, "LT": 10240, "AE": 16, "CS": 16}


def dataset(**values: Any) -> Dataset:
    """Make a data set, texts cut to what their VR holds."""
    ds = Dataset()
    for keyword, value in values.items():
        limit = LENGTH.get(vr_of(keyword))
        setattr(ds, keyword, value[:limit] if isinstance(value, str) and limit else value)
    return ds


def patient_module(patient: Resource) -> Dataset:
    """Identify and describe the patient, the NHS number first (PS3.3 Section C.2.2)."""
    ds = dataset(
        PatientName=person_name(patient.get("name", ())),
        PatientBirthDate=str(patient.get("birthDate", "")).replace("-", "")[:8],
        PatientSex=SEX.get(str(patient.get("gender")), ""),
        PatientID="",
        IssuerOfPatientID="",
        OtherPatientIDsSequence=[],
        ConfidentialityConstraintOnPatientDataDescription="",
        PatientState="",
        PregnancyStatus=None,
        MedicalAlerts="",
        Allergies="",
        SpecialNeeds="",
        PatientWeight=None,
        ReferencedPatientSequence=[],
        AdmissionID="",
        CurrentPatientLocation="",
    )
    if len(ds.PatientBirthDate) < 8:
        ds.PatientBirthDate = ""
    known = [_patient_id(identifier) for identifier in patient.get("identifier", ())]
    known = [one for one in known if one is not None]
    known.sort(key=lambda one: one.get("IssuerOfPatientID") != "NHS")  # type: ignore[union-attr]
    if known:
        first, *rest = known
        ds.update(first or Dataset())
        ds.OtherPatientIDsSequence = rest
    return ds


def _patient_id(identifier: Resource) -> Dataset | None:
    system, value = str(identifier.get("system", "")), identifier.get("value", "")
    if not value:
        return None
    if system == codes.NHS_NUMBER:
        ds = dataset(PatientID=value, IssuerOfPatientID="NHS", TypeOfPatientID="TEXT")
        ds.IssuerOfPatientIDQualifiersSequence = [
            dataset(UniversalEntityID=codes.NHS_NUMBER_OID, UniversalEntityIDType="ISO")
        ]
        return ds
    issuer = system.removeprefix(f"{codes.MRN}/") if system.startswith(f"{codes.MRN}/") else ""
    return dataset(PatientID=value, IssuerOfPatientID=issuer, TypeOfPatientID="TEXT")


def person_name(names: Iterable[Resource]) -> str:
    """Write the official name, or the first, as PN (PS3.5 Section 6.2.1).

    Examples
    --------
    >>> person_name([{"family": "Okafor", "given": ["Ada", "M"], "prefix": ["Dr"]}])
    'Okafor^Ada^M^Dr'
    """
    listed = list(names)
    official = [name for name in listed if name.get("use") == "official"]
    name = next(iter(official or listed), {})
    if not name.get("family") and not name.get("given"):
        return component(name.get("text", ""))
    given, *middle = name.get("given") or [""]
    parts = (
        name.get("family", ""),
        given,
        " ".join(middle),
        " ".join(name.get("prefix", ())),
        " ".join(name.get("suffix", ())),
    )
    return "^".join(component(part) for part in parts).rstrip("^")


def component(text: str) -> str:
    """Take from a name what would be read as structure."""
    return re.sub(r"[\\^=\x00-\x1f]+", " ", text).strip()
