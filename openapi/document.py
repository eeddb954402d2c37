"""What the documents share: their frame, and how a body, a parameter and an answer are written.

OpenAPI Specification 3.1.0.
"""

from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final

Json = dict[str, Any]

OPENAPI: Final = "3.1.0"
BEARER: Final = "bearer"


def framed(
    title: str,
    description: str,
    server: str,
    paths: Mapping[str, Json],
    schemas: Mapping[str, Json] = MappingProxyType({}),
) -> Json:
    """Put paths into a document.

    Parameters
    ----------
    server
        Where the paths begin, below the address of the server.
    schemas
        What `named` schemas are.
    """
    return {
        "openapi": OPENAPI,
        "info": {
            "title": title,
            "description": description,
            "version": version("isocentre"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "security": [{BEARER: []}],
        "paths": dict(paths),
        "components": {
            "securitySchemes": {
                BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
            **({"schemas": dict(schemas)} if schemas else {}),
        },
    }


def named(schema: str) -> Json:
    """Refer to a schema that the document has once."""
    return {"$ref": f"#/components/schemas/{schema}"}


def in_path(name: str, schema: Json, description: str = "") -> Json:
    """Write a parameter that is part of the address."""
    written = {"name": name, "in": "path", "required": True, "schema": schema}
    return written | ({"description": description} if description else {})


def in_query(name: str, schema: Json, description: str) -> Json:
    """Write a parameter that may stand in the query."""
    return {"name": name, "in": "query", "schema": schema, "description": description}


def in_header(name: str, schema: Json, description: str) -> Json:
    """Write a header that may be sent."""
    return {"name": name, "in": "header", "schema": schema, "description": description}


def body(media: str, schema: Json) -> Json:
    """Write a body that has to be sent."""
    return {"required": True, "content": {media: {"schema": schema}}}


def answers(
    media: str, schema: Json, statuses: Mapping[str, str], problem: tuple[str, Json]
) -> Json:
    """Write the answers: those of `statuses` with this content, any other as a problem.

    Parameters
    ----------
    statuses
        Status -> what it says; a status of 204 or 304 has no content.
    problem
        Media type and schema of every other answer.
    """
    told: Json = {
        status: {"description": description}
        | ({} if status in {"204", "304"} else {"content": {media: {"schema": schema}}})
        for status, description in statuses.items()
    }
    kind, form = problem
    told["default"] = {"description": "Refused", "content": {kind: {"schema": form}}}
    return told
