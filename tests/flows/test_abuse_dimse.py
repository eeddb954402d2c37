"""Threats T12, T15, T17, F10: whatever is said on the DICOM port, it goes on answering at once.

What was said is answered with a status or ends its association; nothing is left behind, and nobody
else notices.
"""

import asyncio
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_bridge.dimse import reactor, scp
from tests.dicom_bridge.build import a_uid, an_instance, part10
from tests.dicom_bridge.conftest import Archive
from tests.dicom_bridge.conftest import archive as archive
from tests.dicom_bridge.conftest import bridge as bridge
from tests.flows import wire
from tests.flows.wire import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    COMMAND,
    CT,
    DEFLATED,
    EXPLICIT,
    FIND,
    GET,
    IMPLICIT,
    LAST,
    P_DATA,
    RELEASE_RQ,
    VERIFICATION,
    Line,
    answers,
    association,
    command,
    context,
    data,
    echo,
    element,
    item,
    pdu,
    pdv,
    pieces,
    store,
    us,
)

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T15, T17, F10")]

AT_ONCE = 8.0
"""Seconds; on a machine that does other things too. Who is forgotten waits ten, or for ever."""
MOST_MEMORY = 200 << 20


def eventually(holds: Callable[[], Any], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not holds():
        time.sleep(0.02)
    return bool(holds())


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def spooled(archive: Archive) -> list[Path]:
    return list(archive.bridge.blobs.left())


def is_over(archive: Archive) -> bool:
    """Whether no association, and no thread of one, is left."""
    names = [thread.name for thread in threading.enumerate() if thread.is_alive()]
    return not archive.server.active_associations and not [n for n in names if "DUL" in n]


class Upper(threading.Thread):
    """Looks whether the port answers for as long as something else goes on."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.stop, self.longest, self.count = port, threading.Event(), 0.0, 0
        self.failed: list[object] = []

    def run(self) -> None:
        while not self.stop.wait(0.05):
            began = time.monotonic()
            try:
                status = answers(self.port)
            except OSError as error:
                self.failed.append(error)
            else:
                if status != 0:
                    self.failed.append(status)
            self.longest = max(self.longest, time.monotonic() - began)
            self.count += 1

    async def __aenter__(self) -> "Upper":
        self.start()
        return self

    async def __aexit__(self, *gone: object) -> None:
        self.stop.set()
        await asyncio.to_thread(self.join, 10)  # the server needs the loop to answer


def without(number: int, elements: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return [one for one in elements if one[0] != number]


def but(number: int, value: bytes, elements: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return sorted([*without(number, elements), (number, value)])


# --- before there is an association -------------------------------------------------------------

HEAD = struct.pack(">H2x16s16s32x", 1, b"ISOCENTRE".ljust(16), b"CT1".ljust(16))
APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")
USER = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))

REQUESTS = {
    "no presentation context": pdu(1, HEAD + APPLICATION + USER),
    "no user information": pdu(1, HEAD + APPLICATION + context(1)),
    "empty user information": association(user=b""),
    "user information that lies": association(user=item(0x51, b"\0\0\0\1", 40000)),
    "no abstract syntax": association(item(0x20, struct.pack(">B3x", 1) + item(0x40, IMPLICIT))),
    "no transfer syntax": association(item(0x20, struct.pack(">B3x", 1) + item(0x30, CT))),
    "empty syntaxes": association(context(1, b"", b"")),
    "syntaxes of 4000 octets": association(context(1, b"1." * 2000, b"1." * 2000)),
    "syntaxes that are no text": association(context(1, b"\xff\xfe\0", b"\xff")),
    "an even context ID": association(context(2)),
    "a context ID of 0": association(context(0)),
    "a lying item length": association(item(0x20, b"\1\0\0\0", 60000)),
    "an unknown item": association(item(0x77, bytes(100)) + context(1)),
    "empty AE titles": association(called=b"", calling=b""),
    "AE titles of NUL": association(called=b"\0" * 16, calling=b"\0" * 16),
    "an AE title with a NUL": association(calling=b"CT1\0x"),
    "an AE title with quotes": association(calling=b"';drop table--"),
    "AE titles that are no text": association(called=b"\xff" * 16, calling=b"\xfe" * 16),
    "half a request": association()[:40],
    "a request without its items": pdu(1, HEAD),
    "a protocol version of 0": pdu(1, b"\0\0" + HEAD[2:] + APPLICATION + context(1) + USER),
    "a maximum length of 1": association(user=item(0x51, struct.pack(">L", 1)) + item(0x52, b"1")),
    **{
        f"PDU {kind} of {n}": pdu(kind, bytes(n))
        for kind in (0, 2, 3, 4, 5, 6, 8, 255)
        for n in (0, 4)
    },
}


@pytest.mark.standard("PS3.8 9.3.2")
async def test_a_request_for_an_association_that_is_none_is_answered_or_ends(
    archive: Archive,
) -> None:
    def ask() -> dict[str, int]:
        heard = {}
        for name, sent in REQUESTS.items():
            began = time.monotonic()
            with Line(archive.port, sent) as line:
                line.finish()
                heard[name] = line.hear()[0]
            assert time.monotonic() - began < AT_ONCE, name
            assert answers(archive.port) == 0, name
        return heard

    heard = await archive.call(ask)

    assert set(heard.values()) <= {0, ASSOCIATE_AC, ASSOCIATE_RJ, ABORT}
    assert await archive.call(eventually, lambda: is_over(archive))


ANSWERED = {
    "no presentation context": ASSOCIATE_AC,  # PS3.8 9.3.2 asks for one; nothing can be done on it
    "no user information": ASSOCIATE_AC,
    "no abstract syntax": ABORT,
    "no transfer syntax": ABORT,
    "empty syntaxes": ABORT,
    "a maximum length of 1": ASSOCIATE_RJ,
}


@pytest.mark.standard("PS3.8 9.3.2.2")
async def test_a_request_that_is_none_is_answered_at_once_while_the_line_stays_open(
    archive: Archive,
) -> None:
    def ask() -> dict[str, int]:
        heard = {}
        for name in ANSWERED:
            began = time.monotonic()
            with Line(archive.port, REQUESTS[name]) as line:
                heard[name] = line.hear()[0]
            assert time.monotonic() - began < AT_ONCE, name
        return heard

    assert await archive.call(ask) == ANSWERED
    assert await archive.call(eventually, lambda: is_over(archive))


@pytest.mark.standard("PS3.8 9.3.2.2")
@pytest.mark.parametrize("count", [128, 10_000])
async def test_many_presentation_contexts_are_negotiated(archive: Archive, count: int) -> None:
    asked = b"".join(context(2 * n % 256 | 1) for n in range(count))
    with Line(archive.port) as line:
        assert await archive.call(line.associate, asked) == ASSOCIATE_AC
        line.say(data(command(echo())))
        assert await archive.call(line.status) == 0
    assert await archive.call(eventually, lambda: is_over(archive))


@pytest.mark.slow
@pytest.mark.standard("threats T17")
async def test_who_has_only_called_takes_nobodys_place(archive: Archive) -> None:
    crowd: list[Line] = []

    def call() -> float:
        longest = 0.0
        for n in range(reactor.MOST_CONNECTIONS + 100):
            crowd.append(Line(archive.port, b"" if n % 2 else association()[:40]))
            if n % 50 == 0:
                began = time.monotonic()
                assert answers(archive.port) == 0
                longest = max(longest, time.monotonic() - began)
        return longest

    try:
        assert await archive.call(call) < AT_ONCE
    finally:
        for line in crowd:
            line.connection.close()
    assert await archive.call(eventually, lambda: is_over(archive))
    assert await archive.call(answers, archive.port) == 0


async def test_who_speaks_slowly_is_hung_up_on(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_bridge.dimse.transport.REQUEST_SECONDS", 0.5)

    def drip() -> float:
        with Line(archive.port) as line:
            began = time.monotonic()
            for octet in association():
                try:
                    line.connection.sendall(bytes([octet]))
                except OSError:
                    break
                time.sleep(0.05)
            return time.monotonic() - began

    async with Upper(archive.port) as upper:
        assert await archive.call(drip) < 5
    assert upper.count
    assert upper.failed == []
    assert upper.longest < AT_ONCE


# --- commands -----------------------------------------------------------------------------------


class Said(NamedTuple):
    """What is said on an association, and the statuses that answer it; None: it ends instead."""

    sent: bytes
    answered: tuple[int | None, ...] = (None,)


FINE = command(echo())
ECHOES = {
    "no group length": Said(data(command(echo(), group_length=-1)), (0,)),
    "a lying group length": Said(data(command(echo(), group_length=0xFFFFFFF0)), (0,)),
    **{
        f"an echo without {n:04X}": Said(data(command(without(n, echo()))))
        for n in (2, 0x100, 0x110, 0x800)
    },
    "an empty message ID": Said(data(command(but(0x110, b"", echo())))),
    "an unknown SOP class": Said(data(command(but(2, b"1.2.3", echo())))),
    "a SOP class that is no text": Said(data(command(but(2, b"\xff\xfe", echo())))),
    **{
        f"command {field:04X}": Said(data(command(but(0x100, us(field), echo()))))
        for field in (
            0x7777,
            0x8001,
            0x8020,
            0x0001,
            0x0010,
            0x0020,
            0x0021,
            0x0100,
            0x0110,
            0x0120,
            0x0130,
            0x0140,
            0x0150,
        )
    },
    "an empty command": Said(data(b"")),
    "a command of noise": Said(data(bytes(range(256)))),
    "a command that lies about an element": Said(data(element(2, b"1.2", 0xFFFFFF))),
    "a command of sequences 1000 deep": Said(
        data(
            (
                struct.pack("<HHL", 8, 0x1140, 0xFFFFFFFF)
                + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
            )
            * 1000
        )
    ),
    "a command octet by octet": Said(
        b"".join(data(FINE[n : n + 1], COMMAND) for n in range(len(FINE))) + data(b""), (0,)
    ),
    "a command as PDVs of one PDU": Said(
        pdu(P_DATA, b"".join(pdv(FINE[n : n + 1], COMMAND) for n in range(len(FINE))) + pdv(b"")),
        (0,),
    ),
    "two commands in one PDU": Said(pdu(P_DATA, pdv(FINE) + pdv(command(echo(2)))), (0, 0)),
    "a data set before its command": Said(data(b"xxxx", 0)),
    "the end of a data set before its command": Said(data(b"xxxx", LAST)),
    "a context that is none": Said(data(FINE, number=77)),
    "a data set on another context": Said(
        data(command(but(0x800, us(1), echo()))) + pieces(b"xx", 3)
    ),
    "a command within a data set": Said(
        data(command(but(0x800, us(1), echo()))) + data(b"x", 0) + data(FINE)
    ),
    "a PDU without a PDV": Said(pdu(P_DATA, b"")),
    "a PDU shorter than a PDV's header": Said(pdu(P_DATA, b"\0\0\0")),
    "a PDV of no octets": Said(pdu(P_DATA, struct.pack(">L", 0))),
    "a PDV of one octet": Said(pdu(P_DATA, struct.pack(">LB", 1, 1))),
    "a PDV longer than its PDU": Said(pdu(P_DATA, struct.pack(">LBB", 0xFFFFFFFF, 1, 3))),
    "a PDU of 4 GB": Said(pdu(P_DATA, b"", 0xFFFFFFFF)),
    "a command without an end": Said(data(bytes(16000), COMMAND) * 1100),
    "a release of wrong length": Said(pdu(RELEASE_RQ, bytes(9))),
    **{
        f"PDU {kind} of {n}": Said(pdu(kind, bytes(n)))
        for kind in (0, 1, 2, 3, 6, 7, 8, 255)
        for n in (0, 5)
    },
}


@pytest.mark.standard("PS3.7 6.3.1, PS3.8 Annex E")
async def test_a_message_that_is_none_ends_its_association(archive: Archive) -> None:
    def say() -> dict[str, tuple[int | None, ...]]:
        heard = {}
        for name, said in ECHOES.items():
            began = time.monotonic()
            with Line(archive.port) as line:
                assert line.associate() == ASSOCIATE_AC
                line.say(said.sent)
                heard[name] = tuple(line.status() for _ in said.answered)
            assert time.monotonic() - began < AT_ONCE, name
            assert answers(archive.port) == 0, name
        return heard

    assert await archive.call(say) == {name: said.answered for name, said in ECHOES.items()}
    assert await archive.call(eventually, lambda: is_over(archive))


@pytest.mark.slow
async def test_requests_that_nobody_waits_for_are_not_hoarded(archive: Archive) -> None:
    find = command([(2, FIND), (0x100, us(0x20)), (0x110, us(1)), (0x700, us(0)), (0x800, us(1))])
    held = data(find) + pieces(bytes(1 << 17))

    def say() -> int:
        before = resident()
        with Line(archive.port) as line:
            assert line.associate(context(1, FIND)) == ASSOCIATE_AC
            line.connection.settimeout(5)
            for _ in range(4000):
                try:
                    line.connection.sendall(held)
                except OSError:
                    break
        return resident() - before

    assert await archive.call(say) < MOST_MEMORY
    assert await archive.call(answers, archive.port) == 0


# --- C-STORE ------------------------------------------------------------------------------------


def data_set(ds: Any) -> bytes:
    content = part10(ds)
    return content[content.index(struct.pack("<HH", 8, 0x16)) :]


def ct(uid: str) -> bytes:
    return data_set(an_instance(sop_uid=uid))


UID = b"1.2.826.0.1.3680043.10.1618.9.77"
CT_EXPLICIT, CT_DEFLATED = context(1, CT, EXPLICIT), context(1, CT, DEFLATED)
NO_SUCH_CLASS, MISMATCH, NOT_UNDERSTOOD = 0x0118, 0xA900, 0xC000


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    length = len(value) if length is None else length
    if vr in (b"SQ", b"UN", b"OB", b"OW", b"UT"):
        return head + struct.pack("<2xL", length) + value
    return head + struct.pack("<H", length) + value


def nested(depth: int) -> bytes:
    """Sequences within sequences, all of undefined length."""
    begin = struct.pack("<HH2s2xL", 8, 0x1140, b"SQ", 0xFFFFFFFF)
    begin += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return begin * depth + end * depth


def deflated(content: bytes) -> bytes:
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return machine.compress(content) + machine.flush()


COMMANDS = {
    "a SOP class that is another context's": (store(UID, VERIFICATION), NO_SUCH_CLASS),
    "the SOP class of a query": (store(UID, FIND), NO_SUCH_CLASS),
    "an unknown SOP class": (store(UID, b"1.2.3.4"), NO_SUCH_CLASS),
    "another image's SOP class": (store(UID, b"1.2.840.10008.5.1.4.1.1.4"), NO_SUCH_CLASS),
    "a UID that climbs": (store(b"../../../../tmp/x"), MISMATCH),
    "a UID with a NUL": (store(b"1.2\x003"), MISMATCH),
    "two UIDs": (store(b"1.2.3\\1.2.4"), MISMATCH),
    "no UID": (without(0x1000, store(UID)), None),
    "an empty UID": (store(b""), None),
    "a UID of 200 octets": (store(b"1." * 100), None),
    "a UID of 70,000 octets": (store(b"1" * 70000), None),
    "a UID that is no text": (store(b"\xff\xfe"), None),
    "no message ID": (without(0x110, store(UID)), None),
    "no SOP class": (without(2, store(UID)), None),
    "no data set": (but(0x800, us(0x101), store(UID)), NOT_UNDERSTOOD),
}


@pytest.mark.standard("PS3.7 9.1.1, PS3.4 B.2.3, threats T12")
async def test_a_c_store_request_that_is_none_stores_nothing(
    archive: Archive, tmp_path: Path
) -> None:
    def say() -> dict[str, int | None]:
        heard = {}
        for name, (elements, _) in COMMANDS.items():
            with Line(archive.port) as line:
                assert line.associate(CT_EXPLICIT) == ASSOCIATE_AC
                line.say(data(command(elements)))
                line.say(pieces(ct(UID.decode())))
                heard[name] = line.status()
            assert answers(archive.port) == 0, name
        return heard

    assert await archive.call(say) == {name: status for name, (_, status) in COMMANDS.items()}
    assert await archive.call(eventually, lambda: is_over(archive) and not spooled(archive))
    assert await archive.bridge.database.run("select * from instance") == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.standard("PS3.7 9.1.1")
async def test_an_image_is_stored_on_a_context_of_its_own_class_alone(archive: Archive) -> None:
    def say() -> list[int | None]:
        heard = []
        for asked in (context(1), context(1, FIND), context(1, GET)):
            with Line(archive.port) as line:
                assert line.associate(asked) == ASSOCIATE_AC
                line.say(data(command(store(UID))), pieces(ct(UID.decode())))
                heard.append(line.status())
        return heard

    assert await archive.call(say) == [NO_SUCH_CLASS] * 3
    assert await archive.bridge.database.run("select * from instance") == []


DATA_SETS: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "nothing": (lambda ds: b"", NOT_UNDERSTOOD),
    "half a data set": (lambda ds: ds[: len(ds) // 4], MISMATCH),
    "noise": (lambda ds: bytes(range(256)) * 400, NOT_UNDERSTOOD),
    "a value that is longer than all": (
        lambda ds: explicit(0x00080001, b"UN", b"", 0x7FFFFFF0) + ds,
        NOT_UNDERSTOOD,
    ),
    "an endless value": (
        lambda ds: explicit(0x00080001, b"UN", b"", 0xFFFFFFFF) + ds,
        NOT_UNDERSTOOD,
    ),
    "sequences 1000 deep": (lambda ds: nested(1000) + ds, NOT_UNDERSTOOD),
    "sequences 50,000 deep": (lambda ds: nested(50_000) + ds, NOT_UNDERSTOOD),
    "a VR of NULs": (
        lambda ds: struct.pack("<HH2sH", 8, 1, b"\0\0", 4) + b"abcd" + ds,
        NOT_UNDERSTOOD,
    ),
    "a character set that nobody knows": (
        lambda ds: explicit(0x00080005, b"CS", b"ISO_IR 999") + ds,
        0,
    ),
    "a character set that is no text": (
        lambda ds: explicit(0x00080005, b"CS", b"\xff\\\\\\") + ds,
        0,
    ),
    "a codec that is no character set": (
        lambda ds: explicit(0x00080005, b"CS", b"bz2_codec ") + ds,
        0,
    ),
    "2000 character sets": (
        lambda ds: explicit(0x00080005, b"CS", b"\\".join([b"ISO 2022 IR 87"] * 2000)) + ds,
        0,
    ),
    "100,000 elements": (
        lambda ds: (
            b"".join(struct.pack("<HH2sH", 7, n % 0xFFFF, b"LO", 0) for n in range(100_000)) + ds
        ),
        0,
    ),
}


# pydicom warns of what it does not know.
@pytest.mark.filterwarnings("default")
@pytest.mark.standard("PS3.5 7, threats T15")
async def test_a_data_set_that_is_none_is_refused_and_ends_nothing(archive: Archive) -> None:
    def say() -> dict[str, int | None]:
        heard: dict[str, int | None] = {}
        with Line(archive.port) as line:
            assert line.associate(CT_EXPLICIT) == ASSOCIATE_AC
            for name, (damage, _) in DATA_SETS.items():
                uid = a_uid()
                line.say(data(command(store(uid.encode()))), pieces(damage(ct(uid))))
                heard[name] = line.status()
        return heard

    async with Upper(archive.port) as upper:
        heard = await archive.call(say)

    assert heard == {name: status for name, (_, status) in DATA_SETS.items()}
    assert upper.failed == []
    assert upper.longest < AT_ONCE
    assert await archive.call(eventually, lambda: is_over(archive) and not spooled(archive))


@pytest.mark.slow
@pytest.mark.standard("PS3.5 A.5, threats T11")
async def test_a_deflated_bomb_costs_what_is_read_of_it(archive: Archive) -> None:
    zeros = bytes(1 << 28)
    uids = [a_uid(), a_uid()]
    bombs = [
        deflated(ct(uids[0]) + explicit(0x7FE00010, b"OW", zeros)),
        deflated(explicit(0x00080001, b"UN", zeros) + ct(uids[1])),
    ]
    before = resident()

    def say() -> list[int | None]:
        heard = []
        with Line(archive.port) as line:
            assert line.associate(CT_DEFLATED) == ASSOCIATE_AC
            for uid, bomb in zip(uids, bombs, strict=True):
                line.say(data(command(store(uid.encode()))), pieces(bomb))
                heard.append(line.status())
        return heard

    assert await archive.call(say) == [0, NOT_UNDERSTOOD]
    await archive.bridge.quiet.drained()
    assert resident() - before < MOST_MEMORY


# --- leaving at any moment ----------------------------------------------------------------------


@pytest.mark.standard("PS3.8 9.2")
async def test_whoever_leaves_at_whatever_moment_leaves_nothing_behind(archive: Archive) -> None:
    uid = a_uid()
    get = command([(2, GET), (0x100, us(0x10)), (0x110, us(1)), (0x700, us(0)), (0x800, us(1))])
    wanted = explicit(0x00080052, b"CS", b"STUDY ") + explicit(0x0020000D, b"UI", b"1.2.3\0")
    said = [
        association(CT_EXPLICIT + context(3, GET, EXPLICIT)),
        data(get, number=3) + pieces(wanted, 3),
        data(command(store(uid.encode()))) + pieces(ct(uid)),
    ]
    whole = b"".join(said)
    endings = (b"", pdu(ABORT, bytes(4)), pdu(RELEASE_RQ, bytes(4)), pdu(ASSOCIATE_AC, bytes(80)))

    def say() -> None:
        for at in range(0, len(whole), max(1, len(whole) // 25)):
            for ending in endings:
                with Line(archive.port, whole[:at] + ending):
                    pass

    async with Upper(archive.port) as upper:
        await archive.call(say)

    assert upper.failed == []
    assert await archive.call(eventually, lambda: is_over(archive) and not spooled(archive))


@pytest.mark.standard("threats T16")
async def test_a_peer_that_cannot_be_looked_up_is_not_admitted(archive: Archive) -> None:
    await archive.bridge.database.run("alter table peer rename to elsewhere")
    with Line(archive.port) as line:
        assert await archive.call(line.associate) == ASSOCIATE_RJ

    await archive.bridge.database.run("alter table elsewhere rename to peer")
    assert await archive.call(answers, archive.port) == 0


# --- anything at all ----------------------------------------------------------------------------

PDU_KINDS = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 0, 9])
PDVS = st.builds(
    pdv, st.binary(max_size=60), st.integers(0, 255), st.sampled_from([1, 3, 5, 0, 255])
)
ELEMENTS = st.lists(
    st.tuples(
        st.sampled_from([2, 3, 0x100, 0x110, 0x120, 0x600, 0x700, 0x800, 0x900, 0x1000, 0x1030]),
        st.binary(max_size=20) | st.integers(0, 0xFFFF).map(us) | st.sampled_from([CT, FIND]),
    ),
    max_size=8,
)
PDUS = (
    st.builds(pdu, PDU_KINDS, st.binary(max_size=100), st.none() | st.integers(0, 200))
    | st.builds(lambda pdvs: pdu(P_DATA, b"".join(pdvs)), st.lists(PDVS, max_size=4))
    | st.builds(lambda elements: data(command(elements)), ELEMENTS)
    | st.binary(max_size=50)
)


@pytest.mark.standard("threats F10")
async def test_any_octets_leave_the_port_answering(archive: Archive) -> None:
    opening = association(CT_EXPLICIT + context(3) + context(5, FIND))

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.booleans(), st.lists(PDUS, max_size=4))
    def say(associated: bool, sent: list[bytes]) -> None:
        with Line(archive.port, opening if associated else b"", *sent) as line:
            line.finish()
            line.connection.settimeout(AT_ONCE)
            while line.hear()[0]:
                pass

    await archive.call(say)

    assert await archive.call(answers, archive.port) == 0
    assert await archive.call(eventually, lambda: is_over(archive) and not spooled(archive))
    assert wire.VERIFICATION.decode() == scp.VERIFICATION
