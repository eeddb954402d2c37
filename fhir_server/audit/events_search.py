"""Read and search the ledger as AuditEvents.

Who may see a row: the system; and, if scope and role let them see AuditEvents at all, those whose
organisation the agent acted for, or whose organisation has to do with the patient concerned, or
shares with the agent's what it created and the agent looked at. What concerns no organisation (a
failed sign-in of nobody known, a rejected association of a stranger, a start and a stop) is seen by
auditors and administrators of the one that holds the installation.

To look at the ledger is an event too (DICOM PS3.15 Section A.5.3.2, "Audit Log Used"): its row is
durable before the answer, which does not have it yet.

References
----------
* FHIR R4 auditevent, "Search Parameters"; IHE ITI-81 (Retrieve ATNA Audit Event)
"""

from dataclasses import replace
from typing import Any, Final

from fhir_server.access import gate, sharing
from fhir_server.access.gate import Reach
from fhir_server.access.scopes import Only
from fhir_server.audit import asked, criteria, ledger, render
from fhir_server.audit.line import Line, key_of
from fhir_server.context import RequestContext
from fhir_server.search import page
from fhir_server.search.find import Page, Runs
from fhir_server.search.query import Query, parse
from fhir_server.search.stored import Stored
from resources.errors import Invalid, NotFound, Unsupported

COLUMNS: Final = ", ".join(f"a.{name}" for name in Line._fields)

USED: Final = "audit-log"
"""The interaction of who looked at the ledger; see `audit.events`."""

CARETAKERS: Final = frozenset({"auditor", "administrator"})
"""Roles that, at the organisation that holds the installation, look after it."""

OF_NOBODY: Final = """
(a.organization is null and a.patient is null
 and (a.role <> 'system'
  or a.interaction in ('start', 'stop', 'configuration', 'user-configuration')))
"""
"""Rows that concern no organisation; what the system does by itself for others stays out."""

Parameters = list[Any]


async def read(database: Runs, context: RequestContext, id: str, holder: str = "") -> Stored:
    """Read one AuditEvent.

    Raises
    ------
    NotFound
        There is none under this id, or none that the asker may see.
    """
    reach = gate.reach(context, "r", "AuditEvent")
    key = key_of(id)
    if key is not None:
        params: Parameters = [*key]
        visible = seen(reach, context, params, holder)
        sql = f"select {COLUMNS} from audit as a where a.instant = $1 and a.n = $2 and {visible}"
        for row in await database.run(sql, params):
            await _used(database, context, id=id, version=1, hits=1)
            return render.stored(Line._make(row))
    raise NotFound(f"There is no AuditEvent/{id}.")


async def search(database: Runs, context: RequestContext, query: Query, holder: str = "") -> Page:
    """Answer a page of the AuditEvents that a query finds; by default the newest come first.

    Raises
    ------
    Unsupported
        A parameter, modifier or order that the ledger does not know.
    """
    reach = gate.reach(context, "s", "AuditEvent")
    params: Parameters = []
    conditions = [seen(reach, context, params, holder)]
    conditions += [criteria.written(each, context.instant, params) for each in query.criteria]
    where = " and ".join(conditions)
    total = None
    if query.total == "accurate" or query.count == 0:
        sql = f"select count(*) from audit as a where {where}"
        total = (await database.run(sql, params))[0][0]
    asked_for, patient = asked.text(query), asked.patient(query)
    if query.count == 0:
        await _used(database, context, query=asked_for, patient=patient, hits=0)
        return Page([], [], total, None)
    descending = _descending(query)
    if query.cursor is not None:
        sign = "<" if descending else ">"
        params += [query.cursor[0], query.cursor[-1]]
        where += f" and (a.instant, a.n) {sign} (${len(params) - 1}, ${len(params)})"
    params.append(query.count + 1)
    order = "desc" if descending else "asc"
    in_order = f"order by a.instant {order}, a.n {order} limit ${len(params)}"
    sql = f"select {COLUMNS} from audit as a where {where} {in_order}"
    rows = await database.run(sql, params)
    lines = [Line._make(row) for row in rows[: query.count]]
    await _used(database, context, query=asked_for, patient=patient, hits=len(lines))
    more = len(rows) > query.count
    following = page.encode((lines[-1].instant, lines[-1].n)) if more else None
    return Page([render.stored(line) for line in lines], [], total, following)


async def _used(database: Runs, context: RequestContext, **told: Any) -> None:
    """Note that somebody looked at the ledger."""
    row = ledger.entry(replace(context, interaction=USED), type="AuditEvent", **told)
    await database.run(ledger.INSERT, ledger.arrays([row]))


def _descending(query: Query) -> bool:
    """Whether the newest come first; there is no order but by date."""
    if not query.sort:
        return True
    if len(query.sort) > 1 or query.sort[0].code not in {"date", "_lastUpdated"}:
        raise Unsupported("AuditEvents are sorted by date alone.", "_sort")
    return query.sort[0].descending


def seen(reach: Reach, context: RequestContext, params: Parameters, holder: str = "") -> str:
    """Write the condition that a principal may see a row `a` of the ledger.

    Parameters
    ----------
    holder
        Id of the Organization that holds the installation; empty: none does.
    """
    if reach.everything:
        return "true"
    params += [reach.organization, context.instant]
    organization, instant = f"${len(params) - 1}::text", f"${len(params)}::bigint"
    condition = (
        f"(a.organization = {organization} or exists (select from relation as r"
        f" where r.organization = {organization} and r.patient = a.patient"
        f" and r.until > {instant} and not r.limited)"
        f" or {sharing.overseen('a', organization)})"
    )
    if holder and reach.organization == holder and context.principal.role in CARETAKERS:
        condition = f"({condition} or {OF_NOBODY})"
    if reach.patient is not None:
        params.append(reach.patient)
        condition += f" and a.patient = ${len(params)}"
    if reach.only:
        some = (f"({_some(each, context.instant, params)})" for each in reach.only)
        condition += f" and ({' or '.join(some)})"
    return condition


def _some(only: Only, instant: int, params: Parameters) -> str:
    """Write what a scope demands that grants only some events; what is not understood is none."""
    before = len(params)
    try:
        demanded = parse("AuditEvent", only, strict=True).criteria
        if len(demanded) == len(only):
            return " and ".join(criteria.written(each, instant, params) for each in demanded)
    except (Invalid, Unsupported):
        del params[before:]
    return "false"
