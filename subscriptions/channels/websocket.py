"""WebSocket: notifications over a connection that the subscriber opens.

A client asks for a binding token, opens a socket, and sends ``bind-with-token`` and the token; from
then on it is sent what happens for the subscriptions of the token, those it has missed first. One
socket may be bound with several tokens, and anew with a later one before the first ends; where one
has ended or is withdrawn, the socket is closed. Nothing is acknowledged: who finds a gap in the
numbers asks ``$events``.

Each http process serves its own sockets, and listens for the notice that there are new events.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "Websocket"; RFC 6455; RFC 6750 for the status 4401
* ASGI 2.4, "WebSocket"; OWASP WebSocket Security Cheat Sheet (Origin)
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from fhir_server.access.withdrawn import Withdrawn
from fhir_server.context import now
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources.errors import Refusal
from subscriptions import events as happened
from subscriptions import notifications
from subscriptions.channels.sockets import (
    AGAIN_LATER,
    POLICY,
    TOKEN_ENDED,
    TOO_LONG,
    Binding,
    Socket,
    Token,
    digest_of,
    token_in,
)
from subscriptions.channels.waking import AGAIN_SECONDS, Waking
from subscriptions.events import Subscriber

PATH: Final = "/$subscriptions"
"""Below the FHIR base."""

LONGEST: Final = 1024
"""Characters of what a client says."""
BIND_SECONDS: Final = 15.0
"""A socket that is not bound so soon is closed."""
MOST_SOCKETS: Final = 2000
MOST_OF_A_TOKEN: Final = 5
MOST_OF_AN_ORGANIZATION: Final = 500
MOST_BINDINGS: Final = 500

TOKEN: Final = """
select subscriptions, withdrawable, expires, coalesce(principal::json->>1, '')
from websocket_token where digest = $1
"""
TAKEN: Final = """
update subscription set delivered = greatest(delivered, $2), last_sent = $3, last_error = null
where id = $1
"""

Count = Callable[[str, int, float], None]
Allows = Callable[[str], Awaitable[bool]]

_log = logging.getLogger(__name__)


class Sockets:
    """All sockets of one process: the ASGI application behind `PATH`.

    Parameters
    ----------
    allows
        Whether a page of this origin may open one.
    base_url
        Our FHIR base.
    most
        Sockets bound for one organisation.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        withdrawn: Withdrawn,
        allows: Allows,
        *,
        base_url: str,
        count: Count = lambda channel, status, seconds: None,
        most: int = MOST_OF_AN_ORGANIZATION,
    ) -> None:
        self._database = database
        self._store = store
        self._withdrawn = withdrawn
        self._allows = allows
        self._base_url = base_url
        self._count = count
        self._most = most
        self._sockets: set[Socket] = set()
        self._waking = Waking(database, self._sockets, self._has_ended)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until it ends."""
        if scope["type"] == "http":
            await _upgrade(send)
            return
        await receive()
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if len(origins) > 1 or (origins and not await self._allows(origins[0])):
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        socket = Socket(send)
        if len(self._sockets) >= MOST_SOCKETS:
            await send({"type": "websocket.close", "code": AGAIN_LATER})
            return
        self._sockets.add(socket)
        tasks = [
            asyncio.create_task(self._hear(socket, receive)),
            asyncio.create_task(self._speak(socket)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (error := task.exception()) is not None and not isinstance(error, OSError):
                    _log.error("a socket failed", exc_info=error)
        finally:
            self._sockets.discard(socket)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def follow(self) -> None:
        """Wake the sockets that there is something for, until cancelled."""
        await self._waking.run()

    async def _hear(self, socket: Socket, receive: Receive) -> None:
        """Take what the client says: tokens, and nothing else."""
        while True:
            limit = None if socket.bindings else BIND_SECONDS
            try:
                async with asyncio.timeout(limit):
                    message = await receive()
            except TimeoutError:
                socket.close(POLICY)
                await asyncio.Event().wait()
            if message["type"] != "websocket.receive":
                return
            text = message.get("text")
            if text is None or len(text) > LONGEST:
                socket.close(POLICY if text is None else TOO_LONG)
            elif (token := token_in(text)) is None:
                socket.close(POLICY)
            else:
                await self._bind(socket, token)

    async def _bind(self, socket: Socket, text: str) -> None:
        digest = digest_of(text)
        try:
            rows = await self._database.run(TOKEN, (digest,))
            token = Token(digest, *rows[0]) if rows else None
            if token is None or self._has_ended(token):
                socket.close(TOKEN_ENDED)
                return
            elsewhere = sum(digest in other.tokens() for other in self._sockets - {socket})
            bound = len(socket.bindings.keys() | set(token.subscriptions))
            if elsewhere >= MOST_OF_A_TOKEN or bound > MOST_BINDINGS:
                socket.close(POLICY)
                return
            theirs = sum(other.is_of(token.organization) for other in self._sockets - {socket})
            if theirs >= self._most:
                said = f"Your organisation has {self._most} sockets here, and may have no more."
                socket.close(AGAIN_LATER, said)
                return
            for id in token.subscriptions:
                await self._bind_one(socket, token, id)
        except Refusal:
            socket.close(AGAIN_LATER)
            return
        socket.woken.set()

    async def _bind_one(self, socket: Socket, token: Token, id: str) -> None:
        """Shake hands for one subscription, and send what happens from then on."""
        subscriber = await happened.subscriber(self._database, id)
        if subscriber is None or subscriber.channel != "websocket":
            return
        bound = socket.bindings.get(id)
        if bound is not None:
            bound.token = token
        await self._tell(socket, subscriber, "handshake", [])
        if bound is None:
            socket.bindings[id] = Binding(token, subscriber.delivered)

    async def _speak(self, socket: Socket) -> None:
        """Send what there is for a socket whenever it is woken, and close it in the end."""
        while socket.closed is None:
            try:
                for id, binding in list(socket.bindings.items()):
                    await self._send_waiting(socket, id, binding)
            except Refusal:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            await socket.woken.wait()
            socket.woken.clear()
        closing = {"type": "websocket.close", "code": socket.closed, "reason": socket.reason}
        await socket.send(closing)

    async def _send_waiting(self, socket: Socket, id: str, binding: Binding) -> None:
        while socket.closed is None:
            subscriber = await happened.subscriber(self._database, id)
            if subscriber is None:
                socket.bindings.pop(id, None)
                return
            binding.heartbeat = subscriber.heartbeat
            if subscriber.status not in ("active", "error"):
                return
            most = max(subscriber.max_count, 1) if subscriber.topic else 1
            events = await happened.after(self._database, id, binding.sent, most)
            if events:
                if self._has_ended(binding.token):
                    socket.close(TOKEN_ENDED)
                    return
                await self._tell(socket, subscriber, "event-notification", events)
                binding.sent = events[-1].number
                await self._database.run(TAKEN, (id, binding.sent, now()))
            elif binding.is_idle():
                await self._tell(socket, subscriber, "heartbeat", [])
            else:
                return
            binding.last = time.monotonic()

    async def _tell(
        self, socket: Socket, subscriber: Subscriber, kind: str, events: list[happened.Event]
    ) -> None:
        began = time.monotonic()
        if subscriber.topic:
            bundle = await notifications.notification(
                self._store, subscriber, kind, events, base_url=self._base_url
            )
            text = orjson.dumps(bundle).decode()
        else:
            text = f"{'bound' if kind == 'handshake' else 'ping'} {subscriber.id}"
        await socket.send({"type": "websocket.send", "text": text})
        self._count("websocket:sent", 200, time.monotonic() - began)
        if events:
            self._count("websocket:lag", 200, (now() - events[0].instant) / 1_000_000)

    def _has_ended(self, token: Token) -> bool:
        return token.expires <= now() or self._withdrawn.has(*token.withdrawable)


async def _upgrade(send: Send) -> None:
    """Tell who asks by HTTP that this is for sockets (RFC 9110 Section 15.5.22)."""
    headers: list[tuple[bytes, bytes]] = [(b"upgrade", b"websocket"), (b"content-length", b"0")]
    start: dict[str, Any] = {"type": "http.response.start", "status": 426, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b""})
