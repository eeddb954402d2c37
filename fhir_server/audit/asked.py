"""What was searched for, as the text that the ledger keeps.

References
----------
* FHIR AuditEvent.entity.query; IHE BALP, PatientQuery: the query as it was asked
"""

from typing import Final
from urllib.parse import quote

from fhir_server.audit import ledger
from fhir_server.audit.ledger import Entry
from fhir_server.context import RequestContext
from fhir_server.search.composite import Combination
from fhir_server.search.date import BEGINNING, FOREVER, Range
from fhir_server.search.near import Near
from fhir_server.search.number import Amount
from fhir_server.search.quantity import Measure
from fhir_server.search.query import Criterion, Query, Value
from fhir_server.search.token import Token
from resources.content import written_instant

MOST_VALUES: Final = 100
"""More alternatives of a criterion are not written down."""

MOST_TYPES: Final = 20
"""More types than these are not listed: it is said to have been a search on all."""


def entry(context: RequestContext, query: Query) -> Entry:
    """The audit row of a search; what it finds is filled in by the statement that searches."""
    return ledger.entry(context, type=query.type or None, patient=patient(query), query=text(query))


def text(query: Query) -> str:
    """Write a query as a search address relative to the FHIR base.

    Examples
    --------
    >>> from fhir_server.search.query import parse
    >>> text(parse("Task", [("status", "requested,accepted"), ("_count", "5")]))
    'Task?status=requested,accepted&_count=5'
    """
    pairs = [_criterion(criterion) for criterion in query.criteria]
    if query.types and len(query.types) <= MOST_TYPES:
        pairs.insert(0, f"_type={','.join(query.types)}")
    pairs += [f"_count={query.count}"]
    return f"{query.type}?{'&'.join(pairs)}"


def patient(query: Query) -> str | None:
    """The one patient whom a query asks about, if it is one."""
    pinned = query.pinned
    if pinned is None:
        return None
    (references,) = query.criteria[pinned].values
    reference = references[0] if isinstance(references, tuple) else None
    return reference.partition("/")[2] if isinstance(reference, str) else None


def _criterion(criterion: Criterion) -> str:
    if criterion.either:
        return _criterion(criterion.either[0])
    name = criterion.code + (f":{criterion.modifier}" if criterion.modifier else "")
    if criterion.chain is not None:
        type, inner, back = criterion.chain
        follows = f":{back}:" if back else "."
        return f"{'_has' if back else name}:{type}{follows}{_criterion(inner)}"
    if criterion.kind == "compartment":
        name = "_compartment"
    shown = criterion.values[:MOST_VALUES]  # a value set may stand for thousands
    return f"{name}={','.join(_value(value) for value in shown)}"


def _value(value: Value) -> str:
    if isinstance(value, Token):
        system = "" if value.system is None else f"{value.system}|"
        return quote(f"{system}{value.code or ''}", safe="|:/")
    if isinstance(value, Range):
        at = value.high if value.low == BEGINNING else value.low
        return f"{value.prefix}{'' if at == FOREVER else written_instant(at)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Amount):
        return f"{value.prefix}{value.exact}"
    if isinstance(value, Measure):
        unit = "" if value.unit is None else f"|{value.unit}"
        return f"{_value(value.amount)}{quote(unit, safe='|:/')}"
    if isinstance(value, Combination):
        return "$".join(_value(part) for part in value.parts)
    if isinstance(value, Near):
        return "|".join(str(each) for each in value)
    if isinstance(value, tuple):
        return quote(str(value[0]), safe="|:/")
    return quote(value, safe="|:/")
