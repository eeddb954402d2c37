"""Query -> one SQL statement: matches, their number, the page, its bodies, includes, audit row.

The text depends on the `Shape` of a query alone and is made once a shape; values are parameters,
so that PostgreSQL keeps the plan. The steps of a statement::

    m      all matches that may be seen: id, key and the sort values s1, s2, ...
    p      the rows after the cursor, one more than the page has
    page   the rows of the page
    i      what the page includes
    a      the audit row

What is about one patient walks the index on (type, patient), and everything else is checked on the
few rows that it finds: the ``offset 0`` keeps the planner from the far larger term lists. A query
without criteria that asks for no total walks an index in order and counts nothing; so does one
that very many rows meet (`search.walk`).
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from fhir_server.access.gate import Reach
from fhir_server.search import hops, include, page, reach, walk
from fhir_server.search.query import COMMON, Group, Query
from fhir_server.search.reach import Place
from fhir_server.search.shape import Row, Shape, shape_of

SHAPES: Final = 2000
"""Texts kept; a client that varies its queries without end makes us forget, not grow."""


class Statement(NamedTuple):
    """A text, and the names of its parameters in order."""

    text: str
    names: tuple[str, ...]


def statement(
    query: Query,
    instant: int,
    reaches: Mapping[str, Reach | None],
    row: Row | None = None,
    *,
    bodies: bool = True,
    walks: bool = False,
) -> tuple[str, list[Any]]:
    """Compile a query.

    Its rows begin with a part and a number. The page is ``(0, n, ...)`` and what it includes
    ``(1, n, ...)``, each with type, id, version, instant, interaction and body, which is null if
    bodies are not wanted. The last row is ``(2, number of matches or -1, ...)``; its version is the
    number of rows of p, and after the body come the sort values of the last row of the page.

    Parameters
    ----------
    query
        Narrowed by the gate.
    instant
        Now, in microseconds since 1970 UTC.
    reaches
        How far each other type is seen that the query `touches`; None for not at all.
    row
        What the ledger is to say; its `hits` are filled in.
    walks
        So many rows are expected that the page is looked for in order.
    """
    groups = include.groups(include.brought_in(query), reaches) if query.includes else []
    sql, names = compiled(shape_of(query, reaches, groups, row, bodies, walks))
    values = _values(query, instant, reaches, groups, row)
    return sql, [values[name] for name in names]


@lru_cache(maxsize=SHAPES)
def compiled(shape: Shape) -> Statement:
    """Write the statement of a shape."""
    places: dict[str, str] = {}

    def place(name: str) -> str:
        return places.setdefault(name, f"${len(places) + 1}")

    keys = page.keys(shape.type, shape.sort, shape.pinned is not None)
    matches = _matches(shape, keys, place)
    whole = shape.counted or bool(shape.slots)
    steps = [f"m as materialized ({matches})"] if whole else []
    if shape.walks:
        steps += _walk(shape, keys, place)
    steps += _page(shape, keys, "m" if whole else f"({matches}) m", place)
    included = [] if shape.empty else include.steps(shape.type, shape.included, place)
    steps += included
    number, total = "(select count(*) from page)", "-1"
    if shape.counted:
        number = total = "(select count(*) from m)"
    if shape.counted and shape.walks:
        walked = "case when (select is_page from ok) then"
        number = f"({walked} (select count(*) from page) else {number} end)"
        total = f"({walked} -1 else {total} end)"
    if shape.audited:
        steps.append(f"a as ({_audit(shape.audited, number, place)})")
    rows = _rows(shape, keys, total, bool(included))
    return Statement(f"with {', '.join(steps)} {rows}", tuple(places))


def _matches(shape: Shape, keys: Sequence[page.Key], place: Place) -> str:
    sorted_by = ", ".join(f"{key.value} as s{n}" for n, key in enumerate(keys, 1))
    if not shape.type:
        return _of_several(shape, sorted_by, place)
    source, about = "current", None
    conditions = [f"c.type = '{shape.type}'", "not c.deleted"]
    if shape.pinned is not None:
        about = f"{place('patient')}::text"
        source = (
            f"(select * from current where type = '{shape.type}' and patient = {about}"
            " and not deleted offset 0)"
        )
        conditions = []
    conditions.append(_conditions(shape, place, about))
    return f"select c.id, c.key, {sorted_by} from {source} c where {' and '.join(conditions)}"


def _conditions(shape: Shape, place: Place, about: str | None = None) -> str:
    """Write what a row of the one type must meet and, last, the gate."""
    conditions = [
        hops.text(slot, shape.type, "c", f"c{n}.", place)
        for n, slot in enumerate(shape.slots)
        if n != shape.pinned
    ]
    conditions.append(reach.text(shape.extents[0], "c", "reach.", place, about))
    return " and ".join(conditions)


def _walk(shape: Shape, keys: Sequence[page.Key], place: Place) -> list[str]:
    after = [f"{place(f'after{n}')}::bigint" for n, _ in enumerate(shape.missing or ())]
    size = f"{place('count')}::bigint"
    return walk.steps(shape.type, keys, after, _conditions(shape, place, walk.ABOUT), size)


def _of_several(shape: Shape, sorted_by: str, place: Place) -> str:
    """Write the matches of several types, group by group of those that are seen equally far."""
    parts = []
    for g, extent in enumerate(shape.extents):
        conditions = [f"c.type = any({place(f'types{g}')}::text[])", "not c.deleted"]
        conditions += [
            hops.text(slot, COMMON, "c", f"g{g}.c{n}.", place) for n, slot in enumerate(shape.slots)
        ]
        conditions.append(reach.text(extent, "c", f"reach{g}.", place))
        parts.append(
            f"select c.id, c.key, {sorted_by} from current c where {' and '.join(conditions)}"
        )
    return " union all ".join(parts)


def _page(shape: Shape, keys: Sequence[page.Key], source: str, place: Place) -> list[str]:
    columns = ", ".join(["id", "key", *(f"s{n}" for n in range(1, len(keys) + 1))])
    where = ""
    if shape.missing is not None:
        types = ["text" if key.is_text else "bigint" for key in keys]
        places = [
            "" if is_missing else f"{place(f'after{n}')}::{types[n]}"
            for n, is_missing in enumerate(shape.missing)
        ]
        where = f" where {page.after(keys, shape.missing, places)}"
    ordered = page.order(keys)
    size = f"{place('count')}::bigint"
    rows = f"select {columns} from {source}{where} order by {ordered} limit {size} + 1"
    if shape.walks:
        instead = f"from {source} where not (select is_page from ok)"
        if where:
            instead += f" and {where.removeprefix(' where ')}"
        rows = (
            f"(select {columns} from w where (select is_page from ok)) union all"
            f" (select {columns} {instead} order by {ordered} limit {size} + 1)"
        )
    return [
        f"p as materialized (select q.*, row_number() over (order by {ordered}) as n"
        f" from ({rows}) q)",
        f"page as materialized (select * from p where n <= {size})",
    ]


def _audit(columns: Sequence[str], number: str, place: Place) -> str:
    values = ", ".join(
        number if column == "hits" else place(f"audit.{column}") for column in columns
    )
    return f"insert into audit({', '.join(columns)}) select {values}"


def _rows(shape: Shape, keys: Sequence[page.Key], total: str, with_included: bool) -> str:
    last = ", ".join(f"l.s{n}" for n in range(1, len(keys) + 1))
    nothing = ", ".join(f"null::{'text' if key.is_text else 'bigint'}" for key in keys)
    parts = [
        f"select 2 as part, {total}, null::text, null::text, (select count(*)::integer from p),"
        f" null::bigint, null::text, null::bytea, {last}"
        " from (select) one left join (select * from page order by n desc limit 1) l on true"
    ]
    body = "v.body" if shape.bodies else "null::bytea"
    version = "select * from version v where v.key ="
    wanted = [] if shape.empty else [(0, "page")] + ([(1, "i")] if with_included else [])
    for part, source in wanted:
        parts.append(
            f"select {part}, r.n, v.type, v.id, v.version, v.instant, v.interaction::text, {body},"
            f" {nothing} from {source} r"
            f" cross join lateral ({version} r.key offset 0) v"
        )
    return f"{' union all '.join(parts)} order by 1, 2"


def _values(
    query: Query,
    instant: int,
    reaches: Mapping[str, Reach | None],
    groups: Sequence[Group],
    row: Row | None,
) -> dict[str, Any]:
    """Everything that a text may ask for, by name."""
    values: dict[str, Any] = {"count": query.count}
    if query.reach is not None:
        values |= reach.bind(query.reach, query.type, instant, "reach.")
        for n, criterion in enumerate(query.criteria):
            values |= hops.bind(criterion, (query.type,), f"c{n}.", instant)
    for g, several in enumerate(query.groups):
        values[f"types{g}"] = list(several.types)
        values |= reach.bind(several.reach, several.types[0], instant, f"reach{g}.")
        for n, criterion in enumerate(query.criteria):
            values |= hops.bind(criterion, several.types, f"g{g}.c{n}.", instant)
    for type in query.led_to.union(each.source for each in query.revincludes):
        its_reach = reaches.get(type)
        if its_reach is not None:
            values |= reach.bind(its_reach, type, instant, f"reach.{type}.")
    for n, group in enumerate(groups):
        values[f"group{n}.types"] = list(group.types)
        values |= reach.bind(group.reach, group.types[0], instant, f"group{n}.")
    for n, value in enumerate(query.cursor or ()):
        values[f"after{n}"] = value
    if (pinned := query.pinned) is not None:
        (references,) = query.criteria[pinned].values
        assert isinstance(references, tuple)
        values["patient"] = str(references[0]).partition("/")[2]
    if row is not None:
        values |= {f"audit.{column}": value for column, value in row._asdict().items()}
    return values
