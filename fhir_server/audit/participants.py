"""Who and what takes part in an event: the agents and entities of an AuditEvent.

References
----------
* IHE BALP: agents client, server, user and organisation; entities patient, data, query, request
* FHIR AuditEvent.agent, .entity; DICOM PS3.15 Annex A.5 (roles of agents: PS3.16 CID 402)
"""

import base64
import ipaddress
import socket
from typing import Any, Final

from fhir_server.audit.events import Code, Event
from fhir_server.audit.line import Line
from resources import codes

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

ENTITIES: Final[tuple[tuple[str, dict[str, Code | None]], ...]] = (
    ("a.patient is not null", {"type": PERSON, "role": PATIENT}),
    ("a.type is not null and a.id is not null", {"type": SYSTEM_OBJECT, "role": RESOURCE}),
    ("a.query is not null", {"type": SYSTEM_OBJECT, "role": QUERY}),
    ("true", {"type": REQUEST, "role": None}),
)
"""Which rows `a` have an entity of which type and role: what `entities` writes, in SQL."""

USER: Final = 2
"""Where the user stands among the agents."""

SERVER_NAME: Final = "Isocentre"
NOBODY: Final = "Somebody who did not say who they are"
SERVER_HOST: Final = socket.gethostname()

NETWORK_NAME: Final = "1"
NETWORK_ADDRESS: Final = "2"
"""FHIR network-type: a machine name, an IP address."""

_WHO_TYPES: Final = ("PractitionerRole/", "Practitioner/", "Patient/", "Device/", "Organization/")


def informants(line: Line) -> list[dict[str, Any]]:
    """Write those who told us of an event that they posted."""
    named = dict.fromkeys([f"Client/{line.client}"] if line.client else [])
    named[line.subject] = None
    named |= dict.fromkeys([f"Organization/{line.organization}"] if line.organization else [])
    told: list[dict[str, Any]] = [
        {"type": _concept(INFORMANT), "who": _who(each), "requestor": False} for each in named
    ]
    if line.origin:
        told[0]["network"] = _network(line.origin)
    return told


def agents(line: Line, event: Event) -> list[dict[str, Any]]:
    """Write who takes part: client and server, as source and destination, user, organisation."""
    asker, server = (SOURCE, DESTINATION) if event.asker_is_source else (DESTINATION, SOURCE)
    client: dict[str, Any] = {
        "type": _concept(asker),
        "who": _who((line.client and f"Client/{line.client}") or line.subject),
        "requestor": False,
        "network": _network(line.origin or SERVER_HOST),
    }
    found = [
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
        found[USER]["role"] = [role]
    if line.organization is not None:
        who = {"reference": f"Organization/{line.organization}"}
        found.append({"type": _concept(PROVIDER), "who": who, "requestor": False})
    return found


def entities(line: Line) -> list[dict[str, Any]]:
    """Write what takes part: patient, resource, query, and the request that all are of."""
    found: list[dict[str, Any]] = []
    if line.patient is not None:
        found.append(
            {
                "what": {"reference": f"Patient/{line.patient}"},
                "type": coding(PERSON),
                "role": coding(PATIENT),
            }
        )
    if line.type is not None and line.id is not None:
        version = f"/_history/{line.version}" if line.version is not None else ""
        found.append(
            {
                "what": {"reference": f"{line.type}/{line.id}{version}"},
                "type": coding(SYSTEM_OBJECT),
                "role": coding(RESOURCE),
            }
        )
    if line.query is not None:
        found.append(
            {
                "type": coding(SYSTEM_OBJECT),
                "role": coding(QUERY),
                "query": base64.b64encode(line.query.encode()).decode(),
            }
        )
    request: dict[str, Any] = {
        "what": {"identifier": {"value": line.request}},
        "type": coding(REQUEST),
    }
    if line.hits is not None:  # BALP allows no detail beside a query
        request["detail"] = [{"type": "hits", "valueString": str(line.hits)}]
    return [*found, request]


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


def coding(code: Code) -> dict[str, str]:
    """Write a Coding."""
    return {"system": code.system, "code": code.code, "display": code.display}


def _concept(code: Code) -> dict[str, Any]:
    return {"coding": [coding(code)]}
