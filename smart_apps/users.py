"""Users: local logins, each a person acting in one PractitionerRole or several."""

import re
from typing import Any, Final, NamedTuple

from fhir_server.access import roles, scopes
from fhir_server.access.principal import Principal
from fhir_server.context import now
from fhir_server.postgres.database import Database, Transaction
from resources import codes
from resources.errors import Invalid, NotFound
from smart_apps import password_rules, passwords

ROLE: Final = f"{codes.BASE}/CodeSystem/role"
"""The code system of `roles.ROLES`: what a PractitionerRole.code says of the work a person does."""

_COLUMNS: Final = "l.login, l.password, r.practitioner_role, r.organization, r.role"
FIND: Final = f"""
SELECT {_COLUMNS} FROM login AS l JOIN login_role AS r USING (login)
WHERE l.login = $1 AND ($2 = '' OR r.practitioner_role = $2)
ORDER BY r.created, r.practitioner_role
"""
BY_ROLE: Final = f"""
SELECT {_COLUMNS} FROM login AS l JOIN login_role AS r USING (login)
WHERE r.practitioner_role = $1 ORDER BY r.created, l.login LIMIT 1
"""
ADD_LOGIN: Final = """
INSERT INTO login (login, password, created) VALUES ($1, $2, $3)
ON CONFLICT (login) DO UPDATE SET password = excluded.password
"""
ADD_ROLE: Final = """
INSERT INTO login_role (login, practitioner_role, organization, role, created)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (login, practitioner_role) DO UPDATE SET
    organization = excluded.organization, role = excluded.role
"""
CHANGE: Final = "UPDATE login SET password = $2 WHERE login = $1 RETURNING login"
REMOVE: Final = """
WITH gone AS (DELETE FROM login_role WHERE login = $1 AND practitioner_role = $2)
SELECT pg_notify('subscribers', '')
"""
"""What they subscribed to in that role ends too (`subscriptions.withdrawals`)."""
PERSONS: Final = frozenset(roles.ROLES) - {"application", "device", "system"}
"""The roles that people act in."""

_LOGIN: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class User(NamedTuple):
    """One local login, in one of its roles.

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


async def find(database: Database, login: str, practitioner_role: str = "") -> User:
    """Give the user of this login, in the role named or the first one given to it.

    Raises
    ------
    NotFound
        There is none.
    """
    found = await acting(database, login, practitioner_role)
    if not found:
        raise NotFound(f"nobody logs in as {login}")
    return found[0]


async def acting(
    database: Database | Transaction, login: str, practitioner_role: str = ""
) -> list[User]:
    """Give the user of this login once for each role they act in."""
    return [User(*row) for row in await database.run(FIND, (login, practitioner_role))]


async def by_role(database: Database, practitioner_role: str) -> User | None:
    """Give the user who acts in a PractitionerRole, if one logs in for it."""
    rows = await database.run(BY_ROLE, (practitioner_role,))
    return User(*rows[0]) if rows else None


async def add(database: Database | Transaction, user: User) -> None:
    """Add a login, or change its password; add the role, or change it.

    Raises
    ------
    Invalid
        The login or the role is not one we take.
    """
    if not _LOGIN.fullmatch(user.login):
        raise Invalid("a login is 1 to 64 letters, digits, dots, hyphens, underscores or @")
    if user.role not in PERSONS:
        raise Invalid(f"no person acts as {user.role}: {', '.join(sorted(PERSONS))}")
    login, password, *role = user
    added = now()
    await database.run_all(
        [(ADD_LOGIN, (login, password, added)), (ADD_ROLE, (login, *role, added))]
    )


async def change_password(database: Database | Transaction, login: str, password: str) -> None:
    """Give a login another password.

    Raises
    ------
    Invalid
        The password is not one that is taken.
    NotFound
        There is no such login.
    """
    password_rules.require_good(password, login)
    if not await database.run(CHANGE, (login, passwords.derive(password))):
        raise NotFound(f"nobody logs in as {login}")


async def remove(database: Database | Transaction, login: str, practitioner_role: str) -> None:
    """Take a role away from a login; what it authorised in that role counts no more."""
    await database.run(REMOVE, (login, practitioner_role))


def made(login: str, password: str, json: dict[str, Any], role: str | None = None) -> User:
    """Make a user of a PractitionerRole resource.

    Parameters
    ----------
    role
        What the person does, where the resource has no code of `ROLE` to say it.

    Raises
    ------
    Invalid
        The password is not one that is taken, the resource names no organisation, or nothing says
        the role.
    """
    password_rules.require_good(password, login)
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
