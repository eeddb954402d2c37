"""Dynamic registration: an application asks to be a client; an administrator decides.

RFC 7591. What is asked for waits in a table of its own, so that it can do nothing at all until
somebody approves it: says for which organisation it acts, and makes it a client. Where it publishes
its keys is not asked either before that. Nothing that an application says of itself is believed; an
administrator reads it.
"""

from collections.abc import Mapping
from typing import Any, Final

from fhir_server.access import scopes
from fhir_server.context import now
from fhir_server.postgres.database import Database, Row, Texts, Transaction
from resources.errors import Exhausted, Invalid, NotFound
from smart_apps import clients
from smart_apps.authorization import metadata
from smart_apps.authorization.metadata import Registration

MOST_WAITING: Final = 200
DAY: Final = 86_400 * 1_000_000
WAITS: Final = 30 * DAY
"""What nobody has approved by then is forgotten."""

_COLUMNS: Final = "id, name, kind, scope, redirect_uris, jwks, jwks_uri, secret, instant"
KEEP: Final = f"""
INSERT INTO registration ({_COLUMNS})
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
WHERE (SELECT count(*) FROM registration WHERE instant > $10) < {MOST_WAITING}
RETURNING id
"""
WAITING: Final = f"SELECT {_COLUMNS} FROM registration WHERE instant > $1 ORDER BY instant, id"
DROP: Final = "DELETE FROM registration WHERE id = $1 RETURNING id"
SWEEP: Final = f"DELETE FROM registration WHERE instant <= $1 - {WAITS}"


async def register(database: Database, said: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what an application asks for; give the answer that it gets (RFC 7591 Section 3.2.1).

    Raises
    ------
    Invalid
        It says what no client can be registered with; `code` is the error of Section 3.2.2.
    Exhausted
        Too many are waiting already.
    """
    asked, secret = metadata.read(said)
    row = (*asked[:4], Texts(asked.redirect_uris), *asked[5:])
    if not await database.run(KEEP, (*row, asked.instant - WAITS)):
        raise Exhausted("Too many registrations wait for an administrator.")
    return metadata.answer(asked, secret, said)


async def waiting(database: Database | Transaction) -> list[Registration]:
    """List what waits for an administrator, the oldest first."""
    rows = await database.run(WAITING, (now() - WAITS,))
    return [_waiting(row) for row in rows]


def _waiting(row: Row) -> Registration:
    id, name, kind, scope, redirect_uris, *more = row
    return Registration(id, name, kind, scope, tuple(redirect_uris), *more)


async def approve(
    database: Database | Transaction,
    id: str,
    organization: str,
    scope: str = "",
    launch_url: str | None = None,
) -> None:
    """Make a client of it.

    Parameters
    ----------
    organization
        Id of the Organization that it is to act for.
    scope
        What it may ask for, where that is to be less than it wanted.

    Raises
    ------
    Invalid
        The scope is more than it asked for.
    NotFound
        Nothing waits under this id.
    """
    found = next((each for each in await waiting(database) if each.id == id), None)
    if found is None:
        raise NotFound(f"no registration waits under {id}")
    if scope and not scopes.parse(scope).within(scopes.parse(found.scope)):
        raise Invalid(f"{id} has asked for no more than: {found.scope}")
    await clients.add(database, found.client(organization, scope, launch_url))
    await database.run(DROP, (id,))


async def refuse(database: Database | Transaction, id: str) -> None:
    """Forget it.

    Raises
    ------
    NotFound
        Nothing waits under this id.
    """
    if not await database.run(DROP, (id,)):
        raise NotFound(f"no registration waits under {id}")
