"""The FHIR interface: a path for each address of the route table, and for each operation.

FHIR R4 http, search, operations. FHIR resources are described by StructureDefinitions, not here:
a body is an object that names its type.
"""

from typing import Any, Final

from fhir_server.rest import exports
from fhir_server.rest.operations.row import Operation
from fhir_server.rest.operations.table import METHODS, OPERATIONS
from fhir_server.rest.router import INTERACTIONS
from openapi.document import Json, answers, body, framed, in_header, in_path, in_query, named
from resources.models import TYPES

FHIR_JSON: Final = "application/fhir+json"
ID: Final[Json] = {"type": "string", "pattern": "^[A-Za-z0-9.-]{1,64}$"}
TYPE: Final = named("ResourceType")
RESOURCE: Final = named("Resource")
OUTCOME: Final = named("OperationOutcome")
BUNDLE: Final = named("Bundle")
PATCH: Final = named("JSONPatch")
MANIFEST: Final = named("ExportManifest")
VERSION: Final[Json] = {"type": "integer", "minimum": 1}
SCHEMAS: Final[dict[str, Json]] = {
    "ResourceType": {"type": "string", "enum": sorted(TYPES)},
    "Resource": {
        "type": "object",
        "properties": {"resourceType": named("ResourceType")},
        "required": ["resourceType"],
    },
    "Bundle": {
        "type": "object",
        "properties": {
            "resourceType": {"const": "Bundle"},
            "type": {"enum": ["batch", "transaction"]},
            "entry": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["resourceType", "type"],
    },
    "OperationOutcome": {
        "type": "object",
        "properties": {
            "resourceType": {"const": "OperationOutcome"},
            "issue": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        },
        "required": ["resourceType", "issue"],
    },
    "ExportManifest": {
        "type": "object",
        "properties": {
            "transactionTime": {"type": "string"},
            "request": {"type": "string"},
            "requiresAccessToken": {"type": "boolean"},
            "output": {"type": "array", "items": {"type": "object"}},
            "error": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["transactionTime", "request", "requiresAccessToken", "output", "error"],
    },
    "JSONPatch": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]},
                "path": {"type": "string"},
                "from": {"type": "string"},
                "value": {},
            },
            "required": ["op", "path"],
        },
    },
}
"""FHIR R4 Resource, Bundle, OperationOutcome; Bulk Data Access 2.0; RFC 6902."""

TEXT: Final[Json] = {"type": "string"}
COUNT: Final[Json] = {"type": "integer", "minimum": 0}

SEARCH: Final = (
    in_query("_id", TEXT, "Ids, separated by commas"),
    in_query("_lastUpdated", TEXT, "Instant or date, with a prefix such as ge"),
    in_query("_sort", TEXT, "Parameters in order, each with - before it to turn it round"),
    in_query("_count", COUNT, "Matches on a page"),
    in_query("_total", {"enum": ["none", "estimate", "accurate"]}, "Whether to count"),
    in_query("_include", TEXT, "Type:parameter[:type]"),
    in_query("_revinclude", TEXT, "Type:parameter[:type]"),
    in_query("_summary", {"enum": ["true", "text", "data", "count", "false"]}, "Shorten"),
    in_query("_elements", TEXT, "Elements, separated by commas"),
)
"""FHIR search, parameters for all resources; those of a type are in the CapabilityStatement."""

HISTORY: Final = (
    in_query("_count", COUNT, "Versions on a page"),
    in_query("_since", TEXT, "Instant"),
    in_query("_at", TEXT, "Instant or date"),
)
PRESENTATION: Final = (
    in_query("_format", TEXT, "json or application/fhir+json"),
    in_query("_pretty", {"enum": ["true", "false"]}, "Laid out for people"),
)
PATCHES: Final[dict[str, Json]] = {
    "application/json-patch+json": {"schema": PATCH},
    "application/merge-patch+json": {"schema": {"type": "object"}},
    FHIR_JSON: {"schema": RESOURCE},
}
"""FHIR http, "patch": JSON Patch, FHIRPath Patch (Parameters); and JSON Merge Patch (RFC 7396)."""

MATCH: Final = in_header("If-Match", TEXT, 'The version that is changed, as W/"3"')
PREFER: Final = in_header("Prefer", TEXT, "return=minimal, representation or OperationOutcome")
FIRST: Final = in_header("If-None-Match", TEXT, "*: only if there is nothing yet")
NONE_EXIST: Final = in_header("If-None-Exist", TEXT, "Create only if this search finds nothing")

PARAMETERS: Final[dict[str, tuple[Json, ...]]] = {
    "capabilities": PRESENTATION,
    "read": PRESENTATION,
    "vread": PRESENTATION,
    "history-instance": HISTORY,
    "history-type": HISTORY,
    "history-system": HISTORY,
    "search-type": SEARCH,
    "search-system": SEARCH,
    "create": (PREFER, NONE_EXIST),
    "update": (PREFER, MATCH, FIRST),
    "patch": (PREFER, MATCH),
    "delete": (MATCH,),
    "batch": (PREFER,),
}
"""Interaction -> what may be sent with it."""

