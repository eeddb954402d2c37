"""The acknowledgements that a count counts: one by one, the oldest first (R010.3).

No patient is told of: whoever has to do something about one finds it on their worklist.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode

from fhir_server import acknowledgement_status as counting
from fhir_server.acknowledgement_status import Counted
from fhir_server.context import now
from fhir_server.search import date
from resources import elements
from resources.acknowledgement_status import DIMENSIONS, UNFLAGGED, UNKNOWN
from resources.content import written_instant
from resources.errors import Invalid
from smart_apps.admin import markup
from smart_apps.admin.desk import AUDITOR, OFFICER, Answer, Desk, Page, Place, Visit
from smart_apps.admin.markup import Markup, joined, link
from smart_apps.admin.times import SECOND, lasting

COUNTS: Final = "/admin/acknowledgement"
TASKS: Final = f"{COUNTS}/tasks"

WHO: Final = frozenset({AUDITOR, OFFICER})

BY: Final = {
    "organization": "Recipient's organisation",
    "referrer": "Referrer",
    "category": "Category",
    "issuer": "Reporting organisation",
}
"""Dimension -> what its values are called."""
assert set(BY) == set(DIMENSIONS)

CALLED: Final = {UNFLAGGED: "Not flagged", UNKNOWN: "Not known", "": "All"}
"""What values are called that are no names."""

STATES: Final = ("issued", "open", "overdue", "acknowledged", "superseded")

MOST_TASKS: Final = 200


class Span(NamedTuple):
    """A period: instants, and the dates as they were given."""

    low: int
    high: int
    first: str
    last: str

    def query(self, **more: str) -> str:
        """Write it as an address says it."""
        return urlencode({"from": self.first, "to": self.last, **more})


async def lists(desk: Desk, visit: Visit) -> Answer:
    """List what one count counts: the Tasks, the oldest first."""
    span, by, value, state = span_of(visit), visit.field("by"), visit.field("value"), _state(visit)
    instant = now()
    found = [
        one
        for one in await counted_in(desk, visit, span)
        if _is_in(one, by, value) and _has(one, state)
    ]
    found.sort(key=lambda one: one.task.json["authoredOn"])
    shown = found[:MOST_TASKS]
    names = CALLED | await desk.names([value, *(one.item.referrer for one in shown)])
    rows = [_task(one, names, instant) for one in shown]
    headings = (
        "Task", "Report", "For", "Category", "Priority", "Status", "Issued", "Age or time taken",
        "Due",
    )  # fmt: skip
    what = f"{BY[by]}: {names.get(value, value)}" if by in BY else "All reports"
    told = f"{len(found):,} in all; the oldest {MOST_TASKS} are shown." if rows else ""
    body = joined(
        markup.element("p", f"{what}, {state}. {told if len(found) > MOST_TASKS else ''}"),
        markup.table("Acknowledgements of reports", headings, rows),
        markup.element("p", link(f"{COUNTS}?{span.query()}", "Back to the counts")),
    )
    return Page(f"Reports: {state}", body)


def span_of(visit: Visit) -> Span:
    """Read the dates of the form; without them, the last ninety days.

    Raises
    ------
    Invalid
        They are no dates, or the last is before the first.
    """
    instant = now()
    first = visit.field("from") or written_instant(instant - counting.DAYS)[:10]
    last = visit.field("to") or written_instant(instant)[:10]
    try:
        low, high = date.period(first)[0], date.period(last)[1]
    except ValueError:
        raise Invalid("Give two dates.") from None
    if high <= low:
        raise Invalid("The last day is before the first.")
    return Span(low, high, first, last)


def _state(visit: Visit) -> str:
    return visit.field("state") if visit.field("state") in STATES else "issued"


async def counted_in(desk: Desk, visit: Visit, span: Span) -> list[Counted]:
    """Give the acknowledgements of the reports issued in a period that the visitor sees."""
    context = visit.context("search-type")
    return await counting.counted(desk.store, context, desk.base_url, span.low, span.high)


def _is_in(one: Counted, by: str, value: str) -> bool:
    return by not in DIMENSIONS or (DIMENSIONS[by](one.item) or UNKNOWN) == value


def _has(one: Counted, state: str) -> bool:
    if state == "overdue":
        return one.item.state == "open" and one.item.overdue
    return state in ("issued", one.item.state)


def _task(one: Counted, names: Mapping[str, str], instant: int) -> tuple[object, ...]:
    json, item = one.task.json, one.item
    taken = item.seconds * SECOND if item.seconds is not None else None
    age = counting.age(one.task, instant) if item.state == "open" else taken
    report = next(iter(elements.references(json.get("focus"))), "")
    due = str(json.get("restriction", {}).get("period", {}).get("end", ""))
    return (
        markup.element("span", one.task.reference, class_="code long"),
        markup.element("span", report, class_="code long"),
        names.get(item.referrer, item.referrer),
        names.get(item.category, item.category),
        str(json.get("priority", "routine")),
        "overdue" if item.state == "open" and item.overdue else item.state,
        _written(str(json["authoredOn"])),
        "" if age is None else lasting(age),
        _written(due),
    )


def _written(when: str) -> Markup:
    return markup.element("span", when.replace("T", " ")[:16], class_="when")


PLACES: Final = (Place(TASKS, "", WHO, lists),)
