import pytest

from fhir_server.access import roles


@pytest.mark.requirement("R004.1")
@pytest.mark.parametrize(
    ("role", "letter", "type", "allowed"),
    [
        ("referrer", "c", "ServiceRequest", True),
        ("practitioner", "c", "ServiceRequest", False),
        ("operator", "c", "ServiceRequest", False),
        ("reporter", "c", "ServiceRequest", False),
        ("application", "c", "ServiceRequest", True),
        ("practitioner", "u", "Task", True),
        ("operator", "u", "Task", True),
        ("referrer", "u", "Task", True),
        ("auditor", "u", "Task", True),  # the reviews of emergencies; see emergency_review.rule
        ("auditor", "c", "Task", False),
        ("delegate", "u", "Task", True),
        ("delegate", "c", "ServiceRequest", False),
        ("administrator", "u", "Task", False),
        ("reporter", "c", "DiagnosticReport", True),
        ("reviewer", "c", "DiagnosticReport", True),
        ("referrer", "c", "DiagnosticReport", False),
        ("practitioner", "c", "DiagnosticReport", False),
        ("operator", "c", "DiagnosticReport", False),
        ("operator", "c", "ImagingStudy", True),
        ("device", "c", "ImagingStudy", True),
        ("application", "c", "ImagingStudy", True),
        ("referrer", "c", "ImagingStudy", False),
        ("referrer", "r", "DiagnosticReport", True),
        ("referrer", "s", "ImagingStudy", True),
        ("auditor", "s", "AuditEvent", True),
        ("administrator", "s", "AuditEvent", True),
        ("safety-officer", "r", "AuditEvent", True),
        ("auditor", "u", "AuditEvent", False),
        ("referrer", "s", "AuditEvent", False),
        ("reporter", "r", "AuditEvent", False),
        ("device", "r", "AuditEvent", False),
        ("auditor", "r", "DiagnosticReport", False),
        ("administrator", "r", "DiagnosticReport", False),
        ("administrator", "u", "Organization", True),
        ("referrer", "u", "Organization", False),
        ("coordinator", "c", "List", True),
        ("operator", "d", "Patient", False),
        ("janitor", "r", "Organization", False),
    ],
)
def test_a_role_may_do_what_the_actors_of_the_requirements_do(
    role: str, letter: str, type: str, allowed: bool
) -> None:
    assert (letter in roles.letters(role, type)) is allowed
