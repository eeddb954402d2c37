"""Logical ids that the server gives: UUIDs in the order of time.

References
----------
* RFC 9562 Section 5.7 (UUID version 7); Section 6.11: time order keeps index pages together
* FHIR Datatypes, id
"""

import os
import re
import time
from typing import Final

_OURS: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new() -> str:
    """Make an id nobody else makes.

    Examples
    --------
    >>> len(new()), new()[14], new() != new()
    (36, '7', True)
    """
    milliseconds = time.time_ns() // 1_000_000
    chance = int.from_bytes(os.urandom(10), "big")
    bits = milliseconds << 80 | 7 << 76 | (chance >> 64 & 0xFFF) << 64
    bits |= 0b10 << 62 | chance & 0x3FFF_FFFF_FFFF_FFFF
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_ours(id: str) -> bool:
    """Whether the server gave this id, by its looks.

    Examples
    --------
    >>> is_ours(new()), is_ours("p1")
    (True, False)
    """
    return _OURS.fullmatch(id) is not None
