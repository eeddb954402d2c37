"""Activation: the statuses that the server itself gives a Subscription.

What is requested becomes active when the endpoint has answered a handshake, at once where a
channel has none; it is in error when nothing more can be sent, and off when nobody wants it any
more. Each is a version of the resource, written as the server; who changed the Subscription
meanwhile is first. An error, and a switching off that nobody asked for, leave a Task for the
organisation that the subscription belongs to: what is no longer sent must not go unseen.

References
----------
* FHIR R4 SubscriptionStatus; HL7 Subscriptions R5 Backport 1.1.0, "Error Handling"
"""

import contextlib
import logging
from typing import Final

from fhir_server.access.principal import Principal
from fhir_server.audit import ledger
from fhir_server.audit.ledger import Entry
from fhir_server.context import RequestContext, now
from fhir_server.search.stored import Stored
from fhir_server.store.store import Store
from resources import codes, content
from resources.content import written_instant
from resources.errors import NotFound, Stale
from subscriptions.events import Subscriber

OURSELVES: Final = Principal.system("subscriptions")

_log = logging.getLogger(__name__)


async def activate(store: Store, subscriber: Subscriber) -> None:
    """Make a subscription active that was requested."""
    await _change(store, subscriber, {"status": "active", "error": None})
    _log.info("a subscription is active", extra={"organization": subscriber.organization})


async def fail(store: Store, subscriber: Subscriber, reason: str) -> None:
    """Put a subscription into error, and tell its organisation; the client re-activates it."""
    await _change(store, subscriber, {"status": "error", "error": reason}, alert=reason)
    _log.warning("a subscription is in error", extra={"organization": subscriber.organization})


async def stop(store: Store, subscriber: Subscriber, reason: str, *, alert: bool = True) -> None:
    """Switch a subscription off."""
    changes: dict[str, str | None] = {"status": "off", "error": reason}
    await _change(store, subscriber, changes, alert=reason if alert else "")


async def change(
    store: Store,
    subscriber: Subscriber,
    changes: dict[str, str | None],
    *,
    alert: str = "",
    note: Entry | None = None,
) -> None:
    """Write the next version of the one that was looked at; it stays its maker's.

    Parameters
    ----------
    alert
        What the organisation is told, by a Task; empty for nothing.
    note
        What the ledger says besides, of who had it done.

    Raises
    ------
    Stale
        There is another version by now.
    NotFound
        It has been deleted.
    """
    context = RequestContext(OURSELVES, "update", "subscriptions", subscriber.id, now())
    async with store.begin(context) as work:
        stored: Stored = await work.read("Subscription", subscriber.id)
        is_the_one = stored.version == subscriber.version
        if is_the_one:
            changed = content.replaced(content.read(stored.text), changes)
            await work.update("Subscription", subscriber.id, changed, if_match=stored.version)
            if alert and subscriber.organization:
                await work.create(content.made(_alert(subscriber, alert, context.instant)))
            if note is not None:
                work.add(ledger.INSERT, ledger.arrays([note]))
    if not is_the_one:
        raise Stale("The subscription was changed meanwhile.")


async def _change(
    store: Store, subscriber: Subscriber, changes: dict[str, str | None], alert: str = ""
) -> None:
    """Write the next version, unless there is another than the one that was looked at."""
    with contextlib.suppress(Stale, NotFound):
        await change(store, subscriber, changes, alert=alert)


def _alert(subscriber: Subscriber, reason: str, instant: int) -> dict[str, object]:
    written = written_instant(instant)
    return {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "priority": "urgent",
        "code": codes.SUBSCRIPTION_FAILED.concept,
        "description": f"Nothing more is sent to this subscription. {reason}",
        "focus": {"reference": f"Subscription/{subscriber.id}"},
        "authoredOn": written,
        "lastModified": written,
        "owner": {"reference": f"Organization/{subscriber.organization}"},
    }
