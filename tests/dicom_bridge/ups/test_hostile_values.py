"""Values that are none, one attribute after the other: refused or left out, and never a fault."""

import io
import logging
import struct
from collections.abc import Iterator

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset

from resources import validate
from tests.dicom_bridge.conftest import Archive, found
from tests.dicom_bridge.dimse.test_hostile_data_sets import (
    FAULT,
    LONG,
    MPPS,
    N_ACTION,
    N_CREATE,
    N_SET,
    UPS_PULL,
    UPS_PUSH,
    explicit,
    faults,
    item,
    normalized,
)
from tests.dicom_bridge.dimse.test_mpps import begun, ended
from tests.dicom_bridge.ups.build import a_ups, done, to
from tests.dicom_bridge.ups.conftest import bridge as bridge
from tests.flows.wire import ASSOCIATE_AC, EXPLICIT, Line, context, pieces

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.standard("threats T15, F10"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

DEEP = b"".join([explicit(0x00081140, b"SQ", item(explicit(0x00081150, b"UI", b"../x")))] * 3)
BAD = (
    (None, b""), (None, b"\0a\0b"), (None, b"\x01\x07\x1b["), (None, b"\xff\xfe\xed\xa0"),
    (None, b"x" * 5000), (None, b"1\\2\\3 "), (None, b"99999999999999"), (None, b"00010101"),
    (b"SQ", b""), (b"SQ", item()), (b"SQ", item(DEEP)), (b"US", b"\1\0"), (b"FD", b"\xff" * 8),
    (b"OB", b"\0\1"), (b"UN", b"xx"),
)  # fmt: skip
CREATED_WITH_CHANGES = 0xB300
STEPS = {
    "a step that begins": (1, MPPS, N_CREATE, None, begun()),
    "a step that ends": (1, MPPS, N_SET, None, ended("COMPLETED")),
    "a workitem": (3, UPS_PUSH, N_CREATE, None, a_ups()),
    "what was done": (5, UPS_PUSH, N_SET, None, done()),
    "a change of state": (5, UPS_PUSH, N_ACTION, 1, to("IN PROGRESS")),
}


def elements(ds: Dataset) -> dict[int, tuple[bytes, bytes]]:
    """The elements of a data set by tag: VR and value in explicit little endian."""
    out = io.BytesIO()
    to_ = DicomFileLike(out)
    to_.is_implicit_VR, to_.is_little_endian = False, True
    write_dataset(to_, ds)
    raw, at, found_ = out.getvalue(), 0, {}
    while at < len(raw):
        group, number, vr, length = struct.unpack_from("<HH2sH", raw, at)
        at += 8
        if vr in (*LONG, b"UR", b"UC"):
            (length,) = struct.unpack_from("<L", raw, at)
            at += 4
        found_[group << 16 | number] = vr, raw[at : at + length]
        at += length
    return found_


def changed(ds: Dataset) -> Iterator[tuple[int, bytes]]:
    """The data set with one of its values, or of those in its sequences' items, made a bad one."""
    own = elements(ds)
    for tag, (vr, value) in own.items():
        for other, bad in BAD:
            padded = bad + b" " * (len(bad) % 2)
            yield tag, whole({**own, tag: (other or vr, padded if other or vr != b"SQ" else b"")})
        if vr == b"SQ" and len(value) > 8:
            inner = elements(next(iter(ds[tag].value)))
            for part, (kind, _) in inner.items():
                for other, bad in BAD:
                    said = {**inner, part: (other or kind, bad + b" " * (len(bad) % 2))}
                    if not other and kind == b"SQ":
                        continue
                    yield part, whole({**own, tag: (b"SQ", item(whole(said)))})


def whole(parts: dict[int, tuple[bytes, bytes]]) -> bytes:
    return b"".join(explicit(tag, *parts[tag]) for tag in sorted(parts))


@pytest.mark.standard("PS3.7 10.1, PS3.4 F.7, CC.2")
@pytest.mark.parametrize("name", STEPS)
async def test_no_value_of_a_step_is_a_fault(
    archive: Archive, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    number, sop_class, field, action, ds = STEPS[name]
    asked = b"".join(
        context(n, abstract, EXPLICIT) for n, abstract in ((1, MPPS), (3, UPS_PUSH), (5, UPS_PULL))
    )
    caplog.set_level(logging.ERROR)

    def say() -> dict[str, int | None]:
        heard = {}
        with Line(archive.port) as line:
            line.connection.settimeout(60)
            assert line.associate(asked) == ASSOCIATE_AC
            for n, (tag, content) in enumerate(changed(ds)):
                uid = f"1.2.9.{n}".encode() if field == N_CREATE else b"1.2.9.9999"
                request = normalized(field, sop_class, uid + b"\0" * (len(uid) % 2), action)
                line.say(numbered(request, number) + pieces(content, number))
                heard[f"{tag:08X} {content[-40:]!r} {n}"] = line.status()
        return heard

    await archive.call(prepare, archive, taken=name == "what was done")
    heard = await archive.call(say)

    assert {0, CREATED_WITH_CHANGES} & set(heard.values()), "it is refused for something else"
    ends = {None} if name == "a step that ends" else {None, FAULT}  # 0110: it has ended already
    assert {said: status for said, status in heard.items() if status in ends} == {}
    assert faults(caplog) == []
    for type_ in ("Task", "Procedure", "Patient"):
        for resource in await found(archive.bridge, type_, _count="1000"):
            assert validate.check(resource) == []


def numbered(request: bytes, number: int) -> bytes:
    """The request on another presentation context: the octet behind both lengths."""
    return request[:10] + bytes([number]) + request[11:]


def prepare(archive: Archive, *, taken: bool) -> None:
    """Make a workitem, which is taken if it is to be, and a performed step that is under way."""
    with Line(archive.port) as line:
        line.associate(
            context(1, MPPS, EXPLICIT)
            + context(3, UPS_PUSH, EXPLICIT)
            + context(5, UPS_PULL, EXPLICIT)
        )
        for number, sop_class, ds in ((1, MPPS, begun()), (3, UPS_PUSH, a_ups())):
            request = normalized(N_CREATE, sop_class, b"1.2.9.9999")
            line.say(numbered(request, number) + pieces(whole(elements(ds)), number))
            assert line.status() in (0, CREATED_WITH_CHANGES)
        if taken:
            request = normalized(N_ACTION, UPS_PUSH, b"1.2.9.9999", 1)
            line.say(numbered(request, 5) + pieces(whole(elements(to("IN PROGRESS"))), 5))
            assert line.status() == 0
