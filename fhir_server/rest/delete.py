"""delete: a version that says that a resource is no more (FHIR http, "delete").

"Upon successful deletion, or if the resource does not exist at all, the server should return ...
204". What the asker may not see does not exist for it, and stays; the audit knows the difference.
A condition may name one resource, never several (FHIR http, "conditional delete": 412).
"""

from fhir_server.rest import conditions, preconditions, representation
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.search.stored import Stored
from resources.errors import NotFound


async def delete(server: Server, request: Request) -> Answer:
    """Delete the resource of the address; its versions stay."""
    if_match = preconditions.if_match(request.headers.get("if-match"), request.place_of("If-Match"))
    deleted: Stored | None = None

    request.handed_over = True
    try:
        async with server.store.begin(request.context) as work:
            deleted = await work.delete(request.type, request.id, if_match)
    except NotFound:
        pass

    return representation.deleted(request, deleted)


async def delete_where(server: Server, request: Request) -> Answer:
    """Delete the one resource that meets the condition, if there is one."""
    condition = conditions.of_address(server, request)
    if_match = preconditions.if_match(request.headers.get("if-match"), request.place_of("If-Match"))
    deleted: Stored | None = None

    request.handed_over = True
    async with server.store.begin(request.context) as work:
        await work.hold([condition])
        found = await work.sole(condition, request.place_of("url") if request.at else "")
        if found is not None:
            deleted = await work.delete(request.type, found.id, if_match)

    return representation.deleted(request, deleted)
