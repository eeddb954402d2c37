"""PS3.4 Annex K, Modality Worklist: a second reading of Table K.6-1."""

import pytest
from pydicom.dataset import Dataset

from dicom_bridge.mapping.matching import dataset_matches
from dicom_bridge.mapping.worklist import Step, item
from tests.build import a_patient, a_request, a_step, a_study, an_appointment

# Return keys of type 1 (never empty) and 2 (always there, perhaps empty).
STEP_1 = (
    "ScheduledStationAETitle ScheduledProcedureStepStartDate ScheduledProcedureStepStartTime"
    " Modality ScheduledProcedureStepID ScheduledProcedureStepDescription"
)
STEP_2 = (
    "ScheduledPerformingPhysicianName ScheduledStationName ScheduledProcedureStepLocation"
    " PreMedication RequestedContrastAgent"
)
ITEM_1 = "RequestedProcedureID StudyInstanceUID RequestedProcedureDescription PatientName PatientID"
ITEM_2 = (
    "ReferencedStudySequence RequestedProcedurePriority PatientTransportArrangements"
    " AccessionNumber RequestingPhysician ReferringPhysicianName AdmissionID"
    " CurrentPatientLocation ReferencedPatientSequence PatientBirthDate PatientSex PatientWeight"
    " ConfidentialityConstraintOnPatientDataDescription PatientState PregnancyStatus MedicalAlerts"
    " Allergies SpecialNeeds"
)


def an_item() -> Dataset:
    step = Step(
        a_step("acquire", status="ready"), a_request(), a_patient(),
        a_step("justify", status="completed"), an_appointment(), a_study(images=0),
    )  # fmt: skip
    return item(step, "CT1")


@pytest.mark.standard("PS3.4 K.6.1.2.2")
def test_return_keys_of_type_1_have_a_value() -> None:
    ds = an_item()
    (step,) = ds.ScheduledProcedureStepSequence

    assert all(str(ds[keyword].value) for keyword in ITEM_1.split())
    assert all(str(step[keyword].value) for keyword in STEP_1.split())


@pytest.mark.standard("PS3.4 K.6.1.2.2")
def test_return_keys_of_type_2_are_there() -> None:
    ds = an_item()
    (step,) = ds.ScheduledProcedureStepSequence

    assert [keyword for keyword in ITEM_2.split() if keyword not in ds] == []
    assert [keyword for keyword in STEP_2.split() if keyword not in step] == []


# Matching keys of type R.
@pytest.mark.standard("PS3.4 K.6.1.2.2")
@pytest.mark.parametrize(
    ("keyword", "hit", "miss"),
    [
        ("ScheduledStationAETitle", "CT1", "CT2"),
        ("ScheduledProcedureStepStartDate", "20261125", "20261126"),
        ("ScheduledProcedureStepStartDate", "20261101-20261130", "20261201-"),
        ("ScheduledProcedureStepStartTime", "0900-0930", "1000-"),
        ("Modality", "CT", "MR"),
        ("PatientName", "test*^ROBIN", "Other*"),
    ],
)
def test_required_matching_keys_match(keyword: str, hit: str, miss: str) -> None:
    for key, is_match in ((hit, True), (miss, False)):
        keys, step = Dataset(), Dataset()
        setattr(keys if keyword.startswith("Patient") else step, keyword, key)
        keys.ScheduledProcedureStepSequence = [step]

        assert dataset_matches(keys, an_item()) is is_match
