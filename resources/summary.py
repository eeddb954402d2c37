"""Parts of a resource: which elements ``_summary`` and ``_elements`` leave in.

The text is taken apart only as deep as elements are left out, and what stays is passed on as the
bytes that were stored: a decimal keeps its digits. A resource that is not whole says so in
``meta.tag`` (SUBSETTED), lest somebody writes it back.

References
----------
* FHIR R4 search, "Summary", "Elements"; ElementDefinition.isSummary and isModifier
* FHIR R4 resource, "Metadata": "SUBSETTED"
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import msgspec
import orjson

from resources.structures import definition

FILE: Final = Path(__file__).with_suffix("") / "elements.ndjson"

OBSERVATION_VALUE: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
SUBSETTED: Final = {"system": OBSERVATION_VALUE, "code": "SUBSETTED"}

ALWAYS: Final = frozenset({"resourceType", "id", "meta"})
"""FHIR R4 search, "Summary": what every part of a resource has."""

Keep: TypeAlias = Mapping[str, Any]
"""Member name -> what to keep below it; an empty mapping keeps all of it."""

ALL: Final[Keep] = MappingProxyType({})


@cache
def of_summary(type: str, kind: str) -> Keep | None:
    """Say what ``_summary=true`` or ``=text`` keeps; None for all of it.

    Examples
    --------
    >>> {"code", "status", "subject", "text"} <= set(of_summary("Flag", "text"))
    True
    """
    if kind == "true":
        needed = [row["path"] for row in definition(type) if row.get("min")]
        return _tree(type, [*ALWAYS, *needed, *_marked()[type]["isSummary"]])
    if kind == "text":
        return _tree(type, [*ALWAYS, "text", *mandatory(type)])
    return None


@cache
def of_elements(type: str, names: frozenset[str]) -> Keep:
    """Say what ``_elements`` keeps: those named, and what must not be without.

    "Servers are not obliged to return just the requested elements. Servers SHOULD always return
    mandatory elements whether they are requested or not."

    Parameters
    ----------
    names
        Elements at the top, as the definition calls them: ``value`` for ``valueQuantity``.
    """
    modifiers = [each for each in _marked()[type]["isModifier"] if "." not in each]
    return _tree(type, [*ALWAYS, *mandatory(type), *modifiers, *_written(type, names)])


@cache
def elements(type: str) -> frozenset[str]:
    """Name the elements at the top of a type, a choice as its definition calls it.

    Examples
    --------
    >>> {"id", "status", "value"} <= elements("Observation"), "valueQuantity" in elements("Task")
    (True, False)
    """
    paths = (row["path"] for row in definition(type))
    return frozenset(path.removesuffix("[x]") for path in paths if "." not in path)


@cache
def mandatory(type: str) -> tuple[str, ...]:
    """Name the elements at the top that a type cannot be without."""
    return tuple(
        row["path"] for row in definition(type) if row.get("min") and "." not in row["path"]
    )


def part(text: bytes, keep: Keep) -> bytes:
    """Cut a resource down to what is to be kept, and mark it as cut.

    Examples
    --------
    >>> part(b'{"resourceType":"Flag","id":"1","status":"active","language":"en"}',
    ...      of_elements("Flag", frozenset())).decode()[:57]
    '{"resourceType":"Flag","id":"1","meta":{"tag":[{"system":'
    """
    return _joined(_tagged(_kept(text, keep)))


def without(text: bytes, member: str) -> bytes:
    """Leave one member out: ``_summary=data`` is all but the text."""
    members = _opened(text)
    if members.pop(member, None) is None:
        return text
    return _joined(_tagged(members))


_Members: TypeAlias = dict[str, msgspec.Raw]

_object: Final = msgspec.json.Decoder(_Members)
_array: Final = msgspec.json.Decoder(list[msgspec.Raw])


def _opened(text: bytes) -> _Members:
    return _object.decode(text)


def _joined(members: Mapping[str, msgspec.Raw]) -> bytes:
    return msgspec.json.encode(members)


def _kept(text: bytes, keep: Keep) -> _Members:
    return {
        name: _cut(bytes(value), below) if below else value
        for name, value in _opened(text).items()
        if (below := keep.get(name)) is not None
    }


def _cut(text: bytes, keep: Keep) -> msgspec.Raw:
    """Cut a nested part, or each of several."""
    if text[:1] != b"[":
        return msgspec.Raw(_joined(_kept(text, keep)))
    parts = [_joined(_kept(bytes(each), keep)) for each in _array.decode(text)]
    return msgspec.Raw(b"[" + b",".join(parts) + b"]")


def _tagged(members: _Members) -> _Members:
    """Add the tag, keeping ``meta`` near the top where it is read."""
    meta = _opened(bytes(members["meta"])) if "meta" in members else {}
    tags = [bytes(each) for each in _array.decode(bytes(meta["tag"]))] if "tag" in meta else []
    tags.append(orjson.dumps(SUBSETTED))
    meta["tag"] = msgspec.Raw(b"[" + b",".join(tags) + b"]")
    first: _Members = {}
    for name in ("resourceType", "id"):
        if name in members:
            first[name] = members[name]
    return first | {"meta": msgspec.Raw(_joined(meta))} | _others(members)


def _others(members: _Members) -> _Members:
    return {name: value for name, value in members.items() if name not in ALWAYS}


def _tree(type: str, paths: Iterable[str]) -> Keep:
    """Sort paths into a tree of JSON members, each with the sibling that holds its extensions."""
    rows = {row["path"]: row for row in definition(type)}
    listed = frozenset(paths)
    tree: dict[str, Any] = {}
    for path in sorted(listed):
        *inside, name = path.split(".")
        if not all(".".join(inside[:n]) in listed for n in range(1, len(inside) + 1)):
            continue
        below = tree
        for step in inside:
            below = below[step]
        cut = any(each.startswith(path + ".") for each in listed)
        for written in _names(name, rows.get(path, {})):
            below[written] = {"id": ALL, "extension": ALL} if cut else ALL
            below[f"_{written}"] = ALL
    return MappingProxyType(tree)


def _names(name: str, row: Mapping[str, Any]) -> list[str]:
    """Write an element as JSON does, one name for each type that it may have."""
    if not name.endswith("[x]"):
        return [name]
    stem = name.removesuffix("[x]")
    types = [each.partition("(")[0] for each in row.get("types", ())]
    return [stem + each[0].upper() + each[1:] for each in types]


def _written(type: str, names: frozenset[str]) -> list[str]:
    """Give the elements of a type that are meant, as its definition writes them."""
    return [
        row["path"]
        for row in definition(type)
        if "." not in row["path"] and row["path"].removesuffix("[x]") in names
    ]


@cache
def _marked() -> Mapping[str, Mapping[str, list[str]]]:
    rows = map(orjson.loads, FILE.read_bytes().splitlines())
    return {row["type"]: row for row in rows}
