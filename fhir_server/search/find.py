"""Ask the database: one statement, one page.

References
----------
* FHIR http, "search"; FHIR R4 search, "Server Conformance"
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from fhir_server.access import gate
from fhir_server.access.gate import Reach
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.search import page
from fhir_server.search.compile import Row, statement
from fhir_server.search.query import Query
from fhir_server.search.stored import Stored
from resources.errors import Forbidden


class Runs(Protocol):
    """What runs a statement: the database, or a transaction."""

    async def run(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and fetch its rows."""


class Page(NamedTuple):
    """A page of matches and what they include.

    Parameters
    ----------
    total
        The number of all matches, if it was counted.
    next
        The cursor of the page after this one, if there is one.
    """

    matches: list[Stored]
    included: list[Stored]
    total: int | None
    next: str | None


async def find(
    database: Runs,
    query: Query,
    context: RequestContext,
    *,
    row: Row | None = None,
    reaches: Mapping[str, Reach | None] | None = None,
) -> Page:
    """Search.

    Parameters
    ----------
    query
        Narrowed by the gate; without that it is refused.
    row
        What the ledger is to say of it, written by the same statement; `hits` is filled in: the
        number of matches, or of those on the page where nothing was counted.
    reaches
        How far the types are seen that chains and includes lead to; asked of the gate otherwise.
    """
    seen = reached(query, context) if reaches is None else reaches
    sql, params = statement(query, context.instant, seen, row)
    rows = await database.run(sql, params)
    matches: list[Stored] = []
    included: list[Stored] = []
    total, next = None, None
    for part, number, *columns in rows:
        if part == 2:
            total = number if number >= 0 else None
            if query.count and columns[2] > query.count:
                next = page.encode(tuple(columns[6:]))
        else:
            found = Stored._make((*columns[:5], columns[5] or b""))
            (included if part else matches).append(found)
    return Page(matches, included, total, next)


async def find_ids(
    database: Runs,
    query: Query,
    context: RequestContext,
    *,
    row: Row | None = None,
    reaches: Mapping[str, Reach | None] | None = None,
) -> list[str]:
    """Search for ids alone, in order; bodies stay where they are."""
    found, _ = await find_ids_paged(database, query, context, row=row, reaches=reaches)
    return found


async def find_ids_paged(
    database: Runs,
    query: Query,
    context: RequestContext,
    *,
    row: Row | None = None,
    reaches: Mapping[str, Reach | None] | None = None,
) -> tuple[list[str], str | None]:
    """Search for ids alone; with them the cursor of the page after this one, if there is one."""
    seen = reached(query, context) if reaches is None else reaches
    sql, params = statement(query, context.instant, seen, row, bodies=False)
    ids: list[str] = []
    next = None
    for part, _, *columns in await database.run(sql, params):
        if part == 0:
            ids.append(columns[1])
        elif part == 2 and query.count and columns[2] > query.count:
            next = page.encode(tuple(columns[6:]))
    return ids, next


def reached(query: Query, context: RequestContext) -> Mapping[str, Reach | None]:
    """Ask the gate how far the other types are seen that a query touches."""
    return _reached(context.principal, query.touches)


@lru_cache(maxsize=1000)
def _reached(principal: Principal, types: frozenset[str]) -> Mapping[str, Reach | None]:
    """Ask once for a principal and some types: an include may touch every type there is."""
    context = RequestContext(principal, "search-type")
    return MappingProxyType({type: _reach(context, type) for type in types})


def _reach(context: RequestContext, type: str) -> Reach | None:
    try:
        return gate.reach(context, "r", type)
    except Forbidden:
        return None
