"""CDS Hooks over HTTP: discovery, the call of a service, and what became of its cards.

Discovery is open. Who calls a service names themselves by an access token of ours: in the
Authorization header, or in ``fhirAuthorization`` of a call whose ``fhirServer`` is this one. The
cards tell what that token may see, and nothing is taken from ``prefetch``. Of feedback the ledger
keeps that it came; the reason of who asks all the same is in the order itself.

CDS Hooks 2.0; RFC 6750; `fhir_server.checking`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fhir_server import checking
from fhir_server.access import bearer
from fhir_server.access.token import TokenChecker
from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.repeating import Policy
from fhir_server.store.store import Store
from resources import validate
from resources.errors import (
    Forbidden,
    Invalid,
    NotFound,
    Refusal,
    Throttled,
    TooLarge,
    Unauthenticated,
)
from smart_apps.decision_support import cards, services
from smart_apps.decision_support.services import SERVICES, Service

Json = Mapping[str, Any]

ROOT: Final = "/cds-services"
LONGEST: Final = 1024 * 1024
MOST: Final = 50
"""Orders of one call."""

STATUSES: Final[tuple[tuple[type[Refusal], int], ...]] = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (TooLarge, 413),
    (Throttled, 429),
    (Invalid, 400),
)
"""How a refusal sounds; any other is 503."""


class DecisionSupport:
    """The services, fastened to a store."""

    def __init__(
        self, store: Store, checker: TokenChecker, taken: Ledger, policy: Policy, base: str
    ) -> None:
        self._store = store
        self._checker = checker
        self._ledger = taken
        self._policy = policy
        self._base = base

    def routes(self) -> list[Route]:
        """The routes, to be put into the application as they are."""
        return [
            Route(ROOT, self._answering(self._discover), methods=["GET"]),
            Route(f"{ROOT}/{{service}}", self._answering(self._call), methods=["POST"]),
            Route(f"{ROOT}/{{service}}/feedback", self._answering(self._heed), methods=["POST"]),
        ]

    def _answering(
        self, answer: Callable[[Request], Awaitable[Json]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            try:
                return _json(200, await answer(request))
            except Refusal as refusal:
                status = next((code for kind, code in STATUSES if isinstance(refusal, kind)), 503)
                headers = {"www-authenticate": "Bearer"} if status == 401 else {}
                said = {"error": refusal.issues[0].text, "at": refusal.issues[0].at}
                return _json(status, said, headers)

        return answered

    async def _discover(self, request: Request) -> Json:
        return services.discovery()

    async def _call(self, request: Request) -> Json:
        """Answer a call with the cards of its orders."""
        service = _service(request)
        said = await _body(request)
        context = self._context(request, said)
        if said.get("hook") != service.hook:
            raise Invalid(f"This service answers the hook {service.hook}.", "hook")
        found: list[Json] = []
        for order in _orders(said, service):
            asked = orjson.loads(orjson.dumps(order).replace(f'"{self._base}/'.encode(), b'"'))
            checked = await checking.check(self._store, context, asked, self._policy, self._base)
            found += cards.of(order, checked, self._base)
        await self._ledger.append(
            ledger.entry(context, type="ServiceRequest", query=service.id, hits=len(found))
        )
        return {"cards": found}

    async def _heed(self, request: Request) -> Json:
        """Note that cards were accepted or overridden."""
        service = _service(request)
        said = await _body(request)
        context = self._context(request, said)
        given = said.get("feedback")
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            raise Invalid("Feedback is a list.", "feedback")
        if any(one.get("outcome") not in ("accepted", "overridden") for one in given):
            raise Invalid("A card is accepted or overridden.", "feedback.outcome")
        await self._ledger.append(
            ledger.entry(
                context, type="ServiceRequest", query=f"{service.id}/feedback", hits=len(given)
            )
        )
        return {}

    def _context(self, request: Request, said: Json) -> RequestContext:
        """Who calls, by the header or by the access that the call brings along."""
        scope = request.scope
        brought = said.get("fhirAuthorization")
        named = any(name == b"authorization" for name, _ in scope["headers"])
        if not named and isinstance(brought, dict) and said.get("fhirServer") == self._base:
            token = f"Bearer {brought.get('access_token', '')}".encode("latin-1", "replace")
            scope = {**scope, "headers": [*scope["headers"], (b"authorization", token)]}
        context = bearer.context_of(scope, self._checker, "operation")
        self._checker.limits.admit(context.principal)
        return context


def _service(request: Request) -> Service:
    name = request.path_params["service"]
    found = next((each for each in SERVICES if each.id == name), None)
    if found is None:
        raise NotFound("There is no such service.")
    return found


async def _body(request: Request) -> Json:
    octets = bytearray()
    async for part in request.stream():
        octets += part
        if len(octets) > LONGEST:
            raise TooLarge(f"A call has at most {LONGEST} octets.")
    try:
        said = orjson.loads(octets)
    except orjson.JSONDecodeError:
        raise Invalid("A call is JSON.") from None
    if not isinstance(said, dict):
        raise Invalid("A call is a JSON object.")
    return said


def _orders(said: Json, service: Service) -> list[Json]:
    """The imaging orders of a call: those selected, or all that are to be signed."""
    context = said.get("context")
    drafts = context.get("draftOrders") if isinstance(context, dict) else None
    entries = drafts.get("entry", []) if isinstance(drafts, dict) else None
    if not isinstance(context, dict) or not isinstance(entries, list):
        raise Invalid("A call has the orders that are drafted.", "context.draftOrders", "required")
    selected = context.get("selections") if service.hook == "order-select" else None
    if service.hook == "order-select" and not isinstance(selected, list):
        raise Invalid(
            "A call names the orders that are selected.", "context.selections", "required"
        )
    found: list[Json] = []
    for entry in entries:
        order = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(order, dict) or order.get("resourceType") != "ServiceRequest":
            continue
        if selected is not None and f"ServiceRequest/{order.get('id')}" not in selected:
            continue
        if issues := validate.check(order):
            raise Invalid(issues=issues)
        found.append(order)
    if len(found) > MOST:
        raise TooLarge(f"A call has at most {MOST} orders.")
    return found


def _json(status: int, said: Json, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(said),
        status,
        {"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )
