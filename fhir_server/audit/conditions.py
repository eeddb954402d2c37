"""Conditions on rows of the ledger: how one value of a criterion is compared.

Our own rows are matched by their columns, as `render` writes them; those that others posted by
their text. Each function writes a condition on a row `a`, or gives the one that does.

References
----------
* FHIR R4 auditevent, "Search Parameters"
* IHE ITI-81 (Retrieve ATNA Audit Event), Section 3.81.4.1.2
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from fhir_server.access import purposes
from fhir_server.access.emergency import REASONS
from fhir_server.audit import render
from fhir_server.audit.events import EVENTS, Code, Event
from fhir_server.search import string, token
from fhir_server.search.date import OF_AN_INSTANT, Range
from fhir_server.search.query import Value
from fhir_server.search.terms import initials
from fhir_server.search.token import Token
from resources import codes

Parameters = list[Any]

Condition = Callable[[Value, int, Parameters], str]

_FOLDED: Final = r"regexp_replace(normalize(lower({}), NFKD), E'[\u0300-\u036f]', '', 'g')"
"""A text as `search.string.fold` has it."""

_BODY: Final = "convert_from(a.body, 'UTF8')::jsonb"


def _place(value: Any, params: Parameters) -> str:
    params.append(value)
    return f"${len(params)}"


def instant_of(value: Value, instant: int, params: Parameters) -> str:
    """Match when it happened."""
    assert isinstance(value, Range)
    low, high = value.bounds(instant)
    a, b = _place(low, params), _place(high, params)
    text = OF_AN_INSTANT[value.prefix].format(low="a.instant", high="a.instant", a=a, b=b)
    return f"({text} and {a}::bigint <= {b}::bigint)"


def id_of(value: Value, instant: int, params: Parameters) -> str:
    """Match the AuditEvent of an id."""
    code = value.code if isinstance(value, Token) else None
    at, n = render.key_of(code or "") or (0, 0)
    return f"(a.instant = {_place(at, params)} and a.n = {_place(n, params)})"


def outcome(value: Value, instant: int, params: Parameters) -> str:
    """Match how it ended."""
    code = (value.code if isinstance(value, Token) else None) or ""
    return f"a.outcome = {_place(int(code) if code.isdecimal() and len(code) < 4 else -1, params)}"


def of_kind(
    codings: Callable[[Event], Iterable[Code]], pattern: Callable[[dict[str, str]], Any]
) -> Condition:
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


def purpose(value: Value, instant: int, params: Parameters) -> str:
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


def role(value: Value, instant: int, params: Parameters) -> str:
    """Match the role in which somebody acted; in an emergency its reason stands behind it."""
    given = _given(value)
    system, code = given.get("system", codes.ROLE), given.get("code", "")
    asked = _place(code if system == codes.ROLE else None, params)
    ours = f"split_part(a.role, '|', 1) = {asked}::text"
    outside = _received({"agent": [{"role": [{"coding": [given]}]}]}, params)
    return f"(a.body is null and {ours} or {outside})"


def entities(member: str) -> Condition:
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


def told(pattern: Callable[[Any], Any]) -> Condition:
    """Match what only events from outside say."""

    def write(value: Value, instant: int, params: Parameters) -> str:
        if isinstance(value, Token):
            return _received(pattern(value.code or ""), params)
        asked = _references(value) if isinstance(value, tuple) else [str(value)]
        return " or ".join(_received(pattern(one), params) for one in asked)

    return write


def text(ours: str | None, path: str, modifier: str) -> Condition:
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


def identified(types: Iterable[str], ours: str, pattern: Callable[[Any], list[Any]]) -> Condition:
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


def agent(value: Value, instant: int, params: Parameters) -> str:
    """Match who did it, or for which organisation."""
    references = _references(value)
    named = _place(references, params)
    received = [_received({"agent": [{"who": {"reference": each}}]}, params) for each in references]
    return (
        f"(a.subject = any({named}::text[]) or 'Organization/' || a.organization ="
        f" any({named}::text[]) or {' or '.join(received)})"
    )


def patient(value: Value, instant: int, params: Parameters) -> str:
    """Match whom it was about."""
    references = _references(value)
    ids = [each.partition("/")[2] for each in references if each.startswith("Patient/")]
    return f"a.patient = any({_place(ids, params)}::text[])"


def entity(value: Value, instant: int, params: Parameters) -> str:
    """Match what it was about, or one version of it."""
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
    return f"({' or '.join(named)} or {patient(value, instant, params)})"


def _references(value: Value) -> list[str]:
    """The references that a value means."""
    if isinstance(value, tuple):
        return [each for each in value if isinstance(each, str)]
    return []


def organization(value: Value, instant: int, params: Parameters) -> str:
    """Match for which organisation it was done."""
    references = _references(value)
    ids = [each.partition("/")[2] for each in references if each.startswith("Organization/")]
    return f"a.organization = any({_place(ids, params)}::text[])"


def created_by(value: Value, instant: int, params: Parameters) -> str:
    """What was done to what an organisation created: images by their own word, else by writer."""
    references = [one for one in _references(value) if one.startswith("Organization/")]
    ids = _place([one.partition("/")[2] for one in references], params)
    terms = _place([f"IS.source-organization={one}" for one in references], params)
    return (
        f"exists (select from current as c where c.type = a.type and c.id = a.id"
        f" and (c.terms && {terms}::text[] or c.organizations[1] = any({ids}::text[])))"
    )
