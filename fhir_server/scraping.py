"""Scraping: `/metrics` for who watches over the server, and for nobody else.

The numbers name no patient, but how much is asked for and how often it fails is nobody's business.
With a token set, whoever has it is answered; without one, only who asks on this machine itself. A
proxy on this machine asks for others: what came through one is not answered without the token.

RFC 6750 Section 2.1, 3; RFC 7239 Section 5 (Forwarded); RFC 9110 Section 7.6.3 (Via).
"""

import hmac
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fhir_server import metrics

ADDRESS: Final = "/metrics"
PASSED_ON: Final = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
"""Headers by which proxies say that they ask for somebody else."""


def route(data_dir: Path, token: str) -> Route:
    """Answer the metrics to who may have them.

    Parameters
    ----------
    token
        What is to be shown; empty: nothing, by who asks on this machine.
    """
    return Route(ADDRESS, _answering(data_dir, token))


def _answering(data_dir: Path, token: str) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        if token and not _shows(request, token):
            return Response(status_code=401, headers={"www-authenticate": 'Bearer realm="metrics"'})
        if not token and not _is_here(request):
            return Response(status_code=403)
        return Response(metrics.exposition(data_dir), media_type=metrics.CONTENT_TYPE)

    return answer


def _shows(request: Request, token: str) -> bool:
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    fits = hmac.compare_digest(shown.strip().encode(), token.encode())
    return fits and scheme.lower() == "bearer"


def _is_here(request: Request) -> bool:
    """Whether this machine itself asks, and not for another."""
    if request.client is None or any(name in request.headers for name in PASSED_ON):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
