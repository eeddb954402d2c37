"""Objects that lie about themselves are kept as they came, and asking for them is no fault."""

import asyncio
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.dicom_bridge.build import a_uid, an_instance, part10
from tests.dicom_bridge.dicomweb.conftest import STOW, Service
from tests.dicom_bridge.dicomweb.test_hostile import JPEG_2000, RLE, packed, path_of, spool
from tests.dicom_bridge.dicomweb.test_stow import held

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T11, T15, F10")]

LONG = (b"OB", b"OW", b"UN", b"SQ", b"UT")
NAN, INFINITE = struct.pack("<d", float("nan")), struct.pack("<d", float("inf"))
VALUES = (
    (b"IS", b"1\\2 "), (b"IS", b"ab"), (b"IS", b"9" * 16), (b"IS", b"1.5 "), (b"IS", b"-1"),
    (b"LO", b"xy"), (b"DS", b"nan "), (b"DS", b"1e99"), (b"UI", b"1.2\0"), (b"ZZ", b"xx"),
    (b"\0\0", b"xx"), (b"US", b"\1\0\2\0"), (b"US", b"\1" * 3), (b"FD", NAN), (b"FD", INFINITE),
    (b"SQ", b""), (b"US", b""),
)  # fmt: skip
SIZES = {"Rows": 0x10, "Columns": 0x11, "BitsAllocated": 0x100, "SamplesPerPixel": 0x02}
NUMBER_OF_FRAMES = 0x08

Lie = tuple[Dataset, bytes]


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    form = "<HH2s2xL" if vr in LONG else "<HH2sH"
    return struct.pack(form, tag >> 16, tag & 0xFFFF, vr, length) + value


def item(content: bytes = b"", length: int | None = None) -> bytes:
    length = len(content) if length is None else length
    return struct.pack("<HHL", 0xFFFE, 0xE000, length) + content


END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def sizes() -> Iterator[tuple[str, Lie]]:
    """Attributes that the place of the pixels is told from, with values that are none."""
    for keyword, number in {**SIZES, "NumberOfFrames": NUMBER_OF_FRAMES}.items():
        for vr, value in VALUES if keyword in ("Rows", "NumberOfFrames") else VALUES[::6]:
            ds = an_instance(rows=8, columns=8)
            file = part10(ds)
            after = number if keyword in SIZES else SIZES["Rows"]
            at = file.index(struct.pack("<HH2s", 0x28, after, b"US"))
            rest = file[at + 10 :] if keyword in SIZES else file[at:]
            lie = element(0x280000 | number, vr, value)
            yield f"{keyword} {vr!r} {value!r}", (ds, file[:at] + lie + rest)


def elements() -> Iterator[tuple[str, Lie]]:
    """What stands before the pixels and cannot be read."""
    for name, lie in {
        "a VR that is none": element(0x7FE00001, b"ZZ", b"xxxx"),
        "text as offsets": element(0x7FE00001, b"LO", b"abcd"),
        "a sequence without an end": element(0x7FE00005, b"UN", b"", 0xFFFFFFFF),
        "more than there is": element(0x7FE00005, b"OB", b"", 0xFFFFFFF0),
        "a sequence of something else": element(0x7FE00005, b"SQ", b"abcdefgh"),
    }.items():
        ds = an_instance(rows=8, columns=8)
        file = part10(ds)
        at = file.rindex(struct.pack("<HH", 0x7FE0, 0x10))
        yield name, (ds, file[:at] + lie + file[at:])


