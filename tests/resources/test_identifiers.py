"""Identifier systems, by examples from their owners."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources import identifiers
from resources.validate import check

ORGANIZATION = "https://fhir.nhs.uk/Id/ods-organization-code"


@pytest.mark.standard("NHS Data Dictionary NHS NUMBER")
@pytest.mark.parametrize(
    "number", ["9434765919", "4010232137", "9876543210", "9990000018", "4505577104"]
)
def test_a_number_with_its_check_digit_is_an_nhs_number(number: str) -> None:
    assert identifiers.is_nhs_number(number)


@pytest.mark.parametrize(
    "number",
    [
        "9434765918",
        "943476591",
        "94347659190",
        "943 476 5919",
        "",
        "abcdefghij",
        "９４３４７６５９１９",
        "9434765919\n",
        "1000000010",
    ],
)
def test_anything_else_is_not(number: str) -> None:
    assert not identifiers.is_nhs_number(number)


@given(st.integers(0, 999_999_999), st.integers(0, 9), st.integers(1, 9))
def test_one_wrong_digit_is_always_noticed(stem: int, place: int, change: int) -> None:
    numbers = [n for d in range(10) if identifiers.is_nhs_number(n := f"{stem:09}{d}")]
    assert len(numbers) <= 1

    for number in numbers:
        wrong = str((int(number[place]) + change) % 10)
        assert not identifiers.is_nhs_number(number[:place] + wrong + number[place + 1 :])


@pytest.mark.standard("PS3.5 9.1")
@pytest.mark.parametrize(
    ("uid", "good"),
    [
        ("1.2.840.10008.1.1", True),
        ("0.0", True),
        ("2.25.329800735698586629295641978511506172918", True),
        ("1", False),
        ("1.02", False),
        ("1..2", False),
        (".1.2", False),
        ("1.2.", False),
        ("1.2a", False),
        ("1.2\n", False),
        ("", False),
        ("1." + "2" * 62, True),
        ("1." + "2" * 63, False),
    ],
)
def test_a_uid_is_numbers_with_dots_of_at_most_64_characters(uid: str, good: bool) -> None:
    assert identifiers.is_uid(uid) is good


@pytest.mark.standard("FHIR ImagingStudy identifier")
def test_a_study_uid_travels_as_an_oid_urn() -> None:
    study = {"identifier": [identifiers.study_uid("1.2.3")]}

    assert study["identifier"][0]["system"] == "urn:dicom:uid"
    assert study["identifier"][0]["value"] == "urn:oid:1.2.3"
    assert identifiers.find_study_uid(study) == "1.2.3"


def test_an_accession_number_says_who_issued_it_in_both_codings() -> None:
    accession = identifiers.accession("A1", "RXX")

    types = [(each["system"], each["code"]) for each in accession["type"]["coding"]]
    assert types == [
        ("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN"),
        ("http://dicom.nema.org/resources/ontology/DCM", "121022"),
    ]
    assert accession["assigner"]["identifier"] == {"system": ORGANIZATION, "value": "RXX"}
    assert identifiers.issuer_of(accession) == "RXX"


@pytest.mark.parametrize(
    "identifier",
    [
        identifiers.nhs_number("9434765919"),
        identifiers.ods("RXX"),
        identifiers.mrn("1", "RXX"),
        identifiers.accession("A1", "RXX"),
        identifiers.requested_procedure("RP1", "RXX"),
        identifiers.isr("ISR-1"),
        identifiers.study_uid("1.2"),
    ],
)
def test_each_is_a_valid_identifier(identifier: dict[str, Any]) -> None:
    assert check({"resourceType": "Basic", "code": {"text": "x"}, "identifier": [identifier]}) == []


def test_accession_numbers_are_found_by_type_or_system() -> None:
    kind = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}
    typed = {"type": {"coding": [kind]}, "value": "1"}
    ours = {"system": "https://isocentre.example/fhir/Id/accession/RXX", "value": "2"}
    other = {"system": "http://x", "value": "3"}
    study = {"identifier": [typed, ours, other]}

    assert [each["value"] for each in identifiers.find_accessions(study)] == ["1", "2"]


@pytest.mark.parametrize(
    ("identifier", "issuer"),
    [
        ({"system": "https://isocentre.example/fhir/Id/mrn/RYY", "value": "1"}, "RYY"),
        ({"assigner": {"identifier": {"system": ORGANIZATION, "value": "RZZ"}}}, "RZZ"),
        ({"system": "http://x", "value": "1"}, None),
        ({}, None),
    ],
)
def test_the_issuer_is_in_the_system_or_the_assigner(
    identifier: dict[str, Any], issuer: str | None
) -> None:
    assert identifiers.issuer_of(identifier) == issuer


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (ORGANIZATION, "RXX"),
        ("https://fhir.nhs.uk/Id/ods-organisation-code", "RXX"),
        ("https://fhir.nhs.uk/Id/ods-site-code", "RXX"),
        ("http://x", None),
    ],
)
def test_an_ods_code_is_read_in_either_spelling(system: str, code: str | None) -> None:
    organization = {"identifier": [{"system": "http://y"}, {"system": system, "value": "RXX"}]}

    assert identifiers.find_ods(organization) == code


def test_the_nhs_number_of_a_patient_is_found() -> None:
    patient = {"identifier": [identifiers.mrn("1", "RXX"), identifiers.nhs_number("9434765919")]}

    assert identifiers.find_nhs_number(patient) == "9434765919"
    assert identifiers.find_nhs_number({}) is None


@pytest.mark.parametrize(
    ("code", "good"),
    [("RXX", True), ("RXX01", True), ("rxx", False), ("R", False), ("RX/1", False)],
)
def test_an_ods_code_is_capitals_and_digits(code: str, good: bool) -> None:
    assert identifiers.is_ods_code(code) is good
