"""Table: the operations of this server; which of them an address means, and how it is answered.

What is here is served and stands in the CapabilityStatement; there is no other list.

References
----------
* FHIR R4 operations; OperationDefinition; FHIR http, "operations"
* HL7 Bulk Data Access 2.0, for $export
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from fhir_server.access import gate
from fhir_server.audit import ledger
from fhir_server.rest.exchange import Answer, Interaction, Request, Server
from fhir_server.rest.ids import is_id
from fhir_server.rest.operations import (
    acknowledge,
    acknowledgement_status,
    audit_report,
    availability_report,
    binding_token,
    check,
    everything,
    evidence,
    expand,
    export,
    imaging_history,
    lookup,
    meta,
    parameters,
    request_everything,
    retry,
    subscription_events,
    subscription_resend,
    subscription_status,
    subscription_topics,
    subsumes,
    validate,
    validate_code,
    worklists,
)
from fhir_server.rest.operations.row import Operation, Taken
from fhir_server.rest.outcomes import MethodNotAllowed
from resources.errors import NotFound
from resources.models import TYPES

_R4: Final = "http://hl7.org/fhir/OperationDefinition"
_BULK: Final = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition"
_BACKPORT: Final = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition"
_OURS: Final = "https://isocentre.example/fhir/OperationDefinition"

_BUNDLE: Final = (Taken("return", "Bundle", 1),)
_ORDERED: Final = (Taken("return", "OperationOutcome", 1),)
"""An export is told where to look; what it comes to is no FHIR resource, but its manifest."""

METHODS: Final = ("GET", "POST")
"""FHIR R4 operations: "If the operation does not affect state, it may be invoked using GET"."""

AUDITED: Final[Mapping[str, str]] = {"export": "export", "audit-report": "audit-log"}
"""Operations that the ledger calls by what DICOM has an event for; see `audit.events`."""

OPERATIONS: Final = (
    Operation("validate", ("type", "instance"), None, None, validate.TAKES, validate.answer,
              f"{_R4}/Resource-validate", "Tell what is wrong with a resource",
              gives=(Taken("return", "OperationOutcome", 1),)),
    Operation("meta", ("system", "type", "instance"), None, None, meta.TAKES, meta.answer,
              f"{_R4}/Resource-meta", "Give profiles, tags and labels of a resource, or of all",
              gives=(Taken("return", "Meta", 1),)),
    Operation("everything", ("instance",), frozenset({"Patient"}), ("r", "Patient"),
              everything.TAKES, everything.answer,
              f"{_R4}/Patient-everything", "Give the whole record of a patient",
              gives=_BUNDLE),
    Operation("everything", ("instance",), frozenset({"ServiceRequest"}), ("r", "ServiceRequest"),
              request_everything.TAKES, request_everything.answer,
              f"{_OURS}/ServiceRequest-everything", "Give a request and all that came of it",
              gives=_BUNDLE),
    Operation("check", ("type", "instance"), frozenset({"ServiceRequest"}), ("r", "ServiceRequest"),
              check.TAKES, check.answer,
              f"{_OURS}/ServiceRequest-check", "Tell what a request would do again",
              gives=_BUNDLE),
    Operation("expand", ("type", "instance"), frozenset({"ValueSet"}), ("r", "ValueSet"),
              expand.TAKES, expand.answer,
              f"{_R4}/ValueSet-expand", "List the codes of a value set",
              gives=(Taken("return", "ValueSet", 1),)),
    Operation("validate-code", ("type", "instance"), frozenset({"ValueSet"}), ("r", "ValueSet"),
              validate_code.OF_A_VALUE_SET, validate_code.of_a_value_set,
              f"{_R4}/ValueSet-validate-code", "Tell whether a code is in a value set",
              gives=validate_code.GIVES),
    Operation("validate-code", ("type",), frozenset({"CodeSystem"}), ("r", "CodeSystem"),
              validate_code.OF_A_SYSTEM, validate_code.of_a_system,
              f"{_R4}/CodeSystem-validate-code", "Tell whether a code is in a code system",
              gives=validate_code.GIVES),
    Operation("lookup", ("type",), frozenset({"CodeSystem"}), ("r", "CodeSystem"),
              lookup.TAKES, lookup.answer,
              f"{_R4}/CodeSystem-lookup", "Tell what a code means",
              gives=lookup.GIVES),
    Operation("subsumes", ("type",), frozenset({"CodeSystem"}), ("r", "CodeSystem"),
              subsumes.TAKES, subsumes.answer,
              f"{_R4}/CodeSystem-subsumes", "Tell how two codes lie to each other",
              gives=(Taken("outcome", "code", 1),)),
    Operation("audit-report", ("type",), frozenset({"AuditEvent"}), ("s", "AuditEvent"),
              audit_report.TAKES, audit_report.answer,
              f"{_OURS}/AuditEvent-audit-report", "Count what was done, by whom and for what",
              audit_report.FORMATS, gives=(Taken("return", "MeasureReport", 1),)),
    Operation("evidence", ("instance",), frozenset({"DiagnosticReport"}), ("r", "DiagnosticReport"),
              evidence.TAKES, evidence.answer,
              f"{_OURS}/DiagnosticReport-evidence",
              "Tell what the author of a report could see and opened, and what changed since",
              gives=_BUNDLE, use="evidence"),
    Operation("worklists", ("type",), frozenset({"List"}), None,
              worklists.TAKES, worklists.answer,
              f"{_OURS}/List-worklists", "Give the worklists that the asker may work from",
              gives=worklists.GIVES),
    Operation("acknowledge", ("type",), frozenset({"Task"}), ("u", "Task"),
              acknowledge.TAKES, acknowledge.answer,
              f"{_OURS}/Task-acknowledge", "Acknowledge one report, or several that are routine",
              gives=acknowledge.GIVES, affects_state=True),
    Operation("acknowledgement-status", ("type",), frozenset({"Task"}), ("s", "Task"),
              acknowledgement_status.TAKES, acknowledgement_status.answer,
              f"{_OURS}/Task-acknowledgement-status",
              "Tell whether reports are acknowledged in time",
              acknowledgement_status.FORMATS, gives=acknowledgement_status.GIVES),
    Operation("history", ("instance",), frozenset({"Task"}), ("r", "Task"),
              imaging_history.TAKES, imaging_history.answer,
              f"{_OURS}/Task-history", "Give the imaging history that matters to a step",
              gives=_BUNDLE),
    Operation("availability-report", ("type",), frozenset({"Task"}), ("s", "Task"),
              availability_report.TAKES, availability_report.answer,
              f"{_OURS}/Task-availability-report", "Tell whether images are there in time",
              availability_report.FORMATS, gives=availability_report.GIVES),
    Operation("retry", ("instance",), frozenset({"Task"}), ("u", "Task"),
              retry.TAKES, retry.answer,
              f"{_OURS}/Task-retry", "Have studies sent that did not arrive",
              gives=retry.GIVES, affects_state=True),
    Operation("export", ("system",), frozenset(), None, export.TAKES, export.answer,
              f"{_BULK}/export", "Write all that one sees to files", gives=_ORDERED),
    Operation("export", ("type",), frozenset({"Patient"}), None, export.TAKES, export.answer,
              f"{_BULK}/patient-export", "Write all that is about patients to files",
              gives=_ORDERED),
    Operation("export", ("instance",), frozenset({"Group"}), ("r", "Group"), export.TAKES,
              export.answer,
              f"{_BULK}/group-export", "Write all that is about the patients of a group to files",
              gives=_ORDERED),
    Operation("status", ("type", "instance"), frozenset({"Subscription"}), ("r", "Subscription"),
              subscription_status.TAKES, subscription_status.answer,
              f"{_BACKPORT}/backport-subscription-status", "Tell how subscriptions are",
              gives=_BUNDLE),
    Operation("events", ("instance",), frozenset({"Subscription"}), ("r", "Subscription"),
              subscription_events.TAKES, subscription_events.answer,
              f"{_BACKPORT}/backport-subscription-events", "Give events that have been",
              gives=_BUNDLE),
    Operation("get-ws-binding-token", ("type", "instance"), frozenset({"Subscription"}),
              ("r", "Subscription"), binding_token.TAKES, binding_token.answer,
              f"{_BACKPORT}/backport-subscription-get-ws-binding-token",
              "Give a token that binds a WebSocket to subscriptions", gives=binding_token.GIVES),
    Operation("resend", ("instance",), frozenset({"Subscription"}), ("u", "Subscription"),
              subscription_resend.TAKES, subscription_resend.answer,
              f"{_OURS}/Subscription-resend", "Have events sent again",
              gives=(Taken("return", "OperationOutcome", 1),), affects_state=True),
    Operation("topics", ("type",), frozenset({"Subscription"}), ("r", "Subscription"),
              subscription_topics.TAKES, subscription_topics.answer,
              f"{_OURS}/Subscription-topics", "List the topics that can be subscribed to",
              gives=_BUNDLE),
)  # fmt: skip


def interaction(request: Request, parts: Sequence[str]) -> Interaction:
    """Find the operation for an address with ``$``, and put type and id into the request.

    Raises
    ------
    NotFound
        There is no such operation at this level.
    MethodNotAllowed
        Only GET and POST ask for operations.
    """
    *where, name = parts
    request.type = where[0] if where else ""
    request.id = where[1] if len(where) == 2 else ""
    if len(where) > 2 or (where and request.type not in TYPES) or name[:1] != "$":
        raise NotFound("There is no such operation here.", code="not-supported")
    if request.id and not is_id(request.id):
        raise NotFound("Nothing has an id like that.")
    level = ("system", "type", "instance")[len(where)]
    for row in OPERATIONS:
        if row.name == name[1:] and level in row.levels and _is_for(row, request.type):
            methods = METHODS[1:] if row.affects_state else METHODS
            if request.method not in methods:
                raise MethodNotAllowed(methods)
            address = "/".join(parts)
            return Interaction(request.method, address, _audited(row), _answer(row), row.formats)
    raise NotFound(f"There is no operation {name} here.", code="not-supported")


def _audited(row: Operation) -> str:
    """Name the interaction as the ledger does: an export is one, whatever asks for it."""
    return AUDITED.get(row.name, "operation")


def _is_for(row: Operation, type: str) -> bool:
    return row.types is None or type in row.types or (not type and "system" in row.levels)


def _answer(row: Operation) -> Callable[[Server, Request], Awaitable[Answer]]:
    """Answer an operation: the gate first, then its parameters, and a row of the ledger last."""

    async def answered(server: Server, request: Request) -> Answer:
        if row.use:
            request.context = replace(request.context, use=row.use)
        if row.needs is not None:
            gate.reach(request.context, *row.needs)
        given = parameters.read(request, (taken.name for taken in row.takes))
        result = await row.answer(server, request, given)
        await server.ledger.append(
            ledger.entry(
                request.context,
                type=request.type or None,
                id=request.id or None,
                patient=result.patient,
                query=f"${row.name}",
                hits=result.hits,
            )
        )
        request.handed_over = True
        return result.answer

    return answered


def offered(type: str) -> list[dict[str, str]]:
    """List the operations of a type, or of the system, as a CapabilityStatement does."""
    return [
        {"name": row.name, "definition": row.definition}
        for row in OPERATIONS
        if (type in row.types if row.types is not None else bool(type))
        or (not type and "system" in row.levels)
    ]
