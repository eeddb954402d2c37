"""Whether reports are acknowledged, counted from the record as far as somebody sees it.

The acknowledgements of reports issued in a period that the asker could search: an organisation
sees those that it asked for and those that it was asked for. The operation and the page of
administrators count by this.

References
----------
* R010.3 of the requirements; `resources.acknowledgement_status`; docs/acknowledgement.md
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from fhir_server.context import RequestContext
from fhir_server.naming import local
from fhir_server.search import date
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.store import Store
from resources import acknowledgement, codes, elements
from resources.acknowledgement_status import UNFLAGGED, UNKNOWN, Item, Line
from resources.content import written_instant
from resources.errors import TooLarge

DAYS: Final = 90 * 86_400_000_000
"""What is counted where nobody names a period."""
MOST: Final = 50_000
PAGE: Final = 1000


class Counted(NamedTuple):
    """An acknowledgement, and as what it is counted."""

    task: Stored
    item: Item


async def counted(
    store: Store, context: RequestContext, base: str, low: int, high: int
) -> list[Counted]:
    """Give the acknowledgements of reports issued in a period.

    Parameters
    ----------
    base
        Our FHIR base.
    low, high
        Microseconds since 1970 UTC.

    Raises
    ------
    TooLarge
        They are too many to be counted at once.
    Forbidden
        The asker may not search Tasks.
    """
    tasks = await _tasks(store, context, low, high)
    places = await _places(store, context, base, tasks)
    return [Counted(task, _item(task, places, base, context.instant)) for task in tasks]


def search(base: str, line: Line, low: int, high: int) -> str:
    """Give the address of the search that finds what a line counts."""
    pairs = _criteria(low, high)
    if line.dimension == "issuer" and line.value == UNKNOWN:
        pairs.append(("requester:missing", "true"))
    elif line.dimension == "issuer":
        pairs.append(("requester", line.value))
    elif line.dimension == "category" and line.value == UNFLAGGED:
        pairs.append(("report-urgency:missing", "true"))
    elif line.dimension == "category":
        pairs.append(("report-urgency", f"{codes.REPORT_URGENCY}|{line.value}"))
    elif line.dimension != "total":
        pairs.append(("recipient", ",".join(line.members)))
    asked = "&".join(f"{name}={quote(value, safe='|:/,')}" for name, value in pairs)
    return f"{base}/Task?{asked}"


def age(task: Stored, instant: int) -> int:
    """Give how long ago the report was issued, in microseconds."""
    return max(instant - _instant(task.json["authoredOn"]), 0)


async def _tasks(store: Store, context: RequestContext, low: int, high: int) -> list[Stored]:
    found: list[Stored] = []
    cursor = ""
    while True:
        pairs = [*_criteria(low, high), ("_count", str(PAGE)), ("_total", "none")]
        pairs += [("_cursor", cursor)] if cursor else []
        page = await store.search(context, parse("Task", pairs, strict=True))
        found += page.matches
        if len(found) > MOST:
            raise TooLarge(f"More than {MOST} reports: name a shorter period.", code="too-costly")
        if page.next is None:
            return found
        cursor = page.next


def _criteria(low: int, high: int) -> list[tuple[str, str]]:
    return [
        ("code", codes.ACKNOWLEDGE.token),
        ("recipient:missing", "false"),
        ("authored-on", f"ge{written_instant(low)}"),
        ("authored-on", f"le{written_instant(high)}"),
    ]


async def _places(
    store: Store, context: RequestContext, base: str, tasks: Sequence[Stored]
) -> dict[str, str]:
    """For which organisation each recipient acts, as far as the directory says."""
    asked = {local(acknowledgement.recipient(task.json), base) for task in tasks}
    people = sorted(one for one in asked if not one.startswith("Organization/"))
    found = await store.many(context, people)
    places = {}
    for reference, stored in found.items():
        named = [stored.json.get("organization"), *stored.json.get("managingOrganization", ())]
        listed = elements.references(named)
        places[reference] = local(listed[0], base) if listed else ""
    return places


def _item(task: Stored, places: dict[str, str], base: str, now: int) -> Item:
    json = task.json
    status = json.get("status")
    state = "acknowledged" if status == "completed" else "superseded"
    state = "open" if status in acknowledgement.OPEN else state
    referrer = local(acknowledgement.recipient(json), base)
    due = json.get("restriction", {}).get("period", {}).get("end")
    return Item(
        issuer=local(json.get("requester", {}).get("reference", ""), base),
        organization=referrer if referrer.startswith("Organization/") else places.get(referrer, ""),
        referrer=referrer,
        category=acknowledgement.category_of(json) or UNFLAGGED,
        state=state,
        overdue=bool(due) and _instant(due) < now,
        seconds=_seconds(task) if state == "acknowledged" else None,
    )


def _seconds(task: Stored) -> float | None:
    """From the issue of the report until it was acknowledged."""
    json: dict[str, Any] = task.json
    ended = json.get("executionPeriod", {}).get("end")
    end = _instant(ended) if ended else task.instant
    return max(end - _instant(json["authoredOn"]), 0) / 1_000_000 if "authoredOn" in json else None


def _instant(written: str) -> int:
    """The beginning of a FHIR dateTime, which may be a day or a month."""
    return date.period(written)[0]
