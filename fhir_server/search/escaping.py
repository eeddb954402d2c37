r"""Separators inside a search value, and how a value says that it means the character itself.

FHIR R4 search, "Escaping Search Parameters": ``$``, ``,`` and ``|`` separate; a backslash before
one of them, or before another backslash, takes that meaning away. A backslash before anything
else is a backslash.
"""

import re
from typing import Final

_PIECE: Final = re.compile(r"\\[\\,|$]|.", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([\\,|$])")


def split(text: str, separator: str) -> list[str]:
    r"""Split at the separators that are not escaped; the pieces stay escaped.

    Examples
    --------
    >>> split(r"a,b\,c", ",")
    ['a', 'b\\,c']
    """
    if "\\" not in text:
        return text.split(separator)
    pieces = [""]
    for piece in _PIECE.findall(text):
        if piece == separator:
            pieces.append("")
        else:
            pieces[-1] += piece
    return pieces


def plain(text: str) -> str:
    r"""Take the escapes out.

    Examples
    --------
    >>> plain(r"a\,b\\c\d")
    'a,b\\c\\d'
    """
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text
