"""Native images: what modalities nearly always send, read without a parser for all of DICOM.

Grey pixels of 8 or 16 bits that are not compressed, behind a header of plain elements, are read
here directly. What is not as plain is left to `decoding`, which also judges what is broken. Both
give the same description, and the same values.

References
----------
* PS3.5 Section 6.2 (IS, DS, CS), 8.1.1 (Pixel Data: bits that are not used)
* PS3.10 Section 7.1 (File Meta Information)
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy

from dicom_bridge.pixels import elements
from dicom_bridge.pixels.greys import Array
from dicom_bridge.pixels.limits import MOST_SAMPLES
from dicom_bridge.plain import UNDEFINED

SYNTAXES: Final = {b"1.2.840.10008.1.2": False, b"1.2.840.10008.1.2.1": True}
"""Transfer syntaxes that are read here, and whether VRs are explicit."""
HEADERS: Final = (1 << 14, 1 << 20)
"""Octets that are read of a file: more if its header is long."""
PREAMBLE: Final = 128
META: Final = b"\2\0"
"""The group of the File Meta Information."""

SYNTAX: Final = 0x00020010
PIXEL_REPRESENTATION: Final = 0x00280103
PIXEL_DATA: Final = 0x7FE00010
PIXEL_VRS: Final = frozenset({b"", b"OB", b"OW"})

VALUES: Final[Mapping[int, tuple[str, bytes]]] = {
    0x00080018: ("SOPInstanceUID",            b"UI"),
    0x00280002: ("SamplesPerPixel",           b"US"),
    0x00280004: ("PhotometricInterpretation", b"CS"),
    0x00280008: ("NumberOfFrames",            b"IS"),
    0x00280010: ("Rows",                      b"US"),
    0x00280011: ("Columns",                   b"US"),
    0x00280034: ("PixelAspectRatio",          b"IS"),
    0x00280100: ("BitsAllocated",             b"US"),
    0x00280101: ("BitsStored",                b"US"),
    0x00280103: ("PixelRepresentation",       b"US"),
    0x00280120: ("PixelPaddingValue",         b"US or SS"),
    0x00281050: ("WindowCenter",              b"DS"),
    0x00281051: ("WindowWidth",               b"DS"),
    0x00281052: ("RescaleIntercept",          b"DS"),
    0x00281053: ("RescaleSlope",              b"DS"),
    0x00281056: ("VOILUTFunction",            b"CS"),
    0x20500020: ("PresentationLUTShape",      b"CS"),
}  # fmt: skip
"""PS3.6 Section 6, of what rendering needs to know."""
SEVERAL: Final = frozenset({"PixelAspectRatio", "WindowCenter", "WindowWidth"})
NOT_PLAIN: Final = frozenset({
    0x00283000,  # Modality LUT Sequence
    0x00283010,  # VOI LUT Sequence
    0x52009229,  # Shared Functional Groups Sequence
    0x52009230,  # Per-Frame Functional Groups Sequence
})  # fmt: skip

PATTERNS: Final = {
    b"IS": re.compile(rb" *([+-]?[0-9]{1,12}) *"),
    b"DS": re.compile(rb" *([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?) *"),
    b"CS": re.compile(rb"([A-Z0-9_](?:[A-Z0-9_ ]*[A-Z0-9_])?) *"),
    b"UI": re.compile(rb"([0-9.]+)\0?"),
}


class Native(NamedTuple):
    """A native image: what describes it, by keyword, and where its pixels are."""

    values: Mapping[str, Any]
    path: Path
    start: int
    length: int

    def get(self, key: str, default: Any = None, /) -> Any:
        """Say what an attribute is, as a data set does."""
        return self.values.get(key, default)

    def frame(self, number: int) -> Array | None:
        """Read one frame, counted from 1; None if it is not there as a whole."""
        values = self.values
        rows, columns, octets = values["Rows"], values["Columns"], values["BitsAllocated"] // 8
        size = rows * columns * octets
        if number * size > self.length:
            return None
        file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            read = os.pread(file, size, self.start + (number - 1) * size)
        finally:
            os.close(file)
        if len(read) != size:
            return None
        kind = f"<{'ui'[values['PixelRepresentation']]}{octets}"
        return _used(numpy.frombuffer(read, kind).reshape(rows, columns), values["BitsStored"])


def read(path: Path) -> Native | None:
    """Read what describes an image; None if it is not that plain."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for most in HEADERS:
            data = os.pread(file, most, 0)
            try:
                return _walked(data, path)
            except EOFError:
                continue
        return None
    except (LookupError, ValueError):
        return None
    finally:
        os.close(file)


