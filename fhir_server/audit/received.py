"""AuditEvents that others post: kept in the ledger beside our own, byte for byte.

Whoever posts one may name anybody in it. Its row names who posted it, and where it is read they are
added as its last agents, with the role of an informant: the client, the person if it acts for one,
and their organisation (`participants.informants`).

References
----------
* IHE ITI-20 (Record Audit Event), RESTful ATNA option
* FHIR AuditEvent
* HL7 v3 ParticipationType INF: "a source of reported information"
"""

from typing import Any

from fhir_server.audit import ledger
from fhir_server.audit.ledger import Entry
from fhir_server.context import RequestContext
from resources import references
from resources.content import Content


def entry(context: RequestContext, event: Content, base_url: str) -> Entry:
    """The row that keeps an AuditEvent.

    Patient, resource and outcome are taken from the event, so that it is found by them.
    """
    patient, other = None, None
    for entity in event.json.get("entity", ()):
        reference = _reference(entity.get("what"), base_url)
        if reference is not None and reference.type == "Patient":
            patient = patient or reference.id
        elif reference is not None:
            other = other or reference
    outcome = str(event.json.get("outcome", ledger.SUCCESS))
    return ledger.entry(
        context,
        outcome=int(outcome) if outcome in ("0", "4", "8", "12") else ledger.SUCCESS,
        type=other.type if other else None,
        id=other.id if other else None,
        version=other.version if other else None,
        patient=patient,
        body=event.text,
    )


def _reference(what: Any, base_url: str) -> references.Reference | None:
    literal = what.get("reference") if isinstance(what, dict) else None
    found = references.parse(literal, base_url) if isinstance(literal, str) else None
    return found if found is not None and not found.base else None
