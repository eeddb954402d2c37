"""Steps: the part of FHIRPath that names elements of one resource, read.

Of what `path_grammar` reads this is the paths, which can be changed where they lead::

    path   = step ("." step | "[" index "]")*
    step   = name | where(clause ("and" clause)*) | extension(text) | ofType(name)
           | first() | last()
    clause = path (("=" | "!=") literal)? | path "." exists()

References
----------
* FHIR R4 fhirpatch; FHIRPath 2.0.0, sections 3 (Path selection), 5 (Functions)
"""

from typing import Any, Final, NamedTuple

from resources import path_grammar
from resources.errors import Invalid
from resources.path_grammar import PATCH, Call, ExpressionError

LONGEST: Final = 1000
"""Characters of a path."""


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
    try:
        return _path(path_grammar.read(text, PATCH))
    except ExpressionError:
        why = "This path cannot be read: docs/epr-vendor.md tells what it may use."
        raise Invalid(why, at) from None


def _path(node: Call | None) -> tuple[Step, ...]:
    """List the steps that lead to a call, from the resource on."""
    if node is None:
        return ()
    return (*_path(node.of), _step(node))


def _step(node: Call) -> Step:
    match node.name, node.arguments:
        case ".", (name,):
            return Step(name)
        case "where", (condition,):
            return Step("where", _condition(condition), is_call=True)
        case ("[" | "extension" | "ofType" | "as") as name, (argument,):
            return Step(name, argument, is_call=True)
        case ("first" | "last") as name, ():
            return Step(name, is_call=True)
    raise ExpressionError(node.name)


def _condition(node: Call) -> tuple[Clause, ...]:
    return tuple(map(_clause, node.arguments if node.name == "and" else (node,)))


def _clause(node: Call) -> Clause:
    match node.name, node.arguments:
        case "exists", ():
            return Clause(_path(node.of))
        case ("=" | "!=") as operator, (literal,):
            return Clause(_path(node.of), operator, literal)
    raise ExpressionError(node.name)
