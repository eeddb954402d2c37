"""Predicates: the small sentences of which invariants are made, over the JSON of an element.

References
----------
* FHIR R4 ElementDefinition.constraint; FHIRPath ``exists``, ``implies``, ``isDistinct``
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

Element = Mapping[str, Any]
Holds = Callable[[Element], bool]


class Invariant(NamedTuple):
    """A rule on the element at `path`; `holds` tells whether this element keeps it."""

    path: str
    key: str
    human: str
    holds: Callable[[Element], bool]


def exists(element: Element, name: str) -> bool:
    """Tell whether the element has this member, be it only as extensions of a primitive."""
    return name in element or f"_{name}" in element


def chosen(element: Element, name: str) -> bool:
    """Tell whether the element has some alternative of a choice such as ``value[x]``."""
    at = len(name)
    return any(
        each.startswith(name) and each[at : at + 1].isupper()
        for each in (member.removeprefix("_") for member in element)
    )


def any_of(*names: str) -> Callable[[Element], bool]:
    """At least one of these is there."""
    return lambda element: any(exists(element, name) for name in names)


def needs(name: str, other: str) -> Callable[[Element], bool]:
    """If the one is there, so is the other."""
    return lambda element: not exists(element, name) or exists(element, other)


def not_both(name: str, other: str) -> Callable[[Element], bool]:
    """One of the two at most."""
    return lambda element: not (exists(element, name) and exists(element, other))


def has_code(concept: Any, *codes: str) -> bool:
    """Tell whether a CodeableConcept has a coding with one of these codes."""
    return any(each.get("code") in codes for each in (concept or {}).get("coding", ()))


def is_in_order(start: str, end: str) -> bool:
    """Tell whether start is not after end, or cannot be told to be.

    Dates are as long as they are precise: 2026 is not after 2026-03. A date without a zone may
    be 14 hours either side of UTC when it meets one that has a zone.

    Examples
    --------
    >>> is_in_order("2026", "2026-03"), is_in_order("2026-03-02", "2026-03")
    (True, True)
    >>> is_in_order("2026-03-02T10:00:00+02:00", "2026-03-02T08:00:00Z")
    True
    >>> is_in_order("2026-03-02T10:00:00Z", "2026-03-02T09:00:00Z"), is_in_order("2027", "2026-12")
    (False, False)
    """
    slack = timedelta(hours=14) if ("T" in start) != ("T" in end) else timedelta(0)
    try:
        if len(start) == len(end) and "T" not in start:
            return start <= end
        return _moment(start, last=False) <= _moment(end, last=True) + slack
    except (ValueError, OverflowError):
        return True  # not a date at all, which the walk tells, or at the end of the calendar


def covers(period: Element, instant: str) -> bool:
    """Tell whether a FHIR Period, as precise as its ends are, covers an instant.

    Examples
    --------
    >>> covers({"start": "2026-03", "end": "2026-04"}, "2026-04-30T23:59:59Z")
    True
    >>> covers({"start": "2026-03-02"}, "2026-03-01T12:00:00Z"), covers({}, "2026-03-01T12:00:00Z")
    (False, True)
    """
    at = _moment(instant, last=False)
    start, end = period.get("start"), period.get("end")
    if start is not None and at < _moment(start, last=False):
        return False
    try:
        return end is None or at <= _moment(end, last=True)
    except (ValueError, OverflowError):
        return True  # at the end of the calendar


def _moment(date: str, *, last: bool) -> datetime:
    """The first or last moment that a date, precise as it is, may mean."""
    if "T" in date:
        return datetime.fromisoformat(date.replace(":60", ":59"))
    year, month, day = (*(int(part) for part in date.split("-")), 0, 0)[:3]
    if not last:
        return datetime(year, month or 1, day or 1, tzinfo=UTC)
    if not day:
        year, month = (year + month // 12, month % 12 + 1) if month else (year + 1, 1)
        return datetime(year, month, 1, tzinfo=UTC) - timedelta(microseconds=1)
    return datetime(year, month, day, tzinfo=UTC) + timedelta(days=1, microseconds=-1)


def ordered(start: str, end: str) -> Callable[[Element], bool]:
    """The one date is not after the other, if both are there; see `is_in_order`."""
    return lambda element: (
        not isinstance(element.get(start), str)
        or not isinstance(element.get(end), str)
        or is_in_order(element[start], element[end])
    )


def needs_one(name: str, *others: str) -> Holds:
    """If the one is there, so is one of the others."""
    return lambda element: not exists(element, name) or any(exists(element, n) for n in others)


def any_chosen(element: Element, *names: str) -> bool:
    """Tell whether some of these elements are there, be they choices or not."""
    return any(exists(element, name) or chosen(element, name) for name in names)


def distinct(values: Iterable[Any]) -> bool:
    """Tell whether no value is there twice."""
    listed = list(values)
    return len(set(listed)) == len(listed)


def is_positive(element: Element, name: str) -> bool:
    """Tell whether a number is not negative, if it is there."""
    value = element.get(name, 0)
    return not isinstance(value, int | float) or value >= 0
