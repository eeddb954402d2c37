"""Task/$history: the imaging history that matters to who does a step, in one call (G2).

The answer is a Bundle of type collection: the studies that the table of priors names, in the order
in which they matter, each with its issued reports, the newest first, as far as the asker may see
them; before them the requests that the step belongs to. The Task is asked, so that referrer,
practitioner, operator, reporter and reviewer need not know what to look for.

References
----------
* Requirements G2, 3.1.1; `resources.priors`; FHIR R4 Bundle (type collection)
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from fhir_server.naming import local, normal
from fhir_server.rest import bundles
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from resources import elements, priors
from resources.errors import Forbidden
from resources.imaging_study import ISSUED

TAKES: Final[tuple[Taken, ...]] = ()

MOST: Final = "1000"
"""Of each type, the newest first."""


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer the history that matters to a Task.

    Raises
    ------
    NotFound
        There is no such Task, or the asker may not see it.
    """
    request.handed_over = True
    base = server.base_url
    task = await server.store.read(request.context, "Task", request.id)
    subject = local(task.json.get("for", {}).get("reference", ""), base)
    if not subject.startswith("Patient/"):
        return Result(Answer(200, bundles.bundle(b"collection", [])))
    studies = await _seen(server, request, "ImagingStudy", subject, "-started")
    reports = await _seen(server, request, "DiagnosticReport", subject, "-issued")
    requests = await _seen(server, request, "ServiceRequest", subject, "-authored")
    rows = {row.reference: row for row in (*studies, *reports, *requests)}
    record = [normal(row, base) for row in rows.values()]
    asked = normal(task, base)
    named = [local(one, base) for one in elements.references(asked.get("basedOn"))]
    shown = [rows[name] for name in named if name in rows]
    relevant = priors.relevant(asked, record, server.repeats.rules)
    for study in relevant:
        name = f"ImagingStudy/{study['id']}"
        shown += [rows[name], *_of(name, reports, base)]
    entries = [_entry(base, row) for row in shown]
    body = bundles.bundle(b"collection", entries)
    return Result(Answer(200, body), subject.removeprefix("Patient/"), len(relevant))


async def _seen(
    server: Server, request: Request, type: str, patient: str, sort: str
) -> Sequence[Stored]:
    pairs = [("patient", patient), ("_sort", sort), ("_count", MOST), ("_total", "none")]
    try:
        query = parse(type, pairs, strict=True, own_base=server.base_url)
        return (await server.store.search(request.context, query)).matches
    except Forbidden:
        return ()


def _of(study: str, reports: Iterable[Stored], base: str) -> list[Stored]:
    """The issued reports of a study, in the order in which they come."""
    return [row for row in reports if _is_of(study, row.json, base)]


def _is_of(study: str, report: Any, base: str) -> bool:
    named = [local(one, base) for one in elements.references(report.get("imagingStudy"))]
    return report.get("status") in ISSUED and study in named


def _entry(base: str, row: Stored) -> bytes:
    return b'{"fullUrl":"%b/%b","resource":%b}' % (base.encode(), row.reference.encode(), row.text)
