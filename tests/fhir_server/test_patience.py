"""How long a client may take, on a real socket; the limits are made short for the test."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from fhir_server import patience
from fhir_server.patience import PatientProtocol, PatientServer, prepare

pytestmark = pytest.mark.standard("threats F10")


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, as slowly as the path says; answer its length."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message.get("more_body", False)
        await asyncio.sleep(float(scope["path"].strip("/") or 0))
    content = b"%d octets" % length
    headers = [(b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(patience, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(patience, "BODY_SECONDS", 0.5)
    monkeypatch.setattr(patience, "TICKS_A_SECOND", 1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            application, http=PatientProtocol, lifespan="off", log_level="critical"
        )
        server = PatientServer(config)
        thread = threading.Thread(
            target=asyncio.run, args=(server.serve([prepare(listener)]),), daemon=True
        )
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield int(listener.getsockname()[1])
        server.should_exit = True
        thread.join(10)


def said(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What is answered to pieces that come one after the other, until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            time.sleep(pause)
        heard = b""
        try:
            while more := connection.recv(65536):
                heard += more
        except (ConnectionResetError, TimeoutError) as error:
            heard += type(error).__name__.encode()
        return heard


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.slow
@pytest.mark.standard("RFC 9110 15.5.9")
@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET / HTTP/1.1\r\n"],
        [b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 12],
        [b"\r\n"] * 12,
        [b"G"],
        [POST],
        [POST, *[b"x"] * 12],
        [POST, *[b"x" * 1000] * 12],
        [CHUNKED, *[b"1\r\nx\r\n"] * 12],
    ],
    ids=["a line", "slow fields", "empty lines", "a letter", "no body", "slow body", "too slow",
         "slow chunks"],
)  # fmt: skip
def test_who_takes_too_long_is_told_so_and_hung_up_on(port: int, pieces: list[bytes]) -> None:
    began = time.monotonic()

    heard = said(port, *pieces, pause=0.1)

    assert time.monotonic() - began < 4
    assert heard.startswith(b"HTTP/1.1 408 ") or b"ConnectionReset" in heard


def test_who_says_nothing_is_hung_up_on(port: int) -> None:
    assert said(port) == b""


def test_a_body_at_a_fair_pace_is_read_however_long_it_takes(port: int) -> None:
    heard = said(port, POST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
                 *[b"x" * 10_000] * 10, pause=0.1)  # fmt: skip

    assert heard.endswith(b"100000 octets")


def test_a_client_is_not_hurried_while_we_do_not_read(port: int) -> None:
    head = b"POST /0.8 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n"

    assert said(port, head, bytes(300_000)).endswith(b"300000 octets")


def test_a_connection_that_is_kept_alive_is_left_in_peace(port: int) -> None:
    last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    assert said(port, GET, b"", b"", GET, last, pause=0.4).count(b" 200 OK") == 3


@pytest.mark.standard("RFC 9110 15.5.15, RFC 6585 5")
@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b"GET /", *[b"a" * 10_000] * 20], b"414"),
        ([b"GET / HTTP/1.1\r\n", *[b"X-A: " + b"b" * 1000 + b"\r\n"] * 200], b"431"),
        ([b"GET / HTTP/1.1\r\nX: ", *[b"b" * 10_000] * 20], b"431"),
    ],
)
def test_a_head_without_an_end_is_not_hoarded(
    port: int, pieces: list[bytes], status: bytes
) -> None:
    heard = said(port, *pieces, pause=0.001)

    assert heard.startswith(b"HTTP/1.1 " + status) or b"ConnectionReset" in heard


def test_requests_one_behind_the_other_are_answered_in_turn(port: int) -> None:
    last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    assert said(port, GET * 20 + last).count(b" 200 OK") == 21
