"""Shape: a query without its values, on which the text of its statement depends.

Two queries of one shape are one prepared statement, whose plan PostgreSQL keeps.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from fhir_server.access.gate import Reach
from fhir_server.search import hops, include, reach
from fhir_server.search.criteria import BY_TERMS, CHECKED, CHECKS
from fhir_server.search.criterion import Criterion
from fhir_server.search.hops import Node
from fhir_server.search.include import Included
from fhir_server.search.page import Sort
from fhir_server.search.query import Group, Query
from fhir_server.search.reach import Extent


class Row(Protocol):
    """A row of the ledger: a named tuple of the columns of `audit`, `hits` among them."""

    @property
    def _fields(self) -> tuple[str, ...]: ...

    def _asdict(self) -> dict[str, Any]: ...


class Shape(NamedTuple):
    """All that the text of a statement depends on.

    Several types have an extent each group of them, one type its own.
    """

    type: str
    slots: tuple[Node, ...]
    pinned: int | None
    sort: tuple[Sort, ...]
    missing: tuple[bool, ...] | None
    counted: bool
    empty: bool
    extents: tuple[Extent, ...]
    included: Included
    audited: tuple[str, ...]
    bodies: bool
    walks: bool = False


def shape_of(
    query: Query,
    reaches: Mapping[str, Reach | None],
    groups: Sequence[Group],
    row: Row | None,
    bodies: bool,
    walks: bool = False,
) -> Shape:
    """Take the values of a query away.

    Parameters
    ----------
    walks
        So many rows meet it that the page is looked for in order (`search.walk`).
    """
    seen = [group.reach for group in query.groups] if query.types else [query.reach]
    extents = tuple(reach.extent(each) for each in seen if each is not None)
    if len(extents) < max(len(seen), 1):
        raise TypeError("the query has not been narrowed")
    pinned = query.pinned
    return Shape(
        query.type,
        _slots(query, pinned, reaches),
        pinned,
        query.sort,
        tuple(value is None for value in query.cursor) if query.cursor is not None else None,
        _counts(query),
        query.count == 0,
        extents,
        include.included(query, groups, reaches),
        row._fields if row is not None else (),
        bodies,
        walks,
    )


def _counts(query: Query) -> bool:
    """Whether all matches are counted: if asked for, or if they have to be found anyway."""
    if query.total is None:
        return bool(query.criteria) or query.count == 0
    return query.total != "none"


def _slots(
    query: Query, pinned: int | None, reaches: Mapping[str, Reach | None]
) -> tuple[Node, ...]:
    """Take the values of the criteria away, and say which one leads if no term does."""
    led = pinned is not None or any(finds(each) for each in query.criteria)
    slots = []
    for criterion in query.criteria:
        can_lead = criterion.modifier not in CHECKS and criterion.code not in CHECKED
        slots.append(hops.node(criterion, can_lead and not led, reaches))
        led = led or can_lead
    return tuple(slots)


def finds(criterion: Criterion) -> bool:
    """Whether a criterion can use the index on terms or the primary key."""
    is_plain = criterion.chain is None and not criterion.modifier and not criterion.either
    return is_plain and (criterion.kind in BY_TERMS or criterion.kind == "compartment")
