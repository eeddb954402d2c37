"""Date parameters: every date is a period, because "2026-11" is a month long.

Periods are in microseconds since 1970 UTC, both ends included. A day without a time zone is the day
in UTC; a time of day without one, which a search may have, is taken as UTC.

References
----------
* FHIR R4 search, "date" and "Prefixes"
* FHIR R4 datatypes, dateTime, instant, Period, Timing
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Final, NamedTuple

from resources.errors import Invalid

BEGINNING: Final = -(2**63)
"""A period without a start."""

FOREVER: Final = 2**63 - 1
"""A period without an end."""

PREFIXES: Final = {
    "eq": "{low} >= {a} and {low} <= {b} and {high} <= {b}",
    "ne": "not ({low} >= {a} and {high} <= {b})",
    "gt": "{high} > {b}",
    "lt": "{low} < {a}",
    "ge": "({high} > {b} or {low} >= {a})",
    "le": "{low} <= {b} and ({low} < {a} or {high} <= {b})",
    "sa": "{low} > {b}",
    "eb": "{low} < {a} and {high} < {a}",
    "ap": "{low} <= {b} and {high} >= {a}",
}
"""FHIR R4 search, "Prefixes": the period `low`-`high` of a resource against `a`-`b` asked for.

``ge`` is "the range above the search value intersects the range of the target value, or the range
of the search value fully contains it"; the others likewise. What is said of `low` besides follows
from what is said of `high`, and lets an index on `low` help."""

OF_AN_INSTANT: Final = {
    "eq": "{low} >= {a} and {low} <= {b}",
    "ne": "not ({low} >= {a} and {low} <= {b})",
    "gt": "{low} > {b}",
    "lt": "{low} < {a}",
    "ge": "{low} >= {a}",
    "le": "{low} <= {b}",
    "sa": "{low} > {b}",
    "eb": "{low} < {a}",
    "ap": "{low} >= {a} and {low} <= {b}",
}
"""The same where the resource has an instant, so that an index can be used."""

APPROXIMATELY: Final = 10
"""``ap`` is within a tenth of the time between the date and now, as the standard recommends."""

_DATE: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?"
    r"(Z|[+-]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Range(NamedTuple):
    """A period asked for, and how a resource must lie to it."""

    prefix: str
    low: int
    high: int

    def bounds(self, instant: int) -> tuple[int, int]:
        """The period to compare with; ``ap`` depends on what time it is."""
        if self.prefix != "ap":
            return self.low, self.high
        slack = abs(instant - self.low) // APPROXIMATELY
        return max(self.low - slack, BEGINNING), min(self.high + slack, FOREVER)


def read(text: str, code: str = "") -> Range:
    """Read an optional prefix and a date of any precision.

    Examples
    --------
    >>> read("ge1970-01-01")
    Range(prefix='ge', low=0, high=86399999999)

    Raises
    ------
    Invalid
        It is not a date, or not one that exists.
    """
    prefix = text[:2] if text[:2] in PREFIXES else "eq"
    try:
        return Range(prefix, *period(text.removeprefix(prefix)))
    except ValueError:
        raise Invalid(f"{code} is not asked for with a date", at=code) from None


@lru_cache(maxsize=8192)
def period(text: str) -> tuple[int, int]:
    """Find the first and the last microsecond of a date.

    Examples
    --------
    >>> period("1970-01-01T00:00:01Z")
    (1000000, 1999999)

    Raises
    ------
    ValueError
        It is not a date.
    """
    parts = _DATE.fullmatch(text)
    if parts is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, zone = parts.groups()
    start = datetime(int(year), int(month or 1), int(day or 1), tzinfo=UTC)
    if hour is None:
        return _microseconds(start), _microseconds(_next(start, month, day)) - 1
    seconds = 59 if second == "60" else int(second or 0)  # a leap second is the one before
    start = start.replace(hour=int(hour), minute=int(minute), second=seconds)
    low = _microseconds(start.replace(tzinfo=_zone(zone)))
    if fraction is not None:
        width = 10 ** max(6 - len(fraction), 0)
        low += int(fraction[:6].ljust(6, "0"))
        return low, low + width - 1
    return low, low + (60_000_000 if second is None else 1_000_000) - 1


def periods(element: Any) -> Iterator[tuple[int, int]]:
    """Yield the period of one element: a date, a Period or a Timing.

    Of a Timing only the outer limits count. What is not a date yields nothing.
    """
    if element.__class__ is str:
        found = _period_or_none(element)
        if found is not None:
            yield found
    elif element.__class__ is dict:
        if "start" in element or "end" in element:
            yield _between(element)
        else:
            yield from _of_timing(element)


def _of_timing(timing: dict[str, Any]) -> Iterator[tuple[int, int]]:
    limits = [
        found for event in timing.get("event", ()) if (found := _period_or_none(event)) is not None
    ]
    bounds = timing.get("repeat", {}).get("boundsPeriod")
    if bounds:
        limits.append(_between(bounds))
    if limits:
        yield min(low for low, _ in limits), max(high for _, high in limits)


def _between(period: dict[str, Any]) -> tuple[int, int]:
    start = _period_or_none(period.get("start"))
    end = _period_or_none(period.get("end"))
    return start[0] if start else BEGINNING, end[1] if end else FOREVER


def _period_or_none(text: Any) -> tuple[int, int] | None:
    try:
        return period(text) if text.__class__ is str else None
    except ValueError:
        return None


def _next(start: datetime, month: str | None, day: str | None) -> datetime:
    """The year, month or day after; the end of time after the year 9999."""
    try:
        if day is not None:
            return start + timedelta(days=1)
        if month is not None:
            return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
        return start.replace(year=start.year + 1)
    except (ValueError, OverflowError):
        return datetime.max.replace(tzinfo=UTC)


def _zone(text: str | None) -> timezone:
    if text in (None, "Z"):
        return UTC
    hours, minutes = int(text[1:3]), int(text[4:6])
    sign = -1 if text[0] == "-" else 1
    return timezone(sign * timedelta(hours=hours, minutes=minutes))


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
