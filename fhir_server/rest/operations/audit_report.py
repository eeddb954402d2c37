"""AuditEvent/$audit-report: what was done in a period, counted (R014.4).

Who may search AuditEvents may count them. Without dates it counts the month so far; without
measures all of them; without `by`, by organisation. To count is to use the audit log, and stands in
it as that.

References
----------
* R014.4 of the requirements: analysis for information governance, finance and charging
* FHIR R4 operations; MeasureReport; docs/governance.md, "Counting"
* DICOM PS3.15 Section A.5.3.2, "Audit Log Used"
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import orjson

from fhir_server.context import RequestContext
from fhir_server.reports import measures, periods, written
from fhir_server.reports.measures import DIMENSIONS, MEASURES, Asked, Line
from fhir_server.reports.written import Report
from fhir_server.rest import negotiate
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search import date
from fhir_server.store.store import Store
from resources.errors import Invalid, TooLarge

TAKES: Final = (
    Taken("start", "date"),
    Taken("end", "date"),
    Taken("by", "code", 0, "*"),
    Taken("measure", "code", 0, "*"),
    Taken("period", "code"),
)

FORMATS: Final = negotiate.CSV
CSV: Final = b"text/csv; charset=utf-8; header=present"
FILE: Final = (b"content-disposition", b'attachment; filename="audit-report.csv"')

MOST_ROWS: Final = 50_000

NOBODY: Final = "none"
"""As the value of `by`: totals alone."""


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Count, and answer a MeasureReport or CSV."""
    asked = read(given, request.context.instant)
    request.handed_over = True
    lines = await server.store.count(request.context, asked)
    if len(lines) > MOST_ROWS:
        raise TooLarge(f"That would be more than {MOST_ROWS} counts.", code="too-costly")
    called = await names(server.store, replace(request.context, interaction="read"), lines)
    request.handed_over = False
    report = Report(asked.low, asked.high, asked.by, lines, called)
    given_format = next((value for name, value in request.pairs() if name == "_format"), None)
    if negotiate.wants(FORMATS, request.headers.get("accept"), given_format):
        return Result(Answer(200, written.table(report), (FILE,), media=CSV), hits=len(lines))
    who = request.context.principal
    body = written.measure_report(report, request.context.instant, who.organization)
    return Result(Answer(200, orjson.dumps(body)), hits=len(lines))


def read(given: Given, instant: int) -> Asked:
    """Read what is asked for.

    Raises
    ------
    Invalid
        A measure, dimension or period there is not, no date, or an end before the start.
    """
    low = _limit(given, "start")[0] if "start" in given else periods.this_month(instant)
    high = _limit(given, "end")[1] + 1 if "end" in given else instant + 1000
    if high <= low:
        raise Invalid("The end is before the start.", "end", "value")
    by = given.listed("by") or ["organization"]
    by = [] if by == [NOBODY] else by
    kind = given.text("period") or ("month" if "period" in by else "")
    if kind and "period" not in by:
        by.append("period")
    if kind:
        measures.known("period", kind, periods.PERIODS)
    chosen = given.listed("measure") or list(MEASURES)
    return Asked(
        low,
        high,
        tuple(dict.fromkeys(measures.known("measure", each, MEASURES) for each in chosen)),
        tuple(dict.fromkeys(measures.known("by", each, DIMENSIONS) for each in by)),
        kind,
        periods.starts(kind, low, high) if kind else (),
    )


def _limit(given: Given, name: str) -> tuple[int, int]:
    try:
        return date.period(given.text(name))
    except ValueError:
        raise Invalid(f"{name} is not a date.", name, "value") from None


async def names(store: Store, context: RequestContext, lines: Iterable[Line]) -> dict[str, str]:
    """Give what the organisations of some counts are called, as far as the asker may read them."""
    places = {
        value for line in lines for value in line.values or () if value.startswith("Organization/")
    }
    found = await store.many(context, sorted(places))
    return {reference: str(one.json.get("name") or reference) for reference, one in found.items()}
