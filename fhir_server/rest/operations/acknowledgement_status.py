"""Task/$acknowledgement-status: whether reports are acknowledged in time, and where not.

Without dates it counts the last ninety days.

References
----------
* R010.3 of the requirements; `fhir_server.acknowledgement_status`; docs/acknowledgement.md
"""

from typing import Final

import orjson

from fhir_server import acknowledgement_status as counting
from fhir_server.rest import negotiate
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search import date
from resources import acknowledgement_status
from resources.acknowledgement_status import Line
from resources.content import written_instant
from resources.errors import Invalid

TAKES: Final = (Taken("start", "date"), Taken("end", "date"))
GIVES: Final = (Taken("return", "MeasureReport", 1),)

FORMATS: Final = negotiate.CSV
CSV: Final = b"text/csv; charset=utf-8; header=present"
FILE: Final = (b"content-disposition", b'attachment; filename="acknowledgement-status.csv"')


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Count, and answer a MeasureReport or CSV."""
    now = request.context.instant
    low = _limit(given, "start")[0] if "start" in given else now - counting.DAYS
    high = _limit(given, "end")[1] if "end" in given else now
    if high <= low:
        raise Invalid("The end is before the start.", "end", "value")
    request.handed_over = True
    tasks = await counting.counted(server.store, request.context, server.base_url, low, high)
    found = acknowledgement_status.lines([one.item for one in tasks])
    request.handed_over = False

    def drill_down(line: Line) -> str:
        return counting.search(server.base_url, line, low, high)

    asked_format = next((value for name, value in request.pairs() if name == "_format"), None)
    if negotiate.wants(FORMATS, request.headers.get("accept"), asked_format):
        body = acknowledgement_status.table(found, drill_down)
        return Result(Answer(200, body, (FILE,), media=CSV), hits=len(tasks))
    organization = request.context.principal.organization
    report = acknowledgement_status.measure_report(
        found,
        drill_down,
        period=(written_instant(low), written_instant(high)),
        written=written_instant(now),
        reporter=f"Organization/{organization}" if organization else None,
    )
    return Result(Answer(200, orjson.dumps(report)), hits=len(tasks))


def _limit(given: Given, name: str) -> tuple[int, int]:
    try:
        return date.period(given.text(name))
    except ValueError:
        raise Invalid(f"{name} is not a date.", name, "value") from None
