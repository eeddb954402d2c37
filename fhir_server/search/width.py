"""How many rows a query is expected to find, by what PostgreSQL knows of the terms.

ANALYZE, which autovacuum runs as a table changes, notes the terms that most rows have and how many
have each. A query all of whose terms are among those of very many rows is wide: its page is found
sooner by walking an index in the order asked for than by collecting every match first. What the
statistics say decides the way alone, never the answer, and is told to nobody.

References
----------
* PostgreSQL documentation: "pg_stats" (most_common_elems), "Statistics Used by the Planner"
"""

import time
from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from fhir_server.postgres.database import Database
from fhir_server.search import hops
from fhir_server.search.criteria import CHECKED, CHECKS
from fhir_server.search.criterion import Criterion
from fhir_server.search.query import Query
from fhir_server.search.shape import finds

WIDE: Final = 20_000
"""Rows that are collected in a moment; a page of more than these is better walked."""

SECONDS: Final = 60
"""How long what was read of the statistics is used."""

INDEXED: Final = frozenset({"c.instant", "c.sort_at"})
"""Keys of an order that there is an index on, behind the type."""

COMMON_TERMS: Final = """
select e.term, (e.share * c.reltuples)::bigint
  from pg_stats s
  join pg_class c on c.oid = to_regclass(quote_ident(s.schemaname) || '.current')
 cross join unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) e(term, share)
 where s.tablename = 'current' and s.attname = 'terms' and s.schemaname = current_schema()
   and e.term is not null and e.share * c.reltuples > $1::bigint
"""

Rows: TypeAlias = Mapping[str, int]
"""A term that very many rows have -> how many."""

_read: WeakKeyDictionary[Database, tuple[float, Rows]] = WeakKeyDictionary()


async def is_wide(database: object, query: Query) -> bool:
    """Whether a query is expected to find so much that its page is better walked.

    Within a transaction nothing is: what is asked there names what it looks for.
    """
    if not isinstance(database, Database) or not _may_walk(query):
        return False
    common = await _common(database)
    return bool(common) and all(_is_wide(each, query.type, common) for each in query.criteria)


def _may_walk(query: Query) -> bool:
    """Whether there is an index in the order asked for, and nothing that needs all matches."""
    if not query.type or not query.count or query.total not in (None, "none"):
        return False
    if query.pinned is not None or not any(finds(each) for each in query.criteria):
        return False
    begins_at_a_value = query.cursor is None or query.cursor[0] is not None
    in_order = len(query.sort) < 2 and query.keys[0].value in INDEXED
    return begins_at_a_value and in_order


async def _common(database: Database) -> Rows:
    now = time.monotonic()
    read, rows = _read.get(database, (-float(SECONDS), {}))
    if now - read >= SECONDS:
        rows = dict(await database.run(COMMON_TERMS, [WIDE]))
        _read[database] = now, rows
    return rows


def _is_wide(criterion: Criterion, type: str, common: Rows) -> bool:
    """Whether a criterion leaves very many rows, or only checks what others find."""
    if criterion.either:
        return all(_is_wide(each, type, common) for each in criterion.either)
    if criterion.chain is not None:
        return not criterion.chain.back and not hops.names(criterion)
    if criterion.modifier in CHECKS or criterion.code in CHECKED or criterion.kind == "date":
        return True
    if not finds(criterion) or criterion.code == "_id":
        return False
    values: dict[str, Any] = hops.bind(criterion, (type,), "", 0)
    return sum(common.get(term, 0) for term in values["terms"]) > WIDE