def fragments() -> Iterator[tuple[str, Lie]]:
    """Encapsulated pixels whose tables and fragments lie."""
    two = item(b"abcd") + item(b"abcd") + END
    for name, (pixels, frames) in {
        "a table longer than the file": (item(b"abcd", 0xFFFFFFFE) + END, 1),
        "a table a little longer": (item(b"abcd", 400) + END, 1),
        "a table of one and a half": (item(b"abcdef") + two, 2),
        "a fragment longer than the file": (item() + item(b"abcd", 0xFFFFFFF0) + END, 1),
        "a fragment without a length": (item() + item(b"abcd", 0xFFFFFFFF) + END, 1),
        "offsets that lead elsewhere": (item(struct.pack("<LL", 0, 0xFFFFFFF0)) + two, 2),
        "offsets that go back": (item(struct.pack("<LL", 12, 0)) + two, 2),
        "no fragment": (item() + END, 1),
        "nothing at all": (b"", 1),
        "20,000 empty fragments": (item() + item() * 20_000 + END, 3),
    }.items():
        ds = packed(RLE, b"abcd", NumberOfFrames=frames)
        file = part10(ds)
        yield name, (ds, file[: file.rindex(struct.pack("<HH", 0x7FE0, 0x10)) + 12] + pixels)


@pytest.mark.standard("PS3.18 10.4")
@pytest.mark.parametrize("lies", [sizes, elements, fragments])
async def test_an_object_that_lies_is_no_fault_of_the_server(service: Service, lies: Any) -> None:
    few = asyncio.Semaphore(4)

    async def ask(name: str, lie: Lie) -> None:
        async with few:
            await ask_of(service, name, *lie)

    await asyncio.gather(*(ask(name, lie) for name, lie in lies()))
    assert spool(service) == []


async def ask_of(service: Service, name: str, ds: Dataset, file: bytes) -> None:
    """Store a file, and ask in all ways for what it is not."""
    client = service.client()
    stored = await client.post(
        "/studies", content=file, headers={**STOW, "Content-Type": "application/dicom"}
    )
    assert stored.status_code in {200, 202, 409}, name
    if stored.status_code == 409:
        return
    study, plain = f"/studies/{ds.StudyInstanceUID}", "application/dicom"
    asked = (
        (path_of(ds), plain, {200}),
        (path_of(ds), f"{plain}; transfer-syntax={JPEG_2000}", {200, 406}),
        (f"{path_of(ds)}/frames/1", "*/*", {200, 404, 406}),
        (f"{path_of(ds)}/metadata", "*/*", {200, 406}),
        (f"{path_of(ds)}/rendered", "*/*", {200, 404, 406}),
        (f"{study}/bulk/{ds.SOPInstanceUID}/7FE00010", "*/*", {200, 404, 406}),
        (f"{study}/bulk/{ds.SOPInstanceUID}/7FE00001", "*/*", {200, 404, 406}),
        (f"{study}/instances?includefield=all", "*/*", {200}),
    )
    for place, accept, expected in asked:
        answer = await client.get(place, headers={"Accept": accept})
        assert answer.status_code in expected, (name, place, accept, answer.status_code)


# --- instances in pieces ------------------------------------------------------------------------


def described(**more: Any) -> dict[str, Any]:
    """DICOM JSON of a CT instance and other members, named by their tags."""
    ct = "1.2.840.10008.5.1.4.1.1.2"
    own = {"00080016": ct, "00080018": a_uid(), "0020000D": a_uid(), "0020000E": a_uid()}
    made: dict[str, Any] = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in own.items()}
    return made | {tag.lstrip("_"): value for tag, value in more.items()}


def nested(depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(depth):
        made = {"0040A730": {"vr": "SQ", "Value": [made]}}
    return made


def one(vr: str, *values: Any, **more: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values), **more}


