"""Notifications: the Bundle that tells a subscriber what has happened, or that nothing has.

Every resource is read through the store as the subscriber, when the notification is made: what they
may no longer see leaves the number of its event, and nothing else, so that who counts misses none.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "Notifications" (R4), "Payload Types"
* FHIR R4 subscription, "Channels": what is sent for plain criteria
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fhir_server.context import RequestContext, now
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.store import Store
from resources import topics
from resources.content import written_instant
from resources.errors import Refusal
from subscriptions.events import Event, Subscriber

BACKPORT: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
NOTIFICATION_PROFILE: Final = f"{BACKPORT}/backport-subscription-notification-r4"
STATUS_PROFILE: Final = f"{BACKPORT}/backport-subscription-status-r4"

OF_EVENTS: Final = frozenset({"event-notification", "query-event"})
"""The kinds that tell of events; the others tell how the subscription is."""

METHODS: Final[Mapping[str, tuple[str, str]]] = {
    "C": ("POST", "201"),
    "U": ("PUT", "200"),
    "D": ("DELETE", "204"),
}
"""Interaction -> how a history Bundle says it: method of the request, status of the response."""

MOST_BESIDES: Final = 100
"""Resources that come with one event, besides what it is about."""

Json = dict[str, Any]


async def notification(
    store: Store,
    subscriber: Subscriber,
    kind: str,
    events: Sequence[Event],
    *,
    base_url: str,
    content: str | None = None,
) -> Json:
    """Make a notification Bundle.

    Parameters
    ----------
    kind
        ``handshake``, ``heartbeat``, ``event-notification`` or ``query-event``.
    events
        In order; none for a handshake or a heartbeat.
    content
        ``empty``, ``id-only`` or ``full-resource``; what the subscription says, by default.
    """
    level = content or subscriber.content
    seen: Sequence[Stored | None] = [None] * len(events)
    if level != "empty":
        seen = await _seen(store, subscriber, events)
    is_full = level == "full-resource"
    besides: Sequence[Sequence[Stored]] = [()] * len(events)
    if is_full:
        besides = await asyncio.gather(*(_besides(store, subscriber, one) for one in seen))
    told = list(zip(events, seen, besides, strict=True))
    parts = [_told(*each, base_url) for each in told]
    parameters = status(subscriber, kind, parts, base_url=base_url, content=level)
    entries = [_status_entry(parameters, subscriber, base_url)]
    entries += [_entry(event, base_url, one if is_full else None) for event, one, _ in told if one]
    known = {one.reference for one in seen if one}
    context = {one.reference: one for _, _, beside in told for one in beside}
    entries += [_context_entry(one, base_url) for name, one in context.items() if name not in known]
    return {
        "resourceType": "Bundle",
        "id": str(uuid.uuid4()),
        "meta": {"profile": [NOTIFICATION_PROFILE]},
        "type": "history",
        "timestamp": written_instant(now()),
        "entry": entries,
    }


def status(
    subscriber: Subscriber,
    kind: str,
    told: Sequence[Json] = (),
    *,
    base_url: str,
    content: str | None = None,
) -> Json:
    """Make the Parameters that say how a subscription is, and what has happened for it.

    Parameters
    ----------
    kind
        As in `notification`, or ``query-status``.
    told
        ``notification-event`` parameters.
    """
    about = {"reference": f"{base_url}/Subscription/{subscriber.id}"}
    parameters: list[Json] = [{"name": "subscription", "valueReference": about}]
    if subscriber.topic and (content or subscriber.content) != "empty":
        parameters.append({"name": "topic", "valueCanonical": subscriber.topic})
    said = "requested" if kind == "handshake" else subscriber.status
    counted = max([subscriber.events, *(_number(each) for each in told)])
    parameters += [
        {"name": "status", "valueCode": said},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": str(counted)},
        *told,
    ]
    if subscriber.status == "error" and subscriber.last_error:
        parameters.append(
            {"name": "error", "valueCodeableConcept": {"text": subscriber.last_error}}
        )
    return {
        "resourceType": "Parameters",
        "id": str(uuid.uuid4()),
        "meta": {"profile": [STATUS_PROFILE]},
        "parameter": parameters,
    }


async def plain(store: Store, subscriber: Subscriber, event: Event) -> tuple[str, bytes] | None:
    """Give reference and text of what a subscription by plain criteria is sent.

    None if the subscriber may no longer see it.
    """
    (stored,) = await _seen(store, subscriber, [event])
    return None if stored is None else (stored.reference, stored.text)


async def _seen(
    store: Store, subscriber: Subscriber, events: Sequence[Event]
) -> list[Stored | None]:
    """Read the versions that fired, as the subscriber; of a deletion the state before it."""
    context = _context(subscriber)

    async def read(event: Event) -> Stored | None:
        version = event.version - 1 if event.interaction == "D" else event.version
        try:
            return await store.vread(context, event.type, event.id, version)
        except Refusal:
            return None

    return list(await asyncio.gather(*(read(event) for event in events)))


async def _besides(store: Store, subscriber: Subscriber, stored: Stored | None) -> Sequence[Stored]:
    """Find what belongs to a notification besides what it is about: the shape of its topic.

    The subscriber is given what they may see of it as it is now.
    """
    topic = topics.topics().get(subscriber.topic)
    if topic is None or stored is None or stored.deleted:
        return ()
    pairs = [("_include", each) for each in topic.includes.get(stored.type, ())]
    pairs += [("_revinclude", each) for each in topic.reverse_includes.get(stored.type, ())]
    if not pairs:
        return ()
    query = parse(stored.type, [("_id", stored.id), *pairs], strict=True)
    try:
        found = await store.search(_context(subscriber), query)
    except Refusal:
        return ()
    return found.included[:MOST_BESIDES]


def _context(subscriber: Subscriber) -> RequestContext:
    return RequestContext(subscriber.principal(), "notification", "subscriptions", subscriber.id)


def _told(event: Event, stored: Stored | None, besides: Sequence[Stored], base_url: str) -> Json:
    part: list[Json] = [
        {"name": "event-number", "valueString": str(event.number)},
        {"name": "timestamp", "valueInstant": written_instant(event.instant)},
    ]
    if stored is not None:
        focus = {"reference": f"{base_url}/{event.reference}"}
        part.append({"name": "focus", "valueReference": focus})
    part += [
        {
            "name": "additional-context",
            "valueReference": {"reference": f"{base_url}/{one.reference}"},
        }
        for one in besides
    ]
    return {"name": "notification-event", "part": part}


def _number(told: Json) -> int:
    return int(told["part"][0]["valueString"])


def _status_entry(parameters: Json, subscriber: Subscriber, base_url: str) -> Json:
    return {
        "fullUrl": f"urn:uuid:{parameters['id']}",
        "resource": parameters,
        "request": {
            "method": "GET",
            "url": f"{base_url}/Subscription/{subscriber.id}/$status",
        },
        "response": {"status": "200"},
    }


def _entry(event: Event, base_url: str, resource: Stored | None) -> Json:
    method, answer = METHODS[event.interaction]
    entry: Json = {"fullUrl": f"{base_url}/{event.reference}"}
    if resource is not None and event.interaction != "D":
        entry["resource"] = resource.json
    entry["request"] = {
        "method": method,
        "url": event.type if method == "POST" else event.reference,
    }
    entry["response"] = {"status": answer}
    return entry


def _context_entry(stored: Stored, base_url: str) -> Json:
    return {
        "fullUrl": f"{base_url}/{stored.reference}",
        "resource": stored.json,
        "request": {"method": "GET", "url": stored.reference},
        "response": {"status": "200"},
    }
