"""capabilities: what this server can do, computed from the tables that it obeys.

FHIR http, "capabilities": GET [base]/metadata answers a CapabilityStatement. It is computed from
the route table, the resource types and the search parameter table, so that it can claim nothing
else; conditional interactions are not among the routes and therefore not claimed.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any, Final

import orjson

from fhir_server.rest.exchange import Answer, Interaction, Request, Server
from resources import search_parameters
from resources.models import FHIR_VERSION, TYPES

OF_A_TYPE: Final = ("read", "vread", "update", "history-instance", "create", "search-type")
OF_THE_SYSTEM: Final = ("transaction", "batch")

FIXED: Final = frozenset({"AuditEvent", "Provenance"})
"""Records of what happened are not updated."""


async def metadata(server: Server, request: Request) -> Answer:
    """Answer the statement; anybody may ask."""
    return Answer(200, statement(server.base_url, server.interactions))


@cache
def statement(base_url: str, interactions: tuple[Interaction, ...]) -> bytes:
    """Write the CapabilityStatement of a server with these interactions; once, as it is large."""
    offered = {row.name for row in interactions}
    system = [name for name in OF_THE_SYSTEM if "batch" in offered]
    json = {
        "resourceType": "CapabilityStatement",
        "url": f"{base_url}/metadata",
        "version": version("isocentre"),
        "name": "Isocentre",
        "title": "Isocentre, an imaging record shared by many organisations",
        "status": "active",
        "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "kind": "instance",
        "software": {"name": "Isocentre", "version": version("isocentre")},
        "implementation": {"description": "Isocentre", "url": base_url},
        "fhirVersion": FHIR_VERSION,
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "security": SECURITY,
                "resource": [_resource(type, offered) for type in sorted(TYPES)],
                "interaction": [{"code": name} for name in system],
            }
        ],
    }
    return orjson.dumps(json)


SECURITY: Final = {
    "cors": False,
    "service": [
        {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                    "code": "SMART-on-FHIR",
                }
            ]
        }
    ],
    "description": "Every request but this one needs a bearer token with SMART v2 scopes.",
}


def _resource(type: str, offered: Iterable[str]) -> dict[str, Any]:
    names = [name for name in OF_A_TYPE if name in offered]
    if type in FIXED:
        names.remove("update")
    rows = search_parameters.parameters(type)
    includes = [f"{type}:{row.code}" for row in rows.values() if row.kind == "reference"]
    reverse_includes = _pointing_at().get(type)
    return {
        "type": type,
        "interaction": [{"code": name} for name in names],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": "update" in names,
        "conditionalCreate": False,
        "conditionalRead": "full-support",
        "conditionalUpdate": False,
        "conditionalDelete": "not-supported",
        "referencePolicy": ["literal", "logical", "enforced"],
        **({"searchInclude": includes} if includes else {}),
        **({"searchRevInclude": reverse_includes} if reverse_includes else {}),
        "searchParam": [
            {"name": row.code, "definition": row.url, "type": row.kind} for row in rows.values()
        ],
    }


@cache
def _pointing_at() -> dict[str, list[str]]:
    """Say for each type by which reference parameters others point at it."""
    pointing: dict[str, list[str]] = {}
    for source in sorted(TYPES):
        for row in search_parameters.parameters(source).values():
            if row.kind == "reference":
                for target in row.targets:
                    pointing.setdefault(target, []).append(f"{source}:{row.code}")
    return pointing
