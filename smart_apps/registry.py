"""The registry of clients: what an operator or an administrator does to it.

A client that is removed, or whose scopes or organisation change, loses what people had let it do:
its refresh tokens at once, the access tokens that came of them within moments. A token that a
system had for itself lasts no longer than five minutes.

RFC 6749 Section 2; RFC 7009 Section 2.1 (what falls with an authorisation).
"""

import secrets
from typing import Final

from fhir_server.postgres.database import Database
from resources.errors import Conflict, Invalid, NotFound
from smart_apps import clients, passwords
from smart_apps.authorization import authorizations
from smart_apps.clients import Client

SECRET_OCTETS: Final = 32

REMOVE: Final = "DELETE FROM client WHERE id = $1 RETURNING id"
NOTICE: Final = "SELECT pg_notify('subscribers', '')"
"""What it subscribed to ends (`subscriptions.withdrawals`)."""
OF_CLIENT: Final = "SELECT id FROM authorized WHERE client = $1 AND withdrawn IS NULL"


async def register(database: Database, client: Client) -> str | None:
    """Register a new client; give its secret if it is of that kind: it is not kept.

    Raises
    ------
    Conflict
        There is one by that id.
    Invalid
        The standards do not allow it (`clients.add`).
    """
    try:
        await clients.find(database, client.id)
    except NotFound:
        return await _keep(database, client, fresh=True)
    raise Conflict(f"A client is registered as {client.id}.")


async def change(database: Database, client: Client) -> str | None:
    """Change a registration; give its secret where the client had none before.

    Raises
    ------
    NotFound
        There is none by that id.
    """
    before = await clients.find(database, client.id)
    made = await _keep(
        database,
        client._replace(secret=before.secret if client.kind == before.kind else None),
        fresh=client.kind != before.kind,
    )
    if (before.scope, before.organization) != (client.scope, client.organization):
        await _withdraw(database, client.id)
    return made


async def rotate(database: Database, id: str) -> str:
    """Give a client a new secret; the old one is worth nothing from now on.

    Raises
    ------
    NotFound
        There is none by that id.
    Invalid
        It has no secret.
    """
    client = await clients.find(database, id)
    if client.kind != "secret":
        raise Invalid(f"The client {id} has no secret.")
    made = await _keep(database, client, fresh=True)
    assert made is not None
    return made


async def remove(database: Database, id: str) -> None:
    """Remove a client.

    Raises
    ------
    NotFound
        There is none by that id.
    """
    if not await database.run(REMOVE, (id,)):
        raise NotFound(f"no client is registered as {id}")
    await _withdraw(database, id)


async def _keep(database: Database, client: Client, *, fresh: bool) -> str | None:
    secret = secrets.token_urlsafe(SECRET_OCTETS) if fresh and client.kind == "secret" else None
    kept = client._replace(secret=passwords.derive(secret)) if secret else client
    await clients.add(database, kept)
    return secret


async def _withdraw(database: Database, client: str) -> None:
    await database.run(NOTICE)
    for (id,) in await database.run(OF_CLIENT, (client,)):
        await authorizations.withdraw(database, id)
