"""read and vread: one version of a resource (FHIR http, "read", "vread")."""

from fhir_server.rest import representation
from fhir_server.rest.exchange import Answer, Request, Server
from resources.errors import NotFound


async def read(server: Server, request: Request) -> Answer:
    """Answer the current version; 404 if there is none, 410 if it was deleted."""
    request.handed_over = True
    stored = await server.store.read(request.context, request.type, request.id)
    return representation.found(request, stored)


async def vread(server: Server, request: Request) -> Answer:
    """Answer the version named; 410 if that version says that the resource was deleted."""
    number = version_number(request.version)
    request.handed_over = True
    stored = await server.store.vread(request.context, request.type, request.id, number)
    return representation.found(request, stored)


def version_number(text: str) -> int:
    """Read a version id; those we give are numbers from 1, so nothing else exists.

    Examples
    --------
    >>> version_number("12")
    12
    """
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise NotFound("There is no such version.")
    return int(text)
