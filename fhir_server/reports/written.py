"""A report as a MeasureReport, and as CSV.

Each measure is a group: its population is the total, and its strata are the combinations of what
it was asked by; a combination of several has components. What is not known is ``unknown``.

References
----------
* FHIR R4 MeasureReport: type summary; group, stratifier, stratum, component
* RFC 4180; OWASP "CSV Injection": a cell that a spreadsheet would take for a formula is text
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from fhir_server.reports.measures import DIMENSIONS, MEASURES, Line
from resources import codes
from resources.content import written_instant

MEASURE: Final = f"{codes.BASE}/Measure/audit-report"
MEASURE_SYSTEM: Final = f"{codes.BASE}/CodeSystem/audit-measure"
DIMENSION_SYSTEM: Final = f"{codes.BASE}/CodeSystem/audit-dimension"
POPULATION: Final = codes.Coding(
    "http://terminology.hl7.org/CodeSystem/measure-population",
    "initial-population",
    "Initial Population",
)
UNKNOWN: Final = codes.Coding(
    "http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "UNK", "unknown"
)

FORMULAS: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What makes a cell a formula at its beginning, in full width too."""

BREAKS: Final = ("\t", "\r", "\n")
UNSEEN: Final = "".join(BREAKS) + " \u00a0\u2002\u2003\u2009\u200b\u200e\u200f\u2060\u3000\ufeff"
"""What may stand before it: spaces, and what is not seen."""


class Report(NamedTuple):
    """Counts, ready to be written.

    Parameters
    ----------
    low, high
        From when up to when, microseconds since 1970 UTC, the end not included.
    by
        Keys of `DIMENSIONS`.
    lines
        Their values as they are written.
    names
        Value of a line -> what people call it.
    """

    low: int
    high: int
    by: Sequence[str]
    lines: Sequence[Line]
    names: Mapping[str, str]


def measure_report(report: Report, instant: int, reporter: str | None) -> dict[str, Any]:
    """Write a MeasureReport.

    Parameters
    ----------
    reporter
        Id of the organisation that asked, if one did.
    """
    groups = []
    for measure in dict.fromkeys(line.measure for line in report.lines):
        lines = [line for line in report.lines if line.measure == measure]
        total = next(line.number for line in lines if line.values is None)
        group: dict[str, Any] = {
            "code": _concept(MEASURE_SYSTEM, measure, MEASURES[measure]),
            "population": [_population(total)],
        }
        if strata := [_stratum(report, line) for line in lines if line.values is not None]:
            group["stratifier"] = [{"code": _stratifier(report.by), "stratum": strata}]
        groups.append(group)
    written: dict[str, Any] = {
        "resourceType": "MeasureReport",
        "status": "complete",
        "type": "summary",
        "measure": MEASURE,
        "date": written_instant(instant),
        "period": {
            "start": written_instant(report.low),
            "end": written_instant(report.high - 1000),
        },
        "group": groups,
    }
    if reporter is not None:
        written["reporter"] = {"reference": f"Organization/{reporter}"}
    return written


def _stratifier(by: Sequence[str]) -> list[dict[str, Any]]:
    return [_concept(DIMENSION_SYSTEM, name, DIMENSIONS[name]) for name in by]


def _stratum(report: Report, line: Line) -> dict[str, Any]:
    values = [_value(report, value) for value in line.values or ()]
    counted = {"population": [_population(line.number)]}
    if len(values) == 1:
        return {"value": values[0], **counted}
    components = [
        {"code": code, "value": value}
        for code, value in zip(_stratifier(report.by), values, strict=True)
    ]
    return {"component": components, **counted}


def _value(report: Report, value: str) -> dict[str, Any]:
    if not value:
        return {**UNKNOWN.concept, "text": UNKNOWN.display}
    return {"coding": [{"code": value}], "text": report.names.get(value, value)}


def _population(number: int) -> dict[str, Any]:
    return {"code": POPULATION.concept, "count": number}


def _concept(system: str, code: str, display: str) -> dict[str, Any]:
    return codes.Coding(system, code, display).concept


def table(report: Report) -> bytes:
    """Write CSV: a row each combination, or the totals where it was asked by nothing.

    A column of names follows each whose values have any.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    columns: list[str] = []
    for name in report.by:
        columns += [name, f"{name}-name"] if name in NAMED else [name]
    writer.writerow(["measure", "start", "end", *columns, "count"])
    start, end = written_instant(report.low), written_instant(report.high - 1000)
    for line in report.lines:
        if (line.values is None) == bool(report.by):
            continue
        cells: list[str] = []
        for name, value in zip(report.by, line.values or (), strict=True):
            cells.append(value)
            if name in NAMED:
                cells.append(report.names.get(value, ""))
        shown = [cell(each) for each in (line.measure, start, end, *cells)]
        writer.writerow([*shown, line.number])
    return out.getvalue().encode()


NAMED: Final = ("organization", "creator", "person")
"""The dimensions whose values have names."""


def cell(text: str) -> str:
    """Make text that stays text in a spreadsheet.

    Examples
    --------
    >>> cell("=1+1"), cell("Northmoor"), cell("-5")
    ("'=1+1", 'Northmoor', "'-5")
    """
    seen = text.lstrip(UNSEEN)
    return f"'{text}" if text.startswith(BREAKS) or seen.startswith(FORMULAS) else text
