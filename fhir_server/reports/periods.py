"""Periods: days, weeks and months of UTC, and what each is called.

References
----------
* ISO 8601: calendar dates and week dates; FHIR R4 date
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from resources.errors import Invalid

SECOND: Final = 1_000_000

MOST: Final = 1200
"""Periods of one report: three years by day, a hundred by month."""


def _next_month(start: datetime) -> datetime:
    return (start.replace(day=1) + timedelta(days=32)).replace(day=1)


PERIODS: Final[Mapping[str, tuple[Callable[[datetime], datetime], str]]] = {
    "day":   (lambda at: at + timedelta(days=1), "%Y-%m-%d"),
    "week":  (lambda at: at + timedelta(days=7 - at.weekday()), "%G-W%V"),
    "month": (_next_month, "%Y-%m"),
}  # fmt: skip
"""Kind -> the start of the next one, and how a period is written."""


def starts(kind: str, low: int, high: int) -> tuple[int, ...]:
    """Give where the periods begin that `low` up to `high` (not included) lies in.

    The first begins at or before `low`.

    Raises
    ------
    Invalid
        There are more than `MOST`.

    Examples
    --------
    >>> day = 86_400_000_000
    >>> [each // day for each in starts("day", day + 1, 3 * day)]
    [1, 2]
    >>> [each // day for each in starts("month", 0, 32 * day)]
    [0, 31]
    """
    following, _ = PERIODS[kind]
    at = _moment(low).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "week":
        at -= timedelta(days=at.weekday())
    if kind == "month":
        at = at.replace(day=1)
    found: list[int] = []
    while (start := round(at.timestamp()) * SECOND) < high:
        found.append(start)
        if len(found) > MOST:
            raise Invalid(f"A report has at most {MOST} periods.", "by", "too-costly")
        try:
            at = following(at)
        except OverflowError:  # with the year 9999 the calendar ends
            break
    return tuple(found)


def named(kind: str, start: int) -> str:
    """Write a period.

    Examples
    --------
    >>> named("day", 0), named("week", 0), named("month", 0)
    ('1970-01-01', '1970-W01', '1970-01')
    """
    return _moment(start).strftime(PERIODS[kind][1])


def this_month(instant: int) -> int:
    """Give when the month of an instant began."""
    return starts("month", instant, instant + 1)[0]


def _moment(instant: int) -> datetime:
    return datetime.fromtimestamp(instant / SECOND, UTC)