STATUSES: Final[dict[str, dict[str, str]]] = {
    "create": {"201": "Created", "200": "It was there already"},
    "update": {"200": "Updated", "201": "Created"},
    "delete": {"204": "Deleted", "200": "Deleted"},
    "read": {"200": "The resource", "304": "Not modified"},
}

TITLES: Final[dict[str, str]] = {
    "capabilities": "What this server can do",
    "read": "Read a resource",
    "vread": "Read a version of a resource",
    "history-instance": "All versions of a resource",
    "history-type": "All changes of a type",
    "history-system": "All changes",
    "search-type": "Search a type, or a compartment",
    "search-system": "Search several types",
    "create": "Create a resource",
    "update": "Update a resource",
    "patch": "Change a resource",
    "delete": "Delete a resource",
    "batch": "Do several things, each by itself or all together",
}


def document() -> Json:
    """Write the document."""
    paths: dict[str, Json] = {}
    for row in INTERACTIONS:
        address = f"/{row.address}"
        paths.setdefault(address, _places(address))[row.method.lower()] = _interaction(
            row.method, row.address, row.name
        )
    for operation in OPERATIONS:
        for level in operation.levels:
            address = f"{_BEFORE[level]}/${operation.name}"
            for method in METHODS:
                known = paths.setdefault(address, _places(address))
                known.setdefault(method.lower(), _operation(operation, method, level))
    for parts, address in ORDERS.items():
        for method in exports.ROWS[parts]:
            if method != "HEAD":
                known = paths.setdefault(address, _places(address))
                known[method.lower()] = _order(method, parts)
    return framed(
        "Isocentre: FHIR R4",
        "Interactions and operations of the record. What a type can be searched by is in the "
        "CapabilityStatement.",
        "/fhir",
        paths,
        SCHEMAS,
    )


ORDERS: Final = {2: f"/{exports.PLACE}/{{id}}", 3: f"/{exports.PLACE}/{{id}}/{{file}}"}
"""By the number of parts, the addresses of bulk exports: an order, and a file of it."""

_ORDER: Final[dict[tuple[str, int], tuple[str, str, Json, dict[str, str]]]] = {
    ("GET", 2): ("Ask how far a bulk export is", "application/json", MANIFEST,
                 {"200": "The manifest", "202": "Under way: see X-Progress and Retry-After"}),
    ("DELETE", 2): ("Cancel a bulk export, or forget its files", FHIR_JSON, RESOURCE,
                    {"202": "Done"}),
    ("GET", 3): ("Get a file of a bulk export", "application/fhir+ndjson", TEXT,
                 {"200": "A resource on each line"}),
}  # fmt: skip
"""Bulk Data Access 2.0: title, media type and schema of the answer, statuses."""


def _order(method: str, parts: int) -> Json:
    title, media, schema, statuses = _ORDER[method, parts]
    return {
        "operationId": f"{method.lower()} export {'order' if parts == 2 else 'file'}",
        "summary": title,
        "responses": answers(media, schema, statuses, (FHIR_JSON, OUTCOME)),
    }


_BEFORE: Final = {"system": "", "type": "/{type}", "instance": "/{type}/{id}"}


def _places(address: str) -> Json:
    schemas = {"owner": TYPE, "type": TYPE, "id": ID, "vid": VERSION, "file": TEXT}
    there = [name for name in schemas if f"{{{name}}}" in address]
    return {"parameters": [in_path(name, schemas[name]) for name in there]} if there else {}


def _interaction(method: str, address: str, name: str) -> Json:
    written: dict[str, Any] = {
        "operationId": f"{method.lower()} {name} {address}".strip(),
        "summary": TITLES[name],
        "responses": answers(
            FHIR_JSON, RESOURCE, STATUSES.get(name, {"200": "Done"}), (FHIR_JSON, OUTCOME)
        ),
    }
    parameters = list(PARAMETERS[name])
    if method == "POST" and name.startswith("search"):
        written["requestBody"] = body("application/x-www-form-urlencoded", {"type": "object"})
        parameters = []
    elif name in {"create", "update"}:
        written["requestBody"] = body(FHIR_JSON, RESOURCE)
    elif name == "patch":
        written["requestBody"] = {"required": True, "content": dict(PATCHES)}
    elif name == "batch":
        written["requestBody"] = body(FHIR_JSON, BUNDLE)
    if parameters:
        written["parameters"] = parameters
    if name == "capabilities":
        written["security"] = []
    return written


def _operation(operation: Operation, method: str, level: str) -> Json:
    written: dict[str, Any] = {
        "operationId": f"{method.lower()} ${operation.name} {level}",
        "summary": operation.title,
        "externalDocs": {"url": operation.definition},
        "responses": answers(
            FHIR_JSON, RESOURCE, {"200": "Done", "202": "Begun"}, (FHIR_JSON, OUTCOME)
        ),
    }
    if method == "POST":
        written["requestBody"] = body(FHIR_JSON, RESOURCE)
    elif operation.takes:
        written["parameters"] = [
            in_query(taken.name, TEXT, f"{taken.type}, {taken.min}..{taken.max}")
            for taken in operation.takes
        ]
    return written
