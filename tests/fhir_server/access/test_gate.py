from dataclasses import dataclass

import pytest

from fhir_server.access import gate, roles, scopes
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from resources.errors import Forbidden


def context_of(
    role: str = "referrer",
    scope: str = "user/*.cruds",
    organization: str = "own",
    patient: str | None = None,
) -> RequestContext:
    principal = Principal(
        "PractitionerRole/x", organization, role, scopes.parse(scope), patient=patient
    )
    return RequestContext(principal, "read")


def allowed(
    context: RequestContext,
    letter: str,
    type: str,
    patient: str | None = "p",
    organizations: tuple[str, ...] = (),
    related: bool = False,
    terms: tuple[str, ...] | None = None,
) -> str:
    """Answer "yes", or the step that said no."""
    try:
        gate.permit(
            context,
            letter,
            type,
            patient=patient,
            organizations=organizations,
            related=related,
            terms=terms,
        )
    except Forbidden as no:
        return no.step
    return "yes"


def test_the_first_no_names_itself() -> None:
    nothing = context_of(role="auditor", scope="user/Patient.r", patient=None)
    bound = context_of(role="administrator", scope="patient/Task.u", patient=None)
    role = context_of(role="administrator", scope="user/Task.u")
    stranger = context_of(role="practitioner", scope="user/Task.u")

    assert allowed(nothing, "u", "Task") == "scope"
    assert allowed(bound, "u", "Task") == "patient"
    assert allowed(role, "u", "Task") == "role"
    assert allowed(stranger, "u", "Task") == "relationship"


@pytest.mark.standard("SMART App Launch 2.2 patient-specific scopes")
def test_a_patient_scope_grants_only_that_patient() -> None:
    context = context_of(scope="patient/*.cruds", patient="p")

    assert allowed(context, "r", "Task", patient="p", related=True) == "yes"
    assert allowed(context, "r", "Task", patient="q", related=True) == "patient"
    assert allowed(context, "r", "Binary", patient=None, organizations=("own",)) == "patient"
    assert allowed(context, "r", "Organization", patient=None) == "yes"
    assert allowed(context, "c", "ServiceRequest", patient="q") == "patient"
    assert gate.reach(context, "s", "Task").patient == "p"


@pytest.mark.standard("SMART App Launch 2.2 user-level scopes")
def test_a_user_scope_is_not_bound_to_the_patient_in_context() -> None:
    context = context_of(scope="launch/patient user/Task.rs patient/Flag.rs", patient="p")

    assert gate.reach(context, "s", "Task").patient is None
    assert gate.reach(context, "s", "Flag").patient == "p"


@pytest.mark.requirement("R014.1")
@pytest.mark.parametrize(
    ("letter", "organizations", "related", "answer"),
    [
        ("r", ("own",), False, "yes"),
        ("r", ("other",), True, "yes"),
        ("r", ("other",), False, "relationship"),
        ("u", ("own", "other"), False, "yes"),
        ("u", ("other",), True, "relationship"),
        ("u", (), True, "yes"),
        ("u", (), False, "relationship"),
    ],
)
def test_reading_needs_a_relationship_and_changing_needs_to_be_a_party(
    letter: str, organizations: tuple[str, ...], related: bool, answer: str
) -> None:
    context = context_of(role="reporter")

    assert (
        allowed(context, letter, "DiagnosticReport", "p", organizations, related=related) == answer
    )


@pytest.mark.parametrize(
    ("role", "type", "answer"),
    [
        ("referrer", "ServiceRequest", "yes"),
        ("referrer", "Patient", "yes"),
        ("application", "Patient", "yes"),
        ("operator", "Patient", "relationship"),
        ("referrer", "Observation", "relationship"),
        ("reporter", "DiagnosticReport", "relationship"),
        ("device", "Patient", "yes"),
        ("device", "ImagingStudy", "relationship"),
        ("application", "ServiceRequest", "yes"),
        ("application", "Task", "relationship"),
    ],
)
def test_only_a_referral_makes_a_relationship(role: str, type: str, answer: str) -> None:
    assert allowed(context_of(role=role, scope="system/*.cruds"), "c", type) == answer


@pytest.mark.parametrize("role", ["reporter", "application", "device"])
def test_nobody_becomes_a_party_by_writing_their_organisation_down(role: str) -> None:
    writer = context_of(role=role, scope="system/*.cruds")

    for type in ("DiagnosticReport", "ImagingStudy", "Task", "Appointment", "Encounter"):
        if roles.letters(role, type).startswith("c"):
            assert allowed(writer, "c", type, organizations=("own",)) == "relationship", type
            assert allowed(writer, "c", type, organizations=("own",), related=True) == "yes", type


def test_directories_are_open_to_read_and_the_administrators_to_change() -> None:
    reader = context_of(role="operator")
    administrator = context_of(role="administrator")

    assert allowed(reader, "r", "Organization", None, ("other",)) == "yes"
    assert allowed(reader, "r", "Device", "p") == "relationship"
    assert allowed(reader, "u", "Organization", None, ("own",)) == "role"
    assert allowed(administrator, "u", "Organization", None, ("own",)) == "yes"
    assert allowed(administrator, "u", "Practitioner", None, ()) == "yes"


@pytest.mark.standard("threats T1")
@pytest.mark.parametrize("role", ["administrator", "application"])
def test_nobody_writes_who_works_for_another_organisation(role: str) -> None:
    writer = context_of(role=role, scope="system/*.cruds")

    for type in ("PractitionerRole", "HealthcareService", "Location", "Device", "Endpoint"):
        assert allowed(writer, "c", type, None, ("other",)) == "relationship"
        assert allowed(writer, "u", type, None, ("other",)) == "relationship"
        assert allowed(writer, "d", type, None, ("other",)) == "relationship"
        assert allowed(writer, "c", type, None, ("own",)) == "yes"
    assert allowed(writer, "u", "Organization", None, ("other",)) == "relationship"
    assert allowed(writer, "c", "Organization", None, ("new",)) == "yes"


@pytest.mark.standard("SMART App Launch 2.2 finer-grained resource constraints")
def test_a_search_scoped_scope_grants_what_matches_it() -> None:
    context = context_of(scope="user/Task.ru?code=acknowledge&status=requested,accepted")
    terms = ("T.code=acknowledge", "T.status=accepted")

    assert allowed(context, "r", "Task", related=True, terms=terms) == "yes"
    assert allowed(context, "r", "Task", related=True, terms=("T.code=acknowledge",)) == "scope"
    assert allowed(context, "r", "Task", related=True) == "scope"


@dataclass(frozen=True)
class Query:
    type: str
    reach: gate.Reach | None = None


def test_narrow_fastens_the_reach_to_the_query() -> None:
    context = context_of(scope="user/Task.s?code=acknowledge")

    query = gate.narrow(context, Query("Task"))

    assert query.reach == gate.Reach(False, "own", None, False, ((("code", "acknowledge"),),))


def test_the_system_sees_everything_and_is_still_asked() -> None:
    context = RequestContext(Principal.system("settle"), "settle")

    assert gate.narrow(context, Query("Patient")).reach == gate.Reach(True, None, None, True)
    assert allowed(context, "d", "AuditEvent") == "yes"


def test_nobody_but_the_gate_makes_a_permit() -> None:
    with pytest.raises(TypeError):
        gate.Permit("r", "ImagingStudy", "x", seal=object())
