"""_include and _revinclude: what the matches of a page refer to, and what refers to them.

Both go by the reference terms of the index. What is included passes the same reach as if it had
been searched for; types that the principal may not see at all are left out silently. A resource
that is a match is not included once more, and nothing is included twice.

Includes go in rounds: the first begins at the matches, each further one, for ``:iterate``, at
what the round before brought in.

References
----------
* FHIR R4 search, "Including other resources in result"
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from fhir_server.access.gate import Reach
from fhir_server.search import reach
from fhir_server.search.query import Group, Query
from fhir_server.search.reach import Extent, Place
from fhir_server.search.returned import Include, included_types
from fhir_server.search.terms import initials

MOST: Final = 1000
"""Resources included in one page; an outcome says if there were more."""

MOST_ROUNDS: Final = 5
"""How often ``:iterate`` is followed."""


class Forward(NamedTuple):
    """References to follow from one type: the prefixes of their terms."""

    type: str
    prefixes: tuple[str, ...]


class Backward(NamedTuple):
    """References that a type makes to one of `targets`, and how far the type is seen."""

    type: str
    prefixes: tuple[str, ...]
    targets: tuple[str, ...]
    extent: Extent


class Round(NamedTuple):
    """What one round follows."""

    ahead: tuple[Forward, ...]
    behind: tuple[Backward, ...]


class Included(NamedTuple):
    """All that a page includes.

    Parameters
    ----------
    seen
        How far each group of types is seen that may be brought in by reference.
    """

    rounds: tuple[Round, ...]
    seen: tuple[Extent, ...]


NOTHING: Final = Included((), ())


def groups(types: Iterable[str], reaches: Mapping[str, Reach | None]) -> list[Group]:
    """Sort types by how far they are seen; what is not seen at all is left out."""
    found: dict[Reach, list[str]] = {}
    for type in sorted(types):
        its_reach = reaches.get(type)
        if its_reach is not None:
            found.setdefault(its_reach, []).append(type)
    return [
        Group((type,), its_reach)
        for its_reach, types in found.items()
        if its_reach.only
        for type in types
    ] + [Group(tuple(types), its_reach) for its_reach, types in found.items() if not its_reach.only]


def brought_in(query: Query) -> frozenset[str]:
    """Name the types that _include may bring in."""
    return frozenset().union(*(included_types(each) for each in query.includes))


def included(query: Query, seen: Iterable[Group], reaches: Mapping[str, Reach | None]) -> Included:
    """Say what is to be followed in which round."""
    if not (query.includes or query.revincludes):
        return NOTHING
    extents = tuple(reach.extent(group.reach) for group in seen)
    behind = {
        each.source: reach.extent(its_reach)
        for each in query.revincludes
        if (its_reach := reaches.get(each.source)) is not None
    }
    return _included(query.type, query.includes, query.revincludes, extents, tuple(behind.items()))


@lru_cache(maxsize=1000)
def _included(
    type: str,
    includes: tuple[Include, ...],
    revincludes: tuple[Include, ...],
    extents: tuple[Extent, ...],
    sources: tuple[tuple[str, Extent], ...],
) -> Included:
    reaches = dict(sources)
    begin = frozenset({type})
    rounds: list[Round] = []
    while begin and len(rounds) < MOST_ROUNDS:
        later = bool(rounds)
        ahead = [
            each
            for each in includes
            if extents and each.source in begin and (each.iterate or not later)
        ]
        behind = [
            each
            for each in revincludes
            if each.source in reaches
            and included_types(each) & begin
            and (each.iterate or not later)
        ]
        if not (ahead or behind):
            break
        rounds.append(Round(_forwards(ahead), _backwards(behind, begin, reaches)))
        begin = frozenset().union(
            *(included_types(each) for each in ahead), (each.source for each in behind)
        )
    return Included(tuple(rounds), extents)


def steps(type: str, asked: Included, place: Place) -> list[str]:
    """Write the steps ``i1``, ``i2``, ... and ``i``, which have type, id and key; or none.

    Parameters
    ----------
    type
        Of the matches on the page.
    """
    if not asked.rounds:
        return []
    written = []
    for n, each in enumerate(asked.rounds, 1):
        begin = f"i{n - 1}" if n > 1 else f"(select '{type}'::text as type, id, key from page)"
        parts = [_forward(one, asked.seen, begin, place) for one in each.ahead]
        parts += [_backward(one, begin, place) for one in each.behind]
        known = "".join(f" and f.key not in (select i.key from i{m} i)" for m in range(1, n))
        written.append(
            f"i{n} as materialized (select distinct f.type, f.id, f.key"
            f" from ({' union all '.join(parts)}) f"
            f" where f.key not in (select p.key from page p){known} limit {MOST + 1})"
        )
    every = " union all ".join(f"select * from i{n}" for n in range(1, len(asked.rounds) + 1))
    written.append(
        "i as materialized (select f.*, row_number() over () as n"
        f" from ({every} limit {MOST + 1}) f)"
    )
    return written


def _forwards(includes: Iterable[Include]) -> tuple[Forward, ...]:
    prefixes: dict[str, list[str]] = {}
    for each in includes:
        target = each.target + "/" if each.target else ""
        prefixes.setdefault(each.source, []).append(f"{initials(each.source)}.{each.code}={target}")
    return tuple(Forward(type, tuple(its)) for type, its in prefixes.items())


def _backwards(
    revincludes: Iterable[Include], begin: frozenset[str], reaches: Mapping[str, Extent]
) -> tuple[Backward, ...]:
    """Gather what goes back from the same types to the same type."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for each in revincludes:
        targets = tuple(sorted(included_types(each) & begin))
        found.setdefault((each.source, targets), []).append(f"{initials(each.source)}.{each.code}=")
    return tuple(
        Backward(source, tuple(prefixes), targets, reaches[source])
        for (source, targets), prefixes in found.items()
    )


def _forward(ahead: Forward, seen: tuple[Extent, ...], begin: str, place: Place) -> str:
    """Look each reference up by type and id; a reference to a version leads to the current one."""
    prefixes = ", ".join(f"'{prefix}'" for prefix in ahead.prefixes)
    may = " or ".join(
        f"(k.type = any({place(f'group{n}.types')}::text[])"
        f" and {reach.text(extent, 'k', f'group{n}.', place)})"
        for n, extent in enumerate(seen)
    )
    return (
        f"select k.type, k.id, k.key from {begin} p cross join lateral"
        f" (select c.terms from current c where c.type = '{ahead.type}' and c.id = p.id"
        f" and p.type = '{ahead.type}' offset 0) c"
        " cross join lateral (select split_part(x, '=', 2) as ref from unnest(c.terms) x"
        f" where x ^@ any(array[{prefixes}]) offset 0) r"
        " cross join lateral (select * from current k where k.type = split_part(r.ref, '/', 1)"
        f" and k.id = split_part(r.ref, '/', 2) offset 0) k where not k.deleted and ({may})"
    )


def _backward(behind: Backward, begin: str, place: Place) -> str:
    prefixes = ", ".join(f"'{prefix}'" for prefix in behind.prefixes)
    targets = ", ".join(f"'{target}'" for target in behind.targets)
    return (
        f"select k.type, k.id, k.key from current k where k.type = '{behind.type}'"
        f" and not k.deleted and k.terms && array(select b || p.type || '/' || p.id"
        f" from {begin} p, unnest(array[{prefixes}]) b where p.type = any(array[{targets}]))"
        f" and {reach.text(behind.extent, 'k', f'reach.{behind.type}.', place)}"
    )
