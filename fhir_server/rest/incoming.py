"""A body or a Bundle entry as a checked resource (FHIR http, "create", "update").

What takes long is done in a thread: everyone else goes on being answered.
"""

import asyncio
from typing import Final

from fhir_server.rest import binary, negotiate
from fhir_server.rest.exchange import Request
from resources import content, validate
from resources.content import Content
from resources.errors import Invalid

LONG: Final = 256 * 1024
"""Octets from which reading and checking may hold up the loop for more than some milliseconds."""


async def resource(request: Request) -> Content:
    """Read and check the body of a create or update.

    Raises
    ------
    UnsupportedMedia
        Not declared to be FHIR JSON.
    Unreadable
        Not FHIR JSON.
    Invalid
        Of another type than the address names, or against the R4 definitions.
    """
    if request.content is not None:
        return checked(request.content, request.type, request.at)
    if request.type == "Binary" and binary.is_native(request.headers):
        return checked(binary.received(request), request.type)
    negotiate.check_content(request.headers.get("content-type"))
    if len(request.body) >= LONG:
        return await asyncio.to_thread(_read, request.body, request.type)
    return _read(request.body, request.type)


def _read(raw: bytes, expected: str) -> Content:
    return checked(content.read(raw), expected)


def checked(read: Content, expected: str, at: str = "") -> Content:
    """Check a resource against its address and the definitions."""
    require_type(read, expected, at)
    if issues := validate.check(read, at=at):
        raise Invalid(issues=issues)
    return read


def require_type(read: Content, expected: str, at: str = "") -> None:
    """Refuse a resource of another type than its address names."""
    if read.type != expected:
        raise Invalid(
            f"The address is for {expected}, the resource is {read.type}.",
            at or f"{read.type}",
            code="invalid",
        )


def require_id(read: Content, expected: str, at: str = "") -> None:
    """Refuse an update whose resource has no id or another than its address.

    FHIR http, "update": "The request body SHALL be a Resource ... with an id element that has an
    identical value to the [id] in the URL".
    """
    if read.json.get("id") != expected:
        raise Invalid(
            "The id of the resource must be that of its address.",
            at or f"{read.type}.id",
            code="invalid",
        )
