"""A row of the ledger as an AuditEvent.

References
----------
* IHE BALP: agents client, server, user and organisation; entities patient, data, query, request
* FHIR AuditEvent; DICOM PS3.15 Annex A.5 (roles of agents: PS3.16 CID 402)
"""

import base64
import ipaddress
import re
import socket
from typing import Any, Final, NamedTuple

from fhir_server.access import emergency, purposes
from fhir_server.audit import events
from fhir_server.audit.events import Code, Event
from fhir_server.search.stored import Stored
from resources import codes, content
from resources.content import Content, written_instant

SOURCE: Final = Code(codes.DCM, "110153", "Source Role ID")
DESTINATION: Final = Code(codes.DCM, "110152", "Destination Role ID")
INFORMANT: Final = Code(codes.V3_PARTICIPATION, "INF", "informant")
RECIPIENT: Final = Code(codes.V3_PARTICIPATION, "IRCP", "information recipient")
PROVIDER: Final = Code(codes.V3_ROLE_CLASS, "PROV", "healthcare provider")
PERSON: Final = Code(codes.AUDIT_ENTITY_TYPE, "1", "Person")
SYSTEM_OBJECT: Final = Code(codes.AUDIT_ENTITY_TYPE, "2", "System Object")
PATIENT: Final = Code(codes.OBJECT_ROLE, "1", "Patient")
RESOURCE: Final = Code(codes.OBJECT_ROLE, "4", "Domain Resource")
QUERY: Final = Code(codes.OBJECT_ROLE, "24", "Query")
REQUEST: Final = Code(codes.BALP_ENTITY_TYPE, "XrequestId", "X-Request-Id")
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

ENTITIES: Final[tuple[tuple[str, dict[str, Code | None]], ...]] = (
    ("a.patient is not null", {"type": PERSON, "role": PATIENT}),
    ("a.type is not null and a.id is not null", {"type": SYSTEM_OBJECT, "role": RESOURCE}),
    ("a.query is not null", {"type": SYSTEM_OBJECT, "role": QUERY}),
    ("true", {"type": REQUEST, "role": None}),
)
"""Which rows `a` have an entity of which type and role: what `_entities` writes, in SQL."""

USER: Final = 2
"""Where the user stands among the agents."""

SERVER_NAME: Final = "Isocentre"
NOBODY: Final = "Somebody who did not say who they are"
SERVER_HOST: Final = socket.gethostname()

NETWORK_NAME: Final = "1"
NETWORK_ADDRESS: Final = "2"
"""FHIR network-type: a machine name, an IP address."""

_ID: Final = re.compile(r"([0-9]{1,15})-([0-9]{1,18})")
_WHO_TYPES: Final = ("PractitionerRole/", "Practitioner/", "Patient/", "Device/", "Organization/")


class Line(NamedTuple):
    """A row of the ledger as it is kept, with its number."""

    n: int
    instant: int
    interaction: str
    outcome: int
    subject: str
    organization: str | None
    client: str | None
    role: str
    origin: str
    request: str
    type: str | None
    id: str | None
    version: int | None
    patient: str | None
    query: str | None
    hits: int | None
    detail: str | None
    body: bytes | None
    purpose: str | None = None


def stored(line: Line) -> Stored:
    """The AuditEvent of a row: what came from outside as it was kept, all else as BALP has it."""
    id = id_of(line.instant, line.n)
    if line.body is None:
        text = content.made(render(line)).text
    else:
        told = _told_by(line, content.read(line.body))
        text = content.stamped(told, id, 1, line.instant)
    return Stored("AuditEvent", id, 1, line.instant, "C", text)


def id_of(instant: int, n: int) -> str:
    """The id of an AuditEvent: its millisecond and its number, so that it is found by its key.

    Examples
    --------
    >>> id_of(1_795_489_200_123_000, 7), key_of("1795489200123-7"), key_of("x")
    ('1795489200123-7', (1795489200123000, 7), None)
    """
    return f"{instant // 1000}-{n}"


