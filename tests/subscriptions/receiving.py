"""A receiver of notifications: plain asyncio on loopback, answering as it is told to."""

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]


def certified(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate of a name: what serves with it, and the file to trust it by."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(certificate), "-subj", f"/CN={name}",
         "-addext", f"subjectAltName=DNS:{name}"],
        check=True, capture_output=True,
    )  # fmt: skip
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    return serving, certificate


class Request(NamedTuple):
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.body)
        return found

    @property
    def status(self) -> dict[str, Any]:
        """The parameters of the notification's status, by name; the events by themselves."""
        return status_of(self.json)

    @property
    def kind(self) -> str:
        return str(self.status["type"])

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events told in it."""
        return numbers_of(self.json)


def status_of(bundle: Json) -> dict[str, Any]:
    parameters = bundle["entry"][0]["resource"]["parameter"]
    return {
        each["name"]: next(value for name, value in each.items() if name[:5] == "value")
        for each in parameters
        if "part" not in each
    }


def numbers_of(bundle: Json) -> list[int]:
    parameters = bundle["entry"][0]["resource"]["parameter"]
    return [
        int(part["valueString"])
        for each in parameters
        if each["name"] == "notification-event"
        for part in each["part"]
        if part["name"] == "event-number"
    ]


class Receiver:
    """Where notifications go. `answers` says what a request is answered, before it is noted.

    An answer is a status, or octets to be sent as they are, or None: nothing, for ever. A request
    is noted in `taken` when it is answered 2xx.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        self.answers: Callable[[Request], int | bytes | None] = lambda request: 200
        self.delay = 0.0
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def told(self) -> list[int]:
        """The numbers of all events that were taken, in the order in which they came."""
        return [
            number
            for each in self.taken
            if each.body and each.kind == "event-notification"
            for number in each.numbers
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await _read(reader):
            self.requests.append(request)
            if self.delay:
                await asyncio.sleep(self.delay)
            answer = self.answers(request)
            if answer is None:
                await asyncio.Event().wait()
            if isinstance(answer, int):
                if 200 <= answer < 300:
                    self.taken.append(request)
                answer = f"HTTP/1.1 {answer} Told\r\nContent-Length: 0\r\n\r\n".encode()
            writer.write(answer or b"")
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name:
            headers[name] = value
    length = int(next((v for k, v in headers.items() if k.lower() == "content-length"), "0"))
    body = await reader.readexactly(length) if length else b""
    return Request(method, path, headers, body, time.monotonic())


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver on a free port until the block is left."""
    receiver = Receiver()
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(receiver.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await asyncio.sleep(0.01)  # so that what was aborted is closed before the loop is


async def until(holds: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.01)
