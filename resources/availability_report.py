"""Whether images are there when they are needed: counted by organisation (R003.1).

Two measures. Of what was scheduled and needed images brought: how much had all of them before it
started. Of studies that were acquired: how long it took until the first image was available to
all who may see it. The one is by the organisation that received, the other by the one that made.

References
----------
* R003.1 of the requirements: "available in line with existing SLAs"
* FHIR R4 MeasureReport: group, stratifier, population, measureScore
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from resources import codes, elements
from resources.acknowledgement_status import UNKNOWN, percentile

MEASURE: Final = f"{codes.BASE}/Measure/availability"
SYSTEM: Final = f"{codes.BASE}/CodeSystem/availability-measure"
STATES: Final = ("ready", "late", "waiting")
"""All had arrived before the start; something had not; the start is still to come."""

READY: Final = codes.Coding(SYSTEM, "ready-before-start", "All images there before the start")
MEDIAN: Final = codes.Coding(SYSTEM, "median", "Median time from acquisition to availability")
P95: Final = codes.Coding(SYSTEM, "p95", "95th percentile of that time")
STUDIES: Final = codes.Coding(SYSTEM, "studies", "Studies that were acquired")
ORGANIZATION: Final = codes.Coding(SYSTEM, "organization", "Organisation")
POPULATIONS: Final = {
    "needed": codes.Coding(SYSTEM, "needed", "Scheduled work that images were brought for"),
    "ready": codes.Coding(SYSTEM, "ready", "All there before the start"),
    "late": codes.Coding(SYSTEM, "late", "Not all there at the start"),
    "waiting": codes.Coding(SYSTEM, "waiting", "Not yet at its start, and not all there"),
}


class Scheduled(NamedTuple):
    """Something that was scheduled at an organisation (its reference), and its state."""

    organization: str
    state: str


class Acquired(NamedTuple):
    """A study that an organisation made, and the seconds until it was available."""

    organization: str
    seconds: float


class Line(NamedTuple):
    """What is counted of one organisation, or of all: an empty name.

    Parameters
    ----------
    share
        Of what has started, what was ready; None where nothing has.
    median, p95
        Seconds.
    """

    organization: str
    needed: int
    ready: int
    late: int
    waiting: int
    share: float | None
    studies: int
    median: float | None
    p95: float | None


def lines(scheduled: Sequence[Scheduled], acquired: Sequence[Acquired]) -> list[Line]:
    """The total, and each organisation in order of its reference."""
    names = {one.organization or UNKNOWN for one in scheduled}
    names |= {one.organization or UNKNOWN for one in acquired}
    return [
        _line("", scheduled, acquired),
        *(
            _line(
                name,
                [one for one in scheduled if (one.organization or UNKNOWN) == name],
                [one for one in acquired if (one.organization or UNKNOWN) == name],
            )
            for name in sorted(names)
        ),
    ]


def _line(name: str, scheduled: Iterable[Scheduled], acquired: Iterable[Acquired]) -> Line:
    states = [one.state for one in scheduled]
    ready, late, waiting = (states.count(state) for state in STATES)
    share = ready / (ready + late) if ready + late else None
    times = [one.seconds for one in acquired]
    p50, p95 = percentile(times, 50), percentile(times, 95)
    return Line(name, len(states), ready, late, waiting, share, len(times), p50, p95)


def measure_report(
    found: Sequence[Line],
    names: Mapping[str, str],
    *,
    period: tuple[str, str],
    written: str,
    reporter: str | None,
) -> dict[str, Any]:
    """The lines as a MeasureReport: what was ready, and the median and 95th percentile of times.

    Parameters
    ----------
    names
        Organisation -> what people call it.
    """
    total, rest = found[0], found[1:]
    groups = []
    for code in (READY, MEDIAN, P95):
        shown = [line for line in rest if _counts(code, line)]
        group: dict[str, Any] = {"code": code.concept, **_said(code, total)}
        if shown:
            strata = [
                {"value": _value(line.organization, names), **_said(code, line)} for line in shown
            ]
            group["stratifier"] = [{"code": [ORGANIZATION.concept], "stratum": strata}]
        groups.append(group)
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


def _counts(code: codes.Coding, line: Line) -> int:
    return line.needed if code is READY else line.studies


def _value(organization: str, names: Mapping[str, str]) -> dict[str, Any]:
    coding = elements.concept(ORGANIZATION.system, organization)
    return {**coding, "text": names.get(organization, organization)}


def _said(code: codes.Coding, line: Line) -> dict[str, Any]:
    if code is READY:
        counted = [
            {"code": coding.concept, "count": getattr(line, name)}
            for name, coding in POPULATIONS.items()
        ]
        score = {} if line.share is None else {"measureScore": {"value": round(line.share, 4)}}
        return {"population": counted, **score}
    said: dict[str, Any] = {"population": [{"code": STUDIES.concept, "count": line.studies}]}
    seconds = line.median if code is MEDIAN else line.p95
    if seconds is not None:
        value = {"value": round(seconds / 60, 1), "unit": "min", "system": codes.UCUM}
        said["measureScore"] = {**value, "code": "min"}
    return said


def table(found: Sequence[Line], names: Mapping[str, str]) -> bytes:
    """The lines as CSV (RFC 4180), times in minutes; the first is the total."""
    out = io.StringIO(newline="")
    rows = csv.writer(out)
    rows.writerow(
        ["organization", "name", "needed", *STATES, "share", "studies", "median_minutes",
         "p95_minutes"]
    )  # fmt: skip
    for line in found:
        share = "" if line.share is None else round(line.share, 4)
        times = ["" if one is None else round(one / 60, 1) for one in (line.median, line.p95)]
        counts = [getattr(line, name) for name in ("needed", *STATES)]
        called = names.get(line.organization, "")
        called = f"'{called}" if called[:1] in "=+-@\t\r" and called else called
        rows.writerow([line.organization, called, *counts, share, line.studies, *times])
    return out.getvalue().encode()
