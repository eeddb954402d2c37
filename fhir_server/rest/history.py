"""history of one resource: all its versions, the newest first (FHIR http, "history")."""

from typing import Final

from fhir_server.rest import bundles
from fhir_server.rest.exchange import Answer, Request, Server
from resources.errors import Invalid, Unsupported

DEFAULT_COUNT: Final = 50
MAX_COUNT: Final = 1000

CURSOR: Final = "_cursor"
"""Where a next link keeps its place; opaque to clients."""


async def history(server: Server, request: Request) -> Answer:
    """Answer a page of the versions of one resource; a deletion is an entry without a resource.

    Raises
    ------
    Unsupported
        `_since` or `_at`: a history that is not cut as asked would mislead.
    """
    pairs = request.pairs()
    count, cursor = DEFAULT_COUNT, None
    for name, value in pairs:
        if name == "_count":
            count = page_size(value)
        elif name == CURSOR:
            cursor = value
        elif name in {"_since", "_at", "_list"}:
            raise Unsupported(f"History is not cut by {name}.", name)

    request.handed_over = True
    page = await server.store.history(request.context, request.type, request.id, count, cursor)

    base = f"{server.base_url}/{request.type}/{request.id}/_history"
    kept = [(name, value) for name, value in pairs if name == "_count"]
    links = [("self", bundles.address(base, kept))]
    if page.next:
        links.append(("next", bundles.address(base, [*kept, (CURSOR, page.next)])))
    entries = [bundles.past(server.base_url.encode(), row) for row in page.matches]
    return Answer(200, bundles.bundle(b"history", entries, total=page.total, links=links))


def page_size(text: str) -> int:
    """Read `_count`: a whole number from 1; more than `MAX_COUNT` gets `MAX_COUNT`.

    Examples
    --------
    >>> page_size("7"), page_size("999999")
    (7, 1000)
    """
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) < 1:
        raise Invalid("_count takes a whole number from 1.", "_count", code="value")
    return min(int(text), MAX_COUNT)
