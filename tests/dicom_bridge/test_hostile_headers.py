"""Texts that are none in headers: the object is kept, and what FHIR says of it is valid."""

import asyncio
import struct
from collections.abc import Iterator

import pytest

from dicom_bridge import ingest
from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import tags
from fhir_server.context import RequestContext
from resources import validate
from tests.dicom_bridge.build import an_instance, part10
from tests.dicom_bridge.conftest import CT1, found

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.standard("threats T15, F10"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

TEXTS = (
    b"\0a\0b", b"\x01\x07\x1b[31m", b"\xff\xfe\x80\xed\xa0\x80", b"<script>alert(1)</script>",
    b"\\\\\\", b"x" * 5000, b"  ", b"^^^^^=^^^=^^", b"'; drop table x; --", b"\x1b$B\x30\x21",
)  # fmt: skip
CHARACTER_SETS = (b"", b"ISO_IR 192", b"ISO 2022 IR 87")
KEPT = frozenset({"SpecificCharacterSet", "SOPInstanceUID", "PatientID"})
NO_TEXT = frozenset({"SQ", "UI", "US", "UL", "SS", "FD", "FL", "AT"})
LONG = (b"UT", b"UN", b"OB", b"UC", b"UR")


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    form = "<HH2s2xL" if vr in LONG else "<HH2sH"
    return struct.pack(form, tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def with_texts(number: int, text: bytes, character_set: bytes) -> bytes:
    """A file whose every text in the header is this one, in its raw octets."""
    file = part10(an_instance(patient_id=f"P{number}", accession="", issuer=""))
    at = begin = 144 + int.from_bytes(file[140:144], "little")
    pixels = file.rindex(struct.pack("<HH", 0x7FE0, 0x10))
    elements: dict[int, tuple[bytes, bytes]] = {}
    while at < pixels:
        group, number_, vr, length = struct.unpack_from("<HH2sH", file, at)
        elements[group << 16 | number_] = vr, file[at + 8 : at + 8 + length]
        at += 8 + length
    for tag, keyword in tags.HEADER.items():
        kind = tags.VR.get(keyword, "LO")
        if keyword not in KEPT and kind not in NO_TEXT:
            elements[tag] = kind.encode(), text + b" " * (len(text) % 2)
    if character_set:
        elements[0x00080005] = b"CS", character_set + b" " * (len(character_set) % 2)
    body = b"".join(element(tag, *elements[tag]) for tag in sorted(elements))
    return file[:begin] + body + file[pixels:]


def files() -> Iterator[bytes]:
    number = 0
    for character_set in CHARACTER_SETS:
        for text in TEXTS:
            number += 1
            yield with_texts(number, text, character_set)


@pytest.mark.standard("PS3.5 6.1.3, FHIR R4 string")
async def test_no_text_of_a_header_keeps_a_study_from_being_there(bridge: Bridge) -> None:
    context = RequestContext(CT1.principal, "C-STORE", "127.0.0.1")
    studies = set()
    for file in files():
        spool = bridge.blobs.spool()
        spool.write(file)
        one = await asyncio.to_thread(ingest.keep, bridge.blobs, spool)
        await ingest.receive(bridge, one, context)
        await ingest.settle(bridge, one.study_uid)
        studies.add(one.study_uid)

    made = await found(bridge, "ImagingStudy", _count="100")
    assert len(made) == len(studies) == len(TEXTS) * len(CHARACTER_SETS)
    assert await bridge.database.run("SELECT 1 FROM unsettled") == []
    for type_ in ("ImagingStudy", "Patient", "Task"):
        for resource in await found(bridge, type_, _count="200"):
            assert validate.check(resource) == []
