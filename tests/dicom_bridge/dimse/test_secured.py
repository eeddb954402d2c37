"""The TLS connection of an association: read and written at the same time, and never waited in."""

import asyncio
import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_bridge.dimse.secured import SecuredSocket
from tests.dicom_bridge.dimse.test_tls import Identity

pytestmark = pytest.mark.anyio

MUCH = 16 << 20
PIECE = 1 << 16


class Ends:
    """A listening end of ours, and what a client needs to call it."""

    def __init__(self, folder: Path) -> None:
        identity = Identity(folder, "server")
        self.accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.accepting.load_cert_chain(identity.path, identity.key)
        self.accepting.sslsocket_class = SecuredSocket
        self.calling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.calling.check_hostname, self.calling.verify_mode = False, ssl.CERT_NONE
        self.listener = socket.create_server(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def accept(self, patience: float | None = 30.0) -> ssl.SSLSocket:
        accepted, _ = self.listener.accept()
        made = self.accepting.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        made.settimeout(patience)
        return made


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    made = Ends(tmp_path)
    yield made
    made.listener.close()


async def test_much_goes_both_ways_at_the_same_time_and_arrives_as_it_was(ends: Ends) -> None:
    sent, there = os.urandom(MUCH), hashlib.sha256()

    async def serve() -> None:
        ours = await asyncio.to_thread(ends.accept)

        def read() -> None:
            buffer, left = bytearray(PIECE), MUCH
            while left:
                count = ours.recv_into(buffer)
                assert count
                there.update(buffer[:count])
                left -= count

        reading = threading.Thread(target=read)
        await asyncio.to_thread(ours.recv_into, bytearray(1))  # with it comes the handshake
        reading.start()
        await asyncio.to_thread(ours.sendall, sent)
        await asyncio.to_thread(reading.join)
        ours.close()

    async def call() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", ends.port, ssl=ends.calling)
        writer.write(b"x")

        async def write() -> None:
            for at in range(0, MUCH, PIECE):
                writer.write(sent[at : at + PIECE])
                await writer.drain()

        writing = asyncio.create_task(write())
        received = await reader.readexactly(MUCH)
        await writing
        writer.close()
        return received

    _, received = await asyncio.gather(serve(), call())

    assert received == sent
    assert there.digest() == hashlib.sha256(sent).digest()


async def test_one_writes_while_another_waits_for_the_peer(ends: Ends) -> None:
    """A thread that waited inside the connection would keep the other out until the peer speaks."""
    calling = asyncio.open_connection("127.0.0.1", ends.port, ssl=ends.calling)
    ours, (reader, writer) = await asyncio.gather(asyncio.to_thread(handshaken, ends), calling)
    waiting = asyncio.create_task(asyncio.to_thread(ours.recv, 1))

    await asyncio.to_thread(ours.sendall, b"told while the other waits")

    assert await reader.readexactly(26) == b"told while the other waits"
    writer.write(b"x")
    assert await waiting == b"x"
    writer.close()
    ours.close()


async def test_a_peer_that_says_nothing_is_waited_for_as_long_as_was_said(ends: Ends) -> None:
    calling = asyncio.open_connection("127.0.0.1", ends.port, ssl=ends.calling)
    ours, (_, writer) = await asyncio.gather(asyncio.to_thread(handshaken, ends), calling)
    ours.settimeout(0.05)

    with pytest.raises(TimeoutError):
        await asyncio.to_thread(ours.recv, 1)

    writer.close()
    ours.close()


async def test_who_waits_is_woken_when_the_connection_is_shut(ends: Ends) -> None:
    calling = asyncio.open_connection("127.0.0.1", ends.port, ssl=ends.calling)
    ours, (_, writer) = await asyncio.gather(asyncio.to_thread(handshaken, ends), calling)
    waiting = asyncio.create_task(asyncio.to_thread(ended, ours))

    ours.shutdown(socket.SHUT_RDWR)

    assert await asyncio.wait_for(waiting, 30)
    writer.close()
    ours.close()


def handshaken(ends: Ends) -> ssl.SSLSocket:
    ours = ends.accept()
    while True:
        try:
            ours.do_handshake()
        except ssl.SSLWantReadError:
            continue
        return ours


def ended(ours: ssl.SSLSocket) -> bool:
    try:
        return ours.recv(1) == b""
    except OSError:
        return True
