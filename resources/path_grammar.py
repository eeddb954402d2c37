"""The grammar of the part of FHIRPath that is read here: text to nested calls.

::

    union    = and ("|" and)*
    and      = relation ("and" relation)*
    relation = path (("is" | "as") type | ("=" | "!=") literal)?
    path     = ("(" union ")" | step) ("." step | "[" digits "]")*
    step     = name | function "(" argument ")"
    operand  = digits | union
    literal  = text | "true" | "false" | date | number

Which functions there are, with which argument, and whether dates and numbers are literals, is a
`Dialect`: one for the expressions of SearchParameters, one for the paths of FHIRPath Patch.

References
----------
* FHIRPath 2.0.0, section 3 (Path selection), 5 (Functions), 6 (Operations); Appendix B (grammar)
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, TypeAlias

DEEPEST: Final = 10
MOST_STEPS: Final = 20
"""Parentheses within one another, and steps of one path: what is compiled is as deep as both."""
LONGEST_NUMBER: Final = 6

Argument: TypeAlias = Literal["nothing", "expression", "type", "text", "condition and two ends"]


class ExpressionError(ValueError):
    """The expression uses a part of FHIRPath that is not here."""


class Dialect(NamedTuple):
    """What may be said: functions with their arguments, and dates and numbers as literals."""

    functions: Mapping[str, Argument]
    amounts: bool


class Call(NamedTuple):
    """A step, function or operator: what it applies to, its name, and its arguments.

    A plain step is a call of ``.`` with the member's name.
    """

    of: "Call | None"
    name: str
    arguments: tuple[Any, ...] = ()


SEARCH: Final = Dialect(
    {
        "where":        "expression",
        "exists":       "nothing",
        "resolve":      "nothing",
        "as":           "type",
        "ofType":       "type",
        "extension":    "text",
        "hasExtension": "text",
        "iif":          "condition and two ends",
    },
    amounts=False,
)  # fmt: skip
"""FHIR R4 search: what the expressions of the release and of this house use."""

PATCH: Final = Dialect(
    {
        "where":     "expression",
        "exists":    "nothing",
        "first":     "nothing",
        "last":      "nothing",
        "as":        "type",
        "ofType":    "type",
        "extension": "text",
    },
    amounts=True,
)  # fmt: skip
"""FHIR R4 fhirpatch: "only simple FHIRPath expressions"."""

NUMBER: Final = "number"
"""The name of the call that is a number; no element is called so in an expression of a step."""

_TOKEN: Final = re.compile(
    r"\s*('(?:[^'\\]|\\.)*'|@[0-9T:.+\-Z]+|-?\d+(?:\.\d+)?|`[A-Za-z_]\w*`|[A-Za-z_]\w*"
    r"|!=|[().,|\[\]=]|$)"
)
_ESCAPE: Final = re.compile(r"\\(.)")


def read(expression: str, dialect: Dialect = SEARCH) -> Call:
    """Read an expression as nested calls.

    Raises
    ------
    ExpressionError
        It needs more than the grammar above.
    """
    return _Parser(expression, dialect).whole()


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, expression: str, dialect: Dialect) -> None:
        self.expression = expression
        self.dialect = dialect
        self.tokens: list[str] = []
        position = 0
        while position < len(expression):
            token = _TOKEN.match(expression, position)
            if token is None:
                raise ExpressionError(expression)
            self.tokens.append(token.group(1))
            position = token.end()
        self.tokens += ["", ""]
        self.at = 0
        self.depth = 0

    def whole(self) -> Call:
        node = self.union()
        self.expect("")
        return node

    def peek(self) -> str:
        return self.tokens[self.at]

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise ExpressionError(self.expression)

    def union(self) -> Call:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ExpressionError(f"it nests deeper than {DEEPEST} levels")
        node = self.infix("|", self.conjunction)
        self.depth -= 1
        return node

    def conjunction(self) -> Call:
        return self.infix("and", self.relation)

    def infix(self, operator: str, operand: Callable[[], Call]) -> Call:
        nodes = [operand()]
        while self.peek() == operator:
            self.take()
            nodes.append(operand())
        return nodes[0] if len(nodes) == 1 else Call(None, operator, tuple(nodes))

    def relation(self) -> Call:
        node = self.path()
        if self.peek() in ("is", "as"):
            return Call(node, self.take(), (self.name(),))
        if self.peek() in ("=", "!="):
            return Call(node, self.take(), (self.literal(),))
        return node

    def path(self) -> Call:
        if self.peek() == "(":
            self.take()
            node = self.union()
            self.expect(")")
        else:
            node = self.step(None)
        steps = 1
        while self.peek() in (".", "["):
            steps += 1
            if steps > MOST_STEPS:
                raise ExpressionError(f"a path has more than {MOST_STEPS} steps")
            if self.take() == ".":
                node = self.step(node)
            else:
                node = Call(node, "[", (self.number(),))
                self.expect("]")
        return node

    def step(self, of: Call | None) -> Call:
        name = self.name()
        if self.peek() != "(":
            return Call(of, ".", (name,))
        self.take()
        arguments = self.arguments(self.dialect.functions.get(name))
        self.expect(")")
        return Call(of, name, arguments)

    def arguments(self, kind: Argument | None) -> tuple[Any, ...]:
        match kind:
            case "nothing":
                return ()
            case "expression":
                return (self.union(),)
            case "type":
                return (self.name(),)
            case "text" if self.peek().startswith("'"):
                return (self.literal(),)
            case "condition and two ends":
                return (self.union(), self.end(), self.end())
        raise ExpressionError(self.expression)

    def end(self) -> Call:
        """Read what an ``iif`` gives: a number or an expression."""
        self.expect(",")
        is_number = self.peek().isdigit()
        return Call(None, NUMBER, (self.number(),)) if is_number else self.union()

    def number(self) -> int:
        digits = self.take()
        if not digits.isdecimal() or len(digits) > LONGEST_NUMBER:
            raise ExpressionError(self.expression)
        return int(digits)

    def name(self) -> str:
        name = self.take().strip("`")
        if not name.isidentifier():
            raise ExpressionError(self.expression)
        return name

    def literal(self) -> Any:
        token = self.take()
        if token in ("true", "false"):
            return token == "true"
        if token.startswith("'"):
            return _ESCAPE.sub(r"\1", token[1:-1])
        if self.dialect.amounts and token.startswith("@"):
            return token[1:].removeprefix("T")
        if self.dialect.amounts and token.lstrip("-")[:1].isdecimal():
            return Decimal(token)
        raise ExpressionError(self.expression)
