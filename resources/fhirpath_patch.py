"""FHIRPath Patch: operations in a Parameters resource, applied one after the other, all or none.

A value stands where its type may stand, and is refused anywhere else: "The type of the value must
be correct for the place at which it will be added/inserted. Servers SHALL return an error if the
type is wrong". Elements without a type of their own (``Patient.contact``) come as nested parts.

References
----------
* FHIR R4 fhirpatch
* RFC 5789 Section 2.2: 409 "if the structures assumed to exist did not exist"
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from resources import element_paths, patch_values, path_steps
from resources.element_paths import MANY, Place
from resources.errors import Conflict, Invalid
from resources.json_patch import MOST_OPERATIONS
from resources.path_steps import Step
from resources.structures import Kind, Member, Shape

Json = dict[str, Any]


class Operation(NamedTuple):
    """One operation: its parts by name; `at` is its place in the Parameters."""

    type: str
    path: tuple[Step, ...]
    parts: Mapping[str, Json]
    at: str

    def place(self, part: str) -> str:
        """Say where a part stands."""
        return f"{self.at}.part.where(name='{part}')"


NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "add":     ("path", "name", "value"),
    "insert":  ("path", "value", "index"),
    "delete":  ("path",),
    "replace": ("path", "value"),
    "move":    ("path", "source", "destination"),
}  # fmt: skip
"""FHIR R4 fhirpatch: the parts of each operation."""


def read(parameters: Json) -> list[Operation]:
    """Read the operations of a Parameters resource that is valid as such.

    Raises
    ------
    Invalid
        Parameters that say something else, or an operation without what it needs.
    """
    listed = parameters.get("parameter", [])
    if len(listed) > MOST_OPERATIONS:
        raise Invalid(f"A patch has at most {MOST_OPERATIONS} operations.", code="too-costly")
    return [_operation(each, f"Parameters.parameter[{n}]") for n, each in enumerate(listed)]


def apply(operations: Sequence[Operation], resource: Json) -> Json:
    """Apply operations to a resource, which is changed, and give it.

    Raises
    ------
    Conflict
        A path leads to nothing, or to several elements where one is meant.
    """
    for operation in operations:
        _DO[operation.type](resource, operation)
    return resource


def _operation(parameter: Json, at: str) -> Operation:
    if parameter.get("name") != "operation":
        raise Invalid("Every parameter of a patch is an operation.", f"{at}.name", "value")
    parts: dict[str, Json] = {}
    for n, part in enumerate(parameter.get("part", ())):
        name = part.get("name")
        if name in parts:
            raise Invalid("The operation has this part twice.", f"{at}.part[{n}]", "duplicate")
        parts[str(name)] = part
    type = str(parts.get("type", {}).get("valueCode", ""))
    needed = NEEDED.get(type)
    if needed is None:
        place = f"{at}.part.where(name='type')"
        raise Invalid("There is no such operation in FHIRPath Patch.", place, "value")
    for name in needed:
        if name not in parts:
            raise Invalid(f"The operation needs {name}.", f"{at}.part", "required")
    for name in parts:
        if name not in (*needed, "type"):
            place = f"{at}.part.where(name='{name}')"
            raise Invalid(f"The operation {type} has no part {name}.", place, "value")
    place = f"{at}.part.where(name='path')"
    text = parts["path"].get("valueString")
    if not isinstance(text, str):
        raise Invalid("A path is a valueString.", place, "value")
    return Operation(type, path_steps.read(text, place), parts, at)


# --- the operations -----------------------------------------------------------------------------


def _add(resource: Json, operation: Operation) -> None:
    place = _one(resource, operation, operation.path)
    name = operation.parts["name"].get("valueString")
    parent, of = _parent(place, operation)
    json_name, member, value = _given(of, str(name), operation)
    if member.kind in MANY:
        _put(parent, json_name, member, len(parent.get(json_name, ())), value)
    elif any(each in parent for each in element_paths.members(of, str(name))):
        raise Conflict("This element is there already.", operation.place("name"))
    else:
        parent[json_name] = value


def _insert(resource: Json, operation: Operation) -> None:
    parent, of, name = _collection(resource, operation)
    json_name, member, value = _given(of, name, operation)
    if member.kind not in MANY:
        raise Invalid("This element does not repeat.", operation.place("path"), "value")
    _put(parent, json_name, member, _index(operation, "index", parent.get(json_name, ())), value)


def _delete(resource: Json, operation: Operation) -> None:
    found = element_paths.find(operation.path, resource)
    if not found:
        return
    place = _one(resource, operation, operation.path)
    if place.parent is None:
        raise Invalid("A resource is not deleted by a patch.", operation.place("path"), "value")
    _take(place.parent, place.name, place.position)


def _replace(resource: Json, operation: Operation) -> None:
    place = _one(resource, operation, operation.path)
    if place.parent is None or place.member is None:
        raise Invalid("A resource is not replaced by a patch.", operation.place("path"), "value")
    held = _holder(resource, operation)
    of = held.shape
    if of is None:
        raise Invalid("Nothing is known of this element.", operation.place("path"), "value")
    json_name, member, value = _given(of, place.member.name, operation)
    if place.position is not None:
        _take(place.parent, place.name, place.position, keep=True)
        _put(place.parent, json_name, member, place.position, value)
    else:
        _take(place.parent, place.name, None)
        place.parent[json_name] = value


def _move(resource: Json, operation: Operation) -> None:
    parent, of, name = _collection(resource, operation)
    for json_name, member in element_paths.members(of, name).items():
        held = parent.get(json_name)
        if isinstance(held, list) and member.kind in MANY:
            last = held[1:]
            source = _index(operation, "source", last)
            destination = _index(operation, "destination", last)
            for items in (held, parent.get(f"_{json_name}")):
                if items is not None:
                    items.insert(destination, items.pop(source))
            return
    raise Conflict("There is no such list in this resource.", operation.place("path"))


_DO: Final[Mapping[str, Callable[[Json, Operation], None]]] = {
    "add": _add, "insert": _insert, "delete": _delete, "replace": _replace, "move": _move,
}  # fmt: skip


def _given(of: Shape, name: str, operation: Operation) -> tuple[str, Member, Any]:
    """The JSON member that the value of an operation goes to, what it is, and the value."""
    return patch_values.value(of, name, operation.parts["value"], operation.place("value"))


# --- places -------------------------------------------------------------------------------------


def _one(resource: Json, operation: Operation, path: tuple[Step, ...]) -> Place:
    found = element_paths.find(path, resource)
    if len(found) != 1:
        what = "several elements" if found else "nothing"
        raise Conflict(f"The path leads to {what} in this resource.", operation.place("path"))
    return found[0]


def _parent(place: Place, operation: Operation) -> tuple[Json, Shape]:
    if not isinstance(place.value, dict) or place.shape is None:
        raise Invalid("Nothing can be added to this.", operation.place("path"), "value")
    return place.value, place.shape


def _holder(resource: Json, operation: Operation) -> Place:
    """The element that holds the one a path leads to."""
    path = operation.path
    while path[-1].is_call:
        path = path[:-1]
    target = _one(resource, operation, operation.path).parent
    for held in element_paths.find(path[:-1], resource) if len(path) > 1 else ():
        if held.value is target:
            return held
    return element_paths.find((Step(resource["resourceType"]),), resource)[0]


def _collection(resource: Json, operation: Operation) -> tuple[Json, Shape, str]:
    """The element that holds a list, what may stand in it, and the name of the list."""
    *ahead, last = operation.path
    if last.is_call:
        raise Invalid("The path must name a list.", operation.place("path"), "value")
    above = tuple(ahead) or (Step(resource["resourceType"]),)
    parent, of = _parent(_one(resource, operation, above), operation)
    return parent, of, last.name


def _index(operation: Operation, part: str, items: Sequence[Any]) -> int:
    index = operation.parts[part].get("valueInteger")
    if not isinstance(index, int) or isinstance(index, bool):
        raise Invalid("An index is a valueInteger.", operation.place(part), "value")
    if not 0 <= index <= len(items):
        raise Conflict("The list is not so long.", operation.place(part))
    return index


def _put(parent: Json, name: str, member: Member, index: int, value: Any) -> None:
    """Insert into a list; a list of primitives may have their extensions in a second one."""
    parent.setdefault(name, []).insert(index, value)
    if member.kind == Kind.VALUES and f"_{name}" in parent:
        parent[f"_{name}"].insert(index, None)


def _take(parent: Json, name: str, index: int | None, *, keep: bool = False) -> None:
    """Take an element away with its extensions, and a list that is empty afterwards."""
    for each in (name, f"_{name}"):
        if each not in parent:
            continue
        if index is None:
            del parent[each]
        elif index < len(parent[each]):
            del parent[each][index]
            if not keep and not any(item is not None for item in parent[each]):
                del parent[each]
