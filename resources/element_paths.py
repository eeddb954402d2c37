"""Element paths: the part of FHIRPath that names elements of one resource, and where they stand.

::

    path      = step ("." step | "[" index "]")*
    step      = name | where(condition) | extension(text) | ofType(name) | first() | last()
    condition = clause ("and" clause)*
    clause    = path (("=" | "!=") literal)? | path "." exists()

Unlike `resources.paths`, which finds values, this finds places: an element can be changed where it
stands. A choice element is called by its name in FHIRPath: ``Observation.value``.

References
----------
* FHIR R4 fhirpatch; FHIRPath 2.0.0, sections 3 (Path selection), 5 (Functions)
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple

from resources.errors import Invalid
from resources.models import TYPES
from resources.structures import Kind, Member, Shape, shape

LONGEST: Final = 1000
"""Characters of a path."""

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


class Step(NamedTuple):
    """A name, or a function with its argument."""

    name: str
    argument: Any = None
    is_call: bool = False


class Clause(NamedTuple):
    """One part of a condition; without an operator, the path must lead to something."""

    path: tuple[Step, ...]
    operator: str = ""
    literal: Any = None


_TOKEN: Final = re.compile(
    r"\s*('(?:[^'\\]|\\.)*'|@[0-9T:.+\-Z]+|-?\d+(?:\.\d+)?|`[^`]+`|[A-Za-z_]\w*|!=|[().\[\]=]|$)"
)
_ESCAPE: Final = re.compile(r"\\(.)")
_OF_TEXT: Final = frozenset({"extension"})
_OF_NAME: Final = frozenset({"ofType", "as"})
_OF_NOTHING: Final = frozenset({"first", "last", "exists"})
_EXISTS: Final = Step("exists", is_call=True)


def read(text: str, at: str) -> tuple[Step, ...]:
    """Read a path.

    Parameters
    ----------
    at
        Where the path stands in the request, for a refusal to name.

    Raises
    ------
    Invalid
        It uses more of FHIRPath than the grammar above, or is none.
    """
    if len(text) > LONGEST:
        raise Invalid(f"A path has at most {LONGEST} characters.", at, "too-long")
    return _Reader(text, at).whole()


def find(path: tuple[Step, ...], resource: dict[str, Any]) -> list[Place]:
    """Find the elements that a path leads to.

    Examples
    --------
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


class _Reader:
    """Recursive descent over the tokens of one path."""

    def __init__(self, text: str, at: str) -> None:
        self._at = at
        self._tokens: list[str] = []
        position = 0
        while position < len(text):
            token = _TOKEN.match(text, position)
            if token is None:
                raise self._refusal()
            self._tokens.append(token.group(1))
            position = token.end()
        self._tokens += ["", ""]
        self._next = 0

    def whole(self) -> tuple[Step, ...]:
        path = self._path()
        if self._take() or _EXISTS in path:
            raise self._refusal()
        return path

    def _path(self) -> tuple[Step, ...]:
        steps = [self._step()]
        while self._tokens[self._next] in (".", "["):
            if self._take() == ".":
                steps.append(self._step())
            else:
                index = self._take()
                if not index.isdecimal() or len(index) > 6:
                    raise self._refusal()
                steps.append(Step("[", int(index), is_call=True))
                self._expect("]")
        return tuple(steps)

    def _step(self) -> Step:
        name = self._take().strip("`")
        if not name.isidentifier():
            raise self._refusal()
        if self._tokens[self._next] != "(":
            return Step(name)
        self._take()
        argument: Any = None
        if name == "where":
            argument = self._condition()
        elif name in _OF_TEXT:
            argument = self._literal()
        elif name in _OF_NAME:
            argument = self._take()
        elif name not in _OF_NOTHING:
            raise self._refusal()
        self._expect(")")
        return Step(name, argument, is_call=True)

    def _condition(self) -> tuple[Clause, ...]:
        clauses = [self._clause()]
        while self._tokens[self._next] == "and":
            self._take()
            clauses.append(self._clause())
        return tuple(clauses)

    def _clause(self) -> Clause:
        *ahead, last = path = self._path()
        if _EXISTS not in path and self._tokens[self._next] in ("=", "!="):
            return Clause(path, self._take(), self._literal())
        if last == _EXISTS and _EXISTS not in ahead:
            return Clause(tuple(ahead))
        raise self._refusal()

    def _literal(self) -> Any:
        token = self._take()
        if token in ("true", "false"):
            return token == "true"
        if token.startswith("'"):
            return _ESCAPE.sub(r"\1", token[1:-1])
        if token.startswith("@"):
            return token[1:].removeprefix("T") if token.startswith("@T") else token[1:]
        if token[:1] == "-" or token[:1].isdecimal():
            return Decimal(token)
        raise self._refusal()

    def _take(self) -> str:
        self._next += 1
        return self._tokens[self._next - 1]

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise self._refusal()

    def _refusal(self) -> Invalid:
        return Invalid("This path cannot be read: see docs/fhir.md for what it may use.", self._at)
