"""The port goes on answering, whatever comes in, and gives back what it took."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pynetdicom import AE

from dicom_bridge.dimse import commands, reactor, scp
from tests.dicom_bridge.build import a_series, an_instance
from tests.dicom_bridge.conftest import Archive

pytestmark = pytest.mark.anyio


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    """All threads but those in which the clients of these tests run."""
    return sum("asyncio" not in thread.name for thread in threading.enumerate())


def eventually(holds: Callable[[], Any], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return bool(holds())


def pdu(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BxL", kind, len(content) if length is None else length) + content


JUNK = {
    "an SSH banner": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "a web browser": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    "zeros": bytes(4096),
    "half a header": b"\x01\x00\x00",
    "half an A-ASSOCIATE-RQ": pdu(1, b"\0\1\0\0" + b"A" * 30, length=200),
    "a length of 4 GB": pdu(1, b"\0\1", length=0xFFFFFFFF),
    "an A-ASSOCIATE-RQ of noise": pdu(1, b"\xff" * 500),
    "P-DATA before an association": pdu(4, b"\0\0\0\4\1\3\0\0"),
    "a release before an association": pdu(5, bytes(4)),
    "an abort": pdu(7, bytes(4)),
}


@pytest.mark.standard("PS3.8 9.2")
@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
async def test_junk_ends_a_connection_and_nothing_else(archive: Archive, junk: bytes) -> None:
    def throw() -> None:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", archive.port), timeout=5) as connection:
                connection.sendall(junk)
                connection.shutdown(socket.SHUT_WR)
                try:
                    while connection.recv(4096):
                        pass
                except ConnectionResetError:
                    pass

    await archive.call(throw)

    assert await archive.call(archive.echo) == 0x0000
    assert await archive.call(eventually, lambda: not archive.server.active_associations)


async def test_threads_and_descriptors_come_back(archive: Archive) -> None:
    assert await archive.call(archive.echo) == 0x0000
    await archive.call(eventually, lambda: not archive.server.active_associations)
    running, open_files = threads(), descriptors()

    def crowd() -> None:
        raw = [socket.create_connection(("127.0.0.1", archive.port)) for _ in range(20)]
        idle = [archive.associate() for _ in range(50)]
        assert all(association.is_established for association in idle)
        assert archive.echo() == 0x0000
        for association in idle[:45]:
            association.release()
        for association in idle[45:]:
            association.abort()
        for connection in raw:
            connection.close()

    await archive.call(crowd)

    assert await archive.call(eventually, lambda: not archive.server.active_associations)
    assert await archive.call(eventually, lambda: threads() <= running)
    assert await archive.call(eventually, lambda: descriptors() <= open_files)


async def test_idle_associations_cost_no_cpu(archive: Archive) -> None:
    def used() -> float:
        idle = [archive.associate() for _ in range(5)]
        before = sum(
            time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            for thread in archive.server.active_associations
            if thread.ident is not None
        )
        time.sleep(0.5)
        after = sum(
            time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            for thread in archive.server.active_associations
            if thread.ident is not None
        )
        for association in idle:
            association.release()
        return after - before

    assert await archive.call(used) < 0.01


@pytest.mark.standard("PS3.8 9.3.4")
@pytest.mark.parametrize(
    ("calling", "called", "reason"),
    [("STRANGER", "ISOCENTRE", 0x03), ("CT1", "OTHER", 0x07), ("ct1", "ISOCENTRE", 0x03)],
)
async def test_who_is_not_known_or_does_not_mean_us_is_rejected(
    archive: Archive, calling: str, called: str, reason: int
) -> None:
    association = await archive.call(archive.associate, calling=calling, called=called)

    assert association.is_rejected
    answer: Any = association.acceptor.primitive
    assert answer.diagnostic == reason
    rows = await archive.bridge.database.run(
        "select subject, outcome from audit where interaction = 'association'"
    )
    assert rows == [(f"Peer/{calling}", 4)]
    assert await archive.call(archive.echo) == 0x0000


def line_of(association: Any) -> socket.socket:
    """The socket of a requestor, to write to it behind pynetdicom's back."""
    line: socket.socket = association.dul.socket.socket
    return line


def unfinished(archive: Archive, ending: str) -> None:
    """Send half of a C-STORE request, then end the connection."""
    ds = an_instance(rows=256, columns=256)
    ae = AE("CT1")
    ae.add_requested_context(ds.SOPClassUID, scp.PLAIN[0])
    association = ae.associate("127.0.0.1", archive.port, ae_title="ISOCENTRE")
    assert association.is_established
    from pynetdicom.dimse_primitives import C_STORE

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    command = commands.encoded(request, "C_STORE_RQ", has_data_set=True)
    assert command is not None
    content = commands.framed(1, 1, command, 16384) + commands.framed(1, 0, bytes(100000), 16384)
    connection = line_of(association)
    connection.sendall(b"".join(content)[:60000])
    time.sleep(0.1)
    if ending == "the line breaks":
        connection.shutdown(socket.SHUT_RDWR)
    association.abort()
    connection.close()


@pytest.mark.standard("PS3.8 7.3")
@pytest.mark.parametrize("ending", ["abort", "the line breaks"])
async def test_an_end_within_a_data_set_leaves_nothing_behind(
    archive: Archive, ending: str
) -> None:
    await archive.call(unfinished, archive, ending)

    assert await archive.call(eventually, lambda: not archive.server.active_associations)
    assert list(archive.bridge.blobs.left()) == []
    assert await archive.bridge.database.run("select * from instance") == []
    assert await archive.call(archive.echo) == 0x0000


@pytest.mark.standard("PS3.4 B.2.3")
async def test_a_full_disk_is_out_of_resources(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full_disk(os.write))
        patched.setattr(os, "writev", full_disk(os.writev))
        (status,) = await archive.call(archive.send, an_instance())
    assert status.Status == 0xA700
    (again,) = await archive.call(archive.send, an_instance())
    assert again.Status == 0x0000


def full_disk(write: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
    """A disk with no room for anything longer than a hundred bytes."""

    def limited(descriptor: int, content: Any) -> int:
        if len(content) > 100 or isinstance(content, tuple):
            raise OSError(28, "No space left on device")
        return write(descriptor, content)

    return limited


@pytest.mark.standard("PS3.7 E.1")
async def test_a_message_on_a_context_that_was_not_accepted_is_aborted(archive: Archive) -> None:
    def send() -> None:
        association = archive.associate()
        request = commands.ELEMENT.pack(0, 0x0100, 2) + b"\x30\x00"
        connection = line_of(association)
        connection.sendall(b"".join(commands.framed(99, 1, request, 16384)))
        assert eventually(lambda: association.is_aborted)

    await archive.call(send)

    assert await archive.call(archive.echo) == 0x0000


async def test_a_server_that_stops_ends_its_associations(archive: Archive) -> None:
    association = await archive.call(archive.associate)

    await archive.call(reactor.stop, archive.server)

    assert await archive.call(eventually, lambda: association.is_aborted)
    archive.server.ae._servers.append(archive.server)  # the fixture stops it once more


async def test_large_objects_go_through_in_pieces(archive: Archive) -> None:
    series = a_series(2, rows=1200, columns=1200)

    statuses = await archive.call(archive.send, *series)

    assert [status.Status for status in statuses] == [0x0000] * 2


def test_a_pynetdicom_without_the_names_we_need_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert reactor.missing() == []
    assert reactor.is_on()
    assert not reactor.is_on(reactor.OFF)

    monkeypatch.delattr("pynetdicom.dul.DULServiceProvider._read_pdu_data")

    assert not reactor.is_on()
