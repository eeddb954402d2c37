"""CORS: pages of registered clients may ask from a browser; what is public is for all pages.

Fetch Standard, "CORS protocol"; SMART App Launch 2.2, "Considerations for Cross-Origin Resource
Sharing (CORS) support". Requests are authorised by a bearer token and never by a cookie, so
credentials are not allowed.
"""

import time
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fhir_server.postgres.database import Database
from smart_apps import clients

FRESH_SECONDS: Final = 10.0
"""How soon an origin may ask that was turned away before its client was registered."""
MOST_STRANGE: Final = 1000

PUBLIC: Final = frozenset(
    {"/fhir/metadata", "/fhir/.well-known/smart-configuration", "/auth/jwks",
     "/.well-known/openid-configuration"}
)  # fmt: skip
CLOSED: Final = frozenset({"/auth/authorize", "/auth/login", "/auth/role", "/auth/patient",
                           "/auth/consent", "/auth/logout"})  # fmt: skip
"""Where a person is, with a cookie: nothing for a page of somebody else."""

METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
HEADERS: Final = (
    b"Accept, Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Exist,"
    b" If-None-Match, If-Range, Prefer, Range, X-Request-Id"
)
EXPOSED: Final = (
    b"Accept-Ranges, Content-Location, Content-Range, ETag, Last-Modified, Location,"
    b" Preference-Applied, Retry-After, Warning, X-Request-Id, X-Total-Count"
)
MAX_AGE_SECONDS: Final = b"600"


class Origins:
    """The origins that clients registered, by the redirect and launch URIs they have."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: frozenset[str] = frozenset()
        self._strange: dict[str, float] = {}

    async def include(self, origin: str) -> bool:
        """Say whether pages of this origin belong to a registered client."""
        if origin not in self._known and self._strange.get(origin, 0.0) < time.monotonic():
            self._known = frozenset(
                _origin(uri)
                for client in await clients.every(self._database)
                if client.disabled is None
                for uri in (*client.redirect_uris, client.launch_url or "")
            ) - {""}
            if origin not in self._known:
                self._remember(origin)
        return origin in self._known

    def _remember(self, origin: str) -> None:
        """Need not look again for a while; of many strange origins the first ones are forgotten."""
        self._strange[origin] = time.monotonic() + FRESH_SECONDS
        if len(self._strange) > MOST_STRANGE:
            del self._strange[next(iter(self._strange))]


class CrossOrigin:
    """Around a service: answer preflights, and let pages read what they asked for."""

    def __init__(self, service: ASGIApp, origins: Origins) -> None:
        self._service = service
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; with the header ``Origin`` its answer says who may read it."""
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        if origin is None or scope["path"] in CLOSED:
            await self._service(scope, receive, send)
            return
        allowed = b"*" if scope["path"] in PUBLIC else None
        if allowed is None and await self._origins.include(origin.decode("latin-1")):
            allowed = origin
        told = [(b"vary", b"Origin")]
        if allowed is not None:
            told += [
                (b"access-control-allow-origin", allowed),
                (b"access-control-expose-headers", EXPOSED),
            ]

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in told}
                given = [each for each in message.get("headers", ()) if each[0] not in names]
                message["headers"] = given + told
            await send(message)

        if scope["method"] == "OPTIONS" and _is_preflight(scope):
            await _preflight(allowed is not None, telling)
        else:
            await self._service(scope, receive, telling)


async def _preflight(allowed: bool, send: Send) -> None:
    headers = [
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", HEADERS),
        (b"access-control-max-age", MAX_AGE_SECONDS),
    ]
    start = {"type": "http.response.start", "status": 204, "headers": headers if allowed else []}
    await send(start)
    await send({"type": "http.response.body"})


def _is_preflight(scope: Scope) -> bool:
    return any(name == b"access-control-request-method" for name, _ in scope["headers"])


def _origin(uri: str) -> str:
    """The origin of a URI of the web; of any other, nothing.

    Examples
    --------
    >>> _origin("https://app.example:8443/cb?x=1"), _origin("app.example:/cb")
    ('https://app.example:8443', '')
    """
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in {"http", "https"} else ""
