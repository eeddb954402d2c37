"""create: a new resource under an id that the server gives (FHIR http, "create").

An id in the body is ignored, as is its meta.versionId and meta.lastUpdated: "If an id is
provided, the server SHALL ignore it".
"""

from fhir_server.rest import incoming, representation
from fhir_server.rest.exchange import Answer, Request, Server
from resources.errors import Unsupported


async def create(server: Server, request: Request) -> Answer:
    """Store the body as a new resource.

    Raises
    ------
    Unsupported
        With If-None-Exist: a conditional create that is not conditional would make duplicates.
    """
    refuse_condition(request)
    content = await incoming.resource(request)

    request.handed_over = True
    async with server.store.begin(request.context) as work:
        stored = await work.create(content)

    return representation.written(server, request, stored)


def refuse_condition(request: Request) -> None:
    """Refuse If-None-Exist rather than forget it."""
    if "if-none-exist" in request.headers:
        raise Unsupported("Conditional create is not supported.", request.place_of("If-None-Exist"))
