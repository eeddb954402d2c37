"""Data sets of requests that are none: each is refused with a status, and none is a fault."""

import logging
import struct

import pytest

from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import Archive, found
from tests.dicom_bridge.dimse.test_find import hold
from tests.flows.wire import EXPLICIT, FIND, GET, Line, command, context, data, pieces, us

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.standard("threats T15, T19, F10"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

PATIENTS = b"1.2.840.10008.5.1.4.1.2.1.1"
MODALITY_WORKLIST = b"1.2.840.10008.5.1.4.31"
UPS_PUSH = b"1.2.840.10008.5.1.4.34.6.1"
UPS_PULL = b"1.2.840.10008.5.1.4.34.6.3"
GENERAL_PURPOSE = b"1.2.840.10008.5.1.4.32.1"
MOVE = b"1.2.840.10008.5.1.4.1.2.2.2"
MPPS = b"1.2.840.10008.3.1.2.3.3"
COMMITMENT = b"1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = b"1.2.840.10008.1.20.1.1"
C_FIND, C_GET, C_MOVE, N_SET, N_ACTION, N_CREATE = 0x20, 0x10, 0x21, 0x120, 0x130, 0x140
SUCCESS, DOES_NOT_FIT, FAULT, UNABLE = 0x0000, 0xA900, 0x0110, 0xC000
PENDING = (0xFF00, 0xFF01)
LONG = (b"SQ", b"UN", b"OB", b"OW", b"UT")


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    form = "<HH2s2xL" if vr in LONG else "<HH2sH"
    return struct.pack(form, tag >> 16, tag & 0xFFFF, vr, length) + value


def item(content: bytes = b"") -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content


def nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = explicit(0x00400275, b"SQ", item(content))
    return content


STUDIES = explicit(0x00080052, b"CS", b"STUDY ")
NONE = {
    "noise": bytes(range(256)) * 4,
    "a VR that is none": STUDIES + explicit(0x00200010, b"ZZ", b"x "),
    "an item of nothing": STUDIES + item(),
    "sequences 3000 deep": STUDIES + nested(3000),
    "a sequence of something else": STUDIES + explicit(0x00400275, b"UN", b"xx"),
}
"""What no data set is."""


def keyed(tag: int, vr: bytes, value: bytes) -> bytes:
    return STUDIES + explicit(tag, vr, value)


ID, NAME, STUDY_ID, UID = 0x00100020, 0x00100010, 0x00200010, 0x0020000D
QUERIES: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "nothing": (b"", (DOES_NOT_FIT,)),
    "two levels": (explicit(0x00080052, b"CS", b"STUDY\\SERIES"), (DOES_NOT_FIT,)),
    "a level with a NUL": (explicit(0x00080052, b"CS", b"ST\0DY "), (DOES_NOT_FIT,)),
    "a number as a sequence": (keyed(ID, b"SQ", item(explicit(ID, b"LO", b"x "))), (SUCCESS,)),
    "a number with a NUL": (keyed(ID, b"LO", b"1\x002 "), (DOES_NOT_FIT,)),
    "a name with a NUL": (keyed(NAME, b"PN", b"\0x\0y"), (DOES_NOT_FIT,)),
    "a name of 64 KB": (keyed(NAME, b"PN", b"*?" * 32_000), (SUCCESS,)),
    "a name of 30,000 pieces": (keyed(NAME, b"PN", b"*a" * 30_000), (SUCCESS,)),
    "a name of many words": (
        keyed(NAME, b"PN", b"a^" + b" ".join(b"b%d" % n for n in range(999))), (DOES_NOT_FIT,),
    ),
    "an identifier of 64 KB": (keyed(STUDY_ID, b"SH", b"*?" * 32_000), (SUCCESS,)),
    "a pattern that fits in many ways": (keyed(STUDY_ID, b"SH", b"*1" * 25 + b"*2"), (SUCCESS,)),
    "30,000 values": (keyed(STUDY_ID, b"SH", b"1\\" * 30_000), (DOES_NOT_FIT,)),
    "10,000 UIDs": (keyed(UID, b"UI", b"1.2\\" * 10_000 + b"1.22"), (DOES_NOT_FIT,)),
    "a UID that climbs": (keyed(UID, b"UI", b"../../etc/"), (DOES_NOT_FIT,)),
    "the first day": (explicit(0x00080020, b"DA", b"00010101") + STUDIES, (SUCCESS,)),
    "the last day": (explicit(0x00080020, b"DA", b"99991231") + STUDIES, (SUCCESS,)),
    "days that end before they begin": (
        explicit(0x00080020, b"DA", b"20260401-20260301 ") + STUDIES, (SUCCESS,),
    ),
    "a day that is none": (explicit(0x00080020, b"DA", b"2026-01-") + STUDIES, (DOES_NOT_FIT,)),
    "a character set that is none": (
        explicit(0x00080005, b"CS", b"../../x ") + keyed(NAME, b"PN", b"\xff\xfe*\xff"), (SUCCESS,),
    ),
    "10,000 keys": (
        STUDIES + b"".join(explicit(0x00111000 + n, b"LO", b"x ") for n in range(10_000)),
        (SUCCESS,),
    ),
    "sequences 400 deep": (STUDIES + nested(400), (SUCCESS,)),
    "a length that lies": (STUDIES + explicit(STUDY_ID, b"SH", b"x ", 60_000), (SUCCESS,)),
    "pixels": (STUDIES + explicit(0x7FE00010, b"OW", bytes(1000)), (SUCCESS,)),
}  # fmt: skip


