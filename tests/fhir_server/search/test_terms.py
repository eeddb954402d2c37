import pytest

from fhir_server.search.date import FOREVER
from fhir_server.search.terms import DateTerm, StringTerm, Terms, index, initials

REQUEST = {
    "resourceType": "ServiceRequest",
    "id": "r1",
    "meta": {"tag": [{"system": "t", "code": "demo"}]},
    "status": "active",
    "code": {"coding": [{"system": "http://snomed.info/sct", "code": "169069000"}]},
    "subject": {"reference": "https://our.example/fhir/Patient/p1"},
    "authoredOn": "1970-01-01T00:00:00Z",
    "occurrencePeriod": {"start": "1970-01-02"},
    "basedOn": [{"reference": "CarePlan/c/_history/2"}],
    "note": [{"text": "not indexed"}],
}


@pytest.mark.standard("FHIR search parameter types")
def test_a_service_request_is_indexed() -> None:
    assert index(REQUEST, "https://our.example/fhir") == Terms(
        terms=[
            "SR._tag=demo",
            "SR._tag=t|demo",
            "SR._tag=t|",
            "SR.status=active",
            "SR.status=|active",
            "SR.code=169069000",
            "SR.code=http://snomed.info/sct|169069000",
            "SR.code=http://snomed.info/sct|",
            "SR.subject=Patient/p1",
            "SR.patient=Patient/p1",
            "SR.based-on=CarePlan/c/_history/2",
            "SR.based-on=CarePlan/c",
        ],
        sort_at=0,
        sort_until=999_999,
        dates=[DateTerm("occurrence", 86_400_000_000, FOREVER)],
        strings=[],
    )


def test_the_parts_of_a_name_are_strings_of_every_parameter_that_looks_at_it() -> None:
    terms = index({"resourceType": "Patient", "name": [{"family": "Ó Néill", "given": ["Ada"]}]})

    assert StringTerm("family", "o neill", "Ó Néill") in terms.strings
    assert StringTerm("name", "ada", "Ada") in terms.strings
    assert StringTerm("family", "ada", "Ada") not in terms.strings


def test_a_term_is_there_once() -> None:
    twice = [{"uid": "1", "modality": {"code": "CT"}}, {"uid": "2", "modality": {"code": "CT"}}]

    terms = index({"resourceType": "ImagingStudy", "series": twice}).terms

    assert terms.count("IS.modality=CT") == 1


def test_a_resource_without_its_chief_date_has_no_place_in_the_order() -> None:
    terms = index({"resourceType": "ServiceRequest", "status": "draft"})

    assert (terms.sort_at, terms.sort_until) == (None, None)


def test_id_and_last_updated_are_columns_and_not_terms() -> None:
    assert index({"resourceType": "Basic", "id": "1", "meta": {"lastUpdated": "2026"}}) == Terms(
        [], None, None, [], []
    )


def test_initials_are_the_capitals_of_a_type() -> None:
    assert initials("MedicationAdministration") == "MA"
