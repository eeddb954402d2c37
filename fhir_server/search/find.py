"""Ask the database: one statement, one page.

References
----------
* FHIR http, "search"; FHIR R4 search, "Server Conformance"
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from fhir_server.access import gate
from fhir_server.access.gate import Reach
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.search import include, page
from fhir_server.search.compile import statement
from fhir_server.search.query import Group, Query
from fhir_server.search.returned import included_types
from fhir_server.search.shape import Row
from fhir_server.search.stored import Stored
from fhir_server.search.terms import initials
from fhir_server.search.width import is_wide
from resources.errors import Exhausted, Forbidden


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
    cut
        There was more to include than one page may.
    """

    matches: list[Stored]
    included: list[Stored]
    total: int | None
    next: str | None
    cut: bool = False


SECONDS: Final = 4.0
"""No search takes longer: a client would not wait, and others would have to."""

HINT: Final = (
    "The search takes too long. Name a patient, an organisation, a date or a status that fewer"
    " resources have, ask for fewer types, or follow fewer references."
)


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Break off what takes too long; the database is told to stop.

    Raises
    ------
    Exhausted
        It took too long.
    """
    try:
        async with asyncio.timeout(SECONDS):
            yield
    except TimeoutError:
        raise Exhausted(HINT, code="too-costly") from None


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
    async with in_time():
        walks = await is_wide(database, query)
        sql, params = statement(query, context.instant, seen, row, walks=walks)
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
    return Page(matches, included[: include.MOST], total, next, len(included) > include.MOST)


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
    ids: list[str] = []
    next = None
    async with in_time():
        walks = await is_wide(database, query)
        sql, params = statement(query, context.instant, seen, row, bodies=False, walks=walks)
        rows = await database.run(sql, params)
    for part, _, *columns in rows:
        if part == 0:
            ids.append(columns[1])
        elif part == 2 and query.count and columns[2] > query.count:
            next = page.encode(tuple(columns[6:]))
    return ids, next


def narrow(query: Query, context: RequestContext) -> Query:
    """Fasten to a query on one type or several how far each may be seen.

    Of several types those that may not be searched are left out.

    Raises
    ------
    Forbidden
        None of the types may be searched.
    """
    if query.type:
        return gate.narrow(context, query)
    reaches: dict[str, Reach | None] = {}
    refused: Forbidden | None = None
    for type in query.types:
        try:
            reaches[type] = gate.reach(context, "s", type)
        except Forbidden as refusal:
            refused = refused or refusal
    if refused and not reaches:
        raise refused
    apart = [
        Group(types, group.reach)
        for group in include.groups(reaches, reaches)
        for types in _apart(group.types)
    ]
    return replace(query, groups=tuple(apart))


def _apart(types: Sequence[str]) -> list[tuple[str, ...]]:
    """Part types whose index terms begin alike: a term of one is not to find the other."""
    rows: list[dict[str, str]] = [{}]
    for type in types:
        row = next((row for row in rows if initials(type) not in row), None)
        if row is None:
            rows.append(row := {})
        row[initials(type)] = type
    return [tuple(row.values()) for row in rows if row]


def reached(query: Query, context: RequestContext) -> Mapping[str, Reach | None]:
    """Ask the gate how far the other types are seen that a query touches.

    An emergency is asked for each time: how far it sees depends on when that is.
    """
    if context.principal.emergency is not None:
        return {type: _reach(context, type) for type in query.touches}
    return _reached(context.principal, query.touches)


def unseen(query: Query, context: RequestContext) -> list[str]:
    """Name the types that were asked to be included by name and may not be seen at all."""
    reaches = reached(query, context)
    named = [each.source for each in query.revincludes if each.named]
    for each in query.includes:
        brought_in = included_types(each)
        named += brought_in if len(brought_in) == 1 else ()
    return [type for type in dict.fromkeys(named) if reaches.get(type) is None]


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
