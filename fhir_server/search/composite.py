"""Composite parameters: several values that must be of one and the same element.

``code-value-quantity=8480-6$gt150`` asks for one Observation with that code and such a value, and
``component-code-value-quantity`` for one component with both. Each element is one row of
`value_term`: its words carry the number of the part, ``O.code-value-quantity$1=8480-6``, and its
first and second range are those of the parts that have ranges, in order.

References
----------
* FHIR R4 search, "composite"
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import product
from typing import Any, Final, NamedTuple, TypeAlias

from fhir_server.search import date, number, quantity, reference, string, token, uri
from fhir_server.search.escaping import split
from resources.errors import Invalid
from resources.search_parameters import SearchParameter

MOST_ROWS: Final = 100
"""Rows of one element; what would need more is indexed by the first."""

RANGED: Final = frozenset({"date", "number", "quantity"})

Span: TypeAlias = tuple[Decimal, Decimal]


class Combination(NamedTuple):
    """What is asked for: a kind and a value for each part."""

    kinds: tuple[str, ...]
    parts: tuple[Any, ...]


class Element(NamedTuple):
    """One row: the words of an element, and its ranges."""

    words: tuple[str, ...]
    spans: tuple[Span, ...]


def read(found: SearchParameter, text: str, own_base: str) -> Combination:
    """Read the parts between ``$``.

    Raises
    ------
    Invalid
        There are more or fewer than the parameter has, or one cannot be read.
    """
    pieces = split(text, "$")
    if len(pieces) != len(found.components) or not all(pieces):
        names = "$".join(each.code for each in found.components)
        raise Invalid(f"{found.code} is {names}", at=found.code)
    parts = [
        _READERS[part.kind](part, piece, own_base)
        for part, piece in zip(found.components, pieces, strict=True)
    ]
    return Combination(tuple(part.kind for part in found.components), tuple(parts))


def elements(
    prefix: str, kinds: Sequence[str], values: Sequence[Sequence[Any]], own_base: str
) -> list[Element]:
    """Index one element by the values of its parts; nothing where a part has none.

    Parameters
    ----------
    prefix
        Initials of the type and code of the parameter, ``O.code-value-quantity``.
    """
    words: list[str] = []
    choices: list[list[tuple[Span, tuple[str, ...]]]] = []
    for n, (kind, found) in enumerate(zip(kinds, values, strict=True), 1):
        part = f"{prefix}${n}"
        if kind in RANGED:
            spans = [each for value in found for each in _spans(kind, part, value)]
            if not spans:
                return []
            choices.append(spans)
        else:
            before = len(words)
            for value in found:
                _add_words(kind, part, value, own_base, words.append)
            if len(words) == before:
                return []
    rows = []
    for chosen in list(product(*choices))[:MOST_ROWS]:
        units = [unit for _, its_units in chosen for unit in its_units]
        rows.append(Element((*dict.fromkeys([*words, *units]),), tuple(span for span, _ in chosen)))
    return rows


def _spans(kind: str, part: str, value: Any) -> list[tuple[Span, tuple[str, ...]]]:
    if kind == "date":
        return [((Decimal(low), Decimal(high)), ()) for low, high in date.periods(value)]
    if kind == "number":
        span = number.range(value)
        return [] if span is None else [(span, ())]
    return [
        ((low, high), tuple(f"{part}={unit}" for unit in units))
        for low, high, units in quantity.extents(value)
    ]


def _add_words(kind: str, part: str, value: Any, own_base: str, add: Callable[[str], None]) -> None:
    if kind == "token":
        token.index(part, value, add)
    elif kind == "reference":
        reference.index(part, value, own_base, add)
    elif kind == "uri":
        uri.index(part, value, add)
    else:
        for text in string.values(value):
            add(f"{part}={text}")


_READERS: Final[dict[str, Callable[[SearchParameter, str, str], Any]]] = {
    "token": lambda part, text, own_base: token.read(text),
    "reference": lambda part, text, own_base: reference.read(
        text, part.code, part.targets, "", own_base
    ),
    "uri": lambda part, text, own_base: uri.read(text),
    "string": lambda part, text, own_base: string.read(text),
    "date": lambda part, text, own_base: date.read(text, part.code),
    "number": lambda part, text, own_base: number.read(text, part.code),
    "quantity": lambda part, text, own_base: quantity.read(text, part.code),
}
