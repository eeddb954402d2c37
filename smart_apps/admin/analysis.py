"""The analysis: what was done in a period, in numbers, tables and plots (R014.4).

All of it is counted as `$audit-report` counts it, with the visitor's own reach.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from starlette.responses import Response

from fhir_server.context import now
from fhir_server.reports import periods, written
from fhir_server.reports.measures import MEASURES, Asked, Line
from fhir_server.reports.written import Report
from fhir_server.search import date
from fhir_server.search import query as queries
from resources import codes
from resources.content import written_instant
from resources.errors import Forbidden, Invalid
from smart_apps.admin import markup, plots
from smart_apps.admin.desk import EVERYBODY, Answer, Desk, Page, Place, Visit
from smart_apps.admin.markup import Markup, joined
from smart_apps.admin.times import lasting

ADDRESS: Final = "/admin/analysis"
FILE: Final = "/admin/analysis.csv"

DAYS_SHOWN: Final = 62
"""Of longer periods the months are shown."""

MOST_TASKS: Final = 1000
SLOWEST: Final = 20
DAY: Final = 86_400_000_000


class Span(NamedTuple):
    """A period: instants, the end not included, and the dates as they were given."""

    low: int
    high: int
    first: str
    last: str


async def shows(desk: Desk, visit: Visit) -> Answer:
    """Show the period asked for, or this month."""
    try:
        span = _span(visit)
    except Invalid as refusal:
        return Page("Analysis", _form("", ""), refusal.reason, 400)
    by_place = await _count(desk, visit, span, tuple(MEASURES), ("organization",))
    kind = "day" if span.high - span.low <= DAYS_SHOWN * DAY else "month"
    over_time = await _count(desk, visit, span, ("accessed", "emergency"), ("period",), kind)
    matrix = await _count(desk, visit, span, ("crossed",), ("organization", "creator"))
    places = [value for line in (*by_place, *matrix) for value in line.values or ()]
    names = await desk.names(places)
    body = joined(
        _form(span.first, span.last),
        _by_place(by_place, names),
        markup.element(
            "p", markup.link(f"{FILE}?from={span.first}&to={span.last}", "The same as CSV")
        ),
        _plot("Accesses over time", "accessed", over_time, kind, span),
        _plot("Emergency accesses over time", "emergency", over_time, kind, span),
        _matrix(matrix, names),
        await _acknowledgements(desk, visit, span),
    )
    return Page("Analysis", body)


async def gives(desk: Desk, visit: Visit) -> Answer:
    """Give the counts of each organisation as CSV."""
    span = _span(visit)
    lines = await _count(desk, visit, span, tuple(MEASURES), ("organization",))
    names = await desk.names([value for line in lines for value in line.values or ()])
    text = written.table(Report(span.low, span.high, ("organization",), lines, names))
    headers = {"content-disposition": 'attachment; filename="audit-report.csv"'}
    return Response(text, headers=headers, media_type="text/csv; charset=utf-8")


def _span(visit: Visit) -> Span:
    """Read the dates of the form; without them, this month.

    Raises
    ------
    Invalid
        They are no dates, or the last is before the first.
    """
    instant = now()
    first = visit.field("from") or _day(periods.this_month(instant))
    last = visit.field("to") or _day(instant)
    try:
        low, high = date.period(first)[0], date.period(last)[1] + 1
    except ValueError:
        raise Invalid("Give two dates.") from None
    if high <= low:
        raise Invalid("The last day is before the first.")
    return Span(low, high, first, last)


def _day(instant: int) -> str:
    return written_instant(instant)[:10]


async def _count(
    desk: Desk,
    visit: Visit,
    span: Span,
    measures: tuple[str, ...],
    by: tuple[str, ...],
    kind: str = "",
) -> list[Line]:
    starts = periods.starts(kind, span.low, span.high) if kind else ()
    asked = Asked(span.low, span.high, measures, by, kind, starts)
    return await desk.store.count(visit.context("operation"), asked)


def _form(first: str, last: str) -> Markup:
    """Ask for the period; it tells of nobody, so it may stand in the address."""
    inside = joined(
        markup.element("div", markup.field("First day", "from", first, kind="date")),
        markup.element("div", markup.field("Last day", "to", last, kind="date")),
        markup.button("Show"),
    )
    return markup.element(
        "form", markup.element("div", inside, class_="side"), method="get", action=ADDRESS
    )


def _by_place(lines: list[Line], names: Mapping[str, str]) -> Markup:
    found = {(line.measure, line.values[0]): line.number for line in lines if line.values}
    places = sorted({place for _, place in found}, key=lambda place: names.get(place, place))
    rows = [
        (title, *(found.get((measure, place), 0) for place in places))
        for measure, title in MEASURES.items()
    ]
    headings = ("What", *(names.get(place, place) or "Not known" for place in places))
    return markup.table("What each organisation did", headings, rows if places else ())


def _plot(title: str, measure: str, lines: list[Line], kind: str, span: Span) -> Markup:
    counted = {
        line.values[0]: line.number for line in lines if line.measure == measure and line.values
    }
    starts = periods.starts(kind, span.low, span.high)
    values = [(name, counted.get(name, 0)) for name in (periods.named(kind, at) for at in starts)]
    rows = [(name, number) for name, number in values if number]
    return joined(
        plots.bars(title, values),
        markup.element(
            "details",
            joined(
                markup.element("summary", "The numbers"),
                markup.table(title, (kind.capitalize(), "Number"), rows),
            ),
        ),
    )


def _matrix(lines: list[Line], names: Mapping[str, str]) -> Markup:
    """Who opened what whom had created."""
    cells = {line.values: line.number for line in lines if line.values is not None}
    askers = sorted({values[0] for values in cells})
    owners = sorted({values[1] for values in cells})
    rows = [
        (names.get(asker, asker), *(cells.get((asker, owner), 0) for owner in owners))
        for asker in askers
    ]
    headings = ("Opened by", *(f"Created by {names.get(owner, owner)}" for owner in owners))
    return markup.table("Accesses across organisations", headings, rows)


async def _acknowledgements(desk: Desk, visit: Visit, span: Span) -> Markup:
    """The acknowledgements of reports that took longest, or are still waited for."""
    asked = [
        ("code", codes.ACKNOWLEDGE.token),
        ("authored-on", f"ge{written_instant(span.low)}"),
        ("authored-on", f"lt{written_instant(span.high)}"),
        ("_count", str(MOST_TASKS)),
        ("_sort", "authored-on"),
    ]
    try:
        query = queries.parse("Task", asked, strict=True)
        found = await desk.store.search(visit.context("search-type"), query)
    except Forbidden:
        return markup.element("p", "Acknowledgements are shown to auditors and safety officers.")
    rows: list[tuple[int, str, str, str, str]] = []
    for task in (one.json for one in found.matches):
        begun = _instant(task.get("authoredOn"))
        ended = task.get("lastModified") if task.get("status") == "completed" else None
        waited = (_instant(ended) if ended else now()) - begun
        owner = str(task.get("owner", {}).get("reference", ""))
        status, focus = str(task.get("status")), str(task.get("focus", {}).get("reference", ""))
        rows.append((waited, owner, focus, str(task.get("priority", "routine")), status))
    rows.sort(reverse=True)
    names = await desk.names([owner for _, owner, *_ in rows[:SLOWEST]])
    shown = [
        (lasting(waited), names.get(owner, owner), focus, priority, status)
        for waited, owner, focus, priority, status in rows[:SLOWEST]
    ]
    headings = ("Time", "Whose", "Report", "Priority", "Status")
    return markup.table("Slowest acknowledgements of reports", headings, shown)


def _instant(text: object) -> int:
    try:
        return date.period(str(text))[0]
    except ValueError:
        return now()


PLACES: Final = (
    Place(ADDRESS, "Analysis", EVERYBODY, shows),
    Place(FILE, "", EVERYBODY, gives),
)
