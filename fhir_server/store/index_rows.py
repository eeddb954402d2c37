"""Index rows: terms as the tables of the index keep them.

What no index could hold is cut or left out here, and a NUL, which PostgreSQL cannot keep.

References
----------
* PostgreSQL documentation: "B-Tree Indexes" (an entry is at most a third of a page)
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fhir_server.search.terms import StringTerm, ValueTerm

SEPARATOR: Final = "\x1f"
"""Between the elements of a text array inside a text; removed from what is indexed."""

LONGEST_TERM: Final = 800
"""Octets. A longer term is not indexed: an index entry must fit into a third of a page."""


def joined(terms: Sequence[str]) -> str:
    """Terms as one text for ``string_to_array``, without those that no index can hold."""
    text = SEPARATOR.join(terms)
    is_clean = "\0" not in text and text.count(SEPARATOR) < len(terms)
    if is_clean and max(map(len, terms)) <= LONGEST_TERM // 4:
        return text
    return SEPARATOR.join(
        term.replace(SEPARATOR, "").replace("\0", "")
        for term in terms
        if len(term.encode()) <= LONGEST_TERM
    )


def texts(strings: Iterable[StringTerm]) -> dict[tuple[str, str], str | None]:
    """Gather the texts that are folded alike, by code and folded text: how each is written.

    None stands for what is written as it is folded.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for code, value, original in strings:
        written = original.replace(SEPARATOR, "").replace("\0", "")
        found.setdefault((code, cut(value)), []).append(written)
    return {
        at: None if originals == [at[1]] else SEPARATOR.join(originals)
        for at, originals in found.items()
    }


def values(terms: Iterable[ValueTerm]) -> list[tuple[Any, ...]]:
    """Values as rows of `value_term` without key and type; each is numbered within its code."""
    numbers: Counter[str] = Counter()
    rows = []
    for term in terms:
        numbers[term.code] += 1
        ends = (None if each is None else format(each, "f") for each in term[2:])
        rows.append((term.code, numbers[term.code], joined(term.words), *ends))
    return rows


def marked(texts: str) -> str | None:
    """`Terms.texts` as they are kept; None stands for none."""
    return texts.replace("\0", "") or None


def cut(value: str) -> str:
    """A text cut to what an index holds; strings match by how they begin."""
    return value.replace("\0", "")[: LONGEST_TERM // 4]
