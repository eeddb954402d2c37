"""Bearer: the Authorization header of an HTTP request, turned into a RequestContext.

RFC 6750 Section 2.1: the token travels in the Authorization header. The other two ways it names,
a form field and the query string, are not taken: query strings end in logs.
"""

import re
import secrets
from typing import Final

from starlette.types import Scope

from fhir_server.access.token import TokenChecker
from fhir_server.context import RequestContext
from resources.errors import Unauthenticated

REQUEST_ID: Final = "isocentre.request_id"
"""Key of the ASGI scope under which the request id stands once it is settled."""

_ACCEPTABLE: Final = re.compile(r"[A-Za-z0-9._:/-]{1,64}")


def context_of(scope: Scope, checker: TokenChecker, interaction: str) -> RequestContext:
    """Say who sent this request, or refuse it.

    Parameters
    ----------
    scope
        The ASGI scope. Only its headers and the address of the caller are read: never ``Host``,
        and never a header by which a caller could claim another address.
    interaction
        As in `RequestContext`.

    Raises
    ------
    Unauthenticated
        No bearer token, more than one Authorization header, or a token that is not valid.
    """
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) != 1:
        raise Unauthenticated("an access token is needed", code="login")
    scheme, _, token = given[0].decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("an access token is needed", code="login")
    principal = checker.check(token.strip())
    client = scope.get("client")
    return RequestContext(principal, interaction, client[0] if client else "", request_id(scope))


def request_id(scope: Scope) -> str:
    """Give the id of this request: the caller's X-Request-Id if it is a plain word, else ours.

    IHE BALP asks that the id a client sends is kept, so that both sides' records can be joined.
    """
    settled = scope.get(REQUEST_ID)
    if isinstance(settled, str):
        return settled
    sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"]
    word = sent[0] if sent and _ACCEPTABLE.fullmatch(sent[0]) else secrets.token_hex(16)
    scope[REQUEST_ID] = word
    return word
