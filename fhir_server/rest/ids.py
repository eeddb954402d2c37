"""Logical ids: 1 to 64 letters, digits, hyphens and dots (FHIR Datatypes, id)."""

import re
from typing import Final

from resources.errors import Invalid

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def is_id(text: str) -> bool:
    """Whether a resource could have this id.

    Examples
    --------
    >>> is_id("a-1.b"), is_id("a" * 65), is_id("a_b")
    (True, False, False)
    """
    return _ID.fullmatch(text) is not None


def require_valid_id(text: str, at: str = "id") -> None:
    """Refuse to store anything under an id that FHIR does not know."""
    if not is_id(text):
        raise Invalid("An id has 1 to 64 letters, digits, hyphens and dots.", at, code="value")
