"""update: a new version of a resource, or the first one under an id of the client's choice.

FHIR http, "update", "update as create", "Managing Resource Contention". Where If-Match is
required (428) is for the store to say; it knows which types change hands.
"""

from fhir_server.rest import incoming, preconditions, representation
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.ids import require_valid_id


async def update(server: Server, request: Request) -> Answer:
    """Store the body under the id of the address; 201 if nothing was there, 200 otherwise."""
    require_valid_id(request.id)
    if_match = preconditions.if_match(request.headers.get("if-match"), request.place_of("If-Match"))
    content = await incoming.resource(request)
    incoming.require_id(content, request.id)

    request.handed_over = True
    async with server.store.begin(request.context) as work:
        stored = await work.update(request.type, request.id, content, if_match)

    return representation.written(server, request, stored)
