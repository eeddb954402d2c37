"""update: a new version of a resource, or the first one under an id of the client's choice.

FHIR http, "update", "update as create", "conditional update", "Managing Resource Contention". Where
If-Match is required (428) is for the store to say; it knows which types change hands.
"""

from fhir_server.rest import conditions, incoming, preconditions, representation
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.ids import require_valid_id


async def update(server: Server, request: Request) -> Answer:
    """Store the body under the id of the address; 201 if nothing was there, 200 otherwise."""
    require_valid_id(request.id)
    if_match = preconditions.if_match(request.headers.get("if-match"), request.place_of("If-Match"))
    first = preconditions.only_new(
        request.headers.get("if-none-match"), request.place_of("If-None-Match")
    )
    content = await incoming.resource(request)
    incoming.require_id(content, request.id)

    request.handed_over = True
    async with server.store.begin(request.context) as work:
        stored = await work.update(request.type, request.id, content, if_match, first=first)

    return representation.written(server, request, stored)


async def update_where(server: Server, request: Request) -> Answer:
    """Store the body as the one resource that meets the condition, or as a new one."""
    condition = conditions.of_address(server, request)
    at = request.place_of("url") if request.at else ""
    if_match = preconditions.if_match(request.headers.get("if-match"), request.place_of("If-Match"))
    content = await incoming.resource(request)
    if "id" in content.json:
        require_valid_id(content.json["id"])

    request.handed_over = True
    async with server.store.begin(request.context) as work:
        await work.hold([condition])
        id, first = await conditions.target(work, condition, content, if_match, at)
        if id:
            stored = await work.update(request.type, id, content, if_match, first=first)
        else:
            stored = await work.create(content)

    return representation.written(server, request, stored)
