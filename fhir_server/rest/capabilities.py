"""capabilities: what this server can do, computed from the tables that it obeys.

FHIR http, "capabilities": GET [base]/metadata answers a CapabilityStatement. It is computed from
the route table, the resource types and the search parameter table, so that it can claim nothing
else.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Final

import orjson

from fhir_server.rest.exchange import Answer, Interaction, Request, Server
from fhir_server.rest.operations import table
from fhir_server.search.query import COMMON
from fhir_server.store.unit_of_work import FINAL
from resources import search_parameters, subscription, topics
from resources.compartments import COMPARTMENTS
from resources.models import FHIR_VERSION, TYPES

OF_A_TYPE: Final = (
    "read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create",
    "search-type",
)  # fmt: skip
OF_THE_SYSTEM: Final[tuple[str, ...]] = ("search-system", "history-system")
PATCHES: Final = (
    "application/json-patch+json", "application/merge-patch+json", "application/fhir+json",
)  # fmt: skip
CHANGES: Final = frozenset({"update", "patch", "delete"})
APART: Final = "AuditEvent"
"""Kept in the ledger: it has one version and no history, and is written unconditionally."""


async def metadata(server: Server, request: Request) -> Answer:
    """Answer the statement; anybody may ask."""
    generation = search_parameters.generation()
    return Answer(200, statement(server.base_url, server.interactions, generation))


@lru_cache(maxsize=8)
def statement(base_url: str, interactions: tuple[Interaction, ...], generation: int) -> bytes:
    """Write the CapabilityStatement of a server with these interactions; once, as it is large.

    Parameters
    ----------
    generation
        Of the search parameters: clients may add some.
    """
    offered = {row.name for row in interactions}
    system = [name for name in OF_THE_SYSTEM if name in offered]
    system += ["transaction", "batch"] if "batch" in offered else []
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
        "instantiates": [BULK_DATA, SUBSCRIPTIONS],
        "fhirVersion": FHIR_VERSION,
        "format": ["application/fhir+json", "json"],
        "patchFormat": list(PATCHES),
        "rest": [
            {
                "mode": "server",
                "security": _security(base_url),
                "resource": [_resource(type, offered) for type in sorted(TYPES)],
                "interaction": [{"code": name} for name in system],
                "searchParam": _parameters(COMMON),
                **_operations(""),
                "compartment": [f"{COMPARTMENT}/{type.lower()}" for type in sorted(COMPARTMENTS)],
            }
        ],
    }
    return orjson.dumps(json)


COMPARTMENT: Final = "http://hl7.org/fhir/CompartmentDefinition"

BULK_DATA: Final = "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data"
"""What is instantiated: Bulk Data Access 2.0, "CapabilityStatement"."""

BACKPORT: Final = "http://hl7.org/fhir/uv/subscriptions-backport"
SUBSCRIPTIONS: Final = f"{BACKPORT}/CapabilityStatement/backport-subscription-server-r4"
TOPIC: Final = f"{BACKPORT}/StructureDefinition/capabilitystatement-subscriptiontopic-canonical"
"""HL7 Subscriptions R5 Backport 1.1.0, "Subscription Topics in R4": where topics are listed."""

OAUTH_URIS: Final = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
"""SMART App Launch 1.0, "Using CapabilityStatement": older clients look here alone."""

ENDPOINTS: Final = ("authorize", "token", "introspect", "revoke")
"""Below ``/auth``, and named there as the extension names them."""


def _security(base_url: str) -> dict[str, Any]:
    """Say how one gets a token, and that pages of registered clients may ask from a browser."""
    root = base_url.rpartition("/")[0]
    return {
        "extension": [
            {
                "url": OAUTH_URIS,
                "extension": [
                    {"url": name, "valueUri": f"{root}/auth/{name}"} for name in ENDPOINTS
                ],
            }
        ],
        "cors": True,
        "service": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                        "code": "SMART-on-FHIR",
                    }
                ],
                "text": "OAuth2 using SMART-on-FHIR profile (see http://docs.smarthealthit.org)",
            }
        ],
        "description": "Every request but this one needs a bearer token with SMART v2 scopes.",
    }


def _resource(type: str, offered: Iterable[str]) -> dict[str, Any]:
    names = [name for name in OF_A_TYPE if name in offered]
    if type in FINAL:
        names = [name for name in names if name not in CHANGES]
    if type == APART:
        names.remove("history-type")
    rows = search_parameters.parameters(type)
    includes = [f"{type}:{row.code}" for row in rows.values() if row.kind == "reference"]
    reverse_includes = _pointing_at(search_parameters.generation()).get(type)
    return {
        **(_topics() if type == "Subscription" else {}),
        "type": type,
        **({"supportedProfile": [subscription.PROFILE]} if type == "Subscription" else {}),
        "interaction": [{"code": name} for name in names],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": "update" in names,
        "conditionalCreate": type != APART,
        "conditionalRead": "full-support",
        "conditionalUpdate": "update" in names,
        "conditionalDelete": "single" if "delete" in names else "not-supported",
        "referencePolicy": ["literal", "logical", "enforced"],
        **({"searchInclude": ["*", *includes]} if includes else {}),
        **({"searchRevInclude": ["*", *reverse_includes]} if reverse_includes else {}),
        "searchParam": _parameters(type),
        **_operations(type),
    }


def _topics() -> dict[str, Any]:
    return {"extension": [{"url": TOPIC, "valueCanonical": url} for url in topics.topics()]}


def _parameters(type: str) -> list[dict[str, str]]:
    return [
        {"name": row.code, "definition": row.url, "type": row.kind}
        for row in search_parameters.parameters(type).values()
    ]


def _operations(type: str) -> dict[str, Any]:
    listed = table.offered(type)
    return {"operation": listed} if listed else {}


@lru_cache(maxsize=8)
def _pointing_at(generation: int) -> dict[str, list[str]]:
    """Say for each type by which reference parameters others point at it."""
    pointing: dict[str, list[str]] = {}
    for source in sorted(TYPES):
        for row in search_parameters.parameters(source).values():
            if row.kind == "reference":
                for target in row.targets:
                    pointing.setdefault(target, []).append(f"{source}:{row.code}")
    return pointing
