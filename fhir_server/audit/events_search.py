"""Read and search the ledger as AuditEvents.

Who may see a row: the system; and, if scope and role let them see AuditEvents at all, those whose
organisation the agent acted for, or whose organisation has to do with the patient concerned.

AuditEvents are not audited themselves.

References
----------
* FHIR R4 auditevent, "Search Parameters"; IHE ITI-81 (Retrieve ATNA Audit Event)
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson

from fhir_server.access import gate
from fhir_server.access.gate import Reach
from fhir_server.audit import render
from fhir_server.audit.events import EVENTS, Code, Event
from fhir_server.audit.render import Line
from fhir_server.context import RequestContext
from fhir_server.search import page
from fhir_server.search.date import OF_AN_INSTANT, Range
from fhir_server.search.find import Page, Runs
from fhir_server.search.query import Criterion, Query, Value
from fhir_server.search.stored import Stored
from fhir_server.search.token import Token
from resources.errors import NotFound, Unsupported

COLUMNS: Final = ", ".join(f"a.{name}" for name in Line._fields)

ACTIONS: Final = "http://hl7.org/fhir/audit-event-action"

Parameters = list[Any]

_BODY: Final = "convert_from(a.body, 'UTF8')::jsonb"


async def read(database: Runs, context: RequestContext, id: str) -> Stored:
    """Read one AuditEvent.

    Raises
    ------
    NotFound
        There is none under this id, or none that the asker may see.
    """
    reach = gate.reach(context, "r", "AuditEvent")
    key = render.key_of(id)
    if key is not None:
        params: Parameters = [*key]
        visible = seen(reach, context, params)
        sql = f"select {COLUMNS} from audit as a where a.instant = $1 and a.n = $2 and {visible}"
        for row in await database.run(sql, params):
            return render.stored(Line._make(row))
    raise NotFound(f"There is no AuditEvent/{id}.")


async def search(database: Runs, context: RequestContext, query: Query) -> Page:
    """Answer a page of the AuditEvents that a query finds; by default the newest come first.

    Raises
    ------
    Unsupported
        A parameter, modifier or order that the ledger does not know.
    """
    reach = gate.reach(context, "s", "AuditEvent")
    params: Parameters = []
    conditions = [seen(reach, context, params)]
    conditions += [_criterion(criterion, context.instant, params) for criterion in query.criteria]
    where = " and ".join(conditions)
    total = None
    if query.total == "accurate" or query.count == 0:
        sql = f"select count(*) from audit as a where {where}"
        total = (await database.run(sql, params))[0][0]
    if query.count == 0:
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
    more = len(rows) > query.count
    following = page.encode((lines[-1].instant, lines[-1].n)) if more else None
    return Page([render.stored(line) for line in lines], [], total, following)


def _descending(query: Query) -> bool:
    """Whether the newest come first; there is no order but by date."""
    if not query.sort:
        return True
    if len(query.sort) > 1 or query.sort[0].code not in {"date", "_lastUpdated"}:
        raise Unsupported("AuditEvents are sorted by date alone.", "_sort")
    return query.sort[0].descending


def seen(reach: Reach, context: RequestContext, params: Parameters) -> str:
    """Write the condition that a principal may see a row `a` of the ledger."""
    if reach.everything:
        return "true"
    params += [reach.organization, context.instant]
    organization, instant = f"${len(params) - 1}::text", f"${len(params)}::bigint"
    condition = (
        f"(a.organization = {organization} or exists (select from relation as r"
        f" where r.organization = {organization} and r.patient = a.patient"
        f" and r.until > {instant}))"
    )
    if reach.patient is not None:
        params.append(reach.patient)
        condition += f" and a.patient = ${len(params)}"
    return condition


def _criterion(criterion: Criterion, instant: int, params: Parameters) -> str:
    write = _CRITERIA.get(criterion.code)
    if (
        write is None
        or criterion.chain
        or criterion.either
        or criterion.modifier not in ("", "not")
    ):
        raise Unsupported("AuditEvents are not searched by this.", criterion.code)
    either = " or ".join(write(value, instant, params) for value in criterion.values)
    return f"{'not ' if criterion.modifier else ''}coalesce(({either}), false)"


def _place(value: Any, params: Parameters) -> str:
    params.append(value)
    return f"${len(params)}"


def _instant(value: Value, instant: int, params: Parameters) -> str:
    assert isinstance(value, Range)
    low, high = value.bounds(instant)
    a, b = _place(low, params), _place(high, params)
    text = OF_AN_INSTANT[value.prefix].format(low="a.instant", high="a.instant", a=a, b=b)
    return f"({text} and {a}::bigint <= {b}::bigint)"


def _number(value: Value, instant: int, params: Parameters) -> str:
    code = value.code if isinstance(value, Token) else None
    at, n = render.key_of(code or "") or (0, 0)
    return f"(a.instant = {_place(at, params)} and a.n = {_place(n, params)})"


def _outcome(value: Value, instant: int, params: Parameters) -> str:
    code = (value.code if isinstance(value, Token) else None) or ""
    return f"a.outcome = {_place(int(code) if code.isdecimal() and len(code) < 4 else -1, params)}"


def _kind(
    codings: Callable[[Event], Iterable[Code]], pattern: Callable[[dict[str, str]], Any]
) -> Callable[[Value, int, Parameters], str]:
    """Match our own rows by their interaction, those from outside by their text."""

    def write(value: Value, instant: int, params: Parameters) -> str:
        assert isinstance(value, Token)
        asked = {"system": value.system, "code": value.code}
        given = {name: part for name, part in asked.items() if part}
        interactions = [
            row.interaction
            for row in EVENTS.values()
            if any(given.items() <= coding._asdict().items() for coding in codings(row))
        ]
        ours = f"a.body is null and a.interaction = any({_place(interactions, params)}::text[])"
        return f"({ours} or {_received(pattern(given), params)})"

    return write


def _received(pattern: Any, params: Parameters) -> str:
    place = _place(orjson.dumps(pattern).decode(), params)
    return f"case when a.body is not null then {_BODY} @> {place}::jsonb else false end"


def _agent(value: Value, instant: int, params: Parameters) -> str:
    references = _references(value)
    named = _place(references, params)
    received = [_received({"agent": [{"who": {"reference": each}}]}, params) for each in references]
    return (
        f"(a.subject = any({named}::text[]) or 'Organization/' || a.organization ="
        f" any({named}::text[]) or {' or '.join(received)})"
    )


def _patient(value: Value, instant: int, params: Parameters) -> str:
    references = _references(value)
    ids = [each.partition("/")[2] for each in references if each.startswith("Patient/")]
    return f"a.patient = any({_place(ids, params)}::text[])"


def _entity(value: Value, instant: int, params: Parameters) -> str:
    references = _references(value)
    named = []
    for each in references:
        type, _, rest = each.partition("/")
        id, _, version = rest.partition("/_history/")
        same = f"a.type = {_place(type, params)} and a.id = {_place(id, params)}"
        if version:
            same += f" and a.version::text = {_place(version, params)}"
        named.append(f"({same})")
        named.append(_received({"entity": [{"what": {"reference": each}}]}, params))
    return f"({' or '.join(named)} or {_patient(value, instant, params)})"


def _references(value: Value) -> list[str]:
    """The references that a value means."""
    if isinstance(value, tuple):
        return [each for each in value if isinstance(each, str)]
    return []


def _organization(value: Value, instant: int, params: Parameters) -> str:
    references = _references(value)
    ids = [each.partition("/")[2] for each in references if each.startswith("Organization/")]
    return f"a.organization = any({_place(ids, params)}::text[])"


def _source(value: Value, instant: int, params: Parameters) -> str:
    """What was done to what an organisation created: images by their own word, else by writer."""
    references = [one for one in _references(value) if one.startswith("Organization/")]
    ids = _place([one.partition("/")[2] for one in references], params)
    terms = _place([f"IS.source-organization={one}" for one in references], params)
    return (
        f"exists (select from current as c where c.type = a.type and c.id = a.id"
        f" and (c.terms && {terms}::text[] or c.organizations[1] = any({ids}::text[])))"
    )


_CRITERIA: Final[Mapping[str, Callable[[Value, int, Parameters], str]]] = {
    "_id":          _number,
    "_lastUpdated": _instant,
    "action":       _kind(lambda row: [Code(ACTIONS, row.action, "")],
                          lambda given: {"action": given.get("code", "")}),
    "agent":        _agent,
    "date":         _instant,
    "entity":       _entity,
    "organization": _organization,
    "outcome":      _outcome,
    "patient":      _patient,
    "source-organization": _source,
    "subtype":      _kind(lambda row: [row.subtype] if row.subtype else [],
                          lambda given: {"subtype": [given]}),
    "type":         _kind(lambda row: [row.type], lambda given: {"type": given}),
}  # fmt: skip
"""Parameter -> how one value of it is compared."""
