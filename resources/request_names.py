"""Request names: numbers, UIDs and ids that follow from a request.

Whoever finds that something is missing makes the same thing.

References
----------
* docs/representation.md, "Identifiers"; RFC 9562, version 5; PS3.5 Annex B.2
"""

import uuid
from typing import Final

from resources import codes
from resources.request_state import Held

NAMES: Final = uuid.uuid5(uuid.NAMESPACE_URL, codes.BASE)
"""Namespace of every name that follows from a request (RFC 9562, version 5)."""

UNMISTAKABLE: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U


def accession_number(request: str) -> str:
    """The accession number of a request: 65 bits in 13 characters, of the 16 that SH allows.

    Examples
    --------
    >>> len(accession_number("ServiceRequest/1"))
    13
    """
    number = uuid.uuid5(NAMES, request + "/accession").int
    return "".join(UNMISTAKABLE[(number >> shift) & 31] for shift in range(60, -5, -5))


def planned_study_uid(request: str) -> str:
    """The Study Instance UID that the worklist gives for a request (PS3.5 Annex B.2, UUID)."""
    return f"2.25.{uuid.uuid5(NAMES, request + '/study').int}"


def name_for(request: Held, *parts: object) -> str:
    """The id of what is made for a request: it follows from the request and from what it is."""
    return str(uuid.uuid5(NAMES, "/".join([request.reference, *map(str, parts)])))
