"""What subscriptions cost: from a change to its notification, how many a second, and for writers.

Receivers are plain sockets in this process, told apart by their paths.
"""

import asyncio
import itertools
import json
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from bench import payloads
from bench.client import Client, Connection
from bench.processes import Roots, cpu_seconds

HOOK_PORT: Final = 8097
TOPIC: Final = "https://isocentre.example/fhir/SubscriptionTopic/request-complete"
CONTENT: Final = (
    "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content"
)
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_ABOUT: Final = re.compile(rb"ServiceRequest/([A-Za-z0-9.-]+)\"")
_EVENTS: Final = b'"name":"notification-event"'

Json = dict[str, Any]


class Hook(asyncio.Protocol):
    """One connection of the server's."""

    heard: Callable[[bytes], None]

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self.heard = heard
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            if len(self.buffer) < end + 4 + length:
                return
            self.heard(self.buffer[end + 4 : end + 4 + length])
            self.buffer = self.buffer[end + 4 + length :]
            self.transport.write(ANSWER)


class Heard:
    """What arrived: instants by id, and how many events in all."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self.events = 0
        self.bundles = 0

    def note(self, body: bytes) -> None:
        """Note one notification."""
        now, number = time.perf_counter(), body.count(_EVENTS)
        self.events += max(number, 0)
        self.bundles += number > 0
        for id in _ABOUT.findall(body):
            self.at.setdefault(id.decode(), now)


@asynccontextmanager
async def hearing() -> AsyncIterator[Heard]:
    """Listen for notifications until the block ends."""
    heard = Heard()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Hook(heard.note), "127.0.0.1", HOOK_PORT)
    try:
        yield heard
    finally:
        server.close()


def _subscription(number: int, patient: str) -> Json:
    content = {"url": CONTENT, "valueCode": "id-only"}
    filters = {
        "url": CONTENT.replace("payload-content", "filter-criteria"),
        "valueString": f"ServiceRequest?patient=Patient/{patient}",
    }
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "bench",
        "criteria": TOPIC,
        "_criteria": {"extension": [filters]},
        "channel": {
            "type": "rest-hook",
            "endpoint": f"http://127.0.0.1:{HOOK_PORT}/{number}",
            "payload": "application/fhir+json",
            "_payload": {"extension": [content]},
        },
    }


def _complete(client: Client, patient: str, number: int) -> tuple[str, bytes]:
    """Write the request that makes something happen, under an id that is known before."""
    id = f"bench-{number}"
    body = payloads.service_request(patient, number, random.Random(number))
    body |= {"status": "completed", "id": id}
    return id, client.request("PUT", f"/ServiceRequest/{id}", body)


async def _create(client: Client, line: Connection, body: Json) -> str:
    status, answer = await line.ask(client.request("POST", f"/{body['resourceType']}", body))
    if status != 201:
        raise SystemExit(f"{body['resourceType']}: http {status} {answer[:400]!r}")
    return str(json.loads(answer)["id"]) if answer else ""


async def _patient(client: Client, line: Connection) -> str:
    bundle = payloads.bundle("batch", [("", payloads.patient(1))])
    _, answer = await line.ask(client.request("POST", "", bundle))
    location: str = json.loads(answer)["entry"][0]["response"]["location"]
    return location.split("/_history")[0].rsplit("/", 1)[1]


async def _active(client: Client, line: Connection, number: int) -> None:
    """Wait until so many subscriptions are active."""
    for _ in range(1200):
        query = "/Subscription?status=active&_summary=count"
        _, answer = await line.ask(client.request("GET", query))
        if json.loads(answer)["total"] >= number:
            return
        await asyncio.sleep(0.25)
    raise SystemExit("the subscriptions do not become active")


async def _write(client: Client, patient: str, first: int, seconds: float) -> tuple[float, float]:
    """Write on four connections for a while; give writes a second and p95 in milliseconds."""
    took: list[float] = []
    numbers = itertools.count(first)
    end = time.perf_counter() + seconds

    async def work() -> None:
        line = await client.connect()
        while time.perf_counter() < end:
            _, request = _complete(client, patient, next(numbers))
            began = time.perf_counter()
            status, answer = await line.ask(request)
            if status != 201:
                raise SystemExit(f"http {status} {answer[:300]!r}")
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(work() for _ in range(4)))
    return len(took) / seconds, p95(took)


async def _at_a_pace(
    client: Client, patient: str, heard: Heard, first: int, number: int, per_second: float
) -> list[float]:
    """Make so many changes at a pace; give the seconds until each was told."""
    sent: dict[str, float] = {}
    lines = [await client.connect() for _ in range(8)]
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for line in lines:
        free.put_nowait(line)
    tasks = []

    async def change(at: int) -> None:
        id, request = _complete(client, patient, at)
        line = await free.get()
        sent[id] = time.perf_counter()
        await line.ask(request)
        free.put_nowait(line)

    began = time.perf_counter()
    for n in range(number):
        await asyncio.sleep(max(began + n / per_second - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(change(first + n)))
    await asyncio.gather(*tasks)
    end = time.perf_counter() + 30
    while sent.keys() - heard.at.keys() and time.perf_counter() < end:
        await asyncio.sleep(0.05)
    return [heard.at[id] - at for id, at in sent.items() if id in heard.at]


def p95(values: list[float]) -> float:
    """Milliseconds that 19 of 20 keep below."""
    return 1000 * sorted(values)[int(len(values) * 0.95)] if values else 0.0


async def measure(
    url: str, token: str, roots: Roots, seconds: float, many: int = 1000
) -> dict[str, float]:
    """Measure all of it."""
    client = Client(f"{url}/fhir", token)
    line = await client.connect()
    quiet, told, crowd = [await _patient(client, line) for _ in range(3)]
    found: dict[str, float] = {}
    async with hearing() as heard:
        found["writes a second, nobody subscribed"], found["their p95 ms"] = await _write(
            client, quiet, 0, seconds
        )
        await _create(client, line, _subscription(0, told))
        await _active(client, line, 1)
        took = await _at_a_pace(client, told, heard, 100_000, int(100 * seconds), 100)
        found["change to notification at 100 a second, p50 ms"] = (
            1000 * sorted(took)[len(took) // 2]
        )
        found["change to notification at 100 a second, p95 ms"] = p95(took)
        found["told of the changes, share"] = len(took) / int(100 * seconds)
        for number in range(1, many + 1):
            await _create(client, line, _subscription(number, crowd))
        await _active(client, line, many + 1)
        (
            found["writes a second, many subscribed to others"],
            found["their p95 ms (2)"],
        ) = await _write(client, quiet, 200_000, seconds)
        rate, tail = await _write(client, told, 300_000, seconds)
        found["writes a second, each told to one"], found["their p95 ms (3)"] = rate, tail
        await asyncio.sleep(5)
        before, began, used = heard.events, time.perf_counter(), cpu_seconds(roots)
        bundles, changes = heard.bundles, 10
        lines = await client.connect()
        for number in range(changes):
            await lines.ask(_complete(client, crowd, 400_000 + number)[1])
            await asyncio.sleep(1.0)
        while heard.events - before < changes * many and time.perf_counter() - began < 120:
            await asyncio.sleep(0.05)
        took_all = time.perf_counter() - began
        found["events told a second, to many"] = (heard.events - before) / took_all
        found["notifications a second, to many"] = (heard.bundles - bundles) / took_all
        found["CPU ms of a notification"] = (
            1000 * (cpu_seconds(roots) - used) / max(heard.bundles - bundles, 1)
        )
    return found
