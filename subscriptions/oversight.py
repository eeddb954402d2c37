"""Oversight: what the administrator of an organisation is shown of its subscriptions, and may do.

A Subscription is its maker's alone (`access.gate.PERSONAL`). This is the one door beside that: how
it is, and never its headers, its payload, its tokens, the path of its endpoint, or of whom its
criteria speak. An administrator may have events sent again, ask for a subscription anew that is in
error, and stop one. It stays its maker's: what is sent is what they may see, wherever they have it
sent. Who did what is in the ledger with the write itself.

References
----------
* docs/adr/0038; HL7 Subscriptions R5 Backport 1.1.0, "Safety and Security", "Error Handling"
"""

import json
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from fhir_server.audit.ledger import Entry, Ledger
from fhir_server.context import now
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources.errors import Conflict, Invalid, NotFound, Refusal, Stale
from subscriptions import activation, criteria, events
from subscriptions.events import Subscriber
from subscriptions.subscriptions import send_again

MOST: Final = 300
"""Subscriptions that are shown at once; first those that nothing is sent to, and the latest."""

SEEN: Final = f"""
select s.id, s.status, s.topic, s.criteria, s.channel, s.endpoint, s.principal::json->>0,
  s.principal::json->>5, s.events, greatest(s.events - s.delivered, 0), e.instant, s.attempts,
  s.due, s.last_sent, s.last_error, s.ending
from subscription as s left join lateral (
  select instant from subscription_event
  where subscription = s.id and number > s.delivered order by number limit 1
) as e on true
where s.organization = $1 and s.organization <> '' and s.principal <> ''
  and ($2 = '' or s.id = $2) and ($3 = '' or s.status = $3)
order by s.status <> 'error', s.status = 'off', e.instant, s.id limit {MOST}
"""

TOLD: Final = frozenset({
    "status", "intent", "priority", "code", "category", "business-status", "modality",
    "performer-type", "report-urgency",
})  # fmt: skip
"""Search parameters whose values speak of no person."""
LEFT_OUT: Final = "…"

STOPPED: Final = "An administrator of the organisation has stopped it."
CHANGED: Final = "The subscription was changed meanwhile: look again."


class Seen(NamedTuple):
    """One subscription, as far as an administrator sees it.

    Parameters
    ----------
    maker, client
        Who made it, as a relative reference, and by which client.
    about
        What it is told of; without values that may speak of a person.
    host
        Where it is sent, without the path; empty for a WebSocket.
    waiting
        Events that are not delivered, the first of which happened at `oldest`.
    """

    id: str
    status: str
    about: str
    channel: str
    host: str
    maker: str
    client: str
    events: int
    waiting: int
    oldest: int | None
    attempts: int
    due: int | None
    last_sent: int | None
    last_error: str
    ending: int | None


async def seen(database: Database, organization: str, *, status: str = "") -> list[Seen]:
    """List the subscriptions of an organisation, of one status if that is named."""
    return [_seen(*row) for row in await database.run(SEEN, (organization, "", status))]


async def one(database: Database, organization: str, id: str) -> Seen:
    """Show one subscription of an organisation.

    Raises
    ------
    NotFound
        The organisation has none of this id.
    """
    rows = await database.run(SEEN, (organization, id, "")) if id else ()
    if not rows:
        raise NotFound("Your organisation has no such subscription.")
    return _seen(*rows[0])


async def resend(
    database: Database, ledger: Ledger, organization: str, id: str, number: int, note: Entry
) -> int:
    """Have events sent again, from a number on; give how many.

    Raises
    ------
    Invalid
        There is no such event yet.
    Conflict
        Nothing is sent to it now, or it is not sent to but asks.
    """
    found = await _own(database, organization, id)
    if not 1 <= number <= found.events:
        raise Invalid(f"It has had {found.events} events, numbered from 1.")
    await ledger.append(note)
    return await send_again(database, found, number - 1, now())


async def activate(
    database: Database, store: Store, organization: str, id: str, note: Entry
) -> None:
    """Ask anew for a subscription that is in error, as whoever made it.

    Raises
    ------
    Conflict
        It is not in error, or changed meanwhile: who has switched it off, meant it.
    """
    found = await _own(database, organization, id)
    if found.status != "error":
        raise Conflict(f"It is not in error: it is {found.status}.")
    await _change(store, found, {"status": "requested", "error": None}, note)


async def stop(database: Database, store: Store, organization: str, id: str, note: Entry) -> None:
    """Switch a subscription off, and say by whom.

    Raises
    ------
    Conflict
        It is off, or changed meanwhile.
    """
    found = await _own(database, organization, id)
    if found.status == "off":
        raise Conflict("It is off.")
    await _change(store, found, {"status": "off", "error": STOPPED}, note)


async def _own(database: Database, organization: str, id: str) -> Subscriber:
    await one(database, organization, id)
    found = await events.subscriber(database, id)
    if found is None or found.organization != organization:
        raise NotFound("Your organisation has no such subscription.")
    return found


async def _change(
    store: Store, found: Subscriber, changes: dict[str, str | None], note: Entry
) -> None:
    try:
        await activation.change(store, found, changes, note=note)
    except (Stale, NotFound):
        raise Conflict(CHANGED) from None


def _seen(
    id: str, status: str, topic: str, filters: str, channel: str, endpoint: str, maker: str,
    client: str, *numbers: object,
) -> Seen:  # fmt: skip
    *rest, error, ending = numbers
    of = _about(topic, json.loads(filters))
    values = (id, status, of, channel, _host(endpoint), maker, client, *rest, error or "", ending)
    return Seen._make(values)


def _about(topic: str, filters: list[str]) -> str:
    """Say what a subscription is told of.

    Examples
    --------
    >>> _about("", ["Task?status=ready&patient=Patient/7"])
    'Task?status=ready&patient=…'
    >>> _about("https://a.example/SubscriptionTopic/order", ["owner=Organization/x"])
    'order: owner=…'
    """
    told = "; ".join(_without_values(text) for text in filters)
    if not topic:
        return told
    name = topic.rpartition("/")[2]
    return f"{name}: {told}" if told else name


def _without_values(text: str) -> str:
    try:
        read = criteria.read(text)
    except Refusal:
        return LEFT_OUT
    pairs = "&".join(
        f"{name}={value if name.removesuffix(':not') in TOLD else LEFT_OUT}"
        for name, value in read.pairs
    )
    return f"{read.type}?{pairs}" if read.type else pairs


def _host(endpoint: str) -> str:
    """Give where something is sent, without a path or the name of a mailbox.

    Examples
    --------
    >>> _host("https://user:secret@hooks.example:8443/a-secret?b")
    'hooks.example:8443'
    >>> _host("mailto:duty@ward.example")
    'ward.example'
    """
    try:
        parts = urlsplit(endpoint)
        if parts.scheme == "mailto":
            return parts.path.rpartition("@")[2]
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.hostname or ''}{port}"
    except ValueError:
        return LEFT_OUT