def key_of(id: str) -> tuple[int, int] | None:
    """The instant and the number that an id stands for; None if it is none of ours."""
    match = _ID.fullmatch(id)
    return (int(match[1]) * 1000, int(match[2])) if match else None


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
        "type": _coding(event.type),
    }
    if event.subtype is not None:
        resource["subtype"] = [_coding(event.subtype)]
    resource |= {"action": event.action, "recorded": at, "outcome": str(line.outcome)}
    if line.detail is not None:
        resource["outcomeDesc"] = line.detail
    role, reason = emergency.read_told(line.role)
    purpose = _purpose(line.purpose or purposes.BY_ROLE.get(role), reason)
    if purpose:
        resource["purposeOfEvent"] = purpose
    resource["agent"] = _agents(line._replace(role=role), event)
    if purpose:
        resource["agent"][USER]["purposeOfUse"] = purpose
    resource["source"] = {
        "observer": {"identifier": {"value": SERVER_HOST}, "display": SERVER_NAME},
        "type": [_coding(APPLICATION_SERVER)],
    }
    resource["entity"] = _entities(line)
    return resource


def informants(line: Line) -> list[dict[str, Any]]:
    """Write those who told us of an event that they posted."""
    named = dict.fromkeys([f"Client/{line.client}"] if line.client else [])
    named[line.subject] = None
    named |= dict.fromkeys([f"Organization/{line.organization}"] if line.organization else [])
    agents: list[dict[str, Any]] = [
        {"type": _concept(INFORMANT), "who": _who(each), "requestor": False} for each in named
    ]
    if line.origin:
        agents[0]["network"] = _network(line.origin)
    return agents


def _told_by(line: Line, event: Content) -> Content:
    """Add to an AuditEvent who posted it; one from an earlier release says so itself."""
    ours = informants(line)
    agents = event.json.get("agent", [])
    if agents[-len(ours) :] == ours:
        return event
    return content.replaced(event, {"agent": [*agents, *ours]})


def _agents(line: Line, event: Event) -> list[dict[str, Any]]:
    asker, server = (SOURCE, DESTINATION) if event.asker_is_source else (DESTINATION, SOURCE)
    client: dict[str, Any] = {
        "type": _concept(asker),
        "who": _who((line.client and f"Client/{line.client}") or line.subject),
        "requestor": False,
        "network": _network(line.origin or SERVER_HOST),
    }
    agents = [
        client,
        {
            "type": _concept(server),
            "who": {"display": SERVER_NAME},
            "requestor": False,
            "network": _network(SERVER_HOST),
        },
        {
            "type": _concept(RECIPIENT),
            "who": _who(line.subject),
            "requestor": True,
        },
    ]
    if line.role:
        role = {"coding": [{"system": codes.ROLE, "code": line.role}], "text": line.role}
        agents[USER]["role"] = [role]
    if line.organization is not None:
        who = {"reference": f"Organization/{line.organization}"}
        agents.append({"type": _concept(PROVIDER), "who": who, "requestor": False})
    return agents


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
    coding = purposes.PURPOSES.get(code or "")
    return [codes.concept(coding)] if coding else []


def _entities(line: Line) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = []
    if line.patient is not None:
        entities.append(
            {
                "what": {"reference": f"Patient/{line.patient}"},
                "type": _coding(PERSON),
                "role": _coding(PATIENT),
            }
        )
    if line.type is not None and line.id is not None:
        version = f"/_history/{line.version}" if line.version is not None else ""
        entities.append(
            {
                "what": {"reference": f"{line.type}/{line.id}{version}"},
                "type": _coding(SYSTEM_OBJECT),
                "role": _coding(RESOURCE),
            }
        )
    if line.query is not None:
        entities.append(
            {
                "type": _coding(SYSTEM_OBJECT),
                "role": _coding(QUERY),
                "query": base64.b64encode(line.query.encode()).decode(),
            }
        )
    request: dict[str, Any] = {
        "what": {"identifier": {"value": line.request}},
        "type": _coding(REQUEST),
    }
    if line.hits is not None:  # BALP allows no detail beside a query
        request["detail"] = [{"type": "hits", "valueString": str(line.hits)}]
    return [*entities, request]


def _who(subject: str) -> dict[str, Any]:
    if subject.startswith(_WHO_TYPES):
        return {"reference": subject}
    if not subject:
        return {"display": NOBODY}
    return {"identifier": {"value": subject}, "display": subject}


def _network(origin: str) -> dict[str, str]:
    try:
        ipaddress.ip_address(origin)
    except ValueError:
        return {"address": origin, "type": NETWORK_NAME}
    return {"address": origin, "type": NETWORK_ADDRESS}


def _coding(code: Code) -> dict[str, str]:
    return {"system": code.system, "code": code.code, "display": code.display}


def _concept(code: Code) -> dict[str, Any]:
    return {"coding": [_coding(code)]}
