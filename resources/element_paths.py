"""Element paths: the part of FHIRPath that names elements of one resource, and where they stand.

Unlike `resources.paths`, which finds values, this finds places: an element can be changed where it
stands. A choice element is called by its name in FHIRPath: ``Observation.value``.

References
----------
* FHIR R4 fhirpatch; FHIRPath 2.0.0, section 3 (Path selection)
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from resources.models import TYPES
from resources.path_steps import Clause, Step
from resources.structures import Kind, Member, Shape, shape

MANY: Final = frozenset({Kind.VALUES, Kind.PARTS, Kind.CONTAINED})
SIBLINGS: Final = frozenset({Kind.SIBLING, Kind.SIBLINGS})


class Place(NamedTuple):
    """Where an element stands: under `name` of `parent`, at `position` where it repeats.

    `member` is what the definitions say of it; a resource itself has no parent and no member.
    """

    value: Any
    shape: Shape | None
    parent: dict[str, Any] | None = None
    name: str = ""
    position: int | None = None
    member: Member | None = None


def find(path: tuple[Step, ...], resource: dict[str, Any]) -> list[Place]:
    """Find the elements that a path leads to.

    Examples
    --------
    >>> from resources.path_steps import read
    >>> name = {"family": "A", "given": ["B", "C"]}
    >>> patient = {"resourceType": "Patient", "name": [name]}
    >>> [place.position for place in find(read("Patient.name.given[1]", ""), patient)]
    [1]
    """
    steps = path
    if path[0].name in (resource["resourceType"], "Resource", "DomainResource"):
        steps = path[1:]
    return _follow([Place(resource, shape(resource["resourceType"]))], steps)


def members(of: Shape, name: str) -> dict[str, Member]:
    """The JSON members that an element may have, by its FHIRPath name; a choice has several."""
    found = of.members or of.compile()
    return {
        json_name: member
        for json_name, member in found.items()
        if member.name == name and member.kind not in SIBLINGS and json_name != "resourceType"
    }


def _follow(places: list[Place], steps: tuple[Step, ...]) -> list[Place]:
    for step in steps:
        if step.is_call:
            places = _called(places, step)
        else:
            places = [below for place in places for below in _below(place, step.name)]
    return places


def _called(places: list[Place], step: Step) -> list[Place]:
    match step.name:
        case "first":
            return places[:1]
        case "last":
            return places[-1:]
        case "[":
            return places[step.argument : step.argument + 1]
        case "extension":
            found = [below for place in places for below in _below(place, "extension")]
            return [each for each in found if each.value.get("url") == step.argument]
        case "ofType" | "as":
            return [each for each in places if _is(each, step.argument)]
    return [each for each in places if all(_meets(each, clause) for clause in step.argument)]


def _below(place: Place, name: str) -> Iterator[Place]:
    value = place.value
    if not isinstance(value, dict):
        return
    for json_name, member in members(place.shape, name).items() if place.shape else ():
        if json_name not in value:
            continue
        part = member.test if isinstance(member.test, Shape) else None
        held = value[json_name]
        if isinstance(held, list):
            for position, item in enumerate(held):
                yield Place(item, part or _resource(item), value, json_name, position, member)
        else:
            yield Place(held, part or _resource(held), value, json_name, None, member)


def _resource(value: Any) -> Shape | None:
    kind = value.get("resourceType") if isinstance(value, dict) else None
    return shape(kind) if isinstance(kind, str) and kind in TYPES else None


def _is(place: Place, type: str) -> bool:
    if isinstance(place.value, dict) and "resourceType" in place.value:
        return bool(place.value["resourceType"] == type)
    return place.member is not None and place.member.datatype.lower() == type.lower()


def _meets(place: Place, clause: Clause) -> bool:
    found = _follow([place], clause.path)
    if not clause.operator:
        return bool(found)
    equal = any(_equals(each.value, clause.literal) for each in found)
    return bool(found) and equal == (clause.operator == "=")


def _equals(value: Any, literal: Any) -> bool:
    if isinstance(value, bool) or isinstance(literal, bool):
        return value is literal
    return bool(value == literal)
