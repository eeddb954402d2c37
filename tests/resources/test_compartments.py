from typing import Any

import pytest

from resources.compartments import in_patient_compartment, patient_of, pins_patient

PATIENT = {"reference": "Patient/p1"}


@pytest.mark.standard("FHIR compartmentdefinition-patient")
@pytest.mark.parametrize(
    ("resource", "patient"),
    [
        ({"resourceType": "Patient", "id": "p1"}, "p1"),
        ({"resourceType": "Patient"}, None),
        ({"resourceType": "ServiceRequest", "subject": PATIENT}, "p1"),
        ({"resourceType": "ServiceRequest", "performer": [PATIENT]}, None),
        ({"resourceType": "ImagingStudy", "subject": {"reference": "Patient/p1/_history/3"}}, "p1"),
        ({"resourceType": "Task", "for": PATIENT}, "p1"),
        ({"resourceType": "Task", "for": {"reference": "Group/g"}}, None),
        ({"resourceType": "Task", "for": {"identifier": {"value": "x"}}}, None),
        ({"resourceType": "Coverage", "beneficiary": PATIENT}, "p1"),
        ({"resourceType": "Device", "patient": PATIENT}, "p1"),
        ({"resourceType": "Device"}, None),
        ({"resourceType": "AdverseEvent", "subject": PATIENT}, "p1"),
        ({"resourceType": "Provenance", "target": [{"reference": "Task/1"}, PATIENT]}, "p1"),
        ({"resourceType": "Communication", "sender": PATIENT}, None),
        ({"resourceType": "Organization", "id": "o"}, None),
        ({"resourceType": "AuditEvent", "entity": [{"what": PATIENT}]}, "p1"),
        (
            {
                "resourceType": "Appointment",
                "participant": [{"actor": {"reference": "Location/l"}}, {"actor": PATIENT}],
            },
            "p1",
        ),
    ],
)
def test_a_resource_is_about_the_patient(resource: dict[str, Any], patient: str | None) -> None:
    assert patient_of(resource) == patient


@pytest.mark.parametrize(
    ("reference", "patient"),
    [
        ("https://our.example/fhir/Patient/p1", "p1"),
        ("https://other.example/fhir/Patient/p1", None),
        ("urn:uuid:0b0d4a3e-5b5c-4b52-a1f4-000000000000", None),
        ("#p1", None),
    ],
)
def test_only_patients_of_this_server_count(reference: str, patient: str | None) -> None:
    task = {"resourceType": "Task", "for": {"reference": reference}}

    assert patient_of(task, "https://our.example/fhir") == patient


@pytest.mark.parametrize("type", ["Patient", "Task", "ImagingStudy", "Provenance", "Device"])
def test_types_that_may_be_about_a_patient(type: str) -> None:
    assert in_patient_compartment(type)


@pytest.mark.parametrize("type", ["Organization", "Practitioner", "Endpoint", "Location"])
def test_types_that_are_about_nobody(type: str) -> None:
    assert not in_patient_compartment(type)


@pytest.mark.parametrize(
    ("type", "code"),
    [
        ("ServiceRequest", "patient"),
        ("ServiceRequest", "subject"),
        ("ImagingStudy", "patient"),
        ("Task", "patient"),
        ("Task", "subject"),
        ("Coverage", "beneficiary"),
        ("Encounter", "subject"),
    ],
)
def test_parameters_that_say_whom_a_resource_is_about(type: str, code: str) -> None:
    assert pins_patient(type, code)


@pytest.mark.parametrize(
    ("type", "code"),
    [
        ("ServiceRequest", "performer"),
        ("Appointment", "patient"),  # there may be several
        ("Provenance", "patient"),  # and it may be about the patient of its target
        ("AuditEvent", "patient"),
        ("Task", "owner"),
        ("Patient", "link"),
        ("Composition", "author"),
    ],
)
def test_parameters_that_say_something_else(type: str, code: str) -> None:
    assert not pins_patient(type, code)
