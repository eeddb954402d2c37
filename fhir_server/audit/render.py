"""A row of the ledger as an AuditEvent.

References
----------
* IHE BALP: what an AuditEvent of each pattern holds
* FHIR AuditEvent; DICOM PS3.15 Annex A.5
"""

from typing import Any, Final

from fhir_server.access import emergency, purposes
from fhir_server.audit import events, participants
from fhir_server.audit.events import Code, Event
from fhir_server.audit.line import Line, id_of
from fhir_server.audit.participants import SERVER_HOST, SERVER_NAME, USER, coding
from fhir_server.search.stored import Stored
from resources import codes, content
from resources.content import Content, written_instant

APPLICATION_SERVER: Final = Code(codes.SECURITY_SOURCE_TYPE, "4", "Application Server")

PROFILES: Final = {
    ("C", True): "PatientCreate", ("C", False): "Create",
    ("R", True): "PatientRead",   ("R", False): "Read",
    ("U", True): "PatientUpdate", ("U", False): "Update",
    ("D", True): "PatientDelete", ("D", False): "Delete",
    ("E", True): "PatientQuery",  ("E", False): "Query",
}  # fmt: skip
"""IHE BALP profiles by action, and whether a patient is concerned; of RESTful events alone."""

BALP: Final = "https://profiles.ihe.net/ITI/BALP/StructureDefinition"


def stored(line: Line) -> Stored:
    """The AuditEvent of a row: what came from outside as it was kept, all else as BALP has it."""
    id = id_of(line.instant, line.n)
    if line.body is None:
        text = content.made(render(line)).text
    else:
        told = _told_by(line, content.read(line.body))
        text = content.stamped(told, id, 1, line.instant)
    return Stored("AuditEvent", id, 1, line.instant, "C", text)


def render(line: Line) -> dict[str, Any]:
    """Write the AuditEvent of one of our own events."""
    event = events.event(line.interaction)
    at = written_instant(line.instant)
    meta: dict[str, Any] = {"versionId": "1", "lastUpdated": at}
    profile = _profile(line, event)
    if profile is not None:
        meta["profile"] = [f"{BALP}/IHE.BasicAudit.{profile}"]
    resource: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": id_of(line.instant, line.n),
        "meta": meta,
        "type": coding(event.type),
    }
    if event.subtype is not None:
        resource["subtype"] = [coding(event.subtype)]
    resource |= {"action": event.action, "recorded": at, "outcome": str(line.outcome)}
    if line.detail is not None:
        resource["outcomeDesc"] = line.detail
    role, reason = emergency.read_told(line.role)
    purpose = _purpose(line.purpose or purposes.BY_ROLE.get(role), reason)
    if purpose:
        resource["purposeOfEvent"] = purpose
    resource["agent"] = participants.agents(line._replace(role=role), event)
    if purpose:
        resource["agent"][USER]["purposeOfUse"] = purpose
    resource["source"] = {
        "observer": {"identifier": {"value": SERVER_HOST}, "display": SERVER_NAME},
        "type": [coding(APPLICATION_SERVER)],
    }
    resource["entity"] = participants.entities(line)
    return resource


def _told_by(line: Line, event: Content) -> Content:
    """Add to an AuditEvent who posted it; one from an earlier release says so itself."""
    ours = participants.informants(line)
    agents = event.json.get("agent", [])
    if agents[-len(ours) :] == ours:
        return event
    return content.replaced(event, {"agent": [*agents, *ours]})


def _profile(line: Line, event: Event) -> str | None:
    """Name the BALP profile that a row has all of: they are of what succeeded."""
    if event.type != events.REST or line.outcome:
        return None
    is_search = event.interaction.startswith("search")
    has_object = line.type is not None and line.id is not None and line.query is None
    if not (line.query is not None if is_search else has_object):
        return None
    if event.action == "E" and not is_search:
        return None
    if event.action == "R" and event.interaction not in ("read", "vread"):
        return None  # BALP has no profile of a history
    return PROFILES[event.action, line.patient is not None]


def _purpose(code: str | None, reason: codes.Coding | None) -> list[dict[str, Any]]:
    """Say for what something was done; in an emergency, that it was one, and its reason."""
    if reason is not None:
        return [
            codes.concept(
                codes.EMERGENCY_TREATMENT, codes.BREAK_THE_GLASS, reason, text=reason.display
            )
        ]
    named = purposes.PURPOSES.get(code or "")
    return [codes.concept(named)] if named else []
