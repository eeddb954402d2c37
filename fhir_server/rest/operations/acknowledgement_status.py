"""Task/$acknowledgement-status: whether reports are acknowledged in time, and where not.

Counts the acknowledgements of reports issued in a period that the asker could search: an
organisation sees those that it asked for and those that it was asked for. Without dates it counts
the last ninety days.

References
----------
* R010.3 of the requirements; `resources.acknowledgement_status`; docs/acknowledgement.md
"""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import orjson

from fhir_server.naming import local
from fhir_server.rest import negotiate
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search import date
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from resources import acknowledgement, acknowledgement_status, codes, elements
from resources.acknowledgement_status import UNFLAGGED, UNKNOWN, Item, Line
from resources.content import written_instant
from resources.errors import Invalid, TooLarge

TAKES: Final = (Taken("start", "date"), Taken("end", "date"))
GIVES: Final = (Taken("return", "MeasureReport", 1),)

FORMATS: Final = negotiate.CSV
CSV: Final = b"text/csv; charset=utf-8; header=present"
FILE: Final = (b"content-disposition", b'attachment; filename="acknowledgement-status.csv"')

DAYS: Final = 90 * 86_400_000_000
MOST: Final = 50_000
PAGE: Final = 1000


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Count, and answer a MeasureReport or CSV."""
    now = request.context.instant
    low = _limit(given, "start")[0] if "start" in given else now - DAYS
    high = _limit(given, "end")[1] if "end" in given else now
    if high <= low:
        raise Invalid("The end is before the start.", "end", "value")
    request.handed_over = True
    start, end = written_instant(low), written_instant(high)
    tasks = await _tasks(server, request, start, end)
    places = await _places(server, request, tasks)
    items = [_item(task, places, server.base_url, now) for task in tasks]
    found = acknowledgement_status.lines(items)
    request.handed_over = False

    def drill_down(line: Line) -> str:
        return _search(server.base_url, line, start, end)

    asked_format = next((value for name, value in request.pairs() if name == "_format"), None)
    if negotiate.wants(FORMATS, request.headers.get("accept"), asked_format):
        body = acknowledgement_status.table(found, drill_down)
        return Result(Answer(200, body, (FILE,), media=CSV), hits=len(items))
    organization = request.context.principal.organization
    report = acknowledgement_status.measure_report(
        found,
        drill_down,
        period=(start, end),
        written=written_instant(now),
        reporter=f"Organization/{organization}" if organization else None,
    )
    return Result(Answer(200, orjson.dumps(report)), hits=len(items))


def _limit(given: Given, name: str) -> tuple[int, int]:
    try:
        return date.period(given.text(name))
    except ValueError:
        raise Invalid(f"{name} is not a date.", name, "value") from None


async def _tasks(server: Server, request: Request, start: str, end: str) -> list[Stored]:
    found: list[Stored] = []
    cursor = ""
    while True:
        pairs = [*_criteria(start, end), ("_count", str(PAGE)), ("_total", "none")]
        pairs += [("_cursor", cursor)] if cursor else []
        page = await server.store.search(request.context, parse("Task", pairs, strict=True))
        found += page.matches
        if len(found) > MOST:
            raise TooLarge(f"More than {MOST} reports: name a shorter period.", code="too-costly")
        if page.next is None:
            return found
        cursor = page.next


def _criteria(start: str, end: str) -> list[tuple[str, str]]:
    return [
        ("code", codes.ACKNOWLEDGE.token),
        ("authored-on", f"ge{start}"),
        ("authored-on", f"le{end}"),
    ]


async def _places(server: Server, request: Request, tasks: list[Stored]) -> dict[str, str]:
    """For which organisation each recipient acts, as far as the directory says."""
    asked = {local(acknowledgement.recipient(task.json), server.base_url) for task in tasks}
    people = sorted(one for one in asked if not one.startswith("Organization/"))
    found = await server.store.many(request.context, people)
    places = {}
    for reference, stored in found.items():
        named = [stored.json.get("organization"), *stored.json.get("managingOrganization", ())]
        listed = elements.references(named)
        places[reference] = local(listed[0], server.base_url) if listed else ""
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
    when = datetime.fromisoformat(written)
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return int(when.timestamp() * 1_000_000)


def _search(base: str, line: Line, start: str, end: str) -> str:
    """The search that finds what a line counts."""
    pairs = _criteria(start, end)
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
