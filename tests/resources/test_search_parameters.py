import re
from typing import Any

import pytest

from resources import codes, search_parameters
from resources.search_parameters import CHIEF_DATE, parameter, parameters

PATIENT = {"reference": "Patient/p1"}
NAMED = {"reference": "Organization/w", "display": "Westvale"}

# Typed in from the standard and from the list of what the project asks for besides.
ROWS = [
    ("Patient", "identifier", "token"),
    ("Patient", "family", "string"),
    ("Patient", "birthdate", "date"),
    ("Patient", "general-practitioner", "reference"),
    ("ServiceRequest", "requisition", "token"),
    ("ServiceRequest", "authored", "date"),
    ("ServiceRequest", "occurrence", "date"),
    ("ServiceRequest", "supporting-info", "reference"),
    ("ServiceRequest", "reason-reference", "reference"),
    ("ServiceRequest", "accession", "token"),
    ("ImagingStudy", "basedon", "reference"),
    ("ImagingStudy", "modality", "token"),
    ("ImagingStudy", "instance", "token"),
    ("ImagingStudy", "reporting-status", "token"),
    ("ImagingStudy", "source-organization", "reference"),
    ("ImagingStudy", "source-name", "string"),
    ("ImagingStudy", "held", "token"),
    ("DiagnosticReport", "imagingStudy", "reference"),
    ("DiagnosticReport", "imaging-study", "reference"),
    ("DiagnosticReport", "study", "reference"),
    ("DiagnosticReport", "addendum-of", "reference"),
    ("Task", "business-status", "token"),
    ("Task", "due", "date"),
    ("Task", "candidate", "reference"),
    ("Task", "input-reference", "reference"),
    ("Provenance", "activity", "token"),
    ("List", "mode", "token"),
    ("Communication", "about", "reference"),
    ("Flag", "detail", "reference"),
    ("Endpoint", "_tag", "token"),
    ("Endpoint", "_profile", "uri"),
]


@pytest.mark.standard("FHIR searchparameter-registry")
@pytest.mark.parametrize(("type", "code", "kind"), ROWS)
def test_the_parameter_is_there(type: str, code: str, kind: str) -> None:
    found = parameter(type, code)

    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize(
    ("type", "code", "resource", "elements"),
    [
        ("ServiceRequest", "patient", {"subject": PATIENT}, [PATIENT]),
        ("ServiceRequest", "patient", {"subject": {"reference": "Group/g"}}, []),
        ("ServiceRequest", "occurrence", {"occurrenceDateTime": "2026"}, ["2026"]),
        ("Patient", "deceased", {"deceasedBoolean": False}, [False]),
        ("Patient", "deceased", {"deceasedDateTime": "2026"}, [True]),
        ("Task", "due", {"restriction": {"period": {"end": "2026"}}}, ["2026"]),
        ("Task", "input-reference", {"input": [{"valueReference": PATIENT}]}, [PATIENT]),
        ("Task", "input-reference", {"input": [{"valueString": "x"}]}, []),
        (
            "DiagnosticReport",
            "addendum-of",
            {"extension": [{"url": codes.ADDENDUM_OF, "valueReference": PATIENT}]},
            [PATIENT],
        ),
        (
            "ImagingStudy",
            "source-organization",
            {"series": [{"extension": [{"url": codes.SOURCE_ORGANIZATION, "valueReference": 1}]}]},
            [1],
        ),
        (
            "ImagingStudy",
            "source-name",
            {
                "series": [
                    {"extension": [{"url": codes.SOURCE_ORGANIZATION, "valueReference": NAMED}]},
                    {"extension": [{"url": codes.SOURCE_BASIS, "valueCode": "sender"}]},
                ]
            },
            ["Westvale"],
        ),
        (
            "ImagingStudy",
            "held",
            {
                "series": [
                    {"uid": "1.2"},
                    {"extension": [{"url": codes.SOURCE_ORGANIZATION, "valueReference": PATIENT}]},
                ]
            },
            [True],
        ),
        ("ImagingStudy", "held", {"series": [{"uid": "1.2"}]}, [False]),
        ("ImagingStudy", "held", {"status": "registered"}, [False]),
        (
            "ImagingStudy",
            "reporting-status",
            {"extension": [{"url": codes.REPORTING_STATUS_EXTENSION, "valueCode": "reported"}]},
            ["reported"],
        ),
    ],
)
def test_the_parameter_finds_its_element(
    type: str, code: str, resource: dict[str, Any], elements: list[Any]
) -> None:
    found = parameter(type, code)

    assert found is not None
    assert found.extract(resource) == elements


def test_our_own_definitions_have_our_canonical_base() -> None:
    ours = [row for row in search_parameters.definitions() if "version" not in row]

    assert len(ours) == 36
    assert all(row["url"].startswith(f"{codes.BASE}/SearchParameter/") for row in ours)


def test_no_two_definitions_give_a_type_the_same_parameter() -> None:
    pairs = [(base, row["code"]) for row in search_parameters.definitions() for base in row["base"]]

    assert len(pairs) == len(set(pairs))


@pytest.mark.standard("FHIR search parameter types")
def test_every_definition_of_every_kind_is_offered() -> None:
    missing = {
        (base, row["code"])
        for row in search_parameters.definitions()
        for base in row["base"]
        if parameter(base, row["code"]) is None
    }

    assert missing == set()


@pytest.mark.standard("FHIR request-priority")
@pytest.mark.parametrize(
    ("priority", "rank"),
    [("stat", 1), ("asap", 2), ("urgent", 3), ("routine", 4), (None, 4)],
)
def test_the_published_expression_of_the_rank_says_how_urgent(
    priority: str | None, rank: int
) -> None:
    found = parameter("Task", "priority-rank")

    assert found is not None
    assert found.extract({"resourceType": "Task", "priority": priority}) == [rank]


def test_a_patient_parameter_points_at_patients_only() -> None:
    found = parameter("DiagnosticReport", "patient")

    assert found is not None
    assert found.targets == ("Patient",)


@pytest.mark.parametrize(("type", "code"), CHIEF_DATE.items())
def test_a_chief_date_is_one_date_of_its_type(type: str, code: str) -> None:
    found = parameter(type, code)

    assert found is not None
    assert found.kind == "date"
    elements = {re.split("[A-Z]", branch.member)[0] for branch in found.path.branches}
    assert len(elements) == 1


def test_a_type_nobody_knows_has_the_parameters_of_all_resources() -> None:
    assert set(parameters("Unicorn")) == {
        "_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"
    }  # fmt: skip
