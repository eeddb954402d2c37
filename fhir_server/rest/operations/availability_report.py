"""Task/$availability-report: whether images are there when they are needed, by organisation.

Without dates it counts the last ninety days.

References
----------
* R003.1 of the requirements; `fhir_server.availability_report`; docs/pacs-manager.md, "Prefetch"
"""

from typing import Final

import orjson

from fhir_server import availability_report as counting
from fhir_server.rest import negotiate
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search import date
from resources import availability_report
from resources.content import written_instant
from resources.errors import Invalid

TAKES: Final = (Taken("start", "date"), Taken("end", "date"))
GIVES: Final = (Taken("return", "MeasureReport", 1),)

FORMATS: Final = negotiate.CSV
CSV: Final = b"text/csv; charset=utf-8; header=present"
FILE: Final = (b"content-disposition", b'attachment; filename="availability.csv"')


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Count, and answer a MeasureReport or CSV."""
    now, context = request.context.instant, request.context
    low = _limit(given, "start")[0] if "start" in given else now - counting.DAYS
    high = _limit(given, "end")[1] if "end" in given else now
    if high <= low:
        raise Invalid("The end is before the start.", "end", "value")
    request.handed_over = True
    period = (server.store, context, server.base_url, low, high)
    scheduled, acquired = await counting.scheduled(*period), await counting.acquired(*period)
    found = availability_report.lines(scheduled, acquired)
    names = await counting.names(server.store, context, found)
    request.handed_over = False
    hits = len(scheduled) + len(acquired)
    asked_format = next((value for name, value in request.pairs() if name == "_format"), None)
    if negotiate.wants(FORMATS, request.headers.get("accept"), asked_format):
        body = availability_report.table(found, names)
        return Result(Answer(200, body, (FILE,), media=CSV), hits=hits)
    organization = context.principal.organization
    report = availability_report.measure_report(
        found,
        names,
        period=(written_instant(low), written_instant(high)),
        written=written_instant(now),
        reporter=f"Organization/{organization}" if organization else None,
    )
    return Result(Answer(200, orjson.dumps(report)), hits=hits)


def _limit(given: Given, name: str) -> tuple[int, int]:
    try:
        return date.period(given.text(name))
    except ValueError:
        raise Invalid(f"{name} is not a date.", name, "value") from None
