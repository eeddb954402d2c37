"""Patients: an NHS number with a wrong digit is another person's."""

import pytest

from resources import codes
from resources.errors import Unprocessable
from resources.patient import rule
from tests.build import a_patient


def test_an_nhs_number_with_a_wrong_check_digit_is_refused() -> None:
    identifiers = [{"system": "urn:x", "value": "1"}, {"system": codes.NHS_NUMBER}]
    wrong = {"system": codes.NHS_NUMBER, "value": "9990000108"}

    rule(None, a_patient(identifier=identifiers))
    with pytest.raises(Unprocessable) as refusal:
        rule(None, a_patient(identifier=[*identifiers, wrong]))
    assert refusal.value.at == "Patient.identifier[2].value"


def test_test_patients_have_valid_nhs_numbers() -> None:
    for _ in range(50):
        rule(None, a_patient())
