"""Plain headers: what modalities nearly always send, read without a parser for all of DICOM.

A data set whose header is a run of elements in ascending order, of known VRs and defined lengths,
is read here directly. What is not (sequences that are wanted, another byte order, anything odd) is
left to `instance`, which also judges what is broken. Both read the same header.

References
----------
* PS3.5 Section 7.1 (Data Elements: ascending order), Tables 7.1-1, 7.1-2, 7.1-3
* PS3.5 Section 6.1.2 (character repertoires), 6.1.2.3 (delimiters that end a code extension)
"""

import functools
import re
import struct
from typing import Any, Final

from pydicom import charset

from dicom_bridge import storage
from dicom_bridge.mapping import tags
from resources.errors import Invalid

MOST_VALUE: Final = 1 << 16
LAST_TAG: Final = max(tags.HEADER)
SPECIFIC_CHARACTER_SET: Final = 0x00080005

SHORT_VR: Final = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()
)
"""PS3.5 Table 7.1-2: the length has 16 bits."""
LONG_VR: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""PS3.5 Table 7.1-1: the length has 32 bits, after two reserved bytes."""
EXPLICIT: Final = struct.Struct("<HH2sH")
IMPLICIT: Final = struct.Struct("<HHL")
LENGTH: Final = struct.Struct("<L")
UNDEFINED: Final = 0xFFFFFFFF

LIKE_ASCII: Final = ("iso8859", "utf", "latin")
"""Encodings, by how Python names them, in which ASCII without escape sequences is itself."""
ESCAPE: Final = 0x1B

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def header(data: bytes | bytearray, transfer_syntax: str, *, is_all: bool) -> dict[str, Any] | None:
    """Read the header of a data set of plain elements; None if it is not that plain.

    Parameters
    ----------
    data
        The data set's first bytes.
    is_all
        Nothing comes after them.

    Raises
    ------
    Invalid
        A value that is too long.
    """
    if transfer_syntax in storage.BIG_ENDIAN or transfer_syntax in storage.DEFLATED:
        return None
    try:
        return _walked(data, is_all=is_all, explicit=transfer_syntax not in storage.IMPLICIT_VR)
    except (struct.error, LookupError, ValueError):
        return None


def _walked(data: bytes | bytearray, *, is_all: bool, explicit: bool) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    encodings = _encodings(b"")
    head = EXPLICIT if explicit else IMPLICIT
    at, before, end = 0, -1, len(data)
    while at + head.size <= end:
        group, element, *vr, length = head.unpack_from(data, at)
        tag = group << 16 | element
        value = at + head.size
        if explicit and vr[0] in LONG_VR:
            length = LENGTH.unpack_from(data, value)[0]
            value += LENGTH.size
        elif explicit and vr[0] not in SHORT_VR:
            return None
        if tag > LAST_TAG:
            return found
        at = value + length
        if tag <= before or length == UNDEFINED or at > end:
            return None
        before = tag
        if tag in tags.HEADER:
            has_items = length and (vr == [b"SQ"] or tags.VR[tags.HEADER[tag]] == "SQ")
            if has_items:
                return None
            _add(found, tags.HEADER[tag], bytes(data[value:at]), encodings)
        elif tag == SPECIFIC_CHARACTER_SET:
            encodings = _encodings(bytes(data[value:at]))
    return found if is_all and at == end else None


def decoded(
    raw: bytes, keyword: str, vr: str, encodings: list[str], *, is_little_endian: bool = True
) -> str | int:
    """Decode a value: text without trailing padding, or the first number of a binary VR.

    Raises
    ------
    Invalid
        It is too long.
    """
    if len(raw) > MOST_VALUE:
        raise Invalid(f"{keyword} is too long", at=keyword)
    if vr == "US":
        return int.from_bytes(raw[:2], "little" if is_little_endian else "big")
    if vr == "UI":
        return legible(raw.decode("ascii", "replace").rstrip("\0 "))
    if raw.isascii() and ESCAPE not in raw and encodings[0].lower().startswith(LIKE_ASCII):
        return legible(raw.decode("ascii").strip("\0 "))
    delimiters = {0xD, 0xA, 0x9, 0xC} if vr in ("LT", "ST", "UT") else {0xD, 0xA, 0x9, 0xC, 0x5C}
    if vr == "PN":
        delimiters = {0xD, 0xA, 0x9, 0xC, 0x5E, 0x3D}
    return legible(charset.decode_bytes(raw, encodings, delimiters).strip("\0 "))


def legible(text: str) -> str:
    """Replace the control characters that no text may have (PS3.5 Section 6.1.3).

    Neither FHIR nor the database has them; if they were left out, one number could become another.

    Examples
    --------
    >>> legible("P1" + chr(0) + "2") == "P1" + chr(0xFFFD) + "2"
    True
    """
    return text if text.isprintable() else _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def character_sets(raw: bytes) -> list[str]:
    """The defined terms of a Specific Character Set."""
    return raw.decode("ascii", "replace").strip("\0 ").split("\\")


def _add(found: dict[str, Any], keyword: str, raw: bytes, encodings: list[str]) -> None:
    vr = tags.VR[keyword]
    value = decoded(raw, keyword, vr, encodings) if vr != "SQ" else ""
    if value != "":
        found[keyword] = value


@functools.lru_cache(maxsize=64)
def _encodings(raw: bytes) -> list[str]:
    """The Python encodings that a Specific Character Set names."""
    return charset.convert_encodings(character_sets(raw))
