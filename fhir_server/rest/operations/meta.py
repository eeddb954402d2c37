"""$meta: profiles, tags and labels of one resource.

References
----------
* FHIR R4 Resource, operation $meta
"""

from typing import Final

from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations import parameters
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken

TAKES: Final[tuple[Taken, ...]] = ()


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer the meta element of the resource as it is now."""
    request.handed_over = True
    stored = await server.store.read(request.context, request.type, request.id)
    meta = stored.json.get("meta", {})
    return Result(Answer(200, parameters.written([("return", "Meta", meta)])), hits=1)
