"""Conditions on rows of the ledger: how one value of a criterion is compared.

Our own rows are matched by their columns, as `render` writes them; those that others posted by
their text (`texts`). Each function writes a condition on a row `a`, or gives the one that does.

References
----------
* FHIR R4 auditevent, "Search Parameters"
* IHE ITI-81 (Retrieve ATNA Audit Event), Section 3.81.4.1.2
"""

from collections.abc import Callable, Iterable
from typing import Any

from fhir_server.access import purposes
from fhir_server.access.emergency import REASONS
from fhir_server.audit import participants, texts
from fhir_server.audit.events import EVENTS, Code, Event
from fhir_server.audit.line import key_of
from fhir_server.audit.texts import Condition, Parameters, place
from fhir_server.search.date import OF_AN_INSTANT, Range
from fhir_server.search.query import Value
from fhir_server.search.token import Token
from resources import codes


def instant_of(value: Value, instant: int, params: Parameters) -> str:
    """Match when it happened."""
    assert isinstance(value, Range)
    low, high = value.bounds(instant)
    a, b = place(low, params), place(high, params)
    text = OF_AN_INSTANT[value.prefix].format(low="a.instant", high="a.instant", a=a, b=b)
    return f"({text} and {a}::bigint <= {b}::bigint)"


def id_of(value: Value, instant: int, params: Parameters) -> str:
    """Match the AuditEvent of an id."""
    code = value.code if isinstance(value, Token) else None
    at, n = key_of(code or "") or (0, 0)
    return f"(a.instant = {place(at, params)} and a.n = {place(n, params)})"


def outcome(value: Value, instant: int, params: Parameters) -> str:
    """Match how it ended."""
    code = (value.code if isinstance(value, Token) else None) or ""
    return f"a.outcome = {place(int(code) if code.isdecimal() and len(code) < 4 else -1, params)}"


def of_kind(
    codings: Callable[[Event], Iterable[Code]], pattern: Callable[[dict[str, str]], Any]
) -> Condition:
    """Match our own rows by their interaction, those from outside by their text."""

    def write(value: Value, instant: int, params: Parameters) -> str:
        given = texts.given(value)
        interactions = [
            row.interaction
            for row in EVENTS.values()
            if any(given.items() <= coding._asdict().items() for coding in codings(row))
        ]
        ours = f"a.body is null and a.interaction = any({place(interactions, params)}::text[])"
        return f"({ours} or {texts.received(pattern(given), params)})"

    return write


def purpose(value: Value, instant: int, params: Parameters) -> str:
    """Match what a row says it was for, or the purpose of its role where it says none."""
    given = texts.given(value)
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
        f"(a.body is null and (a.purpose = any({place(ours, params)}::text[])"
        f" or a.purpose is null and a.role = any({place(roles, params)}::text[])"
        f" or a.role like any({place(reasons, params)}::text[]))"
        f" or {' or '.join(texts.received(one, params) for one in outside)})"
    )


def role(value: Value, instant: int, params: Parameters) -> str:
    """Match the role in which somebody acted; in an emergency its reason stands behind it."""
    given = texts.given(value)
    system, code = given.get("system", codes.ROLE), given.get("code", "")
    asked = place(code if system == codes.ROLE else None, params)
    ours = f"split_part(a.role, '|', 1) = {asked}::text"
    outside = texts.received({"agent": [{"role": [{"coding": [given]}]}]}, params)
    return f"(a.body is null and {ours} or {outside})"


def entities(member: str) -> Condition:
    """Match by type or role of what took part: which of them a row has, its columns say."""

    def write(value: Value, instant: int, params: Parameters) -> str:
        given = texts.given(value)
        has = [
            condition
            for condition, entity in participants.ENTITIES
            if (coding := entity[member]) and given.items() <= coding._asdict().items()
        ]
        ours = " or ".join(has) or "false"
        outside = texts.received({"entity": [{member: given}]}, params)
        return f"(a.body is null and ({ours}) or {outside})"

    return write


def agent(value: Value, instant: int, params: Parameters) -> str:
    """Match who did it, or for which organisation."""
    references = texts.references(value)
    named = place(references, params)
    received = [
        texts.received({"agent": [{"who": {"reference": each}}]}, params) for each in references
    ]
    return (
        f"(a.subject = any({named}::text[]) or 'Organization/' || a.organization ="
        f" any({named}::text[]) or {' or '.join(received)})"
    )


def patient(value: Value, instant: int, params: Parameters) -> str:
    """Match whom it was about."""
    references = texts.references(value)
    ids = [each.partition("/")[2] for each in references if each.startswith("Patient/")]
    return f"a.patient = any({place(ids, params)}::text[])"


def entity(value: Value, instant: int, params: Parameters) -> str:
    """Match what it was about, or one version of it."""
    references = texts.references(value)
    named = []
    for each in references:
        type, _, rest = each.partition("/")
        id, _, version = rest.partition("/_history/")
        same = f"a.type = {place(type, params)} and a.id = {place(id, params)}"
        if version:
            same += f" and a.version::text = {place(version, params)}"
        named.append(f"({same})")
        named.append(texts.received({"entity": [{"what": {"reference": each}}]}, params))
    return f"({' or '.join(named)} or {patient(value, instant, params)})"


def organization(value: Value, instant: int, params: Parameters) -> str:
    """Match for which organisation it was done."""
    references = texts.references(value)
    ids = [each.partition("/")[2] for each in references if each.startswith("Organization/")]
    return f"a.organization = any({place(ids, params)}::text[])"


def created_by(value: Value, instant: int, params: Parameters) -> str:
    """What was done to what an organisation created: images by their own word, else by writer."""
    references = [one for one in texts.references(value) if one.startswith("Organization/")]
    ids = place([one.partition("/")[2] for one in references], params)
    terms = place([f"IS.source-organization={one}" for one in references], params)
    return (
        f"exists (select from current as c where c.type = a.type and c.id = a.id"
        f" and (c.terms && {terms}::text[] or c.organizations[1] = any({ids}::text[])))"
    )
