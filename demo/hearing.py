"""Hearing of a report: the referrer's own Subscription, bound to a WebSocket of theirs.

Nothing is asked for again and again once the socket is bound: what the server does not tell is not
known, and a play in which nothing is heard fails.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "Websocket" and $get-ws-binding-token; `resources/topics`
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from demo.people import People
from demo.reading import Readings
from demo.story import UnexpectedError, expect, name
from resources import codes, elements

Json = dict[str, Any]

TOPIC: Final = f"{codes.BASE}/SubscriptionTopic/report-issued"
BACKPORT: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
SECONDS: Final = 10.0
"""So long a notification is waited for."""


class Told(NamedTuple):
    """One event: its number, what it is about, and when it was heard (`time.perf_counter`)."""

    number: int
    focus: str
    heard: float


class Line:
    """A socket that is bound with a token, and what was told on it.

    Parameters
    ----------
    url
        Where the server says that the socket is.
    seconds
        So long anything is waited for before the play fails.
    """

    def __init__(self, url: str, token: str, seconds: float = SECONDS) -> None:
        self.url = url
        self._token = token
        self._seconds = seconds
        self._told: asyncio.Queue[Told | str] = asyncio.Queue()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect, bind, and wait for the handshake.

        Raises
        ------
        UnexpectedError
            There is no socket, or nobody shakes hands in time.
        """
        async with AsyncExitStack() as opening:
            try:
                async with asyncio.timeout(self._seconds):
                    socket = await opening.enter_async_context(connect(self.url))
                    await socket.send(f"bind-with-token {self._token}")
                    kind = _status(await socket.recv())["type"]
            except TimeoutError as error:
                raise UnexpectedError(f"no handshake within {self._seconds:g} s") from error
            except (OSError, WebSocketException) as error:
                raise UnexpectedError(f"no WebSocket: {error}") from error
            if kind != "handshake":
                raise UnexpectedError(f"a handshake was due, not {kind}")
            listening = asyncio.create_task(self._listen(socket))
            opening.callback(listening.cancel)
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def told(self) -> Told:
        """Give the next event.

        Raises
        ------
        UnexpectedError
            None came in time, or the socket was closed.
        """
        try:
            async with asyncio.timeout(self._seconds):
                told = await self._told.get()
        except TimeoutError as error:
            raise UnexpectedError(f"no notification within {self._seconds:g} s") from error
        if isinstance(told, str):
            raise UnexpectedError(told)
        return told

    async def _listen(self, socket: ClientConnection) -> None:
        """Note what comes, and when, until the socket ends."""
        try:
            async for message in socket:
                heard = time.perf_counter()
                for number, focus in _status(message)["events"]:
                    self._told.put_nowait(Told(number, focus, heard))
        except WebSocketException:
            pass
        self._told.put_nowait(f"the WebSocket was closed with {socket.close_code}")


class Hearings(Readings):
    """What the referrer is told in a play."""

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[Line]:
        """Have the referrer told of reports for as long as the block lasts."""
        with self._step("gp", "subscribes to reports that wait for them") as step:
            subscription = await subscribe(self._people, "gp")
            step.made = name(subscription)
            step.says(f"active: {subscription['criteria']}, by WebSocket")
        async with AsyncExitStack() as opened:
            with self._step("gp", "binds a WebSocket with a token of their own") as step:
                line = await dial(self._people, "gp", subscription)
                await opened.enter_async_context(line)
                step.made = line.url
            yield line
        await self._people.ask("gp", "DELETE", name(subscription))

    async def _hear(self, line: Line) -> Json:
        """Wait to be told of the report; nothing is asked for before."""
        with self._step("gp", "is told over the WebSocket that the report waits") as step:
            task: Json = {}
            while name(self._request) not in elements.references(task.get("basedOn", [])):
                told = await line.told()
                task = await self._people.get("gp", told.focus)
            expect(codes.has(task["code"], codes.ACKNOWLEDGE), "it is a step of acknowledgement")
            milliseconds = (told.heard - self._issued) * 1000
            step.made = name(task)
            step.says(f"event {told.number}: told {milliseconds:.0f} ms after the report was sent")
        self.facts.append(("report sent to referrer told", f"{milliseconds:.0f} ms"))
        return task


async def subscribe(people: People, login: str) -> Json:
    """Subscribe to reports that wait for this person to acknowledge them; once it is active.

    Raises
    ------
    UnexpectedError
        It does not become active in time.
    """
    made = await people.create(login, _subscription(login))
    until = time.monotonic() + SECONDS
    while made["status"] == "requested" and time.monotonic() < until:
        await asyncio.sleep(0.1)
        made = await people.get(login, f"Subscription/{made['id']}")
    if made["status"] != "active":
        raise UnexpectedError(f"Subscription/{made['id']} is {made['status']}, not active")
    return made


async def dial(people: People, login: str, subscription: Json) -> Line:
    """Ask, as this person, for a token that binds a socket to the subscription."""
    asked = f"Subscription/{subscription['id']}/$get-ws-binding-token"
    parameters = (await people.get(login, asked))["parameter"]
    given = {
        one["name"]: next(value for member, value in one.items() if member != "name")
        for one in parameters
    }
    return Line(given["websocket-url"], given["token"])


def _subscription(login: str) -> Json:
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Reports that wait for me",
        "criteria": TOPIC,
        "_criteria": _extended(
            "backport-filter-criteria", valueString=f"Task?owner=PractitionerRole/{login}"
        ),
        "channel": {
            "type": "websocket",
            "payload": "application/fhir+json",
            "_payload": _extended("backport-payload-content", valueCode="id-only"),
        },
    }


def _extended(name: str, **value: str) -> Json:
    return {"extension": [{"url": f"{BACKPORT}/{name}", **value}]}


def _status(message: str | bytes) -> Json:
    """Read what a notification says: its `type`, and number and focus of each of its `events`."""
    parameters = json.loads(message)["entry"][0]["resource"]["parameter"]
    named = {one["name"]: one for one in parameters}
    events = []
    for one in parameters:
        if one["name"] == "notification-event":
            parts = {part["name"]: part for part in one["part"]}
            reference = parts["focus"]["valueReference"]["reference"] if "focus" in parts else ""
            focus = "/".join(reference.split("/")[-2:])
            events.append((int(parts["event-number"]["valueString"]), focus))
    return {"type": named["type"]["valueCode"], "events": events}
