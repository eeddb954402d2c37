"""String parameters: names, addresses, titles; by how they begin, without case and accents.

References
----------
* FHIR R4 search, "string": "case and accent insensitive ... starts with"
"""

import unicodedata
from collections.abc import Iterator
from typing import Any, Final

from fhir_server.search.escaping import plain

LONGEST: Final = 200
"""Characters of a text that are indexed; what begins alike up to here is taken for the same."""

_LAST: Final = "\U0010ffff"
"""Sorts after every character that a text may contain."""

_PARTS: Final = (
    "text", "family", "given", "prefix", "suffix",
    "line", "city", "district", "state", "postalCode", "country",
)  # fmt: skip
"""FHIR R4 search, "string": of a HumanName or an Address, any of the parts may match."""


def fold(text: str) -> str:
    """Take case, accents and superfluous space away.

    Examples
    --------
    >>> fold("  Ångström, Zoë ")
    'angstrom, zoe'
    """
    text = text.casefold()
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(each for each in decomposed if not unicodedata.combining(each)).casefold()
    return " ".join(text.split())


def read(text: str) -> str:
    """Read a text as it is compared."""
    return fold(plain(text))


def between(beginning: str) -> tuple[str, str]:
    """The first text that begins so, and the first that does not any more."""
    beginning = beginning[:LONGEST]
    return beginning, beginning + _LAST


def containing(part: str) -> str:
    r"""Write the LIKE pattern of texts that contain a folded text.

    Examples
    --------
    >>> containing("50%")
    '%50\\%%'
    """
    return f"%{_escaped(part)}%"


def pattern(text: str, many: str, one: str) -> str:
    r"""Fold a text with wildcards into a LIKE pattern.

    Parameters
    ----------
    many, one
        The characters that stand for any text and for any one character.

    Examples
    --------
    >>> pattern("O_Neil*", many="*", one="?")
    'o\\_neil%'
    """
    marks = {many: "%", one: "_"}
    return fold("".join(marks.get(each, each) for each in _escaped(text)))


def values(element: Any) -> Iterator[str]:
    """Yield the texts of one element, folded: of a name or an address each part by itself."""
    for text in originals(element):
        yield fold(text)


def originals(element: Any) -> Iterator[str]:
    """Yield the texts of one element as they are written."""
    if element.__class__ is str:
        yield element
    elif element.__class__ is dict:
        for part in _PARTS:
            found = element.get(part)
            for each in found if found.__class__ is list else (found,):
                if each.__class__ is str:
                    yield each


def beginning(text: str) -> str:
    """Write the LIKE pattern of what begins with a text."""
    return f"{_escaped(text)}%"


def literal(text: str) -> str:
    """Write the part of a LIKE pattern that stands for a text itself."""
    return _escaped(text)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
