"""Values of a FHIRPath Patch: where they may stand, and what they are in JSON.

A value of a datatype comes as one, anything else as nested parts: "instead of providing a value, a
set of parts that are values are provided".

References
----------
* FHIR R4 fhirpatch; FHIR R4 parameters
"""

from collections.abc import Sequence
from typing import Any

from resources import element_paths
from resources.element_paths import MANY
from resources.errors import Invalid, Unsupported
from resources.structures import Kind, Member, Shape

Json = dict[str, Any]


def value(of: Shape, name: str, part: Json, at: str) -> tuple[str, Member, Any]:
    """Give the JSON member that a value is to stand in, what is said of that, and its JSON.

    Parameters
    ----------
    of
        The element that gets it.
    name
        How FHIRPath calls the element that the value is of.
    part
        The part of the operation that holds it.
    at
        Where that stands.

    Raises
    ------
    Invalid
        There is no such element, or it is of another type.
    """
    possible = element_paths.members(of, name)
    if not possible:
        raise Invalid(f"There is no element {name} here.", at, "value")
    if any(each.startswith("_value") for each in part):
        raise Unsupported("A primitive with extensions is not patched.", at)
    if "resource" in part:
        json_name, member = next(iter(possible.items()))
        if member.kind not in (Kind.RESOURCE, Kind.CONTAINED):
            raise _wrong(member, at)
        return json_name, member, part["resource"]
    if "part" in part:
        json_name, member = next(iter(possible.items()))
        if not isinstance(member.test, Shape) or len(possible) > 1:
            raise _wrong(member, at)
        return json_name, member, _built(member.test, part["part"], at)
    given = next((each for each in part if each.startswith("value")), None)
    if given is None:
        raise Invalid("The value is empty.", at, "required")
    for json_name, member in possible.items():
        if member.datatype.lower() == given.removeprefix("value").lower():
            return json_name, member, part[given]
    raise _wrong(next(iter(possible.values())), at)


def _built(of: Shape, parts: Sequence[Json], at: str) -> Json:
    """Build an element from nested parts, one for each of its elements."""
    built: Json = {}
    for part in parts:
        json_name, member, given = value(of, str(part.get("name")), part, at)
        if member.kind in MANY:
            built.setdefault(json_name, []).append(given)
        elif json_name in built:
            raise Invalid("This element does not repeat.", at, "value")
        else:
            built[json_name] = given
    return built


def _wrong(member: Member, at: str) -> Invalid:
    wanted = member.datatype or "nested parts"
    return Invalid(f"The element {member.name} takes {wanted}.", at, "value")
