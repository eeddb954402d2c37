"""Criteria of a search for AuditEvents: each parameter as a condition on the ledger.

Our own rows are matched by their columns, as `render` writes them; those that others posted by
their text. ITI-81 asks for identifiers as they stand in the AuditEvent (``entity.identifier``);
ours name resources, so that these are found by the identifiers of the resource too.

References
----------
* FHIR R4 auditevent, "Search Parameters"
* IHE ITI-81 (Retrieve ATNA Audit Event), Section 3.81.4.1.2
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson

from fhir_server.access import purposes
from fhir_server.access.emergency import REASONS
from fhir_server.audit import render
from fhir_server.audit.events import EVENTS, Code, Event
from fhir_server.search import string, token
from fhir_server.search.date import OF_AN_INSTANT, Range
from fhir_server.search.query import Criterion, Value
from fhir_server.search.terms import initials
from fhir_server.search.token import Token
from resources import codes
from resources.errors import Unsupported

ACTIONS: Final = "http://hl7.org/fhir/audit-event-action"

Parameters = list[Any]

_FOLDED: Final = r"regexp_replace(normalize(lower({}), NFKD), E'[\u0300-\u036f]', '', 'g')"
"""A text as `search.string.fold` has it."""

_BODY: Final = "convert_from(a.body, 'UTF8')::jsonb"


def written(criterion: Criterion, instant: int, params: Parameters) -> str:
    """Write the condition of a criterion on a row `a`.

    Raises
    ------
    Unsupported
        The ledger does not know the parameter or the modifier.
    """
    write = _CRITERIA.get(criterion.code)
    if criterion.code in _TEXTS and criterion.modifier in ("", "exact", "contains"):
        write = _text(*_TEXTS[criterion.code], criterion.modifier)
    elif criterion.modifier not in ("", "not"):
        write = None
    if write is None or criterion.chain or criterion.either:
        raise Unsupported("AuditEvents are not searched by this.", criterion.code)
    either = " or ".join(write(value, instant, params) for value in criterion.values)
    return f"{'not ' if criterion.modifier == 'not' else ''}coalesce(({either}), false)"


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
        given = _given(value)
        interactions = [
            row.interaction
            for row in EVENTS.values()
            if any(given.items() <= coding._asdict().items() for coding in codings(row))
        ]
        ours = f"a.body is null and a.interaction = any({_place(interactions, params)}::text[])"
        return f"({ours} or {_received(pattern(given), params)})"

    return write


def _purpose(value: Value, instant: int, params: Parameters) -> str:
    """Match what a row says it was for, or the purpose of its role where it says none."""
    given = _given(value)
    ours = [
        coding.code for coding in purposes.PURPOSES.values() if given.items() <= coding.json.items()
    ]
    reasons = [f"%|{one.code}" for one in REASONS.values() if given.items() <= one.json.items()]
    if codes.EMERGENCY_TREATMENT.code in ours:  # which every emergency access is
        ours.append(purposes.IN_EMERGENCY)
    roles = [role for role, code in purposes.BY_ROLE.items() if code in ours]
    concept = {"coding": [given]}
    outside = [{"purposeOfEvent": [concept]}, {"agent": [{"purposeOfUse": [concept]}]}]
    return (
        f"(a.body is null and (a.purpose = any({_place(ours, params)}::text[])"
        f" or a.purpose is null and a.role = any({_place(roles, params)}::text[])"
        f" or a.role like any({_place(reasons, params)}::text[]))"
        f" or {' or '.join(_received(one, params) for one in outside)})"
    )


def _role(value: Value, instant: int, params: Parameters) -> str:
    """Match the role in which somebody acted; in an emergency its reason stands behind it."""
    given = _given(value)
    system, code = given.get("system", codes.ROLE), given.get("code", "")
    asked = _place(code if system == codes.ROLE else None, params)
    ours = f"split_part(a.role, '|', 1) = {asked}::text"
    outside = _received({"agent": [{"role": [{"coding": [given]}]}]}, params)
    return f"(a.body is null and {ours} or {outside})"


def _entities(member: str) -> Callable[[Value, int, Parameters], str]:
    """Match by type or role of what took part: which of them a row has, its columns say."""

    def write(value: Value, instant: int, params: Parameters) -> str:
        given = _given(value)
        has = [
            condition
            for condition, entity in render.ENTITIES
            if (coding := entity[member]) and given.items() <= coding._asdict().items()
        ]
        ours = " or ".join(has) or "false"
        outside = _received({"entity": [{member: given}]}, params)
        return f"(a.body is null and ({ours}) or {outside})"

    return write


def _told(pattern: Callable[[Any], Any]) -> Callable[[Value, int, Parameters], str]:
    """Match what only events from outside say."""

    def write(value: Value, instant: int, params: Parameters) -> str:
        if isinstance(value, Token):
            return _received(pattern(value.code or ""), params)
        asked = _references(value) if isinstance(value, tuple) else [str(value)]
        return " or ".join(_received(pattern(one), params) for one in asked)

    return write


def _text(ours: str | None, path: str, modifier: str) -> Callable[[Value, int, Parameters], str]:
    """Match a text: by its beginning, a part or all of it; of ours by a column, if we have it."""

    def write(value: Value, instant: int, params: Parameters) -> str:
        asked = str(value) if modifier == "exact" else string.fold(str(value))
        place = f"{_place(asked, params)}::text"
        compared = {
            "": f"{_FOLDED} ^@ {place}",
            "exact": f"{{}} = {place}",
            "contains": f"strpos({_FOLDED}, {place}) > 0",
        }[modifier]
        each = compared.format("t #>> '{}'")
        found = f"exists (select from jsonb_path_query({_BODY}, '{path}') as t where {each})"
        outside = f"case when a.body is not null then {found} else false end"
        if ours is None:
            return outside
        return f"({compared.format(ours)} or {outside})"

    return write


def _identified(
    types: Iterable[str], ours: str, pattern: Callable[[Any], list[Any]]
) -> Callable[[Value, int, Parameters], str]:
    """Match an identifier: as an event from outside says it, or of the resource that ours name.

    `ours` is the condition on a row `a`, of a resource `c` that has it, and of the bare value.
    """

    def write(value: Value, instant: int, params: Parameters) -> str:
        assert isinstance(value, Token)
        terms = [
            term for type in types for term in token.sought(f"{initials(type)}.identifier", value)
        ]
        names: dict[str, str] = {}
        if "{resource}" in ours:
            names["resource"] = (
                f"from current as c where c.terms && {_place(terms, params)}::text[]"
                f" and c.type = any({_place(list(types), params)}::text[]) and not c.deleted"
            )
        if "{value}" in ours:
            bare = None if value.system else value.code
            names["value"] = f"{_place(bare, params)}::text"
        condition = ours.format(**names)
        said = {"system": value.system, "value": value.code}
        identifier = {"identifier": {name: part for name, part in said.items() if part}}
        outside = [_received(one, params) for one in pattern(identifier)]
        return f"(a.body is null and ({condition}) or {' or '.join(outside)})"

    return write


def _given(value: Value) -> dict[str, str]:
    """Say what a coding must have to be the one that was asked for."""
    assert isinstance(value, Token)
    asked = {"system": value.system, "code": value.code}
    return {name: part for name, part in asked.items() if part}


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
    "agent-role":   _role,
    "altid":        _told(lambda given: {"agent": [{"altId": given}]}),
    "entity-role":  _entities("role"),
    "entity-type":  _entities("type"),
    "policy":       _told(lambda given: {"agent": [{"policy": [given]}]}),
    "purpose":      _purpose,
    "site":         _told(lambda given: {"source": {"site": given}}),
    "source":       _told(lambda given: {"source": {"observer": {"reference": given}}}),
    "agent:identifier":   _identified(
        ("Practitioner", "PractitionerRole", "Organization", "Device", "Patient"),
        "a.subject = {value} or a.client = {value}"
        " or a.subject in (select c.type || '/' || c.id {resource})"
        " or a.organization in (select c.id {resource} and c.type = 'Organization')",
        lambda who: [{"agent": [{"who": who}]}]),
    "entity:identifier":  _identified(
        ("ImagingStudy", "ServiceRequest", "DiagnosticReport", "Task", "Patient"),
        "a.request = {value} or (a.type, a.id) in (select c.type, c.id {resource})"
        " or a.patient in (select c.id {resource} and c.type = 'Patient')",
        lambda what: [{"entity": [{"what": what}]}]),
    "patient:identifier": _identified(
        ("Patient",), "a.patient in (select c.id {resource})",
        lambda who: [{"entity": [{"what": who}]}, {"agent": [{"who": who}]}]),
    "source:identifier":  _identified(
        (), f"{{value}} = '{render.SERVER_HOST}'",
        lambda who: [{"source": {"observer": who}}]),
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

_TEXTS: Final[Mapping[str, tuple[str | None, str]]] = {
    "address": ("a.origin", "$.agent[*].network.address"),
    "agent-name": (None, "$.agent[*].name"),
    "entity-name": (None, "$.entity[*].name"),
}
"""Parameter -> the column of our own rows, if there is one, and the path in those from outside."""
