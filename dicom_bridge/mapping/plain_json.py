"""Plain values as DICOM JSON: what nearly all elements hold, without the objects of a parser.

A value in ASCII that is just what its VR allows is written here; anything else (other characters,
what is too long or padded within, sequences, bulk data) is left to pydicom, which says the same of
these too.

References
----------
* PS3.18 Section F.2 (DICOM JSON Model)
* PS3.5 Section 6.2 (Value Representation)
"""

import re
import struct
from typing import Any, Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

LIKE_ASCII: Final = frozenset({b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 192"})
"""Specific Character Sets (PS3.3 Section C.12.1.1.2) in which ASCII is itself."""
ONE: Final = {
    "CS": r"[A-Z0-9_](?:[A-Z0-9_ ]{0,14}[A-Z0-9_])?",
    "DA": r"[12]\d{3}(?:0[1-9]|1[0-2])(?:0[1-9]|1\d|2[0-8])",
    "DS": r"-?\d{1,8}(?:\.\d{1,6})?",
    "IS": r"-?\d{1,9}",
    "LO": r"[!-\[\]-~](?:[ -\[\]-~]{0,62}[!-\[\]-~])?",
    "PN": r"[A-Za-z](?:[A-Za-z .'^-]{0,62}[A-Za-z])?",
    "SH": r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?",
    "TM": r"(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?:\.\d{1,6})?",
    "UI": r"[1-2](?:\.(?:0|[1-9]\d{0,30})){1,2}(?:\.(?:0|[1-9]\d*))*",
}
"""VR to a value in the middle of what it allows."""
TEXT: Final = frozenset({"LO", "PN", "SH"})
"""VRs whose characters are those of the Specific Character Set."""
SEVERAL: Final = frozenset({"CS", "DS", "IS"})
MOST_UID: Final = 64
NUMBERS: Final = {"US": "H", "SS": "h", "UL": "L", "SL": "l"}
PADDING: Final = b"\0 "

_PATTERNS: Final = {
    vr: re.compile((rf"{one}(?:\\{one})*" if vr in SEVERAL else one).encode(), re.ASCII)
    for vr, one in ONE.items()
}
_LAYOUTS: Final = {vr: struct.Struct(f"<{code}") for vr, code in NUMBERS.items()}


def is_plain(ds: Dataset) -> bool:
    """Whether text of a data set that is ASCII is what it looks like."""
    element = ds.get_item("SpecificCharacterSet") if "SpecificCharacterSet" in ds else None
    value = element.value if element is not None else b""
    return isinstance(value, bytes) and value.strip(PADDING) in LIKE_ASCII


def written(element: Any, *, plain: bool) -> dict[str, Any] | None:
    """One element as a member of a DICOM JSON object; None if it is not as plain as that.

    Parameters
    ----------
    element
        As `Dataset.get_item` gives it.
    plain
        What `is_plain` says of its data set.
    """
    if not isinstance(element, RawDataElement) or not element.is_little_endian:
        return None
    vr, raw = element.VR, element.value
    if vr in _LAYOUTS:
        layout = _LAYOUTS[vr]
        if not raw or len(raw) % layout.size:
            return None
        return {"vr": vr, "Value": [number for (number,) in layout.iter_unpack(raw)]}
    if vr not in _PATTERNS or not raw or (vr in TEXT and not plain):
        return None
    value = raw.rstrip(PADDING)
    if _PATTERNS[vr].fullmatch(value) is None or (vr == "UI" and len(value) > MOST_UID):
        return None
    text = value.decode("ascii")
    if vr == "PN":
        return {"vr": vr, "Value": [{"Alphabetic": text}]}
    if vr not in SEVERAL:
        return {"vr": vr, "Value": [text]}
    values: list[Any] = text.split("\\")
    if vr != "CS":
        values = list(map(int if vr == "IS" else float, values))
    return {"vr": vr, "Value": values}
