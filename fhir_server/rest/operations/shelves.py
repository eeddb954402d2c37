"""The code systems and value sets that an asker can use: those held, and those stored.

What is stored is read through the store: gated, audited, and only what the question needs.

References
----------
* FHIR R4 terminology-service; CodeSystem and ValueSet by their canonical URL
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fhir_server.access import gate
from fhir_server.rest.exchange import Request, Server
from fhir_server.search import query as queries
from resources.errors import Forbidden, Invalid
from resources.terminology.library import Library

Json = Mapping[str, Any]
Wanted = tuple[str, str]

MOST: Final = 50
"""Stored resources that one question may need."""


async def library(
    server: Server, request: Request, wanted: Iterable[Wanted], given: Iterable[Json] = ()
) -> Library:
    """Make a library in which these are found, if they are to be had, and all that they need.

    Parameters
    ----------
    wanted
        Type and canonical URL of each.
    given
        Resources that came with the question; they win over what is stored.

    Raises
    ------
    Invalid
        It needs more than `MOST` stored resources.
    """
    found: list[Json] = [each for each in given if "url" in each]
    shelf = Library(found)
    asked: set[Wanted] = set()
    waiting = {(type, url.partition("|")[0]) for type, url in wanted if url}
    for each in given:
        waiting |= shelf.needs(each)
    while waiting := {each for each in waiting if each not in asked and not shelf.has(*each)}:
        asked |= waiting
        if len(asked) > MOST:
            raise Invalid(f"It needs more than {MOST} stored value sets.", code="too-costly")
        new = [one for each in sorted(waiting) if (one := await _stored(server, request, *each))]
        found += new
        shelf = Library(found)
        waiting = {each for one in new for each in shelf.needs(one)}
    return shelf


async def _stored(server: Server, request: Request, type: str, url: str) -> Json | None:
    """Read the stored resource of a canonical URL: an active one before others."""
    try:
        gate.reach(request.context, "s", type)
    except Forbidden:
        return None
    asked = [("url", url), ("_sort", "-_lastUpdated"), ("_count", "20")]
    query = queries.parse(type, asked, own_base=server.base_url)
    page = await server.store.search(request.context, query)
    listed = [stored.json for stored in page.matches]
    active = [each for each in listed if each.get("status") == "active"]
    return next(iter(active or listed), None)
