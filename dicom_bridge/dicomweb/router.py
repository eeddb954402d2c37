"""Which method on which address is which DICOMweb transaction, and the door they come through.

The door checks the token before anything else, turns what goes wrong into a problem document and
sees to it that a refusal is audited.

References
----------
* PS3.18 Section 10.1.1 (resources), 10.3 (transactions of the Studies Service)
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from dicom_bridge.bridge import Bridge
from dicom_bridge.dicomweb import (
    capabilities,
    problems,
    qido,
    rendered,
    stow,
    ups,
    ups_subscribers,
    wado,
    wado_uri,
)
from dicom_bridge.dicomweb.exchange import Call, Web
from dicom_bridge.dicomweb.problems import MethodNotAllowed
from fhir_server.access import bearer
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import Scopes
from fhir_server.access.token import TokenChecker
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from resources.errors import NotFound, Refusal, Throttled

Answer = Callable[[Call], Awaitable[Response]]

_log = logging.getLogger(__name__)

ROOT: Final = "/dicom-web"
BODY_LIMIT: Final = 4 << 30
"""Octets of one STOW-RS request; they go to disk as they come."""

STUDY: Final = "/studies/{study}"
SERIES: Final = STUDY + "/series/{series}"
INSTANCE: Final = SERIES + "/instances/{instance}"
WORKITEM: Final = "/workitems/{workitem}"
SUBSCRIBER: Final = WORKITEM + "/subscribers/{aetitle}"


class Transaction(NamedTuple):
    """One row: a method on an address, and the transaction of PS3.18 that it is."""

    method: str
    address: str
    interaction: str
    answer: Answer


TRANSACTIONS: Final = (
    Transaction("GET",  "/studies",                             "QIDO-RS", qido.studies),
    Transaction("GET",  "/series",                              "QIDO-RS", qido.series),
    Transaction("GET",  "/instances",                           "QIDO-RS", qido.instances),
    Transaction("GET",  STUDY + "/series",                      "QIDO-RS", qido.series),
    Transaction("GET",  STUDY + "/instances",                   "QIDO-RS", qido.instances),
    Transaction("GET",  SERIES + "/instances",                  "QIDO-RS", qido.instances),
    Transaction("GET",  STUDY,                                  "WADO-RS", wado.instances),
    Transaction("GET",  SERIES,                                 "WADO-RS", wado.instances),
    Transaction("GET",  INSTANCE,                               "WADO-RS", wado.instances),
    Transaction("GET",  STUDY + "/metadata",                    "WADO-RS", wado.metadata),
    Transaction("GET",  SERIES + "/metadata",                   "WADO-RS", wado.metadata),
    Transaction("GET",  INSTANCE + "/metadata",                 "WADO-RS", wado.metadata),
    Transaction("GET",  INSTANCE + "/frames/{frames}",          "WADO-RS", wado.frame_list),
    Transaction("GET",  STUDY + "/rendered",                    "WADO-RS", rendered.several),
    Transaction("GET",  SERIES + "/rendered",                   "WADO-RS", rendered.several),
    Transaction("GET",  INSTANCE + "/rendered",                 "WADO-RS", rendered.instance),
    Transaction("GET",  INSTANCE + "/frames/{frames}/rendered", "WADO-RS", rendered.instance),
    Transaction("GET",  STUDY + "/thumbnail",                   "WADO-RS", rendered.thumbnail),
    Transaction("GET",  SERIES + "/thumbnail",                  "WADO-RS", rendered.thumbnail),
    Transaction("GET",  INSTANCE + "/thumbnail",                "WADO-RS", rendered.thumbnail),
    Transaction("GET",  INSTANCE + "/frames/{frames}/thumbnail", "WADO-RS", rendered.thumbnail),
    Transaction("GET",  STUDY + "/bulk/{instance}/{place}",       "WADO-RS", wado.bulk_data),
    Transaction("GET",  "/wado",                                "WADO-RS", wado_uri.retrieve),
    Transaction("POST", "/studies",                             "STOW-RS", stow.store),
    Transaction("POST", STUDY,                                  "STOW-RS", stow.store),
    Transaction("POST", "/workitems",                           "UPS-RS", ups.create),
    Transaction("GET",  "/workitems",                           "UPS-RS", ups.search),
    Transaction("GET",  WORKITEM,                               "UPS-RS", ups.retrieve),
    Transaction("POST", WORKITEM,                               "UPS-RS", ups.update),
    Transaction("PUT",  WORKITEM + "/state",                    "UPS-RS", ups.change_state),
    Transaction("POST", WORKITEM + "/cancelrequest",            "UPS-RS", ups.request_cancellation),
    Transaction("POST", SUBSCRIBER, "UPS-RS", ups_subscribers.subscribe),
    Transaction("DELETE", SUBSCRIBER, "UPS-RS", ups_subscribers.unsubscribe),
    Transaction("POST", SUBSCRIBER + "/suspend", "UPS-RS", ups_subscribers.suspend),
    Transaction("GET", "/subscribers/{aetitle}", "UPS-RS", ups_subscribers.connect),
)  # fmt: skip
"""PS3.18 Tables 10.4.1-1, 10.5.1-1, 10.6.1-1 and 11.3-1, and 9.1 (WADO-URI, audited as WADO-RS)."""

STRANGER: Final = Principal("", None, "", Scopes(()))
"""Who asks as long as no token says who."""


def routes(
    bridge: Bridge, checker: TokenChecker, *, base_url: str, body_limit: int = BODY_LIMIT
) -> list[Route]:
    """Make the routes of the service, to be put into the application as they are.

    The capabilities (PS3.18 Section 8.9) tell of no patient, and need a token all the same.

    Parameters
    ----------
    base_url
        The public address of the server without a path, such as ``https://records.example``.
    body_limit
        Octets that one STOW-RS request may have.
    """
    web = Web(bridge, checker, base_url.rstrip("/") + ROOT, body_limit)
    made = [
        Route(ROOT + row.address, _door(web, row), methods=[row.method], name=row.interaction)
        for row in TRANSACTIONS
    ]
    asked = Transaction("OPTIONS", "", "WADO-RS", partial(capabilities.retrieve, TRANSACTIONS))
    made += [
        Route(ROOT + end, _AnyMethod(_door(web, asked)), methods=["OPTIONS"]) for end in ("", "/")
    ]
    known = list(made)
    other = Transaction("", "", "WADO-RS", partial(elsewhere, known))
    return [*made, Route(ROOT + "/{elsewhere:path}", _AnyMethod(_door(web, other)))]


async def elsewhere(known: Sequence[Route], call: Call) -> Response:
    """Answer what no transaction is: another method on an address (405), or another address."""
    scope = call.request.scope
    near = [route for route in known if route.matches(scope)[0] is Match.PARTIAL]
    allowed = sorted({method for route in near for method in route.methods or ()})
    if allowed:
        raise MethodNotAllowed(allowed)
    raise NotFound("There is nothing at this address")


class _AnyMethod:
    """A door for whatever method; a function would be taken for one that answers GET."""

    def __init__(self, door: Callable[[Request], Awaitable[Response]]) -> None:
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._door(Request(scope, receive))
        await response(scope, receive, send)


def _door(web: Web, row: Transaction) -> Callable[[Request], Awaitable[Response]]:
    async def door(request: Request) -> Response:
        call = Call(web, request, _stranger(request, row.interaction))
        try:
            call.context = bearer.context_of(request.scope, web.checker, row.interaction)
            web.checker.limits.admit(call.context.principal)
            response = await row.answer(call)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            response = problems.answer(error, call.context.request_id)
            goes_on = isinstance(error, Throttled) and not error.begins
            if isinstance(error, Refusal) and not call.handed_over and not goes_on:
                await _audit(call, error)
        response.headers["X-Request-Id"] = call.context.request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return door


def _stranger(request: Request, interaction: str) -> RequestContext:
    origin = request.client.host if request.client else ""
    return RequestContext(STRANGER, interaction, origin, bearer.request_id(request.scope))


async def _audit(call: Call, refusal: Refusal) -> None:
    """Keep what was refused before the store saw it: attempts matter most.

    An address may hold what no text of the database can. Where the ledger cannot be reached, the
    first refusal is still the one to be told.
    """
    step = getattr(refusal, "step", "")
    entry = ledger.entry(
        call.context,
        outcome=ledger.MINOR_FAILURE,
        type="ImagingStudy",
        query=call.request.scope["path"][:500].replace("\0", "\N{REPLACEMENT CHARACTER}"),
        detail=f"{refusal.__class__.__name__} {step}".strip(),
    )
    try:
        await call.web.bridge.ledger.append(entry)
    except Refusal:
        _log.error("refusal not audited", extra={"request": call.context.request_id})
