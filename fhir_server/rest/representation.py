"""One version of a resource as an answer: its bytes, ETag, Last-Modified, Location.

FHIR http, "read" (ETag and Last-Modified), "create" (Location is
``[base]/[type]/[id]/_history/[vid]``), "return preference". The text is served as it was stored:
nothing here parses it.
"""

from fhir_server.rest import outcomes, preconditions
from fhir_server.rest.exchange import Answer, Header, Request, Server
from fhir_server.rest.negotiate import preference
from fhir_server.search.stored import Stored
from resources.errors import Issue

DONE = {"C": "The resource is created.", "U": "The resource is updated."}
"""What an OperationOutcome says after a write that went well."""


def found(request: Request, stored: Stored) -> Answer:
    """Answer a read: the resource, or 304 for an asker that holds this version already."""
    headers = _version_headers(stored)
    if ("if-none-match" in request.headers or "if-modified-since" in request.headers) and (
        preconditions.is_held(request.headers, stored.version, stored.instant)
    ):
        return Answer(304, b"", headers, stored.instant)
    return Answer(200, stored.text, headers, stored.instant)


def written(server: Server, request: Request, stored: Stored) -> Answer:
    """Answer a create or update as Prefer asks: the resource, an outcome, or no body."""
    status = 201 if stored.interaction == "C" else 200
    headers = (*_version_headers(stored), (b"location", location(server, stored).encode()))
    body = _content(request.headers.get("prefer"), stored)
    return Answer(status, body, headers, stored.instant)


def location(server: Server, stored: Stored) -> str:
    """Name the version under the public address of the server."""
    return f"{server.base_url}/{stored.type}/{stored.id}/_history/{stored.version}"


def _content(prefer: str | None, stored: Stored) -> bytes:
    wish = preference(prefer).content
    if wish == "minimal":
        return b""
    if wish == "OperationOutcome":
        return outcomes.outcome(
            [Issue("informational", DONE[stored.interaction])], severity="information"
        )
    return stored.text


def _version_headers(stored: Stored) -> tuple[Header, ...]:
    return (
        (b"etag", preconditions.etag(stored.version)),
        (b"last-modified", preconditions.http_date(stored.instant)),
    )
