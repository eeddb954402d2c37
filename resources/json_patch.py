"""JSON Patch: operations on the JSON of a resource, one after the other, all or none.

References
----------
* RFC 6902 (JSON Patch); RFC 6901 (JSON Pointer)
* RFC 5789 Section 2.2: 409 "if the structures assumed to exist did not exist"
* FHIR http, "patch"
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from resources.errors import Conflict, Invalid

MOST_OPERATIONS: Final = 1000
MOST_COPIED: Final = 1_000_000
"""Octets of JSON that the operations of one patch may copy; each copy can double what is there."""

_written: Final = msgspec.json.Encoder(decimal_format="number")

Tree = dict[str, Any] | list[Any]


class Operation(NamedTuple):
    """One operation, with its pointers cut into tokens; `at` is its place in the patch."""

    name: str
    path: tuple[str, ...]
    source: tuple[str, ...]
    value: Any
    at: str


MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "add":     frozenset({"path", "value"}),
    "remove":  frozenset({"path"}),
    "replace": frozenset({"path", "value"}),
    "move":    frozenset({"from", "path"}),
    "copy":    frozenset({"from", "path"}),
    "test":    frozenset({"path", "value"}),
}  # fmt: skip
"""RFC 6902 Section 4: the members that each operation needs besides ``op``."""


def read(document: Any) -> list[Operation]:
    """Read a patch document.

    Raises
    ------
    Invalid
        Not an array of operations that RFC 6902 knows.
    """
    if not isinstance(document, list):
        raise Invalid("A JSON Patch is an array of operations.", "$this", "structure")
    if len(document) > MOST_OPERATIONS:
        raise Invalid(f"A patch has at most {MOST_OPERATIONS} operations.", "$this", "too-costly")
    return [_operation(each, f"$this[{n}]") for n, each in enumerate(document)]


def apply(operations: Sequence[Operation], tree: Any) -> Any:
    """Apply operations to a JSON value, which is changed, and give what it has become.

    Examples
    --------
    >>> patch = read([{"op": "replace", "path": "/status", "value": "revoked"}])
    >>> apply(patch, {"status": "active"})
    {'status': 'revoked'}

    Raises
    ------
    Conflict
        A path leads nowhere, or a test fails.
    """
    copied = 0
    for operation in operations:
        if operation.name == "copy":
            value = _found(tree, operation.source, f"{operation.at}.from")
            copied += len(_written.encode(value))
            if copied > MOST_COPIED:
                raise Invalid("The patch copies too much.", operation.at, "too-costly")
        tree = _DO[operation.name](tree, operation)
    return tree


def pointer(text: Any, at: str) -> tuple[str, ...]:
    """Cut a JSON Pointer into its tokens.

    Examples
    --------
    >>> pointer("/name/0/a~1b", "$this")
    ('name', '0', 'a/b')
    """
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise Invalid("This is not a JSON Pointer.", at, "value")
    tokens = text.split("/")[1:]
    if any("~" in token.replace("~0", "").replace("~1", "") for token in tokens):
        raise Invalid("This is not a JSON Pointer.", at, "value")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def _operation(json: Any, at: str) -> Operation:
    if not isinstance(json, dict):
        raise Invalid("An operation is an object.", at, "structure")
    name = json.get("op")
    needed = MEMBERS.get(name) if isinstance(name, str) else None
    if needed is None:
        raise Invalid("There is no such operation in JSON Patch.", f"{at}.op", "value")
    for member in sorted(needed):
        if member not in json:
            raise Invalid(f"The operation needs {member}.", f"{at}.{member}", "required")
    source = pointer(json["from"], f"{at}.from") if "from" in needed else ()
    path = pointer(json["path"], f"{at}.path")
    if name == "move" and path[: len(source)] == source and path != source:
        raise Invalid("Nothing can be moved into itself.", f"{at}.path", "value")
    return Operation(str(name), path, source, json.get("value"), at)


def _add(tree: Any, operation: Operation) -> Any:
    return _added(tree, operation, copy.deepcopy(operation.value))


def _remove(tree: Any, operation: Operation) -> Any:
    return _removed(tree, operation.path, f"{operation.at}.path")


def _replace(tree: Any, operation: Operation) -> Any:
    _found(tree, operation.path, f"{operation.at}.path")
    if not operation.path:
        return copy.deepcopy(operation.value)
    parent, key = _place(tree, operation.path, f"{operation.at}.path")
    parent[key] = copy.deepcopy(operation.value)
    return tree


def _move(tree: Any, operation: Operation) -> Any:
    value = _found(tree, operation.source, f"{operation.at}.from")
    return _added(_removed(tree, operation.source, f"{operation.at}.from"), operation, value)


def _copy(tree: Any, operation: Operation) -> Any:
    value = _found(tree, operation.source, f"{operation.at}.from")
    return _added(tree, operation, copy.deepcopy(value))


def _test(tree: Any, operation: Operation) -> Any:
    if not equal(_found(tree, operation.path, f"{operation.at}.path"), operation.value):
        raise Conflict("The test fails.", operation.at)
    return tree


_DO: Final[Mapping[str, Callable[[Any, Operation], Any]]] = {
    "add": _add, "remove": _remove, "replace": _replace,
    "move": _move, "copy": _copy, "test": _test,
}  # fmt: skip


def equal(one: Any, other: Any) -> bool:
    """Compare as RFC 6902 Section 4.6 does: numbers by value, but never a number with a boolean.

    Examples
    --------
    >>> equal({"a": [1.0]}, {"a": [1]}), equal(True, 1)
    (True, False)
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    numbers = (int, float, Decimal)
    return bool(one == other) and isinstance(one, numbers) == isinstance(other, numbers)


def _added(tree: Any, operation: Operation, value: Any) -> Any:
    if not operation.path:
        return value
    at = f"{operation.at}.path"
    *ahead, last = operation.path
    parent = _found(tree, ahead, at)
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent), at), value)
    else:
        raise _nowhere(at)
    return tree


def _removed(tree: Any, path: Sequence[str], at: str) -> Any:
    if not path:
        raise Invalid("The whole resource is not removed by a patch.", at, "value")
    parent, key = _place(tree, path, at)
    del parent[key]
    return tree


def _place(tree: Any, path: Sequence[str], at: str) -> tuple[Any, str | int]:
    """The object or array that holds what a path leads to, and under which key."""
    *ahead, last = path
    parent = _found(tree, ahead, at)
    if isinstance(parent, dict) and last in parent:
        return parent, last
    if isinstance(parent, list):
        return parent, _index(last, len(parent) - 1, at)
    raise _nowhere(at)


def _found(tree: Any, path: Sequence[str], at: str) -> Any:
    for token in path:
        if isinstance(tree, dict) and token in tree:
            tree = tree[token]
        elif isinstance(tree, list):
            tree = tree[_index(token, len(tree) - 1, at)]
        else:
            raise _nowhere(at)
    return tree


def _index(token: str, last: int, at: str) -> int:
    is_number = token.isascii() and token.isdecimal() and len(token) < 8
    if not is_number or (token[0] == "0" and token != "0") or int(token) > last:
        raise _nowhere(at)
    return int(token)


def _nowhere(at: str) -> Conflict:
    return Conflict("The path leads to nothing in this resource.", at)
