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
INSERT INTO sign_in (digest, login, practitioner_role, instant, expires, request)
VALUES ($1, $2, $3, $4, $5, $6)
"""
FIND: Final = """
SELECT login, practitioner_role, instant, request FROM sign_in
WHERE digest = $1 AND expires > $2
"""
CHOOSE: Final = "UPDATE sign_in SET practitioner_role = $2 WHERE digest = $1"
SERVE: Final = "UPDATE sign_in SET request = NULL WHERE digest = $1 AND request IS NOT NULL"
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
    request
        Digest of the authorisation request that they did it for, until that is served.
    """

    login: str
    practitioner_role: str
    instant: int
    request: bytes | None = None


async def open(
    database: Database,
    login: str,
    practitioner_role: str,
    instant: int,
    request: bytes | None = None,
    proved: int | None = None,
) -> str:
    """Note that somebody has signed in; give the value of the browser's new cookie.

    Parameters
    ----------
    request
        As `SignIn` has it.
    proved
        When they proved who they are, in microseconds since 1970 UTC, if that was before now.
    """
    cookie = secret.new()
    expires = instant + HOURS * 3600 * MICROSECONDS
    when = instant if proved is None else min(instant, proved)
    row = (secret.digest(cookie), login, practitioner_role, when, expires, request)
    await database.run(OPEN, row)
    return cookie


async def find(database: Database, cookie: str, instant: int) -> SignIn | None:
    """Say who has signed in with this cookie, if anybody has and is still."""
    rows = await database.run(FIND, (secret.digest(cookie), instant)) if cookie else []
    if not rows:
        return None
    login, practitioner_role, at, request = rows[0]
    return SignIn(login, practitioner_role, at, None if request is None else bytes(request))


async def serve(database: Database, cookie: str) -> None:
    """Note that the request that somebody has signed in for is served: it is good for no other."""
    await database.run(SERVE, (secret.digest(cookie),))


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
