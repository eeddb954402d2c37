"""The registry of clients: what an operator or an administrator does to it.

A client that is removed or disabled, or whose scopes or organisation change, loses at once what it
had: what people had let it do, with its refresh tokens, and every access token of its epoch, in all
processes within moments. A client that is enabled again begins a new epoch: it asks for tokens anew
and people are asked for their consent anew, since nobody knows who had its tokens meanwhile.

RFC 6749 Section 2; RFC 7009 Section 2.1 (what falls with an authorisation).
"""

import secrets
from typing import Final

from fhir_server.access.withdrawn import of_client
from fhir_server.context import now
from fhir_server.postgres.database import Database, Transaction
from resources.errors import Conflict, Invalid, NotFound
from smart_apps import clients, passwords
from smart_apps.authorization import authorizations
from smart_apps.clients import Client

SECRET_OCTETS: Final = 32

REMOVE: Final = "DELETE FROM client WHERE id = $1 RETURNING epoch"
DISABLE: Final = """
UPDATE client SET disabled = $2 WHERE id = $1 AND disabled IS NULL RETURNING id
"""
ENABLE: Final = """
UPDATE client SET disabled = NULL WHERE id = $1 AND disabled IS NOT NULL RETURNING id
"""
NEXT_EPOCH: Final = """
UPDATE client SET epoch = $2 FROM (SELECT epoch FROM client WHERE id = $1 FOR UPDATE) AS before
WHERE id = $1 RETURNING before.epoch
"""
NOTICE: Final = "SELECT pg_notify('subscribers', '')"
"""What it subscribed to ends (`subscriptions.withdrawals`)."""
OF_CLIENT: Final = "SELECT id FROM authorized WHERE client = $1 AND withdrawn IS NULL"

Way = Database | Transaction


async def register(database: Way, client: Client) -> str | None:
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


async def change(database: Way, client: Client) -> str | None:
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
        await _begin_epoch(database, client.id)
    return made


async def rotate(database: Way, id: str) -> str:
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


async def disable(database: Way, id: str) -> None:
    """Let a client do nothing until it is enabled; what it has is worth nothing from now on.

    Raises
    ------
    NotFound
        There is none by that id.
    Conflict
        It is disabled.
    """
    await clients.find(database, id)
    if not await database.run(DISABLE, (id, now())):
        raise Conflict(f"The client {id} is disabled already.")
    await _begin_epoch(database, id)


async def enable(database: Way, id: str) -> None:
    """Let a client that is disabled ask for tokens again.

    Raises
    ------
    NotFound
        There is none by that id.
    Conflict
        It is not disabled.
    """
    await clients.find(database, id)
    if not await database.run(ENABLE, (id,)):
        raise Conflict(f"The client {id} is not disabled.")
    # What somebody had begun before it was disabled, and ended after, is worth nothing either.
    await _begin_epoch(database, id)


async def remove(database: Way, id: str) -> None:
    """Remove a client.

    Raises
    ------
    NotFound
        There is none by that id.
    """
    rows = await database.run(REMOVE, (id,))
    if not rows:
        raise NotFound(f"no client is registered as {id}")
    await _withdraw(database, id, rows[0][0])


async def _keep(database: Way, client: Client, *, fresh: bool) -> str | None:
    secret = secrets.token_urlsafe(SECRET_OCTETS) if fresh and client.kind == "secret" else None
    kept = client._replace(secret=passwords.derive(secret)) if secret else client
    await clients.add(database, kept)
    return secret


async def _begin_epoch(database: Way, id: str) -> None:
    """Begin a new epoch of a client, and withdraw all that it has from the one before."""
    epoch = secrets.token_hex(clients.EPOCH_OCTETS)
    for (before,) in await database.run(NEXT_EPOCH, (id, epoch)):
        await _withdraw(database, id, before)


async def _withdraw(database: Way, client: str, epoch: str) -> None:
    await authorizations.withdraw_token(database, of_client(client, epoch))
    for (id,) in await database.run(OF_CLIENT, (client,)):
        await authorizations.withdraw(database, id)
    await database.run(NOTICE)
