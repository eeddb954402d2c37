"""Sign-ins: a browser, the person in front of it, and the role they act in.

A browser has a cookie before anybody signs in, so that the form that signs in is tied to it as
any other; signing in gives it a new one, which an attacker who planted the first does not know.

OWASP ASVS 5.0, "Session Management"; RFC 6265 (cookies).
"""

import hmac
from typing import Final, NamedTuple

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import Scopes
from fhir_server.postgres.database import Database, Transaction
from smart_apps.authorization import secret

HOURS: Final = 12
"""A shift: then whoever is there signs in again."""

MICROSECONDS: Final = 1_000_000

NOBODY: Final = Principal("", None, "", Scopes(()))
"""Who asks before anybody has signed in."""

OPEN: Final = """
INSERT INTO sign_in (digest, login, practitioner_role, instant, expires)
VALUES ($1, $2, $3, $4, $5)
"""
FIND: Final = """
SELECT login, practitioner_role, instant FROM sign_in WHERE digest = $1 AND expires > $2
"""
CHOOSE: Final = "UPDATE sign_in SET practitioner_role = $2 WHERE digest = $1"
CLOSE: Final = "DELETE FROM sign_in WHERE digest = $1"
CLOSE_ALL: Final = "DELETE FROM sign_in WHERE login = $1"
SWEEP: Final = "DELETE FROM sign_in WHERE expires <= $1"


class SignIn(NamedTuple):
    """Who has signed in.

    Parameters
    ----------
    practitioner_role
        Id of the PractitionerRole chosen; empty until it is.
    instant
        When, in microseconds since 1970 UTC.
    """

    login: str
    practitioner_role: str
    instant: int


async def open(database: Database, login: str, practitioner_role: str, instant: int) -> str:
    """Note that somebody has signed in; give the value of the browser's new cookie."""
    cookie = secret.new()
    expires = instant + HOURS * 3600 * MICROSECONDS
    await database.run(OPEN, (secret.digest(cookie), login, practitioner_role, instant, expires))
    return cookie


async def find(database: Database, cookie: str, instant: int) -> SignIn | None:
    """Say who has signed in with this cookie, if anybody has and is still."""
    rows = await database.run(FIND, (secret.digest(cookie), instant)) if cookie else []
    return SignIn(*rows[0]) if rows else None


async def choose(database: Database, cookie: str, practitioner_role: str) -> None:
    """Note the role that the person acts in from now on."""
    await database.run(CHOOSE, (secret.digest(cookie), practitioner_role))


async def close(database: Database, cookie: str) -> None:
    """Sign out."""
    await database.run(CLOSE, (secret.digest(cookie),))


async def close_all(database: Database | Transaction, login: str) -> None:
    """Sign somebody out of every browser."""
    await database.run(CLOSE_ALL, (login,))


def form_token(cookie: str) -> str:
    """What a form of this browser carries: only a page of ours can know it (CSRF)."""
    return secret.digest(f"form {cookie}").hex()


def is_ours(cookie: str, token: str) -> bool:
    """Say whether a form with this token came from a page that we gave to this browser."""
    return bool(cookie) and hmac.compare_digest(
        form_token(cookie).encode(), token.encode(errors="replace")
    )
