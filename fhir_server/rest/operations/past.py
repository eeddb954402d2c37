"""The record of an asker as it was: versions of a resource, and what stood at an instant.

FHIR R4 http, "history", "vread". All of it is asked of the store, in the asker's name.
"""

from typing import Final

from fhir_server.context import RequestContext
from fhir_server.rest.exchange import Request, Server
from fhir_server.search import query as queries
from fhir_server.search.stored import Stored
from fhir_server.store.history import Cut
from fhir_server.store.store import Store
from resources import references
from resources.errors import Forbidden, Gone, NotFound, TooLarge
from resources.references import Reference

MOST: Final = 1000
"""Resources, versions or accesses that are looked at at once."""


class Past:
    """What somebody sees of the record, now and then."""

    def __init__(self, server: Server, request: Request) -> None:
        self._store: Store = server.store
        self._context: RequestContext = request.context
        self._base = server.base_url

    def parsed(self, literal: str) -> Reference | None:
        """Read a reference; None if it is none that is kept here."""
        found = references.parse(literal, self._base)
        return None if found is None or found.base else found

    async def versions(self, type: str, id: str) -> list[Stored]:
        """Give all versions of a resource, the oldest first.

        Raises
        ------
        NotFound
            There is no such resource, or none that the asker may see.
        TooLarge
            They are more than `MOST`.
        """
        page = await self._store.history(self._context, type, id, Cut(MOST))
        if page.next is not None:
            raise TooLarge(f"There are more than {MOST} versions.", code="too-costly")
        return page.matches[::-1]

    async def search(self, type: str, *criteria: tuple[str, str]) -> list[Stored]:
        """Give all that a search finds.

        Raises
        ------
        TooLarge
            That is more than `MOST`.
        """
        pairs = [*criteria, ("_count", str(MOST))]
        query = queries.parse(type, pairs, strict=True, own_base=self._base)
        page = await self._store.search(self._context, query)
        if page.next is not None:
            raise TooLarge(f"There are more than {MOST} {type} to look at.", code="too-costly")
        return page.matches

    async def version(self, type: str, id: str, version: int) -> Stored | None:
        """Give one version, or None if the asker may not see it."""
        try:
            return await self._store.vread(self._context, type, id, version)
        except (NotFound, Gone, Forbidden):
            return None

    async def before(self, now: Stored, instant: int) -> Stored | None:
        """Give a resource as it stood before an instant, or None if it was not there yet."""
        if now.instant < instant:
            return now
        cut = Cut(1, high=instant - 1)
        page = await self._store.history(self._context, now.type, now.id, cut)
        return page.matches[0] if page.matches else None
