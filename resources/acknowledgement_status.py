"""Whether reports are acknowledged in time: counted, by organisation, referrer and category.

References
----------
* R010.3 of the requirements: "so that a provider can see that all reports are acknowledged"
* FHIR R4 MeasureReport: group, stratifier, population, measureScore
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from resources import codes, elements

MEASURE: Final = f"{codes.BASE}/Measure/acknowledgement"
COUNTS: Final = ("issued", "open", "overdue", "acknowledged", "superseded")
"""What is counted; `overdue` are those of the open ones whose time has passed."""

UNFLAGGED: Final = "none"
"""The category of a report that its author did not flag."""

UNKNOWN: Final = "unknown"
"""Of what the record, or the asker's view of it, does not say."""


class Item(NamedTuple):
    """One acknowledgement.

    Parameters
    ----------
    state
        ``open``, ``acknowledged`` or ``superseded``.
    seconds
        From the issue of the report to its acknowledgement.
    """

    issuer: str
    organization: str
    referrer: str
    category: str
    state: str
    overdue: bool
    seconds: float | None


class Line(NamedTuple):
    """The counts of a group, and the time that acknowledgement took there (seconds).

    `members` are the recipients whose acknowledgements are in it.
    """

    dimension: str
    value: str
    counts: Mapping[str, int]
    median: float | None
    p95: float | None
    members: tuple[str, ...]


DIMENSIONS: Final[Mapping[str, Callable[[Item], str]]] = {
    "issuer": lambda item: item.issuer,
    "organization": lambda item: item.organization,
    "referrer": lambda item: item.referrer,
    "category": lambda item: item.category,
}
"""By what is counted: who reported, for whose organisation, for whom, how it was flagged."""


def lines(items: Sequence[Item]) -> list[Line]:
    """The total, and the counts by each dimension, in order of their values."""
    found = [_line("total", "", items)]
    for dimension, of in DIMENSIONS.items():
        groups: dict[str, list[Item]] = {}
        for item in items:
            groups.setdefault(of(item) or UNKNOWN, []).append(item)
        found += [_line(dimension, value, groups[value]) for value in sorted(groups)]
    return found


def _line(dimension: str, value: str, items: Iterable[Item]) -> Line:
    held = list(items)
    counts = {
        "issued": len(held),
        "open": sum(item.state == "open" for item in held),
        "overdue": sum(item.state == "open" and item.overdue for item in held),
        "acknowledged": sum(item.state == "acknowledged" for item in held),
        "superseded": sum(item.state == "superseded" for item in held),
    }
    times = [item.seconds for item in held if item.seconds is not None]
    members = tuple(dict.fromkeys(item.referrer for item in held))
    return Line(dimension, value, counts, percentile(times, 50), percentile(times, 95), members)


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The smallest value that so many percent of them do not exceed (nearest rank).

    Examples
    --------
    >>> percentile([5, 1, 3], 50), percentile(list(range(1, 101)), 95), percentile([], 50)
    (3, 95, None)
    """
    ordered = sorted(values)
    return ordered[math.ceil(percent / 100 * len(ordered)) - 1] if ordered else None


def measure_report(
    found: Sequence[Line],
    drill_down: Callable[[Line], str],
    *,
    period: tuple[str, str],
    written: str,
    reporter: str | None,
) -> dict[str, Any]:
    """The counts as a MeasureReport: a group of counts, one of the medians, one of the 95th.

    Parameters
    ----------
    drill_down
        The search that finds what a line counts; it stands at each stratum as an extension.
    """
    shown: tuple[tuple[str, Callable[[Line], dict[str, Any]]], ...] = (
        ("counts", _population),
        ("median", lambda line: _score(line.median)),
        ("p95", lambda line: _score(line.p95)),
    )
    total, rest = found[0], found[1:]
    groups = [
        {
            "extension": [_link(drill_down(total))],
            "code": _code(name),
            **says(total),
            "stratifier": [
                {
                    "code": [_code(dimension)],
                    "stratum": [
                        {
                            "extension": [_link(drill_down(line))],
                            "value": {"text": line.value},
                            **says(line),
                        }
                        for line in rest
                        if line.dimension == dimension
                    ],
                }
                for dimension in DIMENSIONS
                if any(line.dimension == dimension for line in rest)
            ],
        }
        for name, says in shown
    ]
    for group in groups:
        if not group["stratifier"]:
            del group["stratifier"]
    return {
        "resourceType": "MeasureReport",
        "status": "complete",
        "type": "summary",
        "measure": MEASURE,
        "date": written,
        **({"reporter": {"reference": reporter}} if reporter else {}),
        "period": {"start": period[0], "end": period[1]},
        "group": groups,
    }


def _code(code: str) -> dict[str, Any]:
    return elements.concept(codes.ACKNOWLEDGEMENT_COUNT, code)


def _link(address: str) -> dict[str, Any]:
    return {"url": codes.DRILL_DOWN, "valueUrl": address}


def _population(line: Line) -> dict[str, Any]:
    return {"population": [{"code": _code(name), "count": line.counts[name]} for name in COUNTS]}


def _score(seconds: float | None) -> dict[str, Any]:
    if seconds is None:
        return {}
    minutes = {"value": round(seconds / 60, 1), "unit": "min", "system": codes.UCUM, "code": "min"}
    return {"measureScore": minutes}


def table(found: Sequence[Line], drill_down: Callable[[Line], str]) -> bytes:
    """The counts as CSV (RFC 4180), times in minutes."""
    out = io.StringIO(newline="")
    rows = csv.writer(out)
    rows.writerow(["by", "value", *COUNTS, "median_minutes", "p95_minutes", "search"])
    for line in found:
        times = ["" if one is None else round(one / 60, 1) for one in (line.median, line.p95)]
        counts = [line.counts[name] for name in COUNTS]
        rows.writerow([line.dimension, line.value, *counts, *times, drill_down(line)])
    return out.getvalue().encode()
