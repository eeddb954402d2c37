"""Binding tokens: what lets a socket be bound to subscriptions, for as long as an access token.

Only the digest is kept. A binding token ends with the access token that it was asked for with, and
when that is withdrawn. It is for subscriptions that the asker made: what is sent on the socket is
what their maker may see.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, operation $get-ws-binding-token
"""

import secrets
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Texts
from fhir_server.search.query import parse
from fhir_server.store.store import Store
from resources.errors import Conflict, NotFound
from subscriptions import events
from subscriptions.channels.sockets import digest_of

LONGEST_SECONDS: Final = 3600
MOST: Final = 100
"""Subscriptions of one token."""

KEEP: Final = """
insert into websocket_token(digest, subscriptions, principal, expires, withdrawable)
values ($1, $2::text[], $3, $4, $5::text[])
"""
SWEEP: Final = """
with gone as (delete from websocket_token where expires < $1 returning 1) select count(*) from gone
"""


class Bound(NamedTuple):
    """A binding token, when it ends (microseconds since 1970 UTC), and what it is for."""

    token: str
    expires: int
    subscriptions: list[str]


async def token(
    database: Database, store: Store, context: RequestContext, ids: Sequence[str]
) -> Bound:
    """Make a token for subscriptions of the asker's, by websocket: these, or all of them.

    Raises
    ------
    NotFound
        There is none of this id, or none of the asker's.
    Conflict
        It is not sent by websocket.
    """
    named = ids or await _own(store, context)
    found = []
    for id in dict.fromkeys(named):
        if ids:
            await store.read(context, "Subscription", id)
        subscriber = await events.subscriber(database, id)
        is_own = subscriber is not None and _is_own(subscriber, context)
        if subscriber is None or (ids and not is_own):
            raise NotFound(f"There is no Subscription/{id} of yours.")
        if subscriber.channel == "websocket" and is_own:
            found.append(id)
        elif ids:
            raise Conflict(f"Subscription/{id} is not sent by websocket.")
    if not found:
        raise NotFound("There is no subscription of yours by websocket.")
    who = context.principal
    until = context.instant + LONGEST_SECONDS * 1_000_000
    expires = min(until, who.expires * 1_000_000) if who.expires else until
    made = secrets.token_urlsafe(32)
    values: tuple[Any, ...] = (
        digest_of(made), Texts(found[:MOST]), who.written, expires, Texts(who.withdrawable)
    )  # fmt: skip
    await database.run(KEEP, values)
    return Bound(made, expires, found[:MOST])


async def sweep(database: Database, instant: int) -> int:
    """Remove tokens that have ended, and say how many."""
    return int((await database.run(SWEEP, (instant,)))[0][0])


def _is_own(subscriber: events.Subscriber, context: RequestContext) -> bool:
    made, asks = subscriber.principal(), context.principal
    return (made.subject, made.organization, made.patient) == (
        asks.subject, asks.organization, asks.patient
    )  # fmt: skip


async def _own(store: Store, context: RequestContext) -> list[str]:
    query = parse("Subscription", [("type", "websocket"), ("_count", "500")], strict=True)
    return [each.id for each in (await store.search(context, query)).matches]
