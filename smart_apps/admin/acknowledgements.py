"""Whether reports are acknowledged in time: counts and plots, down to each that waits (R010.3).

It is counted as `Task/$acknowledgement-status` counts it, with the visitor's own reach: what their
organisation asked for, and what it was asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.responses import Response

from fhir_server import acknowledgement_status as counting
from fhir_server.acknowledgement_status import Counted
from fhir_server.context import now
from resources import acknowledgement_status
from resources.acknowledgement_status import Line
from resources.errors import Invalid
from smart_apps.admin import acknowledgement_tasks, markup, plots
from smart_apps.admin.acknowledgement_tasks import (
    BY,
    CALLED,
    STATES,
    TASKS,
    WHO,
    Span,
    counted_in,
    span_of,
)
from smart_apps.admin.desk import Answer, Desk, Page, Place, Visit
from smart_apps.admin.markup import Markup, joined, link
from smart_apps.admin.plots import Bar
from smart_apps.admin.times import DAY, SECOND, lasting

ADDRESS: Final = "/admin/acknowledgement"
FILE: Final = "/admin/acknowledgement.csv"
TITLE: Final = "Acknowledgement"


AGES: Final = (
    ("under 1 d", 1), ("1 to 3 d", 3), ("3 to 7 d", 7), ("7 to 14 d", 14), ("14 to 30 d", 30),
)  # fmt: skip
OLDER: Final = "over 30 d"

MOST_ROWS: Final = 50
MOST_DRAWN: Final = 8


async def shows(desk: Desk, visit: Visit) -> Answer:
    """Show the reports issued in a period, or in the last ninety days."""
    try:
        span = span_of(visit)
    except Invalid as refusal:
        return Page(TITLE, _form("", ""), refusal.reason, 400)
    tasks = await counted_in(desk, visit, span)
    total, *lines = acknowledgement_status.lines([one.item for one in tasks])
    names = CALLED | await desk.names(line.value for line in lines)
    body = joined(
        _form(span.first, span.last),
        _table("All reports", "Reports", [total], span, names),
        _ages(tasks, now()),
        *(_by(dimension, lines, span, names) for dimension in BY),
        markup.element("p", link(f"{FILE}?{span.query()}", "All of it as CSV")),
    )
    return Page(TITLE, body)


async def gives(desk: Desk, visit: Visit) -> Answer:
    """Give all counts as CSV."""
    span = span_of(visit)
    tasks = await counted_in(desk, visit, span)
    lines = acknowledgement_status.lines([one.item for one in tasks])

    def search(line: Line) -> str:
        return counting.search(desk.base_url, line, span.low, span.high)

    text = acknowledgement_status.table(lines, search)
    headers = {"content-disposition": 'attachment; filename="acknowledgement-status.csv"'}
    return Response(text, headers=headers, media_type="text/csv; charset=utf-8")


def _form(first: str, last: str) -> Markup:
    """Ask for the period; it tells of nobody, so it may stand in the address."""
    inside = joined(
        markup.element("div", markup.field("Issued from", "from", first, kind="date")),
        markup.element("div", markup.field("Issued to", "to", last, kind="date")),
        markup.button("Show"),
    )
    return markup.element(
        "form", markup.element("div", inside, class_="side"), method="get", action=ADDRESS
    )


def _by(dimension: str, lines: Sequence[Line], span: Span, names: Mapping[str, str]) -> Markup:
    """The counts by one dimension, where most is overdue first, and what they look like."""
    of = [line for line in lines if line.dimension == dimension]
    of.sort(key=lambda line: (-line.counts["overdue"], -line.counts["open"], line.value))
    waiting = [
        (
            names.get(line.value, line.value),
            [
                Bar(line.counts[each], f"{line.counts[each]:,} {each}")
                for each in ("open", "overdue")
            ],
        )
        for line in of[:MOST_DRAWN]
    ]
    times = [
        (
            names.get(line.value, line.value),
            [
                Bar(line.median, f"{lasting(line.median * SECOND)} median"),
                Bar(line.p95, f"{lasting(line.p95 * SECOND)} 95th percentile"),
            ],
        )
        for line in of[:MOST_DRAWN]
        if line.median is not None and line.p95 is not None
    ]
    title, some = BY[dimension], len(of) > MOST_ROWS
    return joined(
        markup.element("h2", title),
        _table(f"By {title.lower()}", title, of[:MOST_ROWS], span, names),
        markup.element("p", f"{MOST_ROWS} of {len(of)}; all are in the CSV.") if some else "",
        plots.groups(f"Open and overdue by {title.lower()}", waiting),
        plots.groups(f"Time to acknowledgement by {title.lower()}", times),
    )


def _table(
    caption: str, first: str, lines: Sequence[Line], span: Span, names: Mapping[str, str]
) -> Markup:
    headings = (first, *(state.capitalize() for state in STATES), "Median", "95th percentile")
    rows = [
        (
            names.get(line.value, line.value),
            *(_count(line, state, span) for state in STATES),
            *("" if one is None else lasting(one * SECOND) for one in (line.median, line.p95)),
        )
        for line in lines
    ]
    return markup.table(caption, headings, rows)


def _count(line: Line, state: str, span: Span) -> Markup:
    """A number, and the way to what it counts."""
    number = line.counts[state]
    by = {} if line.dimension == "total" else {"by": line.dimension, "value": line.value}
    address = f"{TASKS}?{span.query(state=state, **by)}"
    return link(address, f"{number:,}") if number else Markup("0")


def _ages(tasks: Sequence[Counted], instant: int) -> Markup:
    """How old what is open is."""
    counts = {name: 0 for name, _ in AGES} | {OLDER: 0}
    for one in tasks:
        if one.item.state == "open":
            days = counting.age(one.task, instant) / (DAY * SECOND)
            counts[next((name for name, limit in AGES if days < limit), OLDER)] += 1
    if not any(counts.values()):
        return markup.element("p", "No report waits to be acknowledged.")
    return plots.groups(
        "Age of the reports that are open",
        [(name, [Bar(number, f"{number:,}")]) for name, number in counts.items()],
    )


PLACES: Final = (
    *acknowledgement_tasks.PLACES,
    Place(ADDRESS, TITLE, WHO, shows),
    Place(FILE, "", WHO, gives),
)
