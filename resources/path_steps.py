"""Steps: the part of FHIRPath that names elements of one resource, read.

::

    path      = step ("." step | "[" index "]")*
    step      = name | where(condition) | extension(text) | ofType(name) | first() | last()
    condition = clause ("and" clause)*
    clause    = path (("=" | "!=") literal)? | path "." exists()

References
----------
* FHIR R4 fhirpatch; FHIRPath 2.0.0, sections 3 (Path selection), 5 (Functions)
"""

import re
from decimal import Decimal
from typing import Any, Final, NamedTuple

from resources.errors import Invalid

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
        return Invalid(
            "This path cannot be read: docs/epr-vendor.md tells what it may use.", self._at
        )
