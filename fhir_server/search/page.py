"""_sort, _count and the keyset cursor: in which order matches come, and where a page begins.

The order is always total: the key of the version breaks ties. A page begins after a row, named by
its sort values, and not at a number of rows: what is added or goes away meanwhile shifts nothing,
and every match that was there from the start is seen once. Missing values come last.

Without _sort, the resources of one patient come by their chief date, newest first; all others by
when they were last written, oldest first, so that what changes while somebody pages comes again
at the end and nothing is missed.

References
----------
* FHIR R4 search, "Sorting", "Paging"; FHIR http, "paging"
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import orjson

from fhir_server.search.date import BEGINNING, FOREVER
from fhir_server.search.rank import expression, is_ranked
from fhir_server.search.terms import initials
from resources.errors import Invalid
from resources.search_parameters import CHIEF_DATE

Position: TypeAlias = tuple[int | str | None, ...]
"""The sort values of the last row of a page, one for each key."""

LONGEST: Final = 8000


class Sort(NamedTuple):
    """One key of the order asked for."""

    code: str
    kind: str
    descending: bool


class Key(NamedTuple):
    """One key of the order as it is computed.

    Parameters
    ----------
    value
        SQL over a row of `current` called ``c``.
    is_text
        A text, else a bigint.
    nullable
        The value may be missing.
    """

    value: str
    is_text: bool
    descending: bool
    nullable: bool


SORTABLE: Final = frozenset({"token", "reference", "date", "string", "uri", "number", "quantity"})

MOST_MILLIONTHS: Final = 9_000_000_000_000
"""Numbers are put in order by millionths, which are whole; what is larger comes at the end."""


def is_sortable(kind: str) -> bool:
    """Whether an order can be made of a parameter of this kind."""
    return kind in SORTABLE


def keys(type: str, sort: Sequence[Sort], of_one_patient: bool) -> tuple[Key, ...]:
    """Name the keys of an order, the tie-break at the end."""
    if sort:
        found = [_key(type, each) for each in sort]
    elif of_one_patient:
        found = [Key("c.sort_at", False, True, True)]
    else:
        found = [Key("c.instant", False, False, False)]
    return (*found, Key("c.key", False, found[-1].descending, False))


def order(keys: Sequence[Key]) -> str:
    """ORDER BY over columns s1, s2, ..."""
    return ", ".join(
        f"s{n}{' desc' if key.descending else ''}{' nulls last' if key.nullable else ''}"
        for n, key in enumerate(keys, 1)
    )


def after(keys: Sequence[Key], missing: Sequence[bool], places: Sequence[str]) -> str:
    """Write the condition that a row comes after a position, in SQL.

    Parameters
    ----------
    missing
        Which values of the position are missing.
    places
        A placeholder for each value; those of missing values are not used.
    """
    if not any(key.nullable for key in keys) and len({key.descending for key in keys}) == 1:
        columns = ", ".join(f"s{n}" for n in range(1, len(keys) + 1))
        return f"({columns}) {'<' if keys[0].descending else '>'} ({', '.join(places)})"
    condition = ""
    for n in range(len(keys), 0, -1):
        later, same = _beside(n, keys[n - 1], missing[n - 1], places[n - 1])
        rest = f"({same} and {condition})" if condition else ""
        condition = f"({' or '.join(each for each in (later, rest) if each)})"
    return condition


def encode(position: Position) -> str:
    """Write a position as an opaque, URL-safe text.

    Examples
    --------
    >>> decode(encode((5, 7)), keys("Flag", (), False))
    (5, 7)
    """
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


def decode(cursor: str, keys: Sequence[Key]) -> Position:
    """Read a position back.

    Raises
    ------
    Invalid
        It is not one that this server gave for this order.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        values = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeError, binascii.Error, orjson.JSONDecodeError):
        values = None
    if (
        len(cursor) > LONGEST
        or not isinstance(values, list)
        or len(values) != len(keys)
        or not all(_fits(value, key) for value, key in zip(values, keys, strict=True))
    ):
        raise Invalid("the cursor is not one of this search", at="_cursor")
    return tuple(values)


def _fits(value: object, key: Key) -> bool:
    if value is None:
        return key.nullable
    if key.is_text:
        return isinstance(value, str) and "\x00" not in value
    return type(value) is int and BEGINNING <= value <= FOREVER


def _beside(n: int, key: Key, is_missing: bool, place: str) -> tuple[str, str]:
    """Write "the value comes later" (empty: none can) and "it is the same", in SQL."""
    if is_missing:
        return "", f"s{n} is null"
    later = f"s{n} {'<' if key.descending else '>'} {place}"
    return (f"{later} or s{n} is null" if key.nullable else later), f"s{n} = {place}"


def _key(type: str, sort: Sort) -> Key:
    code, kind, descending = sort
    if code == "_id":
        return Key("c.id", True, descending, False)
    if code == "_lastUpdated":
        return Key("c.instant", False, descending, False)
    end = "max" if descending else "min"
    if kind == "date":
        if CHIEF_DATE.get(type) == code:
            return Key("c.sort_at", False, descending, True)
        value = f"(select {end}(d.low) from date_term d {_of(type, code, 'd')})"
        return Key(value, False, descending, True)
    if is_ranked(type, code):
        return Key(f"{expression(initials(type), 'c')}::bigint", False, descending, False)
    if kind in ("number", "quantity"):
        clipped = f"least(greatest({end}(v.low), -{MOST_MILLIONTHS}), {MOST_MILLIONTHS})"
        where = f"{_of(type, code, 'v')} having count(v.low) > 0"
        value = f"(select ({clipped} * 1000000)::bigint from value_term v {where})"
        return Key(value, False, descending, True)
    if kind == "string":
        value = f"(select {end}(s.value) from string_term s {_of(type, code, 's')})"
        return Key(value, True, descending, True)
    prefix = f"{initials(type)}.{code}="
    plain = "and strpos(x, '|') = 0" if kind == "token" else "and strpos(x, '/_history/') = 0"
    value = (
        f'(select {end}(substr(x, {len(prefix) + 1}) collate "C") from unnest(c.terms) x'
        f" where x ^@ '{prefix}' {plain})"
    )
    return Key(value, True, descending, True)


def _of(type: str, code: str, alias: str) -> str:
    return f"where {alias}.key = c.key and {alias}.type = '{type}' and {alias}.code = '{code}'"
