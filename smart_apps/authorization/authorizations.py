"""Authorisations: what a person has let a client do, with the codes and refresh tokens of it.

A code and a refresh token are good once. If one is used again somebody has a copy, and the whole
authorisation with all its tokens is withdrawn: nobody can tell which of the two users is right.

RFC 6749 Sections 4.1.2 and 6; RFC 9700 Sections 2.1.1 and 4.14.2; SMART App Launch 2.2,
"Refresh access token".
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fhir_server.access import withdrawn
from fhir_server.access.keys import LONGEST_TOKEN_SECONDS
from fhir_server.context import now
from fhir_server.postgres.database import Database, Transaction
from smart_apps.authorization import secret

SECOND: Final = 1_000_000
CODE_SECONDS: Final = 60
REFRESH_SECONDS: Final = 90 * 86_400
"""An app that was not used for so long asks again."""
REMEMBER_SECONDS: Final = 30 * 86_400
"""How long a person's consent is remembered."""

_COLUMNS: Final = "id, client, login, practitioner_role, scope, context, signed_in"
KEEP: Final = f"""
WITH asking AS (
    SELECT id FROM client WHERE id = $2 AND epoch = $9 AND disabled IS NULL FOR SHARE
), kept AS (
    INSERT INTO authorized ({_COLUMNS}, instant)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8 FROM asking RETURNING id
)
INSERT INTO authorization_code (digest, authorized, redirect_uri, challenge, expires, used)
SELECT $10, id, $11, $12, $13, false FROM kept RETURNING 1
"""
"""Nothing, where the client is not any more as it was when the person was asked: who changes it
withdraws what is kept, and waits for what is being kept."""
USE_CODE: Final = """
WITH found AS (
    SELECT c.digest, c.used FROM authorization_code AS c JOIN authorized AS a
        ON a.id = c.authorized
    WHERE c.digest = $1 AND a.client = $2 FOR UPDATE OF c
), marked AS (
    UPDATE authorization_code AS c SET used = true FROM found WHERE c.digest = found.digest
    RETURNING c.*
)
SELECT found.used, m.redirect_uri, m.challenge, m.expires, a.withdrawn,
    a.id, a.client, a.login, a.practitioner_role, a.scope, a.context, a.signed_in
FROM found JOIN marked AS m USING (digest) JOIN authorized AS a ON a.id = m.authorized
"""
KEEP_REFRESH: Final = """
INSERT INTO refresh_token (digest, authorized, expires, used) VALUES ($1, $2, $3, false)
"""
USE_REFRESH: Final = """
WITH found AS (
    SELECT r.digest, r.used FROM refresh_token AS r JOIN authorized AS a ON a.id = r.authorized
    WHERE r.digest = $1 AND a.client = $2 FOR UPDATE OF r
), marked AS (
    UPDATE refresh_token AS r SET used = true FROM found WHERE r.digest = found.digest
    RETURNING r.*
)
SELECT found.used, m.expires, a.withdrawn,
    a.id, a.client, a.login, a.practitioner_role, a.scope, a.context, a.signed_in
FROM found JOIN marked AS m USING (digest) JOIN authorized AS a ON a.id = m.authorized
"""
PEEK_REFRESH: Final = f"""
SELECT r.used, r.expires, a.withdrawn, {", ".join(f"a.{each}" for each in _COLUMNS.split(", "))}
FROM refresh_token AS r JOIN authorized AS a ON a.id = r.authorized WHERE r.digest = $1
"""
FIND: Final = f"SELECT {_COLUMNS} FROM authorized WHERE id = $1"
WITHDRAW: Final = "UPDATE authorized SET withdrawn = $2 WHERE id = $1 AND withdrawn IS NULL"
OF_LOGIN: Final = """
SELECT id, signed_in, scope FROM authorized
WHERE login = $1 AND ($2 = '' OR practitioner_role = $2) AND withdrawn IS NULL
"""
REMEMBERED: Final = """
SELECT 1 FROM authorized WHERE login = $1 AND client = $2 AND practitioner_role = $3
    AND scope = $4 AND withdrawn IS NULL AND instant > $5 LIMIT 1
"""
SWEEP: Final = (
    "DELETE FROM withdrawn WHERE expires <= $1",
    "DELETE FROM authorization_code WHERE expires <= $1",
    "DELETE FROM refresh_token WHERE expires <= $1",
)


