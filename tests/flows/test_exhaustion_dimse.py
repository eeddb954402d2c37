"""Very many who only call: idle associations and junk on the port, and what is left of them."""

import asyncio
import os
import socket
import threading
import time

import pytest

from dicom_bridge.dimse import reactor
from tests.dicom_bridge.conftest import Archive
from tests.dicom_bridge.conftest import archive as archive
from tests.dicom_bridge.conftest import bridge as bridge
from tests.flows.wire import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    Line,
    answers,
    association,
    command,
    data,
    echo,
)

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T17")]

IDLE, JUNK = 200, 10_000
AT_A_TIME = 25
MOST_SECONDS = 8.0
"""On a machine that does other things too; whoever is forgotten waits for ever."""

WORDS = (
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"",
    b"\0" * 64,
    association()[:40],
    b"\x01\x00\xff\xff\xff\xff",
)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    """Threads that serve the port; those of the loop's own pool come and go."""
    alive = [thread.name for thread in threading.enumerate() if thread.is_alive()]
    return sum(not name.startswith("asyncio_") for name in alive)


def shout(port: int, count: int) -> None:
    """Connect and say what is no DICOM, many times; wait for nothing."""
    for at in range(0, count, AT_A_TIME):
        lines = []
        for number in range(at, min(count, at + AT_A_TIME)):
            try:
                line = socket.create_connection(("127.0.0.1", port), 10)
            except OSError:  # it is full for the moment
                continue
            lines.append(line)
            try:
                line.sendall(WORDS[number % len(WORDS)])
            except OSError:
                continue
        for line in lines:
            line.close()


def alike(port: int, count: int) -> list[Line]:
    """Associations on which nobody says anything more."""
    held = []
    for _ in range(count):
        line = Line(port)
        assert line.associate() == ASSOCIATE_AC
        held.append(line)
    return held


@pytest.mark.slow
async def test_two_hundred_idle_and_ten_thousand_junk_leave_no_trace_and_hold_up_nobody(
    archive: Archive,
) -> None:
    assert await archive.call(answers, archive.port) == 0
    before = threads(), descriptors()
    assert reactor.MOST_OF_A_PEER >= IDLE
    idle = await archive.call(alike, archive.port, IDLE - 1)
    one = idle[0]
    shouting = asyncio.ensure_future(archive.call(shout, archive.port, JUNK))
    waits: list[float] = []

    while not shouting.done():
        began = time.monotonic()
        await archive.call(one.say, data(command(echo())))
        assert await archive.call(one.status) == 0
        waits.append(time.monotonic() - began)
        await asyncio.sleep(0.01)
    await shouting

    assert len(waits) > 10
    assert sorted(waits)[int(len(waits) * 0.99)] < MOST_SECONDS
    for line in idle:
        line.connection.close()
    end = time.monotonic() + 60
    while time.monotonic() < end and not (threads() <= before[0] and descriptors() <= before[1]):
        await asyncio.sleep(0.05)
    assert archive.server.active_associations == []
    assert threads() <= before[0]
    assert descriptors() <= before[1]
    assert await archive.call(answers, archive.port) == 0


async def test_a_peer_that_has_its_share_takes_nobody_elses_place(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reactor, "MOST_OF_A_PEER", 3)
    held = await archive.call(alike, archive.port, 3)

    with Line(archive.port) as too_many, Line(archive.port) as other:
        assert await archive.call(too_many.associate) == ASSOCIATE_RJ
        assert await archive.call(lambda: other.associate(calling=b"CT2")) == ASSOCIATE_AC
        held.pop().connection.close()
        end = time.monotonic() + 60
        while len(archive.server.active_associations) > 3 and time.monotonic() < end:
            await asyncio.sleep(0.01)
        with Line(archive.port) as again:
            assert await archive.call(again.associate) == ASSOCIATE_AC
    for line in held:
        line.connection.close()
