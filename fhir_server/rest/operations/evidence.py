"""DiagnosticReport/$evidence: what its author could see, what they opened, what changed (R014.3).

The answer is a Bundle of type collection. Its first entry is a Parameters resource that says it in
three parts, with versioned references: ``available`` when the report was issued, ``displayed`` to
its author from the request until then, ``changed`` since. The entries after it are the versions,
the Provenance and the AuditEvents that it speaks of.

Available is what the Provenance of the report pins, and whatever else there was of the patient at
that instant, as far as the one who asks may see it now. What was displayed is in the ledger: who
may not search AuditEvents is not told, and told so. An auditor is told which versions there were,
and not what they say.

References
----------
* R014.3 of the requirements; docs/adr/0028-evidence-is-a-collection-of-versions.md, 0042
* FHIR R4 Provenance.entity, DiagnosticReport.issued, Bundle (type collection)
"""

from collections.abc import Iterable
from typing import Final

import orjson

from fhir_server.access import gate, roles
from fhir_server.rest import bundles, outcomes
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations import evidence_case, evidence_parts
from fhir_server.rest.operations.evidence_case import Told
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.past import Past
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search.stored import Stored
from resources.content import written_instant
from resources.errors import Forbidden, Issue

TAKES: Final = (Taken("version", "integer"),)

HIGHEST: Final = 2**31 - 1

HIDDEN: Final = "What was displayed is told to those who may search AuditEvents."
UNREAD: Final = "What the versions say is shown to those who may read them."


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer the evidence of a report: of the version named, or of its first issued one.

    Raises
    ------
    NotFound
        There is no such report, or the asker may not see it, or it was not issued.
    """
    for type in ("DiagnosticReport", "ImagingStudy", "Provenance"):
        gate.reach(request.context, "r", type)
    past = Past(server, request)
    request.handed_over = True
    versions = await past.versions("DiagnosticReport", request.id)
    request.handed_over = False
    issued = evidence_case.issued(versions, given.number("version", HIGHEST))
    request.handed_over = True
    case = await evidence_case.of(past, issued)
    told = Told()
    told.parts += [
        {"name": "report", "valueReference": {"reference": told.show(case.issued)}},
        {"name": "issued", "valueInstant": written_instant(case.issued.instant)},
    ]
    if case.author:
        told.parts.append({"name": "author", "valueReference": {"reference": case.author}})
    if case.made is not None:
        told.show(case.made)
    held = await evidence_parts.available(past, case, told)
    opened = _may_see_accesses(request) and await evidence_parts.displayed(past, case, told)
    await evidence_parts.changed(past, versions, case, held, told)
    request.handed_over = False
    role = request.context.principal.role
    shown = [row for row in told.shown.values() if "r" in roles.letters(role, row.type)]
    first = {"resourceType": "Parameters", "parameter": told.parts}
    entries = [b'{"resource":%b}' % orjson.dumps(first), *_entries(server.base_url, shown)]
    said = [(HIDDEN, opened), (UNREAD, len(shown) == len(told.shown))]
    if issues := [Issue("suppressed", remark) for remark, is_told in said if not is_told]:
        remarks = outcomes.outcome(issues, severity="information")
        entries.append(b'{"resource":%b}' % remarks)
    body = bundles.bundle(b"collection", entries)
    return Result(Answer(200, body), case.patient, len(told.shown))


def _entries(base: str, shown: Iterable[Stored]) -> Iterable[bytes]:
    """Write the versions; a fullUrl names no version (bdl-8), the resource does (bdl-7)."""
    for row in shown:
        address = f"{base}/{row.reference}".encode()
        yield b'{"fullUrl":"%b","resource":%b}' % (address, row.text)


def _may_see_accesses(request: Request) -> bool:
    try:
        gate.reach(request.context, "s", "AuditEvent")
    except Forbidden:
        return False
    return True
