"""$get-ws-binding-token: a token by which a socket is bound to subscriptions of the asker's.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, OperationDefinition
  backport-subscription-get-ws-binding-token
"""

from typing import Final

from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations import parameters
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from resources.content import written_instant
from subscriptions.channels import websocket

TAKES: Final = (Taken("id", "id", 0, "*"),)

GIVES: Final = (
    Taken("token", "string", 1),
    Taken("expiration", "dateTime", 1),
    Taken("subscription", "string", 0, "*"),
    Taken("websocket-url", "url", 1),
)


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer a token for the subscription of the address, or for those that are named, or all."""
    ids = [request.id] if request.id else given.listed("id")
    request.handed_over = True
    bound = await server.subscriptions.binding_token(request.context, ids)
    address = f"ws{server.base_url.removeprefix('http')}{websocket.PATH}"
    body = parameters.written([
        ("token", "String", bound.token),
        ("expiration", "DateTime", written_instant(bound.expires)),
        *(("subscription", "String", id) for id in bound.subscriptions),
        ("websocket-url", "Url", address),
    ])  # fmt: skip
    headers = ((b"cache-control", b"no-store"),)
    return Result(Answer(200, body, headers), hits=len(bound.subscriptions))