NO_PIXELS: tuple[Any, ...] = (5, None, "BulkDataURI", [], True)
REFUSED: dict[str, dict[str, Any]] = {
    **{f"pixels {value!r}": {"_7FE00010": value} for value in NO_PIXELS},
    "pixels of a list": {"_7FE00010": ["BulkDataURI"]},
    "pixels of a file": {"_7FE00010": {"vr": "OW", "BulkDataURI": "file:///etc/passwd"}},
    "pixels of nowhere": {"_7FE00010": {"vr": "OW", "BulkDataURI": None}},
    "a value of another machine": {
        "_00420011": {"vr": "OB", "BulkDataURI": "http://169.254.169.254/latest/meta-data"}
    },
    "a value in a sequence of another machine": {
        "_00081115": one("SQ", {"00420011": {"vr": "OB", "BulkDataURI": "http://127.0.0.1:1/"}})
    },
    "a value of an object": {"_00420011": {"vr": "OB", "BulkDataURI": {"a": 1}}},
    "octets that are a number": {"_00420011": {"vr": "OB", "InlineBinary": 5}},
    "a VR that is none": {"_00100010": one("ZZ", "x")},
    "rows in words": {"_00280010": one("US", "many")},
    "rows beyond all": {"_00280010": one("US", 1e300)},
    "a tag that is none": {"zzzz": one("LO", "x")},
    "an end of a sequence": {"FFFEE0DD": {"vr": "UN"}},
    "an element of a command": {"_00000002": one("UI", "1.2")},
    "a UID that climbs": {"_00080018": one("UI", "../../../../tmp/x")},
    "a UID with a NUL": {"_0020000D": one("UI", "1.2\0.3")},
    "a UID of 80 characters": {"_0020000D": one("UI", "1." * 40 + "1")},
    "two UIDs": {"_0020000D": one("UI", "1.2", "1.3")},
    "a name of a number": {"_00100010": one("PN", {"Alphabetic": 5})},
    "sequences 300 deep": nested(300),
}  # fmt: skip


@pytest.mark.standard("PS3.18 10.5, F.2")
async def test_metadata_that_describes_nothing_is_refused_by_name(service: Service) -> None:
    client = service.client()
    for name, members in REFUSED.items():
        answer = await client.post(
            "/studies",
            content=json.dumps([described(**members)]),
            headers={**STOW, "Content-Type": "application/dicom+json"},
        )
        assert answer.status_code == 409, (name, answer.status_code)
    assert await held(service) == 0
    assert spool(service) == []


@pytest.mark.standard("threats T10")
@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"[" + b"{}," * 20_000 + b"{}]",
        b"[" + b"[]," * 1_100_000 + b"[]]",
        b'[{"00080018":' + b'{"Value":[' * 2000,
        b'[{"00080018":{"vr":"UI","Value":[' + b"9" * 100_000 + b"]}}]",
        b'["\\ud800"]',
        b"\xff\xfe",
        b"null",
    ],
    ids=[
        "deep",
        "many",
        "very many",
        "deep objects",
        "a long number",
        "half a letter",
        "noise",
        "null",
    ],
)
async def test_a_bomb_of_metadata_is_refused(service: Service, content: bytes) -> None:
    answer = await service.client().post(
        "/studies", content=content, headers={**STOW, "Content-Type": "application/dicom+json"}
    )

    assert answer.status_code in {400, 409, 413}


@pytest.mark.parametrize(
    "frames", [one("IS", 1, 2), one("IS", "x"), one("SQ", {}), one("LO", "y"), one("FD", "nan")]
)
async def test_a_number_of_compressed_frames_that_is_none_is_refused(
    service: Service, frames: dict[str, Any]
) -> None:
    pixels = {"vr": "OB", "BulkDataURI": "u"}
    metadata = json.dumps([described(_00280008=frames, _7FE00010=pixels)]).encode()
    jpeg = b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\1\1\x11\0"
    content = (
        b"--b\r\nContent-Type: application/dicom+json\r\n\r\n" + metadata + b"\r\n--b\r\n"
        b"Content-Type: image/jpeg\r\nContent-Location: u\r\n\r\n" + jpeg + b"\r\n--b--"
    )
    kind = 'multipart/related; type="application/dicom+json"; boundary=b'

    answer = await service.client().post(
        "/studies", content=content, headers={**STOW, "Content-Type": kind}
    )

    assert answer.status_code == 409
