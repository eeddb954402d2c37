"""The grammar of the part of FHIRPath that SearchParameter expressions use: text to nested calls.

::

    union    = and ("|" and)*
    and      = relation ("and" relation)*
    relation = path (("is" | "as") type | ("=" | "!=") literal)?
    path     = ("(" union ")" | step) ("." step | "[" digits "]")*
    step     = name | where(union) | exists() | resolve() | as(type) | ofType(type)
             | extension(literal) | hasExtension(literal) | iif(union, operand, operand)
    operand  = digits | union

References
----------
* FHIRPath 2.0.0, section 3 (Path selection), 5 (Functions), 6 (Operations); Appendix B (grammar)
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

DEEPEST: Final = 10
MOST_STEPS: Final = 20
"""Parentheses within one another, and steps of one path: what is compiled is as deep as both."""
LONGEST_NUMBER: Final = 6


class ExpressionError(ValueError):
    """The expression uses a part of FHIRPath that is not here."""


class Call(NamedTuple):
    """A step, function or operator: what it applies to, its name, and its arguments.

    A plain step is a call of ``.`` with the member's name.
    """

    of: "Call | None"
    name: str
    arguments: tuple[Any, ...] = ()


_TOKEN: Final = re.compile(r"\s*('[^'\\]*'|[A-Za-z_][A-Za-z0-9_]*|\d+|!=|[().,|\[\]=]|$)")
_OF_EXPRESSION: Final = frozenset({"where"})
_OF_NOTHING: Final = frozenset({"exists", "resolve"})
_OF_THREE: Final = frozenset({"iif"})
NUMBER: Final = "number"
"""The name of the call that is a number; no element is called so in an expression of a step."""
_OF_TYPE: Final = frozenset({"as", "ofType"})
_OF_URL: Final = frozenset({"extension", "hasExtension"})


def read(expression: str) -> Call:
    """Read an expression as nested calls.

    Raises
    ------
    ExpressionError
        It needs more than the grammar above.
    """
    return _Parser(expression).whole()


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
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
        arguments: tuple[Any, ...] = ()
        if name in _OF_EXPRESSION:
            arguments = (self.union(),)
        elif name in _OF_THREE:
            arguments = tuple(self.listed())
        elif name in _OF_TYPE:
            arguments = (self.name(),)
        elif name in _OF_URL:
            arguments = (self.literal(),)
        elif name not in _OF_NOTHING:
            raise ExpressionError(self.expression)
        self.expect(")")
        return Call(of, name, arguments)

    def listed(self) -> list[Call]:
        """Read the condition and the two ends of an ``iif``."""
        nodes = [self.union()]
        for _ in range(2):
            self.expect(",")
            is_number = self.peek().isdigit()
            nodes.append(Call(None, NUMBER, (self.number(),)) if is_number else self.union())
        return nodes

    def number(self) -> int:
        digits = self.take()
        if not digits.isdecimal() or len(digits) > LONGEST_NUMBER:
            raise ExpressionError(self.expression)
        return int(digits)

    def name(self) -> str:
        name = self.take()
        if not name.isidentifier():
            raise ExpressionError(self.expression)
        return name

    def literal(self) -> Any:
        token = self.take()
        if token in ("true", "false"):
            return token == "true"
        if not token.startswith("'"):
            raise ExpressionError(self.expression)
        return token[1:-1]
