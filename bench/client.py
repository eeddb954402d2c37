"""A light HTTP/1.1 client for load on loopback, and the measuring loop around it."""

import asyncio
import ipaddress
import json
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bench import processes

Answer = tuple[int, bytes]


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.waiting: asyncio.Future[Answer] | None = None
        self.transport: asyncio.Transport
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Switch Nagle's algorithm off."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request under way."""
        self.closed = True
        if self.waiting and not self.waiting.done():
            self.waiting.set_exception(exc or ConnectionError("closed by the server"))

    def data_received(self, data: bytes) -> None:
        """Answer the request under way once its whole answer is here."""
        self.buffer += data
        answer = self._answer()
        if answer and self.waiting and not self.waiting.done():
            self.waiting.set_result(answer)

    def _answer(self) -> Answer | None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self.buffer[:end]).lower()
        start = head.find(b"\r\ncontent-length:")
        length = int(head[start + 17 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return None
        body = bytes(self.buffer[end + 4 : end + 4 + length])
        del self.buffer[: end + 4 + length]
        self.closed = b"\r\nconnection: close" in head
        return int(head[9:12]), body

    async def ask(self, request: bytes, timeout: float = 60) -> Answer:
        """Send one request, and wait for its answer."""
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await asyncio.wait_for(self.waiting, timeout)


class Client:
    """Makes requests to one base address on loopback."""

    def __init__(self, base: str, token: str = "", accept: str = "application/fhir+json") -> None:
        address = urlsplit(base)
        self.host, self.port = address.hostname or "", address.port or 80
        for *_, found in socket.getaddrinfo(self.host, self.port):
            if not ipaddress.ip_address(found[0]).is_loopback:
                raise SystemExit(f"not a loopback address: {found[0]}")
        self.path = address.path.rstrip("/")
        self.head = f"host: {self.host}:{self.port}\r\naccept: {accept}\r\n"
        if token:
            self.head += f"authorization: Bearer {token}\r\n"

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """Write a request; a body is sent as FHIR JSON."""
        line = f"{method} {self.path}{path} HTTP/1.1\r\n{self.head}"
        if body is None:
            return (line + "\r\n").encode()
        data = json.dumps(body, separators=(",", ":")).encode()
        kind = f"content-type: application/fhir+json\r\ncontent-length: {len(data)}\r\n\r\n"
        return (line + kind).encode() + data

    async def connect(self) -> Connection:
        """Open one more connection."""
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Connection, self.host, self.port))[1]


class Measured(NamedTuple):
    """One round: rates per second, times in milliseconds, CPU of the server per request."""

    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    client_cpu: float
    others_cpu: float
    errors: dict[str, int]


def percentile(sorted_values: list[float], share: float) -> float:
    """Nearest rank of an ascending list; not a number when it is empty."""
    if not sorted_values:
        return float("nan")
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


async def drive(
    client: Client,
    connections: int,
    seconds: float,
    make: Callable[[], bytes],
    right: Callable[[int, bytes], bool],
    server: processes.Roots,
    most: int = 200_000,
) -> Measured:
    """Ask on all connections until the time or the number of requests is used up.

    What fails or is answered wrongly counts as an error, never as a request done.
    """
    times: list[float] = []
    errors: dict[str, int] = {}
    left = most
    stop = time.perf_counter() + seconds

    async def asker() -> None:
        nonlocal left
        connection = await client.connect()
        while left > 0 and time.perf_counter() < stop:
            left -= 1
            request = make()
            began = time.perf_counter()
            try:
                if connection.closed:
                    connection = await client.connect()
                status, body = await connection.ask(request)
            except (OSError, TimeoutError) as error:
                name = type(error).__name__
                errors[name] = errors.get(name, 0) + 1
                connection.closed = True
                await asyncio.sleep(0.05)
                continue
            took = time.perf_counter() - began
            if right(status, body):
                times.append(took)
            else:
                name = f"http {status}" if status >= 300 else "wrong answer"
                errors[name] = errors.get(name, 0) + 1
        connection.transport.close()

    began, own = time.perf_counter(), time.process_time()
    busy, used = processes.machine_seconds(), processes.cpu_seconds(server)
    await asyncio.gather(*[asker() for _ in range(connections)])
    wall, own = time.perf_counter() - began, time.process_time() - own
    busy, used = processes.machine_seconds() - busy, processes.cpu_seconds(server) - used
    times.sort()
    done = max(1, len(times) + sum(errors.values()))
    p50, p95, p99 = (percentile(times, share) * 1e3 for share in (0.5, 0.95, 0.99))
    return Measured(
        len(times) / wall,
        p50,
        p95,
        p99,
        used / done * 1e3,
        own / wall,
        max(0.0, busy - own - used) / wall,
        errors,
    )
