"""Criteria that look elsewhere, in SQL: along references, against them, into a compartment.

A `Node` is a criterion without its values, whether it looks at the resource itself (`Slot`), at
what a reference leads to or comes from (`Hop`), at one of several such (`Either`), or asks whose
compartment it is in (`Inside`). Only what the principal may see counts at each step, or a chain
would tell what a read would not.

References
----------
* FHIR R4 search, "Chained Parameters", "Reverse Chaining", "Variant Searches" (compartments)
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from fhir_server.access.gate import Reach
from fhir_server.search import criteria, reach
from fhir_server.search.criteria import Slot
from fhir_server.search.criterion import Criterion
from fhir_server.search.reach import Extent, Place
from fhir_server.search.terms import initials
from resources import compartments

NAMING: Final = frozenset(
    {"_id", "identifier", "accession", "requisition", "family", "given", "name", "phone", "email",
     "series", "instance", "url"}
)  # fmt: skip
"""Parameters that few resources of a type agree on: a chain to one is followed from its end."""


class Hop(NamedTuple):
    """A step along a reference, or against one.

    Parameters
    ----------
    code
        The reference parameter; of `type` if the step goes `back`.
    extent
        What may be seen of the type at its end; without one, nothing.
    leads
        It is to find the rows, and not only to check them.
    """

    code: str
    type: str
    back: bool
    extent: Extent | None
    leads: bool
    end: "Node"


class Either(NamedTuple):
    """One of these."""

    nodes: "tuple[Node, ...]"


class Inside(NamedTuple):
    """In the compartment of a resource of this type."""

    type: str


Node: TypeAlias = Slot | Hop | Either | Inside


def node(criterion: Criterion, leads: bool, reaches: Mapping[str, Reach | None]) -> Node:
    """Take the values of a criterion away.

    Parameters
    ----------
    leads
        It is to find the rows.
    reaches
        How far each type is seen that a chain leads to.
    """
    if criterion.either:
        return Either(tuple(node(each, leads, reaches) for each in criterion.either))
    if criterion.kind == "compartment":
        return Inside(_owner(criterion).partition("/")[0])
    if criterion.chain is None:
        return criteria.slot(criterion, leads)
    type, inner, back = criterion.chain
    leads = leads or names(inner)
    its_reach = reaches.get(type)
    extent = reach.extent(its_reach) if its_reach is not None else None
    return Hop(back or criterion.code, type, bool(back), extent, leads, node(inner, leads, reaches))


def names(criterion: Criterion) -> bool:
    """Whether few resources meet a criterion, so that it is best asked first."""
    if criterion.either:
        return all(names(each) for each in criterion.either)
    if criterion.chain is not None:
        return names(criterion.chain.criterion)
    return criterion.code in NAMING and criterion.modifier in ("", "like")


def text(node: Node, type: str, alias: str, name: str, place: Place, depth: int = 1) -> str:
    """Write the condition.

    Parameters
    ----------
    type
        The type of the rows.
    alias
        What a row of `current` is called.
    name
        Begins the names of the values.
    depth
        How many references have been followed.
    """
    if isinstance(node, Slot):
        return criteria.text(node, type, alias, name, place)
    if isinstance(node, Inside):
        return f"{alias}.terms && {place(name + 'terms')}::text[]"
    if isinstance(node, Either):
        parts = (
            text(each, type, alias, f"{name}{n}.", place, depth)
            for n, each in enumerate(node.nodes)
        )
        return f"({' or '.join(parts)})"
    if node.extent is None:
        return "false"
    return (_back if node.back else _forth)(node, node.extent, type, alias, name, place, depth)


def bind(criterion: Criterion, types: Sequence[str], name: str, instant: int) -> dict[str, Any]:
    """The values of a criterion, by the names that `text` gives them.

    Parameters
    ----------
    types
        Of the rows; several only where a criterion is of the kind that all types have.
    """
    if criterion.either:
        found: dict[str, Any] = {}
        for n, each in enumerate(criterion.either):
            found |= bind(each, types, f"{name}{n}.", instant)
        return found
    if criterion.kind == "compartment":
        return {f"{name}terms": _inside(types, _owner(criterion))}
    if criterion.chain is not None:
        type, inner, _ = criterion.chain
        return bind(inner, (type,), name + "end.", instant)
    if len(types) == 1:
        return criteria.bind(criterion, types[0], name, instant)
    values: dict[str, Any] = {}
    for type in types:
        for key, value in criteria.bind(criterion, type, name, instant).items():
            if key == f"{name}terms":
                value = list(dict.fromkeys((*values.get(key, ()), *value)))
            values[key] = value
    return values


def _end(hop: Hop, extent: Extent, alias: str, name: str, place: Place, depth: int) -> str:
    """Write what must hold of the row at the end of a step."""
    return " and ".join(
        (
            f"{alias}.type = '{hop.type}' and not {alias}.deleted",
            text(hop.end, hop.type, alias, name + "end.", place, depth + 1),
            reach.text(extent, alias, f"reach.{hop.type}.", place),
        )
    )


def _forth(
    hop: Hop, extent: Extent, type: str, alias: str, name: str, place: Place, depth: int
) -> str:
    """Follow a reference: from its end, if few are there, else from each row."""
    k = f"k{depth}"
    prefix = f"{initials(type)}.{hop.code}={hop.type}/"
    end = _end(hop, extent, k, name, place, depth)
    if hop.leads:
        return f"{alias}.terms && array(select '{prefix}' || {k}.id from current {k} where {end})"
    return (
        f"exists (select from unnest({alias}.terms) x join current {k}"
        f" on {k}.id = substr(x, {len(prefix) + 1}) where x ^@ '{prefix}' and {end})"
    )


def _back(
    hop: Hop, extent: Extent, type: str, alias: str, name: str, place: Place, depth: int
) -> str:
    """Find what refers here: all that does, if it leads, else for each row what refers to it."""
    k = f"k{depth}"
    prefix = f"{initials(hop.type)}.{hop.code}={type}/"
    end = _end(hop, extent, k, name, place, depth)
    if hop.leads:
        return (
            f"{alias}.id = any(array(select split_part(substr(x, {len(prefix) + 1}), '/', 1)"
            f" from current {k} cross join unnest({k}.terms) x where {end} and x ^@ '{prefix}'))"
        )
    return (
        f"exists (select from current {k}"
        f" where {k}.terms && array['{prefix}' || {alias}.id] and {end})"
    )


def _owner(criterion: Criterion) -> str:
    (references,) = criterion.values
    assert isinstance(references, tuple)
    return str(references[0])


def _inside(types: Sequence[str], owner: str) -> list[str]:
    """The terms of which a resource in a compartment has one."""
    of = owner.partition("/")[0]
    return [
        f"{initials(type)}.{code}={owner}"
        for type in types
        for code in compartments.parameters_of(of).get(type, ())
    ]
