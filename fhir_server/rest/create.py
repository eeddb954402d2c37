"""create: a new resource under an id that the server gives (FHIR http, "create").

An id in the body is ignored, as is its meta.versionId and meta.lastUpdated: "If an id is
provided, the server SHALL ignore it". With If-None-Exist it is written unless there is one already:
"No matches: The server processes the create as above; One Match: The server ignores the post and
returns 200 OK; Multiple matches: The server returns a 412".
"""

from fhir_server.rest import conditions, incoming, representation
from fhir_server.rest.exchange import Answer, Request, Server


async def create(server: Server, request: Request) -> Answer:
    """Store the body as a new resource, or answer the one that is there already."""
    condition = conditions.if_none_exist(server, request)
    content = await incoming.resource(request)

    request.handed_over = True
    async with server.store.begin(request.context) as work:
        held = None
        if condition is not None:
            await work.hold([condition])
            held = await work.sole(condition, request.place_of("If-None-Exist"))
        stored = held or await work.create(content)

    return representation.written(server, request, stored, held=held is not None)
