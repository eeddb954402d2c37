"""Modifiers: which a parameter of each kind may have, and what is asked for then.

Where a modifier only widens what is asked for (``:in`` a value set, ``:below`` a code, ``:above`` a
URL), it is worked out here and what comes after sees a plain criterion.

References
----------
* FHIR R4 search, "Modifiers": "Servers SHALL reject any search request that contains a suffix that
  the server does not support for that parameter"
* FHIR R4 search, "token", "reference", "string", "uri": what each modifier means
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from fhir_server.search import (
    composite,
    date,
    near,
    number,
    quantity,
    reference,
    string,
    token,
    uri,
)
from fhir_server.search.criterion import Criterion, Value
from fhir_server.search.escaping import plain, split
from fhir_server.search.token import Token
from resources.errors import Invalid, NotFound, Unsupported
from resources.search_parameters import SearchParameter, types
from resources.terminology import held
from resources.terminology.library import Library

MOST_CODES: Final = 5000
"""Codes of the value sets of one criterion."""

BY_KIND: Final[Mapping[str, frozenset[str]]] = {
    "token": frozenset({"not", "text", "in", "not-in", "above", "below", "of-type"}),
    "reference": frozenset({"identifier"}),
    "date": frozenset(),
    "string": frozenset({"contains", "exact"}),
    "uri": frozenset({"above", "below"}),
    "number": frozenset(),
    "quantity": frozenset(),
    "composite": frozenset(),
    "special": frozenset(),
}
"""The modifiers of each kind, besides ``missing`` and the types of a reference."""

NOT_DONE: Final[Mapping[str, frozenset[str]]] = {"reference": frozenset({"above", "below"})}
"""FHIR R4 search, "reference": hierarchies of resources, which this server does not follow."""

SHELF: Final[ContextVar[Library | None]] = ContextVar("shelf", default=None)
"""The value sets and code systems to read by, where clients have stored some that are asked for;
else those that are held."""

VOCABULARY: Final = {
    "in": "ValueSet", "not-in": "ValueSet", "above": "CodeSystem", "below": "CodeSystem",
}  # fmt: skip
"""The modifiers of tokens that need to know codes, and where those are listed."""

COLUMNS: Final = frozenset({"_id", "_lastUpdated"})
"""Parameters that are columns of their own and have no modifier but ``missing``."""


@contextmanager
def using(shelf: Library) -> Iterator[None]:
    """Read what is inside the block by what is on a shelf."""
    before = SHELF.set(shelf)
    try:
        yield
    finally:
        SHELF.reset(before)


def vocabulary(pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Type and canonical URL of the value sets and code systems that parameters speak of.

    Examples
    --------
    >>> vocabulary([("code:in", "http://x"), ("status", "ready")])
    {('ValueSet', 'http://x')}
    """
    return {
        (VOCABULARY[modifier], plain(each.partition("|")[0]))
        for name, value in pairs
        if ":" in name and (modifier := name.rpartition(":")[2]) in VOCABULARY
        for each in split(value, ",")
    }


def criterion(
    type: str, found: SearchParameter, modifier: str, alternatives: Sequence[str], own_base: str
) -> Criterion:
    """Read the values of a parameter with its modifier, or with none.

    Raises
    ------
    Invalid
        The parameter cannot have the modifier, or a value is not what it may be.
    Unsupported
        The standard has the modifier and this server has not.
    """
    code, kind = found.code, found.kind
    if kind == "reference" and modifier in (found.targets or types()):
        values = tuple(
            reference.read(each, code, found.targets, modifier, own_base) for each in alternatives
        )
        return Criterion(code, kind, "", values)
    if not modifier:
        return Criterion(code, kind, "", _values(found, alternatives, own_base))
    if modifier in NOT_DONE.get(kind, ()):
        raise Unsupported(f"{code}:{modifier} is not supported", at=code)
    if modifier not in BY_KIND[kind] or code in COLUMNS:
        raise Invalid(f"{code} of {type} cannot have :{modifier}", at=code)
    if modifier in _READ:
        return _READ[modifier](found, modifier, alternatives)
    return Criterion(code, kind, modifier, _values(found, alternatives, own_base))


def _values(
    found: SearchParameter, alternatives: Sequence[str], own_base: str
) -> tuple[Value, ...]:
    return tuple(_READERS[found.kind](found, each, own_base) for each in alternatives)


