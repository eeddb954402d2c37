"""Query string -> Query: an immutable tree of criteria.

What a client may write is checked here, once; what comes after can trust it. A parameter that this
server does not know or cannot use is listed in `Query.ignored`, or refused if the client asked for
strict handling. An unknown modifier is always refused: ignoring it would answer another question.

References
----------
* FHIR R4 search, "Parameters", "Modifiers", "Chained Parameters", "Handling Errors"
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias

from fhir_server.access.gate import Reach
from fhir_server.search import date, page, reference, returned, string, token, uri
from fhir_server.search.date import Range
from fhir_server.search.escaping import split
from fhir_server.search.page import Key, Position, Sort
from fhir_server.search.returned import DEFAULT_COUNT, Include, Wanted, included_types
from fhir_server.search.token import Token
from resources.compartments import pins_patient
from resources.errors import Invalid, Unsupported
from resources.search_parameters import SearchParameter, parameter, types

MOST_VALUES: Final = 100
"""Alternatives of one criterion."""
MOST_CRITERIA: Final = 50

Value: TypeAlias = Token | Range | tuple[str, ...] | str | bool
"""A token, a period with its prefix, the references meant, a folded text or URI, or (missing) a yes
or no."""


class Chain(NamedTuple):
    """What a reference must lead to: a resource of this type that meets a criterion."""

    type: str
    criterion: "Criterion"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One parameter with its alternatives: a resource matches if one of them does.

    Parameters
    ----------
    kind
        token, reference, date, string or uri.
    modifier
        ``not``, ``contains``, ``missing``, or for the server's own use ``like``.
    chain
        For a chained parameter, what is at the other end; there are no `values` then.
    """

    code: str
    kind: str
    modifier: str = ""
    values: tuple[Value, ...] = ()
    chain: Chain | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of one resource type: all `criteria` must be met.

    Parameters
    ----------
    count
        Matches on a page; 0 asks for the number alone.
    total
        ``none``, ``estimate``, ``accurate``, or None if the client does not say.
    cursor
        The sort values of the row after which the page begins; None for the first page.
    reach
        What the principal may see, fastened by `access.gate.narrow`.
    ignored
        Names of parameters that were not used; they stay out of the ``self`` link.
    """

    type: str
    criteria: tuple[Criterion, ...] = ()
    sort: tuple[Sort, ...] = ()
    count: int = DEFAULT_COUNT
    total: str | None = None
    includes: tuple[Include, ...] = ()
    revincludes: tuple[Include, ...] = ()
    cursor: Position | None = None
    reach: Reach | None = None
    ignored: tuple[str, ...] = ()

    @property
    def touches(self) -> frozenset[str]:
        """The other resource types that the answer may depend on: chains and includes."""
        found = {each.chain.type for each in self.criteria if each.chain is not None}
        found |= {each.source for each in self.revincludes}
        for include in self.includes:
            found |= included_types(include)
        return frozenset(found)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The order of the matches."""
        return page.keys(self.type, self.sort, self.pinned is not None)

    @property
    def pinned(self) -> int | None:
        """Which criterion says "about this one patient", if one does."""
        for index, each in enumerate(self.criteria):
            if each.kind == "reference" and not each.modifier and len(each.values) == 1:
                (references,) = each.values
                is_one = isinstance(references, tuple) and len(references) == 1
                if is_one and _is_patient(references) and pins_patient(self.type, each.code):
                    return index
        return None


def parse(
    type: str, pairs: Sequence[tuple[str, str]], *, strict: bool = False, own_base: str = ""
) -> Query:
    """Read the parameters of a search on one type.

    Parameters
    ----------
    pairs
        Names and values in order, percent-decoded.
    strict
        Refuse what would be ignored (``Prefer: handling=strict``).
    own_base
        Base URL of this server, without a slash at the end.

    Raises
    ------
    Invalid
        A value, modifier or name that the standard does not allow here.
    Unsupported
        A modifier or depth that the standard has and this server has not.
    """
    wanted = Wanted(type)
    criteria: list[Criterion] = []
    ignored: list[str] = []
    for name, value in pairs:
        if "\x00" in name or "\x00" in value:
            raise Invalid("a character NUL is in the query", at=name.replace("\x00", ""))
        if name.partition(":")[0] in returned.PARAMETERS:
            if wanted.read(name, value):
                continue
        elif (found := criterion(type, name, value, own_base)) is not None:
            criteria.append(found)
            continue
        if strict:
            raise Invalid(f"the search parameter {name} of {type} is not supported", at=name)
        ignored.append(name)
    if len(criteria) > MOST_CRITERIA:
        raise Invalid(f"more than {MOST_CRITERIA} criteria")
    return _query(type, tuple(criteria), wanted, tuple(ignored))


