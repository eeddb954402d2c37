"""Logical ids that the server gives: UUIDs in the order of time.

References
----------
* RFC 9562 Section 5.7 (UUID version 7); Section 6.11: time order keeps index pages together
* FHIR Datatypes, id
"""

import os
import time


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
