"""Structures: what the StructureDefinitions say, compiled for a walk over JSON.

A `Shape` is one type, or one nested part of a type, and answers for each JSON member name what may
stand there. Shapes are made when first walked, so a server that never sees a Claim never reads one.

References
----------
* FHIR StructureDefinition (snapshot); FHIR JSON, "JSON representation of resources"
"""

import json
from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from resources import bindings
from resources.invariants import INVARIANTS
from resources.models import DATATYPES, DEFINITIONS, TYPES
from resources.predicates import Invariant
from resources.primitives import CHECKS, Check


class Kind(IntEnum):
    """What a member holds, in JSON."""

    VALUE = 0
    VALUES = 1
    PART = 2
    PARTS = 3
    SIBLING = 4
    SIBLINGS = 5
    RESOURCE = 6
    CONTAINED = 7
    NARRATIVE = 8


class Member(NamedTuple):
    """One member name of a shape.

    `test` is a `Check` of a value or the `Shape` of a part, `demand` what a part must satisfy
    besides, and `name` is how FHIRPath calls it: the value of ``valueQuantity`` is ``value``, that
    of ``_status`` is ``status``. For a sibling, `datatype` is the name of the member beside it.
    """

    kind: int
    test: Any
    demand: "Demand | None"
    name: str
    datatype: str
    bound: bool = False


class Demand(NamedTuple):
    """A further rule for a part: the targets of a Reference or the value set of a code."""

    targets: frozenset[str] = frozenset()
    value_set: str = ""


class Choice(NamedTuple):
    """The alternatives of an element such as ``value[x]``, of which one may be there."""

    name: str
    required: bool
    alternatives: frozenset[str]


class Shape:
    """What may stand in one JSON object: a resource, a datatype, or a part nested in one.

    `members` is empty until `compile` has run. `values` repeats the tests of single primitives,
    which are most of what a walk meets, and `is_plain` says that nothing is required, chosen or
    ruled by an invariant.
    """

    __slots__ = (
        "choices", "invariants", "is_plain", "members", "path", "required", "type", "values",
    )  # fmt: skip

    def __init__(self, type: str, path: str = "") -> None:
        self.type = type
        self.path = path
        self.members: dict[str, Member] = {}
        self.values: dict[str, Check] = {}
        self.is_plain = False
        self.required: tuple[tuple[str, str], ...] = ()
        self.choices: tuple[Choice, ...] = ()
        self.invariants: tuple[Invariant, ...] = ()

    def compile(self) -> dict[str, Member]:
        """Fill in the shape from its definition, and return the members by JSON name."""
        below = f"{self.path}." if self.path else ""
        rows = {
            row["path"][len(below) :]: row
            for row in definition(self.type)
            if row["path"].startswith(below) and "." not in row["path"][len(below) :]
        }
        members: dict[str, Member] = {}
        if not self.path and self.type in TYPES:
            is_type = frozenset({self.type}).__contains__
            members["resourceType"] = Member(Kind.VALUE, is_type, None, "resourceType", "code")
        for name, row in rows.items():
            members.update(_members(self.type, row, name))
        self.required = tuple(
            (name, f"_{name}") for name, row in rows.items() if row.get("min") and "[x]" not in name
        )
        self.choices = tuple(_choice(row, name) for name, row in rows.items() if "[x]" in name)
        self.invariants = INVARIANTS.get(f"{self.type}.{self.path}".rstrip("."), ())
        self.is_plain = not (self.required or self.choices or self.invariants)
        self.values = {name: m.test for name, m in members.items() if m.kind == Kind.VALUE}
        self.members = members
        return members


@cache
def shape(type: str, path: str = "") -> Shape:
    """The shape of a type, or of the part of it at a path such as ``series.instance``."""
    return Shape(type, path)


@cache
def definition(type: str) -> list[dict[str, Any]]:
    """Read the elements of a type, as `tools/definitions.py` wrote them."""
    folder = "resources" if type in TYPES else "datatypes"
    text = (DEFINITIONS / folder / f"{type}.json").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text)["elements"]
    return rows


def _members(type: str, row: dict[str, Any], name: str) -> Iterator[tuple[str, Member]]:
    many = row.get("max") == "*"
    stem = name.removesuffix("[x]")
    for datatype in row.get("types", ("",)):
        bare = datatype.partition("(")[0]
        json_name = name if stem == name else stem + bare[0].upper() + bare[1:]
        member = _member(type, row, datatype, stem, many)
        yield json_name, member
        # Ids and the url of an extension are plain strings, which take no extension themselves.
        takes_extension = bare in CHECKS and name != "id" and (type, name) != ("Extension", "url")
        if takes_extension:
            kind = Kind.SIBLINGS if many else Kind.SIBLING
            yield f"_{json_name}", Member(kind, shape("Element"), None, stem, json_name)


def _member(type: str, row: dict[str, Any], datatype: str, name: str, many: bool) -> Member:
    bare, _, targets = datatype.rstrip(")").partition("(")
    value_set = row.get("binding", "")
    if bare in CHECKS:
        codes = bindings.codes(value_set) if value_set and bare == "code" else None
        test: Check = CHECKS[bare] if codes is None else codes.__contains__
        kind = Kind.VALUES if many else Kind.VALUE
        return Member(kind, test, None, name, bare, codes is not None)
    if bare == "xhtml":
        return Member(Kind.NARRATIVE, None, None, name, bare)
    if bare == "Resource":
        kind = Kind.CONTAINED if many else Kind.RESOURCE
        return Member(kind, None, None, name, bare)
    part = shape(bare) if bare in DATATYPES and not _is_nested(type, row) else None
    demand = Demand(frozenset(targets.split("|")) if targets else frozenset(), value_set)
    return Member(
        Kind.PARTS if many else Kind.PART,
        part or shape(type, row.get("like", row["path"])),
        demand if bare == "Reference" or value_set else None,
        name,
        bare,
    )


def _is_nested(type: str, row: dict[str, Any]) -> bool:
    below = row["path"] + "."
    return "like" in row or any(other["path"].startswith(below) for other in definition(type))


def _choice(row: dict[str, Any], name: str) -> Choice:
    stem = name.removesuffix("[x]")
    bare = [datatype.partition("(")[0] for datatype in row["types"]]
    names = [stem + each[0].upper() + each[1:] for each in bare]
    return Choice(stem, bool(row.get("min")), frozenset([*names, *(f"_{each}" for each in names)]))
