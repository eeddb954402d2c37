"""Traffic: what every HTTP request gets, whatever it asks for: an id, headers, a log line, a count.

Pure ASGI, and the only middleware of ours. What asks for a service goes straight to that: the
layers of the application around it would do nothing but take their time. It looks at the method and
the path, never at the query, the body or the ids in the path; it works on the path of the ASGI
scope alone.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fhir_server.access import bearer
from fhir_server.logs import Access
from fhir_server.metrics import Meter
from resources.models import TYPES

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"SAMEORIGIN"),
)
"""OWASP ASVS V3.4; each is added where the answer has none of its name."""

TRANSPORT_SECURITY: Final = (b"strict-transport-security", b"max-age=31536000")
"""RFC 6797 Section 6.1; only where the public address is HTTPS."""

_FHIR: Final = {
    ("GET", "type"): "search", ("POST", "type"): "create", ("POST", "_search"): "search",
    ("GET", "id"): "read", ("PUT", "id"): "update", ("GET", "_history"): "history",
    ("GET", "version"): "vread", ("POST", ""): "batch", ("GET", "metadata"): "capabilities",
    ("PUT", "type"): "update", ("PATCH", "id"): "patch", ("PATCH", "type"): "patch",
    ("DELETE", "id"): "delete", ("DELETE", "type"): "delete",
}  # fmt: skip
_DICOMWEB: Final = {"GET": "WADO-RS", "POST": "STOW-RS"}
_QIDO: Final = frozenset({"studies", "series", "instances"})
OPENID: Final = "/.well-known/openid-configuration"
_HEALTH: Final = frozenset({"/healthz", "/readyz", "/metrics"})


class Traffic:
    """The middleware around the whole application.

    Parameters
    ----------
    services
        Parts of the application by the root of their addresses, or by one whole address; sockets
        also by all but the last part of it, with its slash. They answer whatever goes wrong with
        them by themselves.
    https
        Whether clients reach the server by HTTPS.
    """

    def __init__(
        self,
        application: ASGIApp,
        meter: Meter,
        log: Access,
        *,
        services: Mapping[str, ASGIApp] = MappingProxyType({}),
        https: bool,
    ) -> None:
        self._application = application
        self._services = services
        self._meter = meter
        self._log = log
        self._headers = (*SECURITY_HEADERS, *((TRANSPORT_SECURITY,) if https else ()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note how it was answered."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        began = time.perf_counter()
        request = bearer.request_id(scope)
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._completed(message.get("headers", ()), request)
            await send(message)

        path = scope["path"]
        root = "/" + path[1:].partition("/")[0]
        service = self._services.get(path) or self._services.get(root) or self._application
        try:
            await service(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - began
            name = interaction(scope["method"], scope["path"])
            self._meter.count(name, status, seconds)
            if self._log.enabled and name != "health":
                self._log.note({
                    "request": request,
                    "method": scope["method"] if scope["method"].isalpha() else "?",
                    "address": shape(scope["path"]),
                    "interaction": name,
                    "status": status,
                    "ms": round(seconds * 1000, 2),
                })  # fmt: skip

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a socket on to the service of its address, and note how that began."""
        began = time.perf_counter()
        request = bearer.request_id(scope)

        async def noting(message: Message) -> None:
            if message["type"] == "websocket.accept":
                note(200)
            elif message["type"] == "websocket.close" and not noted:
                note(403)
            await send(message)

        noted: list[int] = []

        def note(status: int) -> None:
            noted.append(status)
            seconds = time.perf_counter() - began
            self._meter.count("websocket", status, seconds)
            if self._log.enabled:
                self._log.note({
                    "request": request,
                    "address": shape(scope["path"]),
                    "interaction": "websocket",
                    "status": status,
                    "ms": round(seconds * 1000, 2),
                })  # fmt: skip

        path = scope["path"]
        service = self._services.get(path) or self._services.get(path[: path.rfind("/") + 1])
        if service is None:
            await noting({"type": "websocket.close"})
        else:
            await service(scope, receive, noting)

    def _completed(self, given: object, request: str) -> list[tuple[bytes, bytes]]:
        """Add the headers that every answer has and this one lacks."""
        headers: list[tuple[bytes, bytes]] = list(given)  # type: ignore[call-overload]
        names = {name.lower() for name, _ in headers}
        headers += [each for each in self._headers if each[0] not in names]
        if b"x-request-id" not in names:
            headers.append((b"x-request-id", request.encode()))
        return headers


def interaction(method: str, path: str) -> str:
    """Name what was asked for, as `metrics.INTERACTIONS` does.

    Examples
    --------
    >>> interaction("GET", "/fhir/Patient/1"), interaction("POST", "/fhir")
    ('read', 'batch')
    >>> interaction("GET", "/dicom-web/studies"), interaction("GET", "/dicom-web/studies/1")
    ('QIDO-RS', 'WADO-RS')
    >>> interaction("PUT", "/dicom-web/workitems/1.2/state")
    'UPS-RS'
    """
    method = "GET" if method == "HEAD" else method
    parts = path.strip("/").split("/")
    if parts[0] == "fhir":
        return _FHIR.get((method, _place(parts)), "other-fhir")
    if parts[0] == "dicom-web" and parts[1:2] in (["workitems"], ["subscribers"]):
        return "UPS-RS"
    if parts[0] == "dicom-web":
        name = _DICOMWEB.get(method, "unknown")
        return "QIDO-RS" if name == "WADO-RS" and parts[-1] in _QIDO else name
    if path in _HEALTH:
        return "health"
    if parts[0] == "auth" or path == OPENID:
        return "authorization"
    return "page" if path == "/" else "unknown"


def shape(path: str) -> str:
    """Give a path without anything that a caller chose: ids become ``*``.

    Examples
    --------
    >>> shape("/fhir/Patient/9434765919/_history/2"), shape("/fhir/Smith")
    ('/fhir/Patient/*/_history/*', '/fhir/*')
    """
    parts = path.strip("/").split("/")[:8]
    return "/" + "/".join(part if part in _WORDS else "*" for part in parts if part)


def _place(parts: list[str]) -> str:
    """Say what kind of FHIR address this is: ``""``, type, id, version, or a word of its own."""
    last = parts[-1] if len(parts) > 1 else ""
    if last in {"metadata", "_history", "_search"}:
        return last
    if len(parts) == 5 and parts[3] == "_history":
        return "version"
    return {1: "", 2: "type" if last else "", 3: "id"}.get(len(parts), "other")


_WORDS: Final = frozenset({
    "fhir", "metadata", "_history", "_search", "dicom-web", "studies", "series", "instances",
    "frames", "rendered", "thumbnail", "bulkdata", "healthz", "readyz", "metrics", "auth",
    "authorize", "login", "logout", "role", "patient", "consent", "launch", "token", "introspect",
    "revoke", "jwks", "style.css", "style.json", ".well-known", "smart-configuration",
    "openid-configuration", "$subscriptions", "workitems", "subscribers", "state", "cancelrequest",
    "suspend", *TYPES,
})  # fmt: skip
