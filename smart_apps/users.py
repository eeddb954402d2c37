"""Users: local logins, each a person acting in one PractitionerRole at one organisation."""

import re
from typing import Any, Final, NamedTuple

from fhir_server.access import roles, scopes
from fhir_server.access.principal import Principal
from fhir_server.context import now
from fhir_server.postgres.database import Database
from resources import codes
from resources.errors import Invalid, NotFound
from smart_apps import passwords

ROLE: Final = f"{codes.BASE}/CodeSystem/role"
"""The code system of `roles.ROLES`: what a PractitionerRole.code says of the work a person does."""

FIND: Final = (
    "SELECT login, password, practitioner_role, organization, role FROM login WHERE login = $1"
)
ADD: Final = """
INSERT INTO login (login, password, practitioner_role, organization, role, created)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (login) DO UPDATE SET password = excluded.password,
    practitioner_role = excluded.practitioner_role, organization = excluded.organization,
    role = excluded.role
"""
PERSONS: Final = frozenset(roles.ROLES) - {"application", "device", "system"}
"""The roles that people act in."""

_LOGIN: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class User(NamedTuple):
    """One local login.

    Parameters
    ----------
    password
        What `passwords.derive` made of it.
    practitioner_role, organization
        Ids.
    role
        One of `PERSONS`.
    """

    login: str
    password: str
    practitioner_role: str
    organization: str
    role: str

    @property
    def subject(self) -> str:
        """Who the user is in tokens and in the audit."""
        return f"PractitionerRole/{self.practitioner_role}"

    def principal(self, scope: str, client: str = "", patient: str | None = None) -> Principal:
        """Give who the user is to the gate."""
        granted = scopes.parse(scope)
        return Principal(self.subject, self.organization, self.role, granted, patient, client)


async def find(database: Database, login: str) -> User:
    """Give the user of this login.

    Raises
    ------
    NotFound
        There is none.
    """
    rows = await database.run(FIND, (login,))
    if not rows:
        raise NotFound(f"nobody logs in as {login}")
    return User(*rows[0])


async def add(database: Database, user: User) -> None:
    """Add a login, or change it.

    Raises
    ------
    Invalid
        The login or the role is not one we take.
    """
    if not _LOGIN.fullmatch(user.login):
        raise Invalid("a login is 1 to 64 letters, digits, dots, hyphens, underscores or @")
    if user.role not in PERSONS:
        raise Invalid(f"no person acts as {user.role}: {', '.join(sorted(PERSONS))}")
    await database.run(ADD, (*user, now()))


def made(login: str, password: str, json: dict[str, Any], role: str | None = None) -> User:
    """Make a user of a PractitionerRole resource.

    Parameters
    ----------
    role
        What the person does, where the resource has no code of `ROLE` to say it.

    Raises
    ------
    Invalid
        The resource names no organisation, or nothing says the role.
    """
    reference = str(json.get("organization", {}).get("reference", ""))
    organization = reference.partition("Organization/")[2].partition("/")[0]
    if not organization:
        raise Invalid("the PractitionerRole names no organization")
    said = role or next(
        (
            str(coding.get("code"))
            for concept in json.get("code", ())
            for coding in concept.get("coding", ())
            if coding.get("system") == ROLE
        ),
        None,
    )
    if said is None:
        raise Invalid(f"nothing says what this person does: no code of {ROLE}, and no role given")
    return User(login, passwords.derive(password), str(json["id"]), organization, said)
