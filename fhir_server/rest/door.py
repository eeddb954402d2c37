"""The one door: an HTTP request comes in, an answer goes out, nothing else leaves.

The token is checked before anything else is told, the interaction answers, and what goes wrong
becomes an OperationOutcome and, unless the store has audited it, a row of the ledger. Only the
path of the ASGI scope says what is asked for: no Host header changes it. RFC 9110; RFC 6750.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect

from fhir_server.access import bearer
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import Scopes
from fhir_server.audit import ledger
from fhir_server.context import RequestContext, now
from fhir_server.rest import binary, body, exports, known, negotiate, outcomes
from fhir_server.rest.exchange import FHIR_JSON, Answer, Interaction, Request, Server
from fhir_server.rest.ids import is_id
from fhir_server.rest.outcomes import QueryTooLong
from resources.errors import Refusal, Throttled, Unauthenticated

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)

ROOT: Final = "/fhir"
"""Where the FHIR base is on this server."""

LONGEST_QUERY: Final = 32 * 1024
"""Octets of the query of an address; a longer search goes by POST _search."""

STRANGER: Final = Principal("", None, "", Scopes(()))
"""Who asks as long as no token says who; stands in the audit of what was refused to it."""

UNKNOWN: Final = RequestContext(STRANGER, "operation", "", "", 0)
"""The context of a request that has not been looked at."""

LONGEST_ID: Final = 256
"""Characters of an id of the asker's that is given back."""

BODILESS: Final = frozenset({204, 304})
"""RFC 9110 Section 8.6: statuses without Content-Length."""

WRITES: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods that come with a body."""


class Door:
    """The ASGI endpoint of everything under the FHIR base."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def __call__(self, scope: Scope, receive: body.Receive, send: Send) -> None:
        """Answer one HTTP request; nothing is raised but what the asker's leaving raises."""
        request = Request(
            scope["method"],
            UNKNOWN,
            query=scope["query_string"].decode("latin-1"),
            headers=_headers(scope["headers"]),
        )
        try:
            row = self._admit(scope, request)
            if request.method in WRITES:
                request.body = await body.read(request.headers, receive, self.server.body_limit)
            answer = await row.answer(self.server, request)
        except ClientDisconnect:
            return
        except Exception as problem:
            answer = await refused(self.server, request, problem)
        await _send(send, request, answer)

    def _admit(self, scope: Scope, request: Request) -> Interaction:
        """Say who asks and for what. A stranger learns nothing but that a token is needed."""
        found = self._looked_up(request, scope["path"].removeprefix(ROOT).removeprefix("/"))
        name = found.name if isinstance(found, Interaction) else UNKNOWN.interaction
        if name == "capabilities":
            request.context = _stranger(scope, name)
        else:
            try:
                request.context = bearer.context_of(scope, self.server.checker, name)
            except Unauthenticated:
                request.context = _stranger(scope, name)
                raise
            self.server.checker.limits.admit(request.context.principal)
        if isinstance(found, Refusal):
            raise found
        if len(request.query) > LONGEST_QUERY:
            raise QueryTooLong(f"A query may have {LONGEST_QUERY} octets; use POST _search.")
        accept = request.headers.get("accept")
        if (request.type == "Binary" and name in binary.READS) or name == exports.NAME:
            accept = None  # it may be of any type: what is accepted is asked when it is read
        negotiate.check_accept(accept, _format(request), found.formats)
        known.check(request)
        return found

    def _looked_up(self, request: Request, address: str) -> Interaction | Refusal:
        try:
            return self.server.route(request, address)
        except Refusal as refusal:
            return refusal


def _stranger(scope: Scope, interaction: str) -> RequestContext:
    client = scope.get("client")
    origin = client[0] if client else ""
    return RequestContext(STRANGER, interaction, origin, bearer.request_id(scope))


async def dispatch(server: Server, request: Request, address: str) -> Answer:
    """Answer one entry of a batch as if it had come by itself."""
    try:
        row = server.route(request, address)
        request.context = replace(request.context, interaction=row.name, instant=now())
        known.check(request)
        return await row.answer(server, request)
    except Exception as problem:
        if isinstance(problem, Refusal):
            problem.place_in(_place_of(request))
        return await refused(server, request, problem)


def _place_of(request: Request) -> str:
    """Say where an entry is at fault: in its resource, or as a whole where it only asks."""
    return request.at if request.method in WRITES else request.at.removesuffix(".resource")


async def refused(server: Server, request: Request, problem: Exception) -> Answer:
    """Answer what went wrong, and leave a trace: the audit for a refusal, the log for a bug."""
    answer = outcomes.answer(problem)
    if not isinstance(problem, Refusal):
        _log.exception("request failed", extra={"request": request.context.request_id})
    goes_on = isinstance(problem, Throttled) and not problem.begins
    if not request.handed_over and not goes_on:
        await _audit(server, request, problem)
    return answer


async def _audit(server: Server, request: Request, problem: Exception) -> None:
    """Note what was refused before the store had it."""
    entry = ledger.entry(
        request.context,
        outcome=ledger.MINOR_FAILURE if isinstance(problem, Refusal) else ledger.SERIOUS_FAILURE,
        type=request.type or None,
        id=request.id if is_id(request.id) else None,
        detail=type(problem).__name__,
    )
    try:
        await server.ledger.append(entry)
    except Refusal:
        _log.error("refusal not audited", extra={"request": request.context.request_id})


def _format(request: Request) -> str | None:
    """Give the last `_format` of the query, if it has one."""
    if "_format" not in request.query:
        return None
    return next((value for name, value in reversed(request.pairs()) if name == "_format"), None)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Join header fields of one name with a comma (RFC 9110 Section 5.3)."""
    headers: dict[str, str] = {}
    for key, field in raw:
        name, value = key.decode("latin-1"), field.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _correlated(request: Request) -> Iterable[tuple[bytes, bytes]]:
    """Give back the id by which the asker knows the request, where it is not the one we use.

    FHIR http, "Custom Headers": "When the server assigned id is different to the client assigned
    id, the server SHOULD also return the X-Correlation-Id header with the client's original id".
    """
    sent = request.headers.get("x-correlation-id") or request.headers.get("x-request-id", "")
    if sent != request.context.request_id and len(sent) <= LONGEST_ID and sent.isprintable():
        yield b"x-correlation-id", sent.encode("latin-1")


async def _send(send: Send, request: Request, answer: Answer) -> None:
    content = answer.body
    if content and "_pretty=true" in request.query and answer.media is FHIR_JSON:
        content = msgspec.json.format(content, indent=2)
    headers = [
        (b"content-type", answer.media),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"private, no-cache"),
        (b"x-request-id", request.context.request_id.encode()),
        *answer.headers,
    ]
    if "x-correlation-id" in request.headers or "x-request-id" in request.headers:
        headers += _correlated(request)
    if not content:
        del headers[0 : 2 if answer.status in BODILESS else 1]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else content})
