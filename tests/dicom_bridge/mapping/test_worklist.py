"""A step as a worklist item: attribute by attribute (PS3.4 Table K.6-1)."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_bridge.mapping.demographics import person_name
from dicom_bridge.mapping.modality import modality_of
from dicom_bridge.mapping.return_keys import answer
from dicom_bridge.mapping.worklist import Step, item, step_id
from resources import codes
from tests.build import a_patient, a_request, a_step, a_study, an_appointment


def a_worklist_step(**members: Any) -> Step:
    parts: dict[str, Any] = {
        "task": a_step("acquire", status="ready"),
        "request": a_request(),
        "patient": a_patient(),
        "justification": a_step("justify", status="completed", note=[{"text": "Low dose"}]),
        "appointment": an_appointment(),
        "study": a_study(images=0, uid="1.2.3"),
    }
    return Step(**{**parts, **members})


@pytest.mark.standard("PS3.4 K.6.1.2.2")
def test_an_item_has_what_a_modality_needs() -> None:
    request = a_request(
        identifier=[
            {
                "type": {"coding": [{"system": codes.V2_0203, "code": "ACSN"}]},
                "system": f"{codes.ACCESSION}/ZZ901",
                "value": "ACC1",
            }
        ],
        priority="urgent",
        requester={"reference": "PractitionerRole/gp"},
    )
    others = {
        "PractitionerRole/gp": {
            "practitioner": {"reference": "Practitioner/dr"},
            "organization": {"reference": "Organization/surgery"},
        },
        "Practitioner/dr": {"name": [{"family": "Example", "given": ["Eve"], "prefix": ["Dr"]}]},
        "Organization/surgery": {"resourceType": "Organization", "name": "The Surgery"},
    }

    ds = item(a_worklist_step(request=request, others=others), "CT1")

    (step,) = ds.ScheduledProcedureStepSequence
    assert ds.StudyInstanceUID == "1.2.3"
    assert ds.AccessionNumber == "ACC1"
    assert ds.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "ZZ901"
    assert ds.RequestedProcedureID
    assert ds.RequestedProcedureDescription
    assert ds.RequestedProcedurePriority == "HIGH"
    assert ds.RequestedProcedureComments == "Low dose"
    assert str(ds.ReferringPhysicianName) == "Example^Eve^^Dr"
    assert ds.RequestingService == "The Surgery"
    assert (step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime) == (
        "20261125",
        "090000",
    )
    assert step.ScheduledStationAETitle == "CT1"
    assert step.Modality == "CT"
    assert step.ScheduledProcedureStepStatus == "SCHEDULED"
    assert step.ScheduledProcedureStepID == "acquire"


def test_the_start_is_in_the_time_of_the_place() -> None:
    ds = item(a_worklist_step(appointment=an_appointment(start="2026-07-01T09:00:00Z")), "CT1")

    (step,) = ds.ScheduledProcedureStepSequence
    assert step.ScheduledProcedureStepStartTime == "100000"


def test_the_nhs_number_comes_first_and_other_numbers_after() -> None:
    patient = a_patient(
        identifier=[
            {"system": f"{codes.MRN}/ZZ901", "value": "M1"},
            {"system": codes.NHS_NUMBER, "value": "9000000009"},
        ]
    )

    ds = item(a_worklist_step(patient=patient), "CT1")

    assert (ds.PatientID, ds.IssuerOfPatientID) == ("9000000009", "NHS")
    assert ds.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityIDType == "ISO"
    assert [one.PatientID for one in ds.OtherPatientIDsSequence] == ["M1"]


@pytest.mark.parametrize(
    ("status", "appointment", "expected"),
    [
        ("ready", "booked", "SCHEDULED"),
        ("ready", "arrived", "ARRIVED"),
        ("in-progress", "arrived", "STARTED"),
    ],
)
def test_the_status_of_the_step(status: str, appointment: str, expected: str) -> None:
    step = a_worklist_step(
        task=a_step("acquire", status=status), appointment=an_appointment(status=appointment)
    )

    assert item(step, "CT1").ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus == (
        expected
    )


def test_a_step_given_to_a_device_names_its_station() -> None:
    device = {
        "resourceType": "Device",
        "identifier": [{"system": codes.AE_TITLE, "value": "CT-ROOM2"}],
    }
    step = a_worklist_step(
        task=a_step("acquire", owner={"reference": "Device/ct2"}), others={"Device/ct2": device}
    )

    assert item(step, "CT1").ScheduledProcedureStepSequence[0].ScheduledStationAETitle == "CT-ROOM2"


def test_without_a_registered_study_the_uid_is_made_once_and_for_all() -> None:
    first = item(a_worklist_step(study={}), "CT1").StudyInstanceUID
    again = item(a_worklist_step(study={}), "MR1").StudyInstanceUID

    assert first == again
    assert first.startswith("2.25.")


def coded(system: str, code: str, display: str = "") -> dict[str, Any]:
    return {"code": {"coding": [{"system": system, "code": code, "display": display}]}}


@pytest.mark.parametrize(
    ("request_members", "study", "modality"),
    [
        (coded(codes.NICIP, "CSKUH"), {}, "CT"),
        (coded(codes.NICIP, "MSKUH"), {}, "MR"),
        (coded(codes.NICIP, "XCHES"), {}, "DX"),
        (coded(codes.NICIP, "UABDO"), {}, "US"),
        (coded(codes.SNOMED, "303653007", "Computed tomography of head"), {}, "CT"),
        (coded(codes.SNOMED, "1", "Magnetic resonance imaging of knee"), {}, "MR"),
        (coded(codes.SNOMED, "1", "Plain chest X-ray"), {}, "DX"),
        (coded(codes.SNOMED, "1", "Positron emission tomography with CT"), {}, "PT"),
        (coded(codes.SNOMED, "1", "Something else"), {}, "OT"),
        (
            coded(codes.NICIP, "XCHES"),
            {"modality": [{"system": codes.DCM, "code": "CR"}]},
            "CR",
        ),
        (
            {
                **coded(codes.NICIP, "XCHES"),
                "orderDetail": [{"coding": [{"system": codes.DCM, "code": "CR"}]}],
            },
            {},
            "CR",
        ),
    ],
)
def test_the_modality_is_what_was_stated_or_what_the_procedure_says(
    request_members: dict[str, Any], study: dict[str, Any], modality: str
) -> None:
    assert modality_of(request_members, {}, study) == modality


@pytest.mark.parametrize(
    ("id", "expected"),
    [("t1", "t1"), ("0b7c2b8e-5a1e-4d0e-9b1e-3c2a1f0e9d8c", None)],
)
def test_a_step_id_has_at_most_16_characters(id: str, expected: str | None) -> None:
    made = step_id({"id": id})

    assert made == (expected or made)
    assert 0 < len(made) <= 16


def test_a_name_cannot_smuggle_in_components() -> None:
    assert person_name([{"family": "O^Hara\\=", "given": ["A"]}]) == "O Hara^A"
    assert person_name([{"text": "Only text"}]) == "Only text"
    assert person_name([]) == ""


def test_an_answer_has_what_was_asked_for_and_nothing_else() -> None:
    keys, step = Dataset(), Dataset()
    step.Modality = ""
    keys.PatientName = keys.MedicalAlerts = ""
    keys.ScheduledProcedureStepSequence = [step]
    keys.RequestedProcedureCodeSequence = []
    keys.ImageComments = ""

    found = answer(keys, item(a_worklist_step(), "CT1"))

    assert [element.keyword for element in found] == [
        "PatientName",
        "MedicalAlerts",
        "ImageComments",
        "RequestedProcedureCodeSequence",
        "ScheduledProcedureStepSequence",
    ]
    assert [e.keyword for e in found.ScheduledProcedureStepSequence[0]] == ["Modality"]
    assert found.RequestedProcedureCodeSequence[0].CodingSchemeDesignator


def test_names_beyond_latin_are_answered_in_unicode() -> None:
    keys = Dataset()
    keys.PatientName = ""
    patient = a_patient(name=[{"family": "Wałęsa", "given": ["Zoë"]}])

    found = answer(keys, item(a_worklist_step(patient=patient), "CT1"))

    assert found.SpecificCharacterSet == "ISO_IR 192"
