import pytest

from fhir_server.access import relationship

REQUEST = {
    "resourceType": "ServiceRequest",
    "status": "active",
    "subject": {"reference": "Patient/p"},
    "requester": {"reference": "PractitionerRole/gp"},
    "performer": [{"reference": "https://here.example/fhir/Organization/lead/_history/3"}],
}
DAY = 86_400_000_000


def test_parties_are_organisations_and_those_who_act_for_one() -> None:
    found = relationship.parties(
        REQUEST, {"PractitionerRole/gp": "practice"}, "https://here.example/fhir"
    )

    assert found == {"lead", "practice"}


def test_what_must_be_looked_up_is_named_without_version() -> None:
    assert relationship.named(REQUEST, "https://here.example/fhir") == {
        "PractitionerRole/gp",
        "Organization/lead",
    }


@pytest.mark.parametrize(
    "reference",
    [
        "https://elsewhere.example/fhir/Organization/lead",
        "#contained",
        "urn:uuid:4f6c8a2e-6d1f-4c3a-9d1c-1f2e3d4c5b6a",
        "Practitioner/alone",
        "PractitionerRole/unknown",
    ],
)
def test_a_reference_that_leads_to_no_organisation_here_makes_no_party(reference: str) -> None:
    task = {"resourceType": "Task", "owner": {"reference": reference}}

    assert relationship.parties(task, {}, "https://here.example/fhir") == set()


def test_the_subject_and_other_elements_name_no_party() -> None:
    json = {"resourceType": "Task", "for": {"reference": "Organization/x"}}

    assert relationship.parties(json, {}) == set()


def test_nested_performers_of_a_study_are_parties() -> None:
    study = {
        "resourceType": "ImagingStudy",
        "series": [
            {"performer": [{"actor": {"reference": "Organization/one"}}]},
            {"performer": [{"actor": {"reference": "Organization/two"}}]},
            {},
        ],
    }

    assert relationship.parties(study, {}) == {"one", "two"}


def test_an_organisation_is_party_to_itself() -> None:
    assert relationship.parties({"resourceType": "Organization", "id": "x"}, {}) == {"x"}


@pytest.mark.parametrize(
    ("type", "status", "expected"),
    [
        ("ServiceRequest", "active", 2**63 - 1),
        ("ServiceRequest", "completed", 1000 + 30 * DAY),
        ("ServiceRequest", "revoked", 1000 + 30 * DAY),
        ("Task", "in-progress", 2**63 - 1),
        ("Task", "completed", 1000 + 30 * DAY),
        ("Task", "entered-in-error", 1000),
        ("DiagnosticReport", "preliminary", 2**63 - 1),
        ("DiagnosticReport", "final", 1000 + 30 * DAY),
        ("Appointment", "fulfilled", 1000 + 30 * DAY),
        ("Patient", None, 2**63 - 1),
    ],
)
def test_a_relationship_lasts_while_work_goes_on_and_some_days_longer(
    type: str, status: str | None, expected: int
) -> None:
    json = {"resourceType": type} | ({"status": status} if status else {})

    assert relationship.until(json, 1000, keep_days=30) == expected


def test_directory_types_are_open_and_records_are_not() -> None:
    assert {"Organization", "PractitionerRole", "Endpoint", "ValueSet"} <= relationship.OPEN_TYPES
    assert not {"Patient", "Task", "List", "Binary", "AuditEvent"} & relationship.OPEN_TYPES
