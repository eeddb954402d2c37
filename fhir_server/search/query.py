"""Query string -> Query: an immutable tree of criteria.

What a client may write is checked here, once; what comes after can trust it. A parameter that this
server does not know or cannot use is listed in `Query.ignored`, or refused if the client asked for
strict handling. An unknown modifier is always refused: ignoring it would answer another question.

References
----------
* FHIR R4 search, "Parameters", "Modifiers", "Chained Parameters", "Handling Errors"
* FHIR R4 search, "Managing Returned Resources"
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias

from fhir_server.access.gate import Reach
from fhir_server.search import date, page, reference, string, token, uri
from fhir_server.search.date import Range
from fhir_server.search.escaping import split
from fhir_server.search.page import Key, Position, Sort
from fhir_server.search.token import Token
from resources.compartments import pins_patient
from resources.errors import Invalid, Unsupported
from resources.search_parameters import SearchParameter, kind_of, parameter, parameters, types

DEFAULT_COUNT: Final = 20
MOST_COUNT: Final = 1000
"""More may be asked for; a page is no longer."""
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


class Include(NamedTuple):
    """``_include`` or ``_revinclude``: what `source` refers to by `code`, of one type or of any."""

    source: str
    code: str
    target: str | None = None


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
    reading = _Reading(type, own_base)
    for name, value in pairs:
        if "\x00" in name or "\x00" in value:
            raise Invalid("a character NUL is in the query", at=name.replace("\x00", ""))
        result = _RESULTS.get(name.partition(":")[0])
        used = reading.result(result, name, value) if result else reading.criterion(name, value)
        if not used:
            if strict:
                raise Invalid(f"the search parameter {name} of {type} is not supported", at=name)
            reading.ignored.append(name)
    return reading.query()


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


def included_types(include: Include) -> frozenset[str]:
    """Name the types that an include may bring in."""
    if include.target is not None:
        return frozenset({include.target})
    found = parameter(include.source, include.code)
    return frozenset(found.targets if found and found.targets else types())


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


# --- how the result is to look -----------------------------------------------------------------


class _Reading:
    """The query as far as it has been read."""

    def __init__(self, type: str, own_base: str) -> None:
        self.type = type
        self.own_base = own_base
        self.criteria: list[Criterion] = []
        self.ignored: list[str] = []
        self.fields: dict[str, Any] = {}
        self.position: str | None = None
        self.includes: list[Include] = []
        self.revincludes: list[Include] = []

    def query(self) -> Query:
        query = Query(
            self.type,
            tuple(self.criteria),
            includes=tuple(dict.fromkeys(self.includes)),
            revincludes=tuple(dict.fromkeys(self.revincludes)),
            ignored=tuple(self.ignored),
            **self.fields,
        )
        if self.position is None:
            return query
        return replace(query, cursor=page.decode(self.position, query.keys))

    def criterion(self, name: str, value: str) -> bool:
        found = criterion(self.type, name, value, self.own_base)
        if found is not None:
            self.criteria.append(found)
        if len(self.criteria) > MOST_CRITERIA:
            raise Invalid(f"more than {MOST_CRITERIA} criteria", at=name)
        return found is not None

    def result(self, read: "_Result", name: str, value: str) -> bool:
        """Read a parameter about the result; only includes may have a modifier, not supported."""
        if ":" in name:
            return False
        return read(self, value)


_Result: TypeAlias = Callable[[_Reading, str], bool]


def _count(reading: _Reading, value: str) -> bool:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise Invalid("_count is a whole number, 0 or more", at="_count")
    reading.fields["count"] = min(int(value), MOST_COUNT)
    return True


def _total(reading: _Reading, value: str) -> bool:
    if value not in ("none", "estimate", "accurate"):
        raise Invalid("_total is none, estimate or accurate", at="_total")
    reading.fields["total"] = value
    return True


def _cursor(reading: _Reading, value: str) -> bool:
    reading.position = value
    return True


def _sort(reading: _Reading, value: str) -> bool:
    """Read ``_sort=-date,code``; a key that cannot be sorted by makes the whole be ignored."""
    keys = []
    for name in value.split(","):
        code = name.removeprefix("-")
        found = parameter(reading.type, code)
        if found is None:
            if kind_of(reading.type, code) is None and not code.replace("-", "").isalnum():
                raise Invalid("_sort is a list of parameter names", at="_sort")
            return False
        keys.append(Sort(code, found.kind, name != code))
    reading.fields["sort"] = tuple(dict.fromkeys(keys))
    return True


def _include(reading: _Reading, value: str) -> bool:
    include = _read_include(value, "_include")
    known = include.source == reading.type and parameter(include.source, include.code)
    if known:
        reading.includes.append(include)
    return bool(known)


def _revinclude(reading: _Reading, value: str) -> bool:
    include = _read_include(value, "_revinclude")
    found = parameter(include.source, include.code)
    if found is None or include.target not in (None, reading.type):
        return False
    reading.revincludes.append(include)
    return True


def _read_include(value: str, name: str) -> Include:
    """Read ``Source:parameter`` or ``Source:parameter:Target``."""
    source, _, rest = value.partition(":")
    code, _, target = rest.partition(":")
    if not source or not code or (target and target not in types()):
        raise Invalid(f"{name} is Type:parameter or Type:parameter:Type", at=name)
    found = parameters(source).get(code) if source in types() else None
    if found is not None and found.kind != "reference":
        raise Invalid(f"{code} of {source} is not a reference", at=name)
    return Include(source, code, target or None)


def _summary(reading: _Reading, value: str) -> bool:
    """``_summary=count`` is a question about the number; the rest of it shapes the answer."""
    if value == "count":
        reading.fields["count"] = 0
    return True


def _left_to_the_answer(reading: _Reading, value: str) -> bool:
    return True


_RESULTS: Final[Mapping[str, _Result]] = {
    "_count": _count,
    "_cursor": _cursor,
    "_elements": _left_to_the_answer,
    "_format": _left_to_the_answer,
    "_include": _include,
    "_pretty": _left_to_the_answer,
    "_revinclude": _revinclude,
    "_sort": _sort,
    "_summary": _summary,
    "_total": _total,
}