def criterion(type: str, name: str, text: str, own_base: str = "") -> Criterion | None:
    """Read one criterion: a parameter's name with modifier or chain, and its value.

    None if this server has no such parameter.

    Examples
    --------
    >>> criterion("Task", "focus:ImagingStudy.modality", "CT").chain.type
    'ImagingStudy'
    """
    head, dot, rest = name.partition(".")
    code, _, modifier = head.partition(":")
    found = parameter(type, code)
    if found is None or not text:
        return None
    if dot:
        return _chained(type, found, modifier, rest, text, own_base)
    alternatives = split(text, ",")
    if len(alternatives) > MOST_VALUES:
        raise Invalid(f"{code} has more than {MOST_VALUES} alternatives", at=code)
    alternatives = [each for each in alternatives if each]
    if not alternatives:
        return None
    if modifier == "missing":
        return Criterion(code, found.kind, modifier, (_boolean(text, code),))
    read = _READERS[found.kind]
    target = _checked(type, found, modifier)
    values = tuple(read(found, target, each, own_base) for each in alternatives)
    return Criterion(code, found.kind, "" if target else modifier, values)


def like(code: str, pattern: str) -> Criterion:
    """Ask for texts by a LIKE pattern, already folded and escaped (see `string.pattern`)."""
    return Criterion(code, "string", "like", (pattern,))


def _query(
    type: str, criteria: tuple[Criterion, ...], wanted: Wanted, ignored: tuple[str, ...]
) -> Query:
    query = Query(
        type,
        criteria,
        wanted.sort,
        wanted.count,
        wanted.total,
        tuple(dict.fromkeys(wanted.includes)),
        tuple(dict.fromkeys(wanted.revincludes)),
        ignored=ignored,
    )
    if wanted.cursor is None:
        return query
    return replace(query, cursor=page.decode(wanted.cursor, query.keys))


# --- criteria ----------------------------------------------------------------------------------

_DONE: Final[Mapping[str, frozenset[str]]] = {
    "token": frozenset({"", "not"}),
    "reference": frozenset({""}),
    "date": frozenset({""}),
    "string": frozenset({"", "contains"}),
    "uri": frozenset({""}),
}
"""The modifiers of each kind, besides ``missing`` and the types of a reference."""

_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "token": frozenset({"text", "in", "not-in", "above", "below", "of-type"}),
    "reference": frozenset({"identifier", "above", "below"}),
    "string": frozenset({"exact"}),
    "uri": frozenset({"above", "below"}),
}
"""FHIR R4 search, "Modifiers": what the standard has and this server has not yet."""


def _checked(type: str, found: SearchParameter, modifier: str) -> str:
    """Refuse a modifier that cannot be; answer with the type that a reference is narrowed to."""
    if modifier in _DONE[found.kind] and not (modifier and found.code.startswith("_id")):
        return ""
    if found.kind == "reference" and modifier in (found.targets or types()):
        return modifier
    if modifier in _KNOWN.get(found.kind, ()):
        raise Unsupported(f"{found.code}:{modifier} is not supported", at=found.code)
    raise Invalid(f"{found.code} of {type} cannot have :{modifier}", at=found.code)


def _chained(
    type: str, found: SearchParameter, target: str, rest: str, text: str, own_base: str
) -> Criterion | None:
    code = found.code
    if found.kind != "reference":
        raise Invalid(f"{code} of {type} is not a reference: nothing can follow it", at=code)
    if target and target not in (found.targets or types()):
        raise Invalid(f"{code} of {type} does not refer to {target}", at=code)
    if "." in rest:
        raise Unsupported("chains go one reference deep", at=code)
    inner = rest.partition(":")[0]
    able = [target] if target else [each for each in found.targets if parameter(each, inner)]
    if len(able) > 1 or not (able or found.targets):
        raise Invalid(f"say which type {code} leads to, as in {code}:Type.{rest}", at=code)
    if not able:
        return None
    at_the_end = criterion(able[0], rest, text, own_base)
    return at_the_end and Criterion(code, "reference", chain=Chain(able[0], at_the_end))


def _read_token(found: SearchParameter, target: str, text: str, own_base: str) -> Value:
    return token.read(text)


def _read_reference(found: SearchParameter, target: str, text: str, own_base: str) -> Value:
    return reference.read(text, found.code, found.targets, target, own_base)


def _read_date(found: SearchParameter, target: str, text: str, own_base: str) -> Value:
    return date.read(text, found.code)


def _read_string(found: SearchParameter, target: str, text: str, own_base: str) -> Value:
    return string.read(text)


def _read_uri(found: SearchParameter, target: str, text: str, own_base: str) -> Value:
    return uri.read(text)


_READERS: Final[Mapping[str, Callable[[SearchParameter, str, str, str], Value]]] = {
    "token": _read_token,
    "reference": _read_reference,
    "date": _read_date,
    "string": _read_string,
    "uri": _read_uri,
}


def _boolean(text: str, code: str) -> bool:
    if text not in ("true", "false"):
        raise Invalid(f"{code}:missing is true or false", at=code)
    return text == "true"


def _is_patient(references: Any) -> bool:
    return str(references[0]).startswith("Patient/") and str(references[0]).count("/") == 1