def asked(archive: Archive, sop_class: bytes, request: bytes, content: bytes) -> int | None:
    """The final status of a request; None if the association ended instead."""
    with Line(archive.port) as line:
        line.connection.settimeout(60)
        line.associate(context(1, sop_class, EXPLICIT))
        line.say(request + pieces(content))
        while (status := line.status()) in PENDING:
            line.hear()  # the identifier of what was found
        return status


def composite(field: int, sop_class: bytes, *more: tuple[int, bytes]) -> bytes:
    elements = [(2, sop_class), (0x100, us(field)), (0x110, us(1)), (0x700, us(0)), (0x800, us(1))]
    return data(command(sorted([*elements, *more])))


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [one for one in caplog.records if one.name.startswith("dicom_bridge")]
    return [one.getMessage() for one in ours if one.levelno >= logging.ERROR]


@pytest.mark.standard("PS3.4 C.4.1.1.4")
async def test_no_key_is_a_fault_of_the_server(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    one = an_instance()
    one.StudyID = "1" * 16
    await hold(archive.bridge, one)

    def ask() -> dict[str, int | None]:
        request = composite(C_FIND, FIND)
        return {name: asked(archive, FIND, request, said) for name, (said, _) in QUERIES.items()}

    heard = await archive.call(ask)

    wrong = {name: status for name, status in heard.items() if status not in QUERIES[name][1]}
    assert wrong == {}
    assert faults(caplog) == []


QUERIED = (FIND, PATIENTS, MODALITY_WORKLIST, UPS_PULL, GENERAL_PURPOSE)


@pytest.mark.standard("PS3.4 C.4.1.1.4, C.4.2.1.5, C.4.3.1.4, K.4.1.1.4")
async def test_an_identifier_that_is_none_does_not_fit(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    def ask() -> dict[tuple[bytes, str], int | None]:
        kinds = [(sop_class, composite(C_FIND, sop_class)) for sop_class in QUERIED]
        kinds.append((GET, composite(C_GET, GET)))
        kinds.append((MOVE, composite(C_MOVE, MOVE, (0x600, b"CT2 "))))
        return {
            (sop_class, name): asked(archive, sop_class, request, content)
            for sop_class, request in kinds
            for name, content in NONE.items()
        }

    heard = await archive.call(ask)

    assert {key: status for key, status in heard.items() if status in (FAULT, UNABLE, None)} == {}
    assert faults(caplog) == []


def normalized(field: int, sop_class: bytes, uid: bytes, action: int | None = None) -> bytes:
    requested = field != N_CREATE
    elements = [
        (0x03 if requested else 0x02, sop_class), (0x100, us(field)), (0x110, us(1)),
        (0x800, us(1)), (0x1001 if requested else 0x1000, uid),
        *([(0x1008, us(action))] if action is not None else []),
    ]  # fmt: skip
    return data(command(elements))


NORMALIZED = {
    "a step that begins": (MPPS, normalized(N_CREATE, MPPS, b"1.2.77.1")),
    "a step that goes on": (MPPS, normalized(N_SET, MPPS, b"1.2.77.1")),
    "a workitem": (UPS_PUSH, normalized(N_CREATE, UPS_PUSH, b"1.2.77.2")),
    "a change of a workitem": (UPS_PULL, normalized(N_SET, UPS_PUSH, b"1.2.77.2")),
    "a change of state": (UPS_PULL, normalized(N_ACTION, UPS_PUSH, b"1.2.77.2", 1)),
    "a commitment": (COMMITMENT, normalized(N_ACTION, COMMITMENT, COMMITMENT_INSTANCE, 1)),
}


@pytest.mark.standard("PS3.7 10.1, Annex C")
async def test_attributes_that_are_none_are_refused(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    said = {**NONE, "nothing": b"", "10,000 keys": QUERIES["10,000 keys"][0]}

    def ask() -> dict[tuple[str, str], int | None]:
        return {
            (name, what): asked(archive, sop_class, request, content)
            for name, (sop_class, request) in NORMALIZED.items()
            for what, content in said.items()
        }

    heard = await archive.call(ask)

    wrong = {key: status for key, status in heard.items() if status in (SUCCESS, FAULT, None)}
    assert wrong == {}
    assert faults(caplog) == []
    assert await found(archive.bridge, "Task") == []
    assert await found(archive.bridge, "Procedure") == []


@pytest.mark.standard("PS3.4 C.4.2")
@pytest.mark.parametrize(
    "ae", [b"ISOCENTRE", b"NOBODY", b"", b"\0" * 16, b"\xff\xfe", b"A\\B", b"../../x", b"x" * 64]
)
async def test_nothing_is_moved_to_nobody(archive: Archive, ae: bytes) -> None:
    one = an_instance()
    await hold(archive.bridge, one)
    uid = str(one.StudyInstanceUID).encode()
    keys = STUDIES + explicit(UID, b"UI", uid + b"\0" * (len(uid) % 2))

    status = await archive.call(asked, archive, MOVE, composite(C_MOVE, MOVE, (0x600, ae)), keys)

    assert status in {0xA801, DOES_NOT_FIT, None}
    assert await archive.call(archive.echo) == SUCCESS
