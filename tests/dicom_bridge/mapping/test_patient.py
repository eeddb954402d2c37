"""Whose images they are: only what is certain is believed."""

from typing import Any

import pytest

from dicom_bridge.mapping import patient
from resources import codes
from tests.build import nhs_number

NHS = nhs_number(41)
OTHER = nhs_number(42)
WRONG = NHS[:-1] + str((int(NHS[-1]) + 1) % 10)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"PatientID": NHS, "IssuerOfPatientID": "NHS"}, NHS),
        ({"PatientID": f"{NHS[:3]} {NHS[3:6]} {NHS[6:]}"}, NHS),
        ({"PatientID": NHS}, NHS),
        ({"PatientID": NHS, "IssuerOfPatientID": "RXX"}, ""),
        ({"PatientID": WRONG, "IssuerOfPatientID": "NHS"}, ""),
        ({"PatientID": "A123"}, ""),
        (
            {
                "PatientID": "A123",
                "IssuerOfPatientID": "RXX",
                "OtherPatientIDsSequence": [{"PatientID": NHS, "IssuerOfPatientID": "NHS"}],
            },
            NHS,
        ),
        (
            {
                "PatientID": NHS,
                "IssuerOfPatientIDQualifiersSequence": [
                    {"UniversalEntityID": codes.NHS_NUMBER_OID}
                ],
            },
            NHS,
        ),
    ],
)
def test_an_nhs_number_is_believed_under_its_issuer(header: dict[str, Any], expected: str) -> None:
    assert patient.nhs_number(header) == expected


KNOWN = {
    "identifier": [
        {"system": codes.NHS_NUMBER, "value": NHS},
        {"system": f"{codes.MRN}/ZZ901", "value": "A123"},
    ],
    "birthDate": "1970-01-01",
}


@pytest.mark.requirement("R018.3")
@pytest.mark.parametrize(
    ("header", "agrees"),
    [
        ({"PatientID": NHS, "PatientBirthDate": "19700101"}, True),
        ({"PatientID": NHS}, True),
        ({"PatientID": "A123", "IssuerOfPatientID": "ZZ901"}, True),
        ({"PatientID": NHS, "PatientBirthDate": "19700102"}, False),
        ({"PatientID": OTHER, "PatientBirthDate": "19700101"}, False),
        ({"PatientID": "A124", "PatientBirthDate": "19700101"}, False),
        ({"PatientBirthDate": "19700101"}, False),
    ],
)
def test_a_header_agrees_with_a_patient_or_not(header: dict[str, Any], agrees: bool) -> None:
    assert patient.agrees(KNOWN, header, "ZZ901") is agrees


def test_the_same_local_number_elsewhere_is_somebody_else() -> None:
    assert not patient.agrees(KNOWN, {"PatientID": "A123"}, "ZZ902")


def test_a_contested_nhs_number_is_not_given_to_a_second_patient() -> None:
    made = patient.made({"PatientID": NHS}, "ZZ901", "lead", contested=True)

    assert [one["system"] for one in made["identifier"]] == [f"{codes.MRN}/ZZ901"]