def _in(found: SearchParameter, modifier: str, alternatives: Sequence[str]) -> Criterion:
    """Ask for the codes of value sets; an element that is a bare code has no system to compare."""
    pairs: set[tuple[str, str]] = set()
    for url in (plain(each) for each in alternatives):
        codes = _codes(url)
        if codes is None:
            raise Invalid(
                f"{found.code}:{modifier}: that value set is not held here or cannot be listed",
                at=found.code,
                code="not-found",
            )
        pairs |= codes
    if len(pairs) > MOST_CODES:
        raise Unsupported(f"{found.code}:{modifier}: too many codes", found.code, "too-costly")
    tokens = tuple(
        Token(system, code) for pair in sorted(pairs) for system, code in (pair, ("", pair[1]))
    )
    return Criterion(found.code, "token", "not" if modifier == "not-in" else "", tokens)


def _subsumed(found: SearchParameter, modifier: str, alternatives: Sequence[str]) -> Criterion:
    tokens: list[Token] = []
    for each in alternatives:
        system, code = token.read(each)
        if not system or code is None:
            raise Invalid(f"{found.code}:{modifier} is asked for with system|code", at=found.code)
        tokens += [Token(system, one) for one in sorted(_reached(modifier, system, code))]
    return Criterion(found.code, "token", "", tuple(tokens))


def _codes(url: str) -> Set[tuple[str, str]] | None:
    shelf = SHELF.get()
    if shelf is None:
        return held.value_set_codes(url)
    try:
        return shelf.expansion(url).keys()
    except (NotFound, Unsupported):
        return None


def _reached(modifier: str, system: str, code: str) -> Collection[str]:
    shelf = SHELF.get()
    if shelf is None:
        return (held.descendants if modifier == "below" else held.ancestors)(system, code)
    try:
        found = shelf.code_system(system)
    except NotFound:
        return (code,)
    return found.descendants(code) if modifier == "below" else found.ancestors(code)


def _steps(found: SearchParameter, modifier: str, alternatives: Sequence[str]) -> Criterion:
    urls = [uri.read_url(each, found.code, modifier) for each in alternatives]
    if modifier == "below":
        return Criterion(found.code, "uri", "below", tuple(urls))
    return Criterion(found.code, "uri", "", tuple(one for url in urls for one in uri.above(url)))


def _above_or_below(
    found: SearchParameter, modifier: str, alternatives: Sequence[str]
) -> Criterion:
    return (_steps if found.kind == "uri" else _subsumed)(found, modifier, alternatives)


def _identifier(found: SearchParameter, modifier: str, alternatives: Sequence[str]) -> Criterion:
    """Ask for the identifier that a reference names, as a token of its own."""
    values = tuple(token.read(each) for each in alternatives)
    return Criterion(f"{found.code}:identifier", "token", "", values)


def _text(found: SearchParameter, modifier: str, alternatives: Sequence[str]) -> Criterion:
    return Criterion(found.code, "token", "text", tuple(string.read(each) for each in alternatives))


def _of_type(found: SearchParameter, modifier: str, alternatives: Sequence[str]) -> Criterion:
    values = tuple("|".join(token.read_typed(each, found.code)) for each in alternatives)
    return Criterion(found.code, "token", "of-type", values)


def _exact(found: SearchParameter, modifier: str, alternatives: Sequence[str]) -> Criterion:
    return Criterion(found.code, "string", "exact", tuple(plain(each) for each in alternatives))


_READ: Final[Mapping[str, Callable[[SearchParameter, str, Sequence[str]], Criterion]]] = {
    "in": _in,
    "not-in": _in,
    "above": _above_or_below,
    "below": _above_or_below,
    "identifier": _identifier,
    "text": _text,
    "of-type": _of_type,
    "exact": _exact,
}
"""The modifiers whose values are read in a way of their own."""

_READERS: Final[Mapping[str, Callable[[SearchParameter, str, str], Any]]] = {
    "token": lambda found, text, own_base: token.read(text),
    "reference": lambda found, text, own_base: reference.read(
        text, found.code, found.targets, "", own_base
    ),
    "date": lambda found, text, own_base: date.read(text, found.code),
    "string": lambda found, text, own_base: string.read(text),
    "uri": lambda found, text, own_base: uri.read(text),
    "number": lambda found, text, own_base: number.read(text, found.code),
    "quantity": lambda found, text, own_base: quantity.read(text, found.code),
    "composite": composite.read,
    "special": lambda found, text, own_base: near.read(text, found.code),
}
