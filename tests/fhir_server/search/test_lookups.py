"""Which searches look for a person."""

import pytest

from fhir_server.search import query
from fhir_server.search.lookups import is_lookup


@pytest.mark.standard("threats T22")
@pytest.mark.parametrize(
    ("type", "asked", "looks"),
    [
        ("Patient", "identifier=https://fhir.nhs.uk/Id/nhs-number|9000000009", True),
        ("Patient", "family=Smith", True),
        ("Patient", "name:contains=smi", True),
        ("Patient", "birthdate=1970-01-01", True),
        ("Patient", "address-postalcode=BS1", True),
        ("Patient", "_id=a", False),
        ("Patient", "active=true", False),
        ("ServiceRequest", "patient.identifier=9000000009", True),
        ("ServiceRequest", "subject:Patient.name=smith", True),
        ("ServiceRequest", "patient:identifier=9000000009", True),
        ("ServiceRequest", "identifier=ACC1", False),
        ("ServiceRequest", "patient=Patient/a", False),
        ("Task", "status=ready", False),
        ("Organization", "name=trust", False),
    ],
)
def test_a_search_by_what_can_be_guessed_of_a_person_is_a_lookup(
    type: str, asked: str, looks: bool
) -> None:
    name, _, value = asked.partition("=")

    assert is_lookup(query.parse(type, [(name, value)], strict=True)) is looks
