"""Which method on which address is which interaction, and the one door they all come through.

FHIR http, "Summary" tables of interactions. The door checks the token before anything else, hands
the request to its interaction, turns what goes wrong into an OperationOutcome and sees to it that
a refusal is audited. It works on the path of the ASGI scope alone: no Host header changes what is
asked for.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn

import msgspec
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from fhir_server.access import bearer
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import Scopes
from fhir_server.access.token import TokenChecker
from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext, now
from fhir_server.rest import body, bundle, capabilities, negotiate, outcomes
from fhir_server.rest.create import create
from fhir_server.rest.exchange import FHIR_JSON, Answer, Interaction, Request, Server
from fhir_server.rest.history import history
from fhir_server.rest.ids import is_id
from fhir_server.rest.outcomes import MethodNotAllowed, NotOffered, QueryTooLong
from fhir_server.rest.read import read, vread
from fhir_server.rest.search import search, search_by_post
from fhir_server.rest.update import update
from fhir_server.store.store import Store
from resources.errors import NotFound, Refusal, Unauthenticated
from resources.models import TYPES

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)


INTERACTIONS: Final = (
    Interaction("GET",  "metadata",                   "capabilities",     capabilities.metadata),
    Interaction("GET",  "{type}/{id}",                "read",             read),
    Interaction("GET",  "{type}/{id}/_history/{vid}", "vread",            vread),
    Interaction("GET",  "{type}/{id}/_history",       "history-instance", history),
    Interaction("POST", "{type}",                     "create",           create),
    Interaction("PUT",  "{type}/{id}",                "update",           update),
    Interaction("GET",  "{type}",                     "search-type",      search),
    Interaction("POST", "{type}/_search",             "search-type",      search_by_post),
    Interaction("POST", "",                           "batch",            bundle.bundle),
)  # fmt: skip
"""FHIR http: one row an interaction. HEAD goes wherever GET goes ("Support for HEAD")."""

NOT_OFFERED: Final = (
    ("PUT",    "{type}"),                  # conditional update
    ("DELETE", "{type}/{id}"),             # delete
    ("DELETE", "{type}"),                  # conditional delete
    ("PATCH",  "{type}/{id}"),             # patch
    ("PATCH",  "{type}"),                  # conditional patch
    ("GET",    "{type}/_history"),         # history of a type
    ("GET",    "_history"),                # history of the system
    ("GET",    ""),                        # search of all types
    ("POST",   "_search"),
    ("GET",    "{type}/{id}/{type}"),      # search of a compartment
    ("POST",   "{type}/{id}/{type}/_search"),
    ("GET",    "$"),                       # operations
    ("POST",   "$"),
)  # fmt: skip
"""FHIR http: interactions that the standard has and this server has not; 501."""

LONGEST_QUERY: Final = 32 * 1024
"""Octets of the query of an address; a longer search goes by POST _search."""

STRANGER: Final = Principal("", None, "", Scopes(()))
"""Who asks as long as no token says who; stands in the audit of what was refused to it."""

UNKNOWN: Final = RequestContext(STRANGER, "operation", "", "", 0)
"""The context of a request that has not been looked at."""

WRITES: Final = frozenset({"POST", "PUT"})
"""Methods that come with a body."""

_BY_ADDRESS: Final[dict[str, dict[str, Interaction]]] = {}
for _row in INTERACTIONS:
    _BY_ADDRESS.setdefault(_row.address, {})[_row.method] = _row
    if _row.method == "GET":
        _BY_ADDRESS[_row.address]["HEAD"] = _row
_NOT_OFFERED: Final = frozenset(NOT_OFFERED)
_NOT_OFFERED_ADDRESSES: Final = frozenset(address for _, address in NOT_OFFERED)


def routes(
    store: Store,
    checker: TokenChecker,
    ledger: Ledger,
    *,
    base_url: str,
    body_limit: int = 16 * 1024 * 1024,
) -> list[Route]:
    """Make the routes of the FHIR base, to be put into the application as they are.

    Parameters
    ----------
    base_url
        The public address of the base, such as ``https://records.example/fhir``.
    body_limit
        Octets that the body of one request may have.
    """
    base_url = base_url.rstrip("/")
    capabilities.statement(base_url, INTERACTIONS)  # reads every search parameter: not later
    door = Door(Server(store, checker, ledger, base_url, body_limit, INTERACTIONS, route, dispatch))
    return [Route("/fhir", endpoint=door), Route("/fhir/{address:path}", endpoint=door)]


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
        found = _looked_up(request, scope["path_params"].get("address", ""))
        name = found.name if isinstance(found, Interaction) else UNKNOWN.interaction
        if name == "capabilities":
            request.context = _stranger(scope, name)
        else:
            try:
                request.context = bearer.context_of(scope, self.server.checker, name)
            except Unauthenticated:
                request.context = _stranger(scope, name)
                raise
        if isinstance(found, Refusal):
            raise found
        if len(request.query) > LONGEST_QUERY:
            raise QueryTooLong(f"A query may have {LONGEST_QUERY} octets; use POST _search.")
        negotiate.check_accept(request.headers.get("accept"), _format(request))
        return found


def _looked_up(request: Request, address: str) -> Interaction | Refusal:
    try:
        return route(request, address)
    except Refusal as refusal:
        return refusal


def _stranger(scope: Scope, interaction: str) -> RequestContext:
    client = scope.get("client")
    origin = client[0] if client else ""
    return RequestContext(STRANGER, interaction, origin, bearer.request_id(scope))


async def dispatch(server: Server, request: Request, address: str) -> Answer:
    """Answer one entry of a batch as if it had come by itself."""
    try:
        row = route(request, address)
        request.context = replace(request.context, interaction=row.name, instant=now())
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
        _log.exception("request %s failed", request.context.request_id)
    if not request.handed_over:
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
        _log.error("request %s: its refusal could not be audited", request.context.request_id)


def route(request: Request, address: str) -> Interaction:
    """Find the row for a method and an address, and put type, id and version into the request.

    Raises
    ------
    NotFound
        No such address, or a resource type that is not stored here.
    MethodNotAllowed
        The address is there for other methods.
    NotOffered
        FHIR has this interaction, this server has not.
    """
    address = address.rstrip("/")
    parts = address.split("/") if address else []
    shape = _shape(parts)
    if "{type}" in shape and parts[0] not in TYPES:
        raise NotFound("There is no such resource type here.", code="not-supported")
    request.type = parts[0] if shape.startswith("{type}") else ""
    request.id = parts[1] if shape.startswith("{type}/{id}") else ""
    request.version = parts[3] if shape.endswith("{vid}") else ""
    methods = _BY_ADDRESS.get(shape, {})
    row = methods.get(request.method)
    if row is None:
        _refuse(request.method, shape, methods)
    if request.id and request.method != "PUT" and not is_id(request.id):
        raise NotFound("Nothing has an id like that.")
    return row


def _shape(parts: Sequence[str]) -> str:
    """Spell an address as the table does.

    Examples
    --------
    >>> _shape(["Task", "1", "_history"]), _shape(["Task", "$validate"])
    ('{type}/{id}/_history', '$')
    """
    if any(part.startswith("$") for part in parts):
        return "$"
    if len(parts) == 4 and parts[2] == "_history":
        return "{type}/{id}/_history/{vid}"
    return "/".join(_place(place, part) for place, part in enumerate(parts))


def _place(place: int, part: str) -> str:
    if part.startswith("_") or part == "metadata":
        return part
    if place == 2:
        return "{type}" if part in TYPES or part == "*" else part
    return ("{type}", "{id}")[place] if place < 2 else part


def _refuse(method: str, shape: str, methods: Mapping[str, Interaction]) -> NoReturn:
    if (method, shape) in _NOT_OFFERED:
        raise NotOffered("FHIR has this interaction, this server does not offer it.")
    if methods or shape in _NOT_OFFERED_ADDRESSES:
        raise MethodNotAllowed(sorted(methods))
    raise NotFound("There is nothing at this address.")


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


async def _send(send: Send, request: Request, answer: Answer) -> None:
    content = answer.body
    if content and "_pretty=true" in request.query:
        content = msgspec.json.format(content, indent=2)
    headers = [
        (b"content-type", FHIR_JSON),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"private, no-cache"),
        (b"x-request-id", request.context.request_id.encode()),
        *answer.headers,
    ]
    if not content:
        del headers[0 : 2 if answer.status == 304 else 1]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else content})