class Authorized(NamedTuple):
    """One authorisation.

    Parameters
    ----------
    scope
        What was granted, as it was asked for.
    context
        The launch context of its tokens; under ``_`` what is not for the client: the nonce and
        the Practitioner.
    signed_in
        When the person signed in, in microseconds since 1970 UTC.
    """

    id: str
    client: str
    login: str
    practitioner_role: str
    scope: str
    context: Mapping[str, Any]
    signed_in: int


class Code(NamedTuple):
    """An authorisation code that has just been used."""

    redirect_uri: str
    challenge: str
    authorized: Authorized


async def keep(
    database: Database, authorized: Authorized, epoch: str, redirect_uri: str, challenge: str
) -> str | None:
    """Keep an authorisation; give its code.

    None if the client is not in this epoch any more, or disabled: what the person was asked is not
    what would be given.
    """
    code, instant = secret.new(), now()
    params = (
        *(*authorized[:5], json.dumps(authorized.context), authorized.signed_in, instant, epoch),
        *(secret.digest(code), redirect_uri, challenge, instant + CODE_SECONDS * SECOND),
    )
    return code if await database.run(KEEP, params) else None


async def find(database: Database, id: str) -> Authorized | None:
    """Give an authorisation, withdrawn or not."""
    rows = await database.run(FIND, (id,))
    return _authorized(list(rows[0])) if rows else None


async def use_code(database: Database, code: str, client: str) -> Code | None:
    """Use a code up. None if it is not this client's, too old, or was used before."""
    rows = await database.run(USE_CODE, (secret.digest(code), client))
    if not rows:
        return None
    used, redirect_uri, challenge, expires, withdrawn_at, *columns = rows[0]
    authorized = _authorized(columns)
    if used:
        await withdraw(database, authorized.id)
        return None
    good = withdrawn_at is None and expires > now()
    return Code(redirect_uri, challenge, authorized) if good else None


async def keep_refresh(database: Database, authorized: Authorized, seconds: int) -> str:
    """Give a new refresh token of an authorisation."""
    token = secret.new()
    expires = now() + seconds * SECOND
    await database.run(KEEP_REFRESH, (secret.digest(token), authorized.id, expires))
    return token


async def use_refresh(database: Database, token: str, client: str) -> Authorized | None:
    """Use a refresh token up. None if it is not this client's, too old, or was used before."""
    rows = await database.run(USE_REFRESH, (secret.digest(token), client))
    if not rows:
        return None
    used, expires, withdrawn_at, *columns = rows[0]
    authorized = _authorized(columns)
    if used:
        await withdraw(database, authorized.id)
        return None
    return authorized if withdrawn_at is None and expires > now() else None


async def peek_refresh(database: Database, token: str) -> tuple[Authorized, int] | None:
    """Look at a refresh token that is still good, and at when it ends; it stays good."""
    rows = await database.run(PEEK_REFRESH, (secret.digest(token),))
    if not rows:
        return None
    used, expires, withdrawn_at, *columns = rows[0]
    good = not used and withdrawn_at is None and expires > now()
    return (_authorized(columns), expires) if good else None


async def withdraw(database: Database | Transaction, id: str) -> None:
    """Withdraw an authorisation: its refresh tokens at once, its access tokens everywhere."""
    await database.run(WITHDRAW, (id, now()))
    await withdraw_token(database, id)


async def withdraw_all(
    database: Database | Transaction, login: str, practitioner_role: str = ""
) -> None:
    """Withdraw all that a person has authorised, or all of it in one role."""
    for id, *_ in await database.run(OF_LOGIN, (login, practitioner_role)):
        await withdraw(database, id)


async def withdraw_online(database: Database, login: str, signed_in: int) -> None:
    """Withdraw what was to last as long as this sign-in (SMART, ``online_access``)."""
    for id, at, scope in await database.run(OF_LOGIN, (login, "")):
        if at == signed_in and "online_access" in scope.split():
            await withdraw(database, id)


async def withdraw_token(database: Database | Transaction, id: str) -> None:
    """Withdraw one access token by its jti, or all that have another id by which they may be."""
    await database.run(withdrawn.WITHDRAW, (id, now() + LONGEST_TOKEN_SECONDS * SECOND))


async def is_remembered(database: Database, authorized: Authorized) -> bool:
    """Say whether the person has let this client do the same not long ago."""
    since = now() - REMEMBER_SECONDS * SECOND
    params = (
        authorized.login,
        authorized.client,
        authorized.practitioner_role,
        authorized.scope,
        since,
    )
    return bool(await database.run(REMEMBERED, params))


def _authorized(columns: list[Any]) -> Authorized:
    id, client, login, practitioner_role, scope, context, signed_in = columns
    return Authorized(id, client, login, practitioner_role, scope, json.loads(context), signed_in)
