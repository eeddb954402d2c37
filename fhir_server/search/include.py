"""_include and _revinclude: what the matches of a page refer to, and what refers to them.

Both go by the reference terms of the index. What is included passes the same reach as if it had
been searched for; types that the principal may not see at all are left out silently. A resource
that is a match is not included once more.

References
----------
* FHIR R4 search, "Including other resources in result"
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from fhir_server.access.gate import Reach
from fhir_server.search import reach
from fhir_server.search.query import Query
from fhir_server.search.reach import Extent, Place
from fhir_server.search.returned import Include, included_types
from fhir_server.search.terms import initials

MOST: Final = 1000
"""Resources included in one page."""


class Group(NamedTuple):
    """Types of which a principal sees equally far."""

    types: tuple[str, ...]
    reach: Reach


class Forward(NamedTuple):
    """Prefixes of the terms to follow, and how far each group of target types is seen."""

    prefixes: tuple[str, ...]
    extents: tuple[Extent, ...]


class Backward(NamedTuple):
    """References that a type makes to the matches, and how far the type is seen."""

    type: str
    prefixes: tuple[str, ...]
    extent: Extent


def groups(includes: Iterable[Include], reaches: Mapping[str, Reach | None]) -> list[Group]:
    """Sort the types that may be included by how far they are seen."""
    found: dict[Reach, list[str]] = {}
    for type in sorted(frozenset().union(*(included_types(each) for each in includes))):
        its_reach = reaches.get(type)
        if its_reach is not None:
            found.setdefault(its_reach, []).append(type)
    return [
        Group((type,), its_reach)
        for its_reach, types in found.items()
        if its_reach.only
        for type in types
    ] + [Group(tuple(types), its_reach) for its_reach, types in found.items() if not its_reach.only]


def forward(query: Query, seen: Sequence[Group]) -> Forward | None:
    """What _include asks for; None if nothing that may be seen."""
    extents = tuple(reach.extent(group.reach) for group in seen)
    prefixes = tuple(
        f"{initials(each.source)}.{each.code}={each.target + '/' if each.target else ''}"
        for each in query.includes
    )
    return Forward(prefixes, extents) if extents else None


def backward(query: Query, reaches: Mapping[str, Reach | None]) -> tuple[Backward, ...]:
    """What _revinclude asks for, of the types that may be seen."""
    codes: dict[str, list[str]] = {}
    for each in query.revincludes:
        codes.setdefault(each.source, []).append(each.code)
    return tuple(
        Backward(
            source,
            tuple(f"{initials(source)}.{code}={query.type}/" for code in its_codes),
            reach.extent(its_reach),
        )
        for source, its_codes in codes.items()
        if (its_reach := reaches.get(source)) is not None
    )


def text(
    type: str, ahead: Forward | None, behind: tuple[Backward, ...], place: Place
) -> str | None:
    """Select type and key of what the rows of ``page`` bring in; None if nothing can.

    Parameters
    ----------
    type
        Of the matches on the page.
    """
    parts = [] if ahead is None else [_forward(type, ahead, place)]
    parts += [_backward(each, place) for each in behind]
    if not parts:
        return None
    return (
        f"select distinct f.type, f.key from ({' union all '.join(parts)}) f"
        f" where f.key not in (select p.key from page p) limit {MOST}"
    )


def _forward(type: str, ahead: Forward, place: Place) -> str:
    """Look each reference up by type and id; a reference to a version leads to the current one."""
    prefixes = ", ".join(f"'{prefix}'" for prefix in ahead.prefixes)
    seen = " or ".join(
        f"(k.type = any({place(f'group{n}.types')}::text[])"
        f" and {reach.text(extent, 'k', f'group{n}.', place)})"
        for n, extent in enumerate(ahead.extents)
    )
    return (
        "select k.type, k.key from page p cross join lateral"
        f" (select c.terms from current c where c.type = '{type}' and c.id = p.id offset 0) c"
        " cross join lateral (select split_part(x, '=', 2) as ref from unnest(c.terms) x"
        f" where x ^@ any(array[{prefixes}]) offset 0) r"
        " cross join lateral (select * from current k where k.type = split_part(r.ref, '/', 1)"
        f" and k.id = split_part(r.ref, '/', 2) offset 0) k where not k.deleted and ({seen})"
    )


def _backward(behind: Backward, place: Place) -> str:
    prefixes = ", ".join(f"'{prefix}'" for prefix in behind.prefixes)
    return (
        f"select k.type, k.key from current k where k.type = '{behind.type}' and not k.deleted"
        f" and k.terms && array(select b || p.id from page p, unnest(array[{prefixes}]) b)"
        f" and {reach.text(behind.extent, 'k', f'reach.{behind.type}.', place)}"
    )
