from typing import Any

import pytest

from fhir_server.postgres.database import Database
from resources.errors import Invalid, NotFound
from smart_apps import passwords, users

OURS = "https://isocentre.example/fhir/CodeSystem/role"
ROLE: dict[str, Any] = {
    "resourceType": "PractitionerRole",
    "id": "radiologist",
    "organization": {"reference": "Organization/lead"},
}
CODED = ROLE | {
    "code": [
        {"coding": [{"system": "http://snomed.info/sct", "code": "66862007"}]},
        {
            "coding": [
                {"system": "https://isocentre.example/fhir/CodeSystem/role", "code": "reporter"}
            ]
        },
    ]
}


@pytest.mark.anyio
async def test_a_login_acts_in_a_role_at_an_organisation(database: Database) -> None:
    user = users.made("r.rad", "correct horse battery", CODED)

    await users.add(database, user)

    found = await users.find(database, "r.rad")
    principal = found.principal("user/*.rs", client="portal", patient="p")
    assert found == user
    assert (principal.subject, principal.organization, principal.role) == (
        "PractitionerRole/radiologist",
        "lead",
        "reporter",
    )
    assert (principal.client, principal.patient) == ("portal", "p")


@pytest.mark.anyio
async def test_an_unknown_login_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        await users.find(database, "nobody")


@pytest.mark.anyio
async def test_no_login_acts_as_a_device_or_the_system(database: Database) -> None:
    for role in ("system", "device", "application", "emperor"):
        with pytest.raises(Invalid):
            await users.add(database, users.made("x", "correct horse battery", ROLE, role))


def test_the_role_may_be_given_where_the_resource_does_not_say_it() -> None:
    assert users.made("x", "correct horse battery", ROLE, "operator").role == "operator"
    with pytest.raises(Invalid):
        users.made("x", "correct horse battery", ROLE)
    with pytest.raises(Invalid):
        users.made("x", "correct horse battery", CODED | {"organization": {"display": "somewhere"}})


@pytest.mark.standard("RFC 9106")
def test_only_the_password_itself_matches_what_is_kept() -> None:
    kept = passwords.derive("correct horse")

    assert passwords.matches("correct horse", kept)
    assert not passwords.matches("Correct horse", kept)
    assert "correct" not in kept
    assert kept != passwords.derive("correct horse")


@pytest.mark.parametrize("kept", ["", "x", "plain$1,1,1$a$b$c", "$argon2id$v=19$m=1"])
def test_what_was_not_derived_matches_nothing(kept: str) -> None:
    assert not passwords.matches("x", kept)