def _walked(data: bytes, path: Path) -> Native | None:
    """Walk through a header.

    Raises
    ------
    EOFError
        It goes on.
    """
    at, explicit = _meta_end(data)
    found: dict[str, Any] = {}
    before = 0
    while True:
        head = elements.head(data, at, explicit=explicit)
        tag, vr, length, value = head
        if tag <= before or (tag in NOT_PLAIN and length):
            return None
        before = tag
        if tag == PIXEL_DATA:
            plain = length != UNDEFINED and vr in PIXEL_VRS and _is_plain(found)
            return Native(found, path, value, length) if plain else None
        at = elements.end(data, head, explicit=explicit)
        if tag in VALUES:
            keyword, expected = VALUES[tag]
            if expected == b"US or SS":
                expected = b"SS" if found["PixelRepresentation"] else b"US"
            if explicit and vr != expected:
                return None
            found[keyword] = _value(keyword, expected, data[value:at])


def _meta_end(data: bytes) -> tuple[int, bool]:
    """Say where the data set begins, and whether its VRs are explicit (PS3.10 Section 7.1)."""
    at = PREAMBLE + 4
    if data[PREAMBLE:at] != b"DICM":
        raise ValueError(at)
    syntax = b""
    while data[at : at + 2] == META:
        head = elements.head(data, at, explicit=True)
        at = head.value + head.length
        if head.tag == SYNTAX:
            syntax = data[head.value : at].rstrip(b"\0")
    return at, SYNTAXES[syntax]


def _value(keyword: str, vr: bytes, raw: bytes) -> Any:
    """Read a value; a list if there may be several.

    Raises
    ------
    ValueError
        It is none of this VR, or empty.
    """
    if vr in (b"US", b"SS"):
        if len(raw) != 2:
            raise ValueError(keyword)
        return int.from_bytes(raw, "little", signed=vr == b"SS")
    texts = [_text(PATTERNS[vr], one) for one in raw.split(b"\\")]
    read = {b"IS": int, b"DS": float}.get(vr, str)
    if keyword in SEVERAL:
        return [read(text) for text in texts]
    if len(texts) > 1:
        raise ValueError(keyword)
    return read(texts[0])


def _text(pattern: re.Pattern[bytes], raw: bytes) -> str:
    found = pattern.fullmatch(raw)
    if found is None:
        raise ValueError(raw)
    return found[1].decode("ascii")


def _is_plain(values: Mapping[str, Any]) -> bool:
    return (
        values["SamplesPerPixel"] == 1
        and values["PhotometricInterpretation"] in ("MONOCHROME1", "MONOCHROME2")
        and values["BitsAllocated"] in (8, 16)
        and 1 <= values["BitsStored"] <= values["BitsAllocated"]
        and values["PixelRepresentation"] in (0, 1)
        and 0 < values["Rows"] * values["Columns"] <= MOST_SAMPLES
        and values.get("NumberOfFrames", 1) >= 1
        and len(values.get("PixelAspectRatio", (1, 1))) == 2
    )


def _used(frame: Array, stored: int) -> Array:
    """Leave out the bits that are not used, whatever is in them (PS3.5 Section 8.1.1)."""
    unused = frame.dtype.itemsize * 8 - stored
    least = -(1 << stored - 1) if frame.dtype.kind == "i" else 0
    if not unused or (least <= int(frame.min()) and int(frame.max()) < least + (1 << stored)):
        return frame
    shifted: Array = (frame << unused) >> unused
    return shifted
