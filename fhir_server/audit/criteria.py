"""Criteria of a search for AuditEvents: each parameter as a condition on the ledger.

Our own rows are matched by their columns, as `render` writes them; those that others posted by
their text. ITI-81 asks for identifiers as they stand in the AuditEvent (``entity.identifier``);
ours name resources, so that these are found by the identifiers of the resource too.

References
----------
* FHIR R4 auditevent, "Search Parameters"
* IHE ITI-81 (Retrieve ATNA Audit Event), Section 3.81.4.1.2
"""

from collections.abc import Mapping
from typing import Any, Final

from fhir_server.audit import conditions, texts
from fhir_server.audit.events import Code
from fhir_server.audit.participants import SERVER_HOST
from fhir_server.audit.texts import Condition
from fhir_server.search.query import Criterion
from resources.errors import Unsupported

ACTIONS: Final = "http://hl7.org/fhir/audit-event-action"

Parameters = list[Any]


def written(criterion: Criterion, instant: int, params: Parameters) -> str:
    """Write the condition of a criterion on a row `a`.

    Raises
    ------
    Unsupported
        The ledger does not know the parameter or the modifier.
    """
    write = _CRITERIA.get(criterion.code)
    if criterion.code in _TEXTS and criterion.modifier in ("", "exact", "contains"):
        write = texts.text(*_TEXTS[criterion.code], criterion.modifier)
    elif criterion.modifier not in ("", "not"):
        write = None
    if write is None or criterion.chain or criterion.either:
        raise Unsupported("AuditEvents are not searched by this.", criterion.code)
    either = " or ".join(write(value, instant, params) for value in criterion.values)
    return f"{'not ' if criterion.modifier == 'not' else ''}coalesce(({either}), false)"


_CRITERIA: Final[Mapping[str, Condition]] = {
    "_id":          conditions.id_of,
    "_lastUpdated": conditions.instant_of,
    "agent-role":   conditions.role,
    "altid":        texts.told(lambda given: {"agent": [{"altId": given}]}),
    "entity-role":  conditions.entities("role"),
    "entity-type":  conditions.entities("type"),
    "policy":       texts.told(lambda given: {"agent": [{"policy": [given]}]}),
    "purpose":      conditions.purpose,
    "site":         texts.told(lambda given: {"source": {"site": given}}),
    "source":       texts.told(lambda given: {"source": {"observer": {"reference": given}}}),
    "agent:identifier":   texts.identified(
        ("Practitioner", "PractitionerRole", "Organization", "Device", "Patient"),
        "a.subject = {value} or a.client = {value}"
        " or a.subject in (select c.type || '/' || c.id {resource})"
        " or a.organization in (select c.id {resource} and c.type = 'Organization')",
        lambda who: [{"agent": [{"who": who}]}]),
    "entity:identifier":  texts.identified(
        ("ImagingStudy", "ServiceRequest", "DiagnosticReport", "Task", "Patient"),
        "a.request = {value} or (a.type, a.id) in (select c.type, c.id {resource})"
        " or a.patient in (select c.id {resource} and c.type = 'Patient')",
        lambda what: [{"entity": [{"what": what}]}]),
    "patient:identifier": texts.identified(
        ("Patient",), "a.patient in (select c.id {resource})",
        lambda who: [{"entity": [{"what": who}]}, {"agent": [{"who": who}]}]),
    "source:identifier":  texts.identified(
        (), f"{{value}} = '{SERVER_HOST}'",
        lambda who: [{"source": {"observer": who}}]),
    "action":       conditions.of_kind(lambda row: [Code(ACTIONS, row.action, "")],
                          lambda given: {"action": given.get("code", "")}),
    "agent":        conditions.agent,
    "date":         conditions.instant_of,
    "entity":       conditions.entity,
    "organization": conditions.organization,
    "outcome":      conditions.outcome,
    "patient":      conditions.patient,
    "source-organization": conditions.created_by,
    "subtype":      conditions.of_kind(lambda row: [row.subtype] if row.subtype else [],
                          lambda given: {"subtype": [given]}),
    "type":         conditions.of_kind(lambda row: [row.type], lambda given: {"type": given}),
}  # fmt: skip
"""Parameter -> how one value of it is compared."""

_TEXTS: Final[Mapping[str, tuple[str | None, str]]] = {
    "address": ("a.origin", "$.agent[*].network.address"),
    "agent-name": (None, "$.agent[*].name"),
    "entity-name": (None, "$.entity[*].name"),
}
"""Parameter -> the column of our own rows, if there is one, and the path in those from outside."""
