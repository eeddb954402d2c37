"""The part of FHIRPath that SearchParameter expressions use, compiled to closures over parsed JSON.

JSON does not say which type an element has, so three things differ from FHIRPath proper.
``resolve() is Patient`` looks at the reference itself and follows nothing. A choice element
(``value[x]``) is found by the names that it may have, which the caller knows. ``=`` is true when
one item of the left side is equal; expressions use it on elements that occur once.

References
----------
* FHIR R4 search, "Search Parameters", expression; FHIR R4 fhirpath
* FHIRPath 2.0.0, sections 3 (Path selection), 5 (Functions), 6 (Operations)
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from resources import path_functions as step
from resources import path_grammar
from resources.path_functions import Evaluate
from resources.path_grammar import Call

Choices: TypeAlias = Mapping[str, Collection[str]]
"""Path of a choice element without ``[x]``, as ``Observation.value`` -> the types it may have."""


class Branch(NamedTuple):
    """One way into a resource: a top-level member, and where to go from its value.

    An empty member means that the branch looks at the whole resource.
    """

    member: str
    follow: Evaluate


class Group(NamedTuple):
    """One kind of element that a composite parameter looks at, and what it asks of each.

    `parts` are evaluated on the element, or on the whole resource where `of_all` says so.
    """

    branches: tuple[Branch, ...]
    parts: tuple[Evaluate, ...]
    of_all: tuple[bool, ...]


class Path(NamedTuple):
    """A compiled expression: what its branches find, one after the other."""

    branches: tuple[Branch, ...]

    def __call__(self, resource: Mapping[str, Any]) -> list[Any]:
        """Evaluate on a resource; what is not there is not in the list."""
        found: list[Any] = []
        for member, follow in self.branches:
            value = resource.get(member) if member else resource
            if value is not None:
                found += follow(value)
        return found


def compile(expression: str, type: str, choices: Choices) -> Path:
    """Compile the branches of an expression that concern one resource type.

    Parameters
    ----------
    expression
        As in SearchParameter.expression; a union may speak of many resource types.
    type
        The resource type to be evaluated; branches for others are left out.
    choices
        The choice elements that the expression may meet.

    Raises
    ------
    ExpressionError
        The expression needs more than `path_grammar` knows.

    Examples
    --------
    >>> find = compile("Task.for.where(resolve() is Patient)", "Task", {})
    >>> find({"for": {"reference": "Patient/1"}}), find({"for": {"reference": "Group/1"}})
    ([{'reference': 'Patient/1'}], [])
    """
    node = path_grammar.read(expression)
    ways = _Compiler(type, choices).ways(node, None)
    return Path(tuple(branch for way in ways for branch in way.branches()))


def compile_groups(
    expression: str, parts: Sequence[str], type: str, choices: Choices
) -> tuple[Group, ...]:
    """Compile a composite parameter: the elements, and the expressions asked of each of them.

    Parameters
    ----------
    parts
        SearchParameter.component.expression: relative to an element, or to ``%resource``.

    Raises
    ------
    ExpressionError
        An expression needs more than `path_grammar` knows.
    """
    compiler = _Compiler(type, choices)
    groups = []
    for way in compiler.ways(path_grammar.read(expression), None):
        evaluates = []
        for part in parts:
            if part.startswith(OF_THE_RESOURCE):
                nodes, here = f"{type}.{part.removeprefix(OF_THE_RESOURCE)}", None
            else:
                nodes, here = part, way.element
            found = compiler.ways(path_grammar.read(nodes), here)
            evaluates.append(step.joined([_whole(each) for each in found]))
        of_all = tuple(part.startswith(OF_THE_RESOURCE) for part in parts)
        groups.append(Group(tuple(way.branches()), tuple(evaluates), of_all))
    return tuple(groups)


OF_THE_RESOURCE: Final = "%resource."

# --- compiling: the calls as closures -----------------------------------------------------------


class _Way(NamedTuple):
    """One operand of a union: the members it may start at, the steps after, the element reached.

    `element` is the path that the choices are looked up by, None once it cannot be known.
    """

    element: str | None
    members: tuple[str, ...] = ()
    steps: tuple[Evaluate, ...] = ()

    def then(self, next: Evaluate, element: str | None = None) -> "_Way":
        return self._replace(steps=(*self.steps, next), element=element or self.element)

    def branches(self) -> list[Branch]:
        return [Branch(member, step.chained(self.steps)) for member in self.members or ("",)]


class _Compiler(NamedTuple):
    """Compiles calls for one resource type."""

    type: str
    choices: Choices

    def ways(self, node: Call | None, here: str | None) -> list[_Way]:
        """Compile a call; `here` is the element an argument is asked of, None at the top."""
        if node is None:
            return [_Way(here)]
        match node.name, node.arguments:
            case "|", operands:
                return [way for operand in operands for way in self.ways(operand, here)]
            case "and", operands:
                return [
                    _Way(None, steps=(step.all_of([self.test(each, here) for each in operands]),))
                ]
            case ("=" | "!=") as operator, (literal,):
                test = self.test(node.of, here)
                return [_Way(None, steps=(step.equals(test, literal, operator == "="),))]
            case "exists", _:
                return [_Way(None, steps=(step.exists(self.test(node.of, here)),))]
            case "[", (index,):
                return [_Way(None, steps=(step.nth(self.test(node.of, here), index),))]
            case "iif", (condition, then, otherwise):
                ends = self.test(then, here), self.test(otherwise, here)
                return [_Way(None, steps=(step.iif(self.test(condition, here), *ends),))]
            case "number", (int() as number,):
                return [_Way(None, steps=(step.constant(number),))]
            case ".", (name,) if node.of is None and here is None:
                return [_Way(self.type)] if name in (self.type, *_ABSTRACT) else []
        return [self.onward(way, node, here) for way in self.ways(node.of, here)]

    def onward(self, way: _Way, node: Call, here: str | None) -> _Way:
        match node.name, node.arguments:
            case ".", (name,):
                return self.member(way, name, None)
            case (("as" | "ofType"), (type,)):
                return self.cast(way, node, type, here)
            case "where", (condition,):
                return way.then(step.where(self.test(condition, way.element or "")))
            case "is", (type,):
                return way.then(step.is_of(type))
            case "extension", (url,):
                if way == _Way(self.type):
                    way = _Way(None, ("extension",), (step.items,))
                    return way.then(
                        step.where(step.equals(step.members(("url",)), url, True)), "Extension"
                    )
                return way.then(step.extension(url), "Extension")
            case "hasExtension", (url,):
                return way.then(step.exists(step.extension(url)))
        return way  # resolve(): the reference stands for what it refers to

    def cast(self, way: _Way, node: Call, type: str, here: str | None) -> _Way:
        """Narrow a choice to one type; anything else already has the type it is cast to."""
        of = node.of
        if of is None or of.name != ".":
            return way
        before = self.ways(of.of, here)
        if len(before) != 1 or f"{before[0].element}.{of.arguments[0]}" != way.element:
            return way
        return self.member(before[0], of.arguments[0], type)

    def member(self, way: _Way, name: str, type: str | None) -> _Way:
        element = f"{way.element}.{name}" if way.element else name
        types = self.choices.get(element)
        names: tuple[str, ...] = (name,)
        if types is not None:
            wanted = types if type is None else (type, *_SPECIALIZED.get(type, ()))
            spelt = {_capital(each) for each in wanted}
            names = tuple(name + _capital(each) for each in types if _capital(each) in spelt)
        if way == _Way(self.type):
            return _Way(element, names, (step.items,))
        return way.then(step.members(names), element)

    def test(self, node: Call | None, here: str | None) -> Evaluate:
        """Compile an operand whose result is looked at as a whole."""
        return step.joined([_whole(way) for way in self.ways(node, here)])


_SPECIALIZED: Final = {
    "uri":     ("canonical", "oid", "url", "uuid"),
    "string":  ("code", "id", "markdown"),
    "integer": ("positiveInt", "unsignedInt"),
}  # fmt: skip
"""FHIR R4 datatypes, "Primitive Types": a canonical is a uri."""

_ABSTRACT: Final = ("Resource", "DomainResource")


def _whole(way: _Way) -> Evaluate:
    if not way.members:
        return step.chained(way.steps)
    return step.chained((step.members(way.members), *way.steps[1:]))


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
