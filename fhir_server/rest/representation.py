"""One version of a resource as an answer: its bytes, ETag, Last-Modified, Location.

FHIR http, "read" (ETag and Last-Modified), "create" (Location is
``[base]/[type]/[id]/_history/[vid]``), "return preference". The text is served as it was stored:
nothing here parses it.
"""

from typing import Final

from fhir_server.rest import binary, outcomes, preconditions, summary
from fhir_server.rest.exchange import Answer, Header, Request, Server
from fhir_server.rest.negotiate import preference
from fhir_server.search.stored import Stored
from resources import profiles
from resources.errors import Issue

DONE: Final = {
    "C": "The resource is created.",
    "U": "The resource is updated.",
    "D": "The resource is deleted.",
}
"""What an OperationOutcome says after a write that went well."""

THERE: Final = "The resource is there already."
NOTHING: Final = "There is nothing to delete."


def found(request: Request, stored: Stored) -> Answer:
    """Answer a read: the resource, or 304 for an asker that holds this version already."""
    headers = _version_headers(stored)
    if ("if-none-match" in request.headers or "if-modified-since" in request.headers) and (
        preconditions.is_held(request.headers, stored.version, stored.instant)
    ):
        return Answer(304, b"", headers, stored.instant)
    if stored.type == "Binary" and (octets := binary.shown(request, stored, headers)):
        return octets
    if request.query:
        stored = summary.read(request.pairs()).cut(stored)
    return Answer(200, stored.text, headers, stored.instant)


def written(server: Server, request: Request, stored: Stored, *, held: bool = False) -> Answer:
    """Answer a write as Prefer asks: the resource, an outcome, or no body.

    Parameters
    ----------
    held
        Nothing was written, because it was there already.
    """
    status = 201 if stored.interaction == "C" and not held else 200
    headers = (*_version_headers(stored), (b"location", location(server, stored).encode()))
    said = THERE if held else DONE[stored.interaction]
    body = _content(request.headers.get("prefer"), stored, said)
    return Answer(status, body, headers, stored.instant)


def deleted(request: Request, stored: Stored | None) -> Answer:
    """Answer a delete: 204, or 200 with an outcome if Prefer asks for one."""
    headers = () if stored is None else _version_headers(stored)
    instant = None if stored is None else stored.instant
    if preference(request.headers.get("prefer")).content != "OperationOutcome":
        return Answer(204, b"", headers, instant)
    return Answer(200, _outcome(NOTHING if stored is None else DONE["D"]), headers, instant)


def location(server: Server, stored: Stored) -> str:
    """Name the version under the public address of the server."""
    return f"{server.base_url}/{stored.type}/{stored.id}/_history/{stored.version}"


def _content(prefer: str | None, stored: Stored, said: str) -> bytes:
    wish = preference(prefer).content
    if wish == "minimal":
        return b""
    return _outcome(said, stored) if wish == "OperationOutcome" else stored.text


def _outcome(said: str, stored: Stored | None = None) -> bytes:
    """Say that it went well, and what claimed profiles are broken all the same."""
    claims = () if stored is None else profiles.check(stored.json)
    warnings = [("warning", issue) for issues in claims for issue in issues]
    return outcomes.several([("information", Issue("informational", said)), *warnings])


def _version_headers(stored: Stored) -> tuple[Header, ...]:
    return (
        (b"etag", preconditions.etag(stored.version)),
        (b"last-modified", preconditions.http_date(stored.instant)),
    )
