"""Elements: the heads of data elements in octets, little endian, and where sequences end.

References
----------
* PS3.5 Sections 7.1 (Data Elements) and 7.5 (nested data sets), Tables 7.1-1 to 7.1-3 and 7.5-1 to
  7.5-3
"""

import struct
from typing import Final, NamedTuple

from dicom_bridge.plain import EXPLICIT, IMPLICIT, LENGTH, LONG_VR, SHORT_VR, UNDEFINED

SEQUENCE: Final = b"SQ"
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
NO_VR: Final = 0xFFFE
"""The group of the elements that have no VR (PS3.5 Section 7.5)."""
MOST_DEPTH: Final = 16
"""Sequences within sequences."""


class Head(NamedTuple):
    """The head of an element; the VR is empty where it is not said."""

    tag: int
    vr: bytes
    length: int
    value: int
    """Where the value begins."""


def head(data: bytes, at: int, *, explicit: bool) -> Head:
    """Read the head of an element.

    Raises
    ------
    EOFError
        It is not there as a whole.
    ValueError
        The VR is none.

    Examples
    --------
    >>> head(bytes.fromhex("0800180055490200") + b"1.2.3", 0, explicit=True)
    Head(tag=524312, vr=b'UI', length=2, value=8)
    """
    try:
        if not explicit:
            group, element, length = IMPLICIT.unpack_from(data, at)
            return Head(group << 16 | element, b"", length, at + 8)
        group, element, vr, length = EXPLICIT.unpack_from(data, at)
        tag = group << 16 | element
        if group == NO_VR:
            return Head(tag, b"", LENGTH.unpack_from(data, at + 4)[0], at + 8)
        if vr in SHORT_VR:
            return Head(tag, vr, length, at + 8)
        if vr not in LONG_VR:
            raise ValueError(vr)
        return Head(tag, vr, LENGTH.unpack_from(data, at + 8)[0], at + 12)
    except struct.error as error:
        raise EOFError from error


def end(data: bytes, element: Head, *, explicit: bool, depth: int = 0) -> int:
    """Find the end of an element, which a sequence may not state.

    Raises
    ------
    EOFError
        It is not there.
    ValueError
        It cannot be found.
    """
    if element.length != UNDEFINED:
        return element.value + element.length
    if (explicit and element.vr != SEQUENCE) or depth > MOST_DEPTH:
        raise ValueError(element)
    at = element.value
    while (item := head(data, at, explicit=explicit)).tag != SEQUENCE_END:
        if item.tag != ITEM:
            raise ValueError(item)
        at = item.value if item.length == UNDEFINED else item.value + item.length
        while item.length == UNDEFINED:
            inner = head(data, at, explicit=explicit)
            if inner.tag == ITEM_END:
                at = inner.value
                break
            at = end(data, inner, explicit=explicit, depth=depth + 1)
    return item.value
