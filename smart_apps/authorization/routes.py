"""The addresses below ``/auth``, and discovery.

RFC 6749 Section 3; SMART App Launch 2.2; OpenID Connect Discovery 1.0.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fhir_server.access.keys import PUBLISHED_SECONDS, Keys
from fhir_server.audit.ledger import Ledger
from fhir_server.store.store import Store
from resources.errors import Exhausted
from smart_apps.authorization import discovery, exchange, pages
from smart_apps.authorization.applications import Applications
from smart_apps.authorization.people import People, told
from smart_apps.authorization.server import SmartServer
from smart_apps.authorization.signing_out import SigningOut
from smart_apps.authorization.upstream import CALLBACK, Upstream

SMART_CONFIGURATION: Final = "/fhir/.well-known/smart-configuration"
OPENID_CONFIGURATION: Final = "/.well-known/openid-configuration"


def routes(
    server: SmartServer,
    store: Store,
    ledger: Ledger,
    upstream: Upstream | None = None,
    *,
    registration: bool = False,
) -> list[Route]:
    """Give all addresses of the authorisation server.

    Parameters
    ----------
    upstream
        Another provider where people may sign in, if there is one.
    registration
        Whether applications may ask to be registered.
    """
    people = People(server, store, ledger, upstream)
    leaving = SigningOut(server.database, ledger)
    applications = Applications(server, store, ledger)
    page = partial(told, limits=server.checker.limits, ledger=ledger)
    url = server.issuer.public_url
    register = Route("/auth/register", _or_away(applications.register), methods=["POST"])
    return [
        *([register] if registration else []),
        Route("/auth/authorize", page(people.authorize), methods=["GET", "POST"]),
        Route("/auth/login", page(people.login), methods=["POST"]),
        Route("/auth/upstream", page(people.elsewhere), methods=["POST"]),
        Route(CALLBACK, page(people.back)),
        Route("/auth/role", page(people.role), methods=["POST"]),
        Route("/auth/patient", page(people.step), methods=["POST"]),
        Route("/auth/consent", page(people.step), methods=["POST"]),
        Route("/auth/logout", page(leaving.ask)),
        Route("/auth/logout", page(leaving.sign_out), methods=["POST"]),
        Route("/auth/launch", _or_away(applications.launch), methods=["POST"]),
        Route("/auth/token", _or_away(applications.token), methods=["POST"]),
        Route("/auth/introspect", _or_away(applications.introspect), methods=["POST"]),
        Route("/auth/revoke", _or_away(applications.revoke), methods=["POST"]),
        Route("/auth/jwks", _keys(server.issuer.keys)),
        Route("/auth/style.json", _public(discovery.STYLE)),
        Route("/auth/style.css", _stylesheet),
        Route(SMART_CONFIGURATION, _public(discovery.smart(url, registration))),
        Route(OPENID_CONFIGURATION, _public(discovery.openid(url, registration))),
    ]


def _or_away(
    handler: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Ask an application to come back where it cannot be served, or audited, now."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Exhausted as refusal:
            return exchange.away(refusal)

    return answer


def _public(content: Mapping[str, Any]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return JSONResponse(content, headers={"cache-control": "public, max-age=60"})

    return answer


def _keys(keys: Keys) -> Callable[[Request], Awaitable[Response]]:
    """Give the key set as it is now (RFC 7517 Section 5)."""

    async def answer(request: Request) -> Response:
        headers = {"cache-control": f"public, max-age={PUBLISHED_SECONDS}"}
        return JSONResponse(keys.public(), headers=headers)

    return answer


async def _stylesheet(request: Request) -> Response:
    headers = {"cache-control": "public, max-age=3600", "x-content-type-options": "nosniff"}
    return Response(pages.STYLE, media_type="text/css; charset=utf-8", headers=headers)
