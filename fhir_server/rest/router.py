"""Which method on which address is which interaction (FHIR http, "Summary" of interactions)."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, NoReturn

from starlette.routing import Route

from fhir_server import repeating
from fhir_server.access.token import TokenChecker
from fhir_server.audit.ledger import Ledger
from fhir_server.export.exports import Exports
from fhir_server.rest import bundle, capabilities, exports
from fhir_server.rest.create import create
from fhir_server.rest.delete import delete, delete_where
from fhir_server.rest.door import ROOT, Door, dispatch
from fhir_server.rest.exchange import Answer, Interaction, Request, Server
from fhir_server.rest.history import history
from fhir_server.rest.ids import is_id
from fhir_server.rest.operations import table
from fhir_server.rest.outcomes import MethodNotAllowed
from fhir_server.rest.patch import patch, patch_where
from fhir_server.rest.read import read, vread
from fhir_server.rest.search import search, search_by_post
from fhir_server.rest.update import update, update_where
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import FINAL
from resources import search_parameters
from resources.compartments import COMPARTMENTS
from resources.errors import NotFound
from resources.models import TYPES
from subscriptions.subscriptions import Subscriptions

INTERACTIONS: Final = (
    Interaction("GET",    "metadata",                   "capabilities",     capabilities.metadata),
    Interaction("GET",    "{type}/{id}",                "read",             read),
    Interaction("GET",    "{type}/{id}/_history/{vid}", "vread",            vread),
    Interaction("GET",    "{type}/{id}/_history",       "history-instance", history),
    Interaction("GET",    "{type}/_history",            "history-type",     history),
    Interaction("GET",    "_history",                   "history-system",   history),
    Interaction("POST",   "{type}",                     "create",           create),
    Interaction("PUT",    "{type}/{id}",                "update",           update),
    Interaction("PUT",    "{type}",                     "update",           update_where),
    Interaction("PATCH",  "{type}/{id}",                "patch",            patch),
    Interaction("PATCH",  "{type}",                     "patch",            patch_where),
    Interaction("DELETE", "{type}/{id}",                "delete",           delete),
    Interaction("DELETE", "{type}",                     "delete",           delete_where),
    Interaction("GET",    "{type}",                     "search-type",      search),
    Interaction("POST",   "{type}/_search",             "search-type",      search_by_post),
    Interaction("GET",    "",                           "search-system",    search),
    Interaction("POST",   "_search",                    "search-system",    search_by_post),
    Interaction("GET",    "{owner}/{id}/{type}",        "search-type",      search),
    Interaction("POST",   "{owner}/{id}/{type}/_search", "search-type",     search_by_post),
    Interaction("GET",    "{owner}/{id}/*",             "search-system",    search),
    Interaction("POST",   "{owner}/{id}/*/_search",     "search-system",    search_by_post),
    Interaction("POST",   "",                           "batch",            bundle.bundle),
)  # fmt: skip
"""FHIR http: one row an interaction. HEAD goes wherever GET goes ("Support for HEAD"). The owner of
a compartment is a resource of a type that has one."""

CHANGES: Final = frozenset({"PUT", "PATCH", "DELETE"})
"""FHIR http, "delete": 405 for types that nobody may change "as a blanket policy"."""


def routes(
    store: Store,
    checker: TokenChecker,
    ledger: Ledger,
    orders: Exports,
    subscriptions: Subscriptions,
    *,
    base_url: str,
    body_limit: int = 16 * 1024 * 1024,
    repeats: repeating.Policy = repeating.DEFAULT,
) -> list[Route]:
    """Make the routes of the FHIR base, to be put into the application as they are.

    Parameters
    ----------
    base_url
        The public address of the base, such as ``https://records.example/fhir``.
    body_limit
        Octets that the body of one request may have.
    repeats
        What counts as repeated where a request is checked.
    """
    base_url = base_url.rstrip("/")
    # It reads every search parameter, which is better done now than later.
    capabilities.statement(base_url, INTERACTIONS, search_parameters.generation())
    server = Server(
        store,
        checker,
        ledger,
        base_url,
        body_limit,
        INTERACTIONS,
        route,
        dispatch,
        orders,
        subscriptions,
        repeats,
    )
    door = Door(server)
    return [Route(ROOT, endpoint=door), Route(f"{ROOT}/{{address:path}}", endpoint=door)]


def route(request: Request, address: str) -> Interaction:
    """Find the row for a method and an address, and put type, id and version into the request.

    Raises
    ------
    NotFound
        No such address, or a resource type that is not stored here.
    MethodNotAllowed
        The address is there for other methods.
    """
    address = address.rstrip("/")
    parts = address.split("/") if address else []
    if any(part.startswith("$") for part in parts):
        return table.interaction(request, parts)
    if parts[:1] == [exports.PLACE]:
        return exports.interaction(request, parts)
    shape = _shape(parts)
    if "{type}" in shape and parts[0] not in TYPES:
        raise NotFound("There is no such resource type here.", code="not-supported")
    request.type = parts[0] if shape.startswith("{type}") else ""
    request.id = parts[1] if shape.startswith("{type}/{id}") else ""
    if shape.startswith("{owner}"):
        request.type = parts[2] if parts[2] in TYPES else ""
        request.compartment = f"{parts[0]}/{parts[1]}"
    request.version = parts[3] if shape.endswith("{vid}") else ""
    methods = _BY_ADDRESS.get(shape, {})
    if request.type in FINAL and request.method in CHANGES:
        raise MethodNotAllowed([name for name in methods if name not in CHANGES])
    row = methods.get(request.method)
    if row is None:
        if request.method == "OPTIONS" and methods:
            return Interaction("OPTIONS", shape, "capabilities", _options(methods))
        _refuse(methods)
    if "{id}" in shape and request.method != "PUT" and not is_id(parts[1]):
        raise NotFound("Nothing has an id like that.")
    return row


def _shape(parts: Sequence[str]) -> str:
    """Spell an address as the table does.

    Examples
    --------
    >>> _shape(["Task", "1", "_history"])
    '{type}/{id}/_history'
    """
    if len(parts) == 4 and parts[2] == "_history":
        return "{type}/{id}/_history/{vid}"
    if len(parts) > 2 and parts[0] in COMPARTMENTS and (parts[2] in TYPES or parts[2] == "*"):
        kind = "*" if parts[2] == "*" else "{type}"
        return "/".join(("{owner}", "{id}", kind, *parts[3:]))
    return "/".join(_place(place, part) for place, part in enumerate(parts))


def _place(place: int, part: str) -> str:
    if part.startswith("_") or part == "metadata":
        return part
    return ("{type}", "{id}")[place] if place < 2 else part


def _options(methods: Iterable[str]) -> Callable[[Server, Request], Awaitable[Answer]]:
    """Answer OPTIONS with the methods of an address (RFC 9110 Section 9.3.7)."""
    allow = ", ".join(sorted({*methods, "OPTIONS"})).encode()

    async def answer(server: Server, request: Request) -> Answer:
        return Answer(204, headers=((b"allow", allow),))

    return answer


def _refuse(methods: Mapping[str, Interaction]) -> NoReturn:
    if methods:
        raise MethodNotAllowed(sorted(methods))
    raise NotFound("There is nothing at this address.")


def _by_address(rows: Iterable[Interaction]) -> dict[str, dict[str, Interaction]]:
    """Index the table by address, then method; HEAD goes wherever GET goes."""
    found: dict[str, dict[str, Interaction]] = {}
    for row in rows:
        methods = ("GET", "HEAD") if row.method == "GET" else (row.method,)
        found.setdefault(row.address, {}).update(dict.fromkeys(methods, row))
    return found


_BY_ADDRESS: Final = _by_address(INTERACTIONS)
