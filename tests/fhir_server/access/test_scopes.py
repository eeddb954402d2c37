import pytest

from fhir_server.access.scopes import EVERYTHING, Grant, parse
from resources.errors import Invalid

pytestmark = pytest.mark.standard("SMART App Launch 2.2 scopes")


@pytest.mark.parametrize(
    ("text", "context", "type", "letters"),
    [
        ("patient/Observation.rs", "patient", "Observation", "rs"),
        ("patient/*.cruds", "patient", "*", "cruds"),
        ("user/Appointment.cud", "user", "Appointment", "cud"),
        ("system/Task.d", "system", "Task", "d"),
        ("patient/Observation.read", "patient", "Observation", "rs"),
        ("patient/Observation.write", "patient", "Observation", "cud"),
        ("user/*.*", "user", "*", "cruds"),
        ("user/*.read", "user", "*", "rs"),
    ],
)
def test_a_resource_scope_grants_its_letters(
    text: str, context: str, type: str, letters: str
) -> None:
    assert [tuple(grant) for grant in parse(text).grants] == [(context, type, letters, ())]


@pytest.mark.parametrize(
    "text",
    [
        "user/Task.dus",
        "user/Task.sr",
        "user/Task.rsu",
        "user/Task.rr",
        "user/Task.",
        "user/Task",
        "user/Task.x",
        "user/task.rs",
        "User/Task.rs",
        "group/Task.rs",
        "patient/Task.rs?",
        "patient/Task.rs?code",
        "patient/Task.rs?code=",
        "patient/Task.rs?code:not=x",
        "patient/Task.rs?subject.name=x",
        "patient/Task.rs?code=a&&status=b",
        "patient/Task.read?code=a",
        "patient/Ta*.rs",
        "superuser",
        "launch/../x",
    ],
)
def test_a_scope_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse(f"openid {text}")


def test_a_scope_list_that_is_too_long_is_refused() -> None:
    with pytest.raises(Invalid):
        parse("user/Task.rs " * 1000)


def test_search_parameters_of_a_scope_are_kept() -> None:
    text = "user/Task.rus?code=https://isocentre.example/step|acknowledge&status=requested"

    (grant,) = parse(text).grants

    assert grant.only == (
        ("code", "https://isocentre.example/step|acknowledge"),
        ("status", "requested"),
    )


def test_launch_scopes_pass_through_and_grant_nothing() -> None:
    scopes = parse(
        "openid fhirUser offline_access launch launch/patient fhircast/Patient-open.read"
    )

    assert "launch/patient" in scopes.launch
    assert "fhirUser" in scopes.launch
    assert scopes.grants == ()


def test_context_is_part_of_what_is_allowed() -> None:
    scopes = parse("patient/Task.rs user/Patient.r")

    assert scopes.allow("Task", "s", "patient")
    assert not scopes.allow("Task", "s", "user")
    assert not scopes.allow("Task", "u")
    assert scopes.allow("Patient", "r")
    assert not scopes.allow("Patient", "s")


def test_an_unrestricted_scope_beside_a_search_scoped_one_wins() -> None:
    both = parse("user/Task.rs?code=a user/Task.r")

    assert both.alternatives("Task", "r", ["user"]) == ()
    assert both.alternatives("Task", "s", ["user"]) == ((("code", "a"),),)
    assert both.alternatives("Task", "u", ["user"]) is None


@pytest.mark.parametrize(
    ("asked", "registered", "within"),
    [
        ("user/Task.r", "user/Task.rs", True),
        ("user/Task.r?code=a", "user/*.rs", True),
        ("user/Task.rs", "user/Task.r user/Task.s", True),
        ("user/Task.rs", "user/Task.rs?code=a", False),
        ("user/*.r", "user/Task.rs", False),
        ("system/Task.r", "user/Task.rs", False),
        ("openid user/Task.r", "user/Task.r", False),
    ],
)
def test_a_client_gets_no_more_than_it_registered(
    asked: str, registered: str, within: bool
) -> None:
    assert parse(asked).within(parse(registered)) is within


def test_everything_is_everything_and_hashable() -> None:
    assert EVERYTHING.grants == (Grant("system", "*", "cruds"),)
    assert hash(EVERYTHING) == hash(EVERYTHING)
    assert all(EVERYTHING.allow("AuditEvent", letter) for letter in "cruds")
