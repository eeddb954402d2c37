"""Delivery: what has happened is told to who asked for it, in order, until they have taken it.

For each subscription one notification at a time is under way, so its events arrive in order; they
are noted as delivered when the endpoint has taken them, so after any failure they are sent again,
with the same numbers. A receiver that fails is tried again after `RETRIES`; then the subscription
is in error, and its organisation is told. One organisation has no more than `PER_ORGANISATION`
under way at once, so whoever is slow delays nobody else.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "Workflow", "Error Handling", "Heartbeat"
* FHIR R4 subscription, "Channels"
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import orjson
import psycopg

from fhir_server.context import now
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources.errors import Refusal
from subscriptions import activation, notifications
from subscriptions.channels.outcome import Message, Outcome
from subscriptions.channels.table import CHANNELS, Sender
from subscriptions.events import Event, Subscriber
from subscriptions.leases import RENEW_SECONDS, Leases, Told, full

RETRIES: Final = (0.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
"""Seconds before each attempt at a notification; after the last the subscription is in error."""

AT_ONCE: Final = 128
"""Notifications under way in one worker."""
PER_ORGANISATION: Final = 24
CLAIMED: Final = 64
ROUND: Final = 32
"""Notifications to one subscriber under one lease."""
LOOK_SECONDS: Final = 0.25
"""Without being woken, it is looked so often what is due."""
AGAIN_SECONDS: Final = 1.0
"""When the database is away."""
CHANNEL: Final = "subscription_events"

Count = Callable[[str, int, float], None]
"""Count a notification by channel, status and seconds."""

_log = logging.getLogger(__name__)


class Delivery:
    """What the worker does for its subscribers.

    Parameters
    ----------
    senders
        By the code of the channel.
    base_url
        Our FHIR base.
    retries
        As `RETRIES`.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        senders: Mapping[str, Sender],
        *,
        base_url: str,
        count: Count = lambda channel, status, seconds: None,
        retries: Sequence[float] = RETRIES,
    ) -> None:
        self._database = database
        self._store = store
        self._senders = senders
        self._base_url = base_url
        self._count = count
        self._retries = retries
        self._leases = Leases(database)
        self._woken = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], Subscriber] = {}

    async def run(self) -> None:
        """Deliver until cancelled."""
        helpers = [
            asyncio.create_task(self._always(self._listen)),
            asyncio.create_task(self._always(self._renew)),
        ]
        try:
            await self._always(self._look)
        finally:
            for task in [*helpers, *self._under_way]:
                task.cancel()
            await asyncio.gather(*helpers, *self._under_way, return_exceptions=True)
            with contextlib.suppress(Refusal, psycopg.Error):
                await self._leases.release_all()
            for sender in self._senders.values():
                await sender.close()

    async def _always(self, work: Callable[[], object]) -> None:
        """Do something again and again, and wait a little where it cannot be done now."""
        while True:
            try:
                await work()  # type: ignore[misc]
            except (Refusal, psycopg.Error) as error:
                _log.warning("subscriptions wait: %s", type(error).__name__)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _listen(self) -> None:
        """Look as soon as the matcher says that there is something."""
        connection = await psycopg.AsyncConnection.connect(self._database.url, autocommit=True)
        async with connection:
            await connection.execute(f"listen {CHANNEL}")
            self._woken.set()
            async for _ in connection.notifies():
                self._woken.set()

    async def _renew(self) -> None:
        await asyncio.sleep(RENEW_SECONDS)
        await self._leases.renew()

    async def _look(self) -> None:
        """Begin what is due, and wait until something else may be."""
        self._woken.clear()
        room = min(CLAIMED, AT_ONCE - len(self._under_way))
        served = self._under_way.values()
        busy = full((each.organization for each in served), PER_ORGANISATION)
        failing = (each.organization for each in served if each.attempts)
        slow = full(failing, PER_ORGANISATION // 2)
        claimed = await self._leases.claim(room, busy, slow) if room > 0 else []
        for subscriber in claimed:
            task = asyncio.create_task(self._serve(subscriber))
            self._under_way[task] = subscriber
            task.add_done_callback(self._ended)
        if len(claimed) < room or room <= 0:
            await self._rest()

    async def _rest(self) -> None:
        due = await self._leases.next()
        seconds = LOOK_SECONDS
        if due is not None and due > now():
            seconds = min(seconds, (due - now()) / 1_000_000 + 0.002)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a subscription cannot be served", exc_info=error)

    async def _serve(self, subscriber: Subscriber) -> None:
        """Do what is due for one subscription, under its lease."""
        try:
            if subscriber.status == "requested":
                await self._activate(subscriber)
            elif subscriber.status != "active":
                await self._leases.release(subscriber, None)
            elif subscriber.ending is not None and subscriber.ending <= now():
                await activation.stop(self._store, subscriber, "It has ended.", alert=False)
                await self._leases.release(subscriber, None)
            else:
                await self._deliver(subscriber)
        except Refusal as refusal:
            _log.warning("subscriptions wait: %s", type(refusal).__name__)
        finally:
            self._leases.forget(subscriber.id)

    async def _activate(self, subscriber: Subscriber) -> None:
        channel = CHANNELS.get(subscriber.channel)
        if channel is None:
            outcome = Outcome("failed", 0, "This server has no such channel.")
        elif channel.shakes_hands and subscriber.topic:
            outcome = await self._send(
                subscriber, await self._notification(subscriber, "handshake")
            )
        else:
            outcome = Outcome("sent", 200)
        if outcome.verdict == "sent":
            await activation.activate(self._store, subscriber)
        else:
            await activation.fail(
                self._store, subscriber, f"The handshake failed. {outcome.reason}"
            )
        await self._give_back(subscriber)

    async def _give_back(self, subscriber: Subscriber) -> None:
        """End a lease and have the subscription looked at again, if it is to be sent to."""
        await self._leases.release(subscriber, now())

    async def _deliver(self, subscriber: Subscriber) -> None:
        """Send what waits, or a heartbeat, until there is nothing more."""
        number = subscriber.delivered
        for _ in range(ROUND):
            events = await self._leases.waiting(subscriber.id, number, self._most(subscriber))
            if not events and number < subscriber.events:
                _log.error("events of a subscription are missing")
            message = await self._message(subscriber, events)
            if not self._leases.holds(subscriber.id):
                return
            if message is not None:
                outcome = await self._send(subscriber, message)
                if outcome.verdict != "sent":
                    await self._not_taken(subscriber, outcome)
                    return
                if events:
                    lag = (now() - events[0].instant) / 1_000_000
                    self._count(f"{subscriber.channel}:lag", 200, lag)
            number = events[-1].number if events else number
            standing = await self._leases.sent(Told(subscriber.id, number, now()))
            changed = standing.version != subscriber.version or standing.status != "active"
            if standing.events <= number or not standing.is_held:
                return
            if changed:
                break
            subscriber = subscriber._replace(events=standing.events, delivered=number, attempts=0)
        await self._give_back(subscriber)

    def _most(self, subscriber: Subscriber) -> int:
        return max(subscriber.max_count, 1) if subscriber.topic else 1

    async def _message(self, subscriber: Subscriber, events: Sequence[Event]) -> Message | None:
        """Make what is to be sent; None where it is nothing."""
        if not events:
            is_due = subscriber.topic != "" and _is_idle(subscriber)
            return await self._notification(subscriber, "heartbeat") if is_due else None
        if subscriber.topic:
            return await self._notification(subscriber, "event-notification", events)
        if not subscriber.payload_type or subscriber.channel == "email":
            return Message(b"", "", events=len(events))
        told = await notifications.plain(self._store, subscriber, events[0])
        if told is None:
            return None
        return Message(told[1], subscriber.payload_type, told[0], events=1)

    async def _notification(
        self, subscriber: Subscriber, kind: str, events: Sequence[Event] = ()
    ) -> Message:
        bundle = await notifications.notification(
            self._store, subscriber, kind, events, base_url=self._base_url
        )
        return Message(orjson.dumps(bundle), subscriber.payload_type, events=len(events))

    async def _send(self, subscriber: Subscriber, message: Message) -> Outcome:
        sender = self._senders.get(subscriber.channel)
        if sender is None:
            return Outcome("failed", 0, "This server cannot send by this channel.")
        began = time.monotonic()
        outcome = await sender.send(subscriber, message)
        self._count(f"{subscriber.channel}:sent", outcome.status, time.monotonic() - began)
        return outcome

    async def _not_taken(self, subscriber: Subscriber, outcome: Outcome) -> None:
        """Try again later, or give up."""
        attempts = subscriber.attempts + 1
        if outcome.verdict == "over":
            await activation.stop(self._store, subscriber, outcome.reason)
        elif outcome.verdict == "failed" or attempts >= len(self._retries):
            await activation.fail(self._store, subscriber, outcome.reason)
        else:
            wait = max(self._retries[attempts], outcome.wait)
            due = now() + int(wait * 1_000_000)
            await self._leases.failed(subscriber, outcome.reason, due)
            return
        await self._give_back(subscriber)


def _is_idle(subscriber: Subscriber) -> bool:
    """Say whether nothing was sent for the time after which a heartbeat is wanted."""
    if subscriber.heartbeat is None:
        return False
    last = max(subscriber.last_sent or 0, subscriber.started)
    return last + subscriber.heartbeat * 1_000_000 <= now()
