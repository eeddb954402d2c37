"""Resource -> index terms: what each kind of parameter can later be asked about.

The parameters of a type are sorted by the top-level member they start at, once. A resource is then
indexed by one walk over the members that it has, not over the parameters that it might have.

References
----------
* FHIR R4 search, "Search Parameter Types"
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

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
from fhir_server.search.rank import is_ranked
from resources.path_functions import Evaluate
from resources.paths import Branch, Group
from resources.search_parameters import CHIEF_DATE, SearchParameter, generation, indexed


class DateTerm(NamedTuple):
    """A period that one value of a date parameter covers, both ends included."""

    code: str
    low: int
    high: int


class StringTerm(NamedTuple):
    """One folded text of a string parameter, and the text as it was written."""

    code: str
    value: str
    original: str


class ValueTerm(NamedTuple):
    """One value of a number, quantity, composite or special parameter.

    Parameters
    ----------
    words
        Units, and the words of the parts of a composite.
    low, high, low2, high2
        Its ranges, both ends included; a number is a range of its own. None where there is none.
    """

    code: str
    words: tuple[str, ...]
    low: Decimal | None
    high: Decimal | None
    low2: Decimal | None = None
    high2: Decimal | None = None


class Terms(NamedTuple):
    """What the index keeps of one resource.

    Parameters
    ----------
    terms
        Token, reference and URI terms, each once: ``SR.status=active``; identifiers of references
        as ``SR.subject:identifier=...``; ``SR.code:`` for what is there and cannot be asked for.
    sort_at, sort_until
        The period of the type's chief date (`CHIEF_DATE`), in microseconds since 1970 UTC.
    dates
        The periods of all its other date parameters.
    strings
        The texts of its string parameters.
    values
        The values of its number, quantity, composite and special parameters.
    texts
        What the modifiers ``:text`` and ``:of-type`` look at, each after a `MARK`:
        ``code=ct of head``, ``identifier:of-type=system|code|value``.
    """

    terms: list[str]
    sort_at: int | None
    sort_until: int | None
    dates: list[DateTerm]
    strings: list[StringTerm]
    values: Sequence[ValueTerm] = ()
    texts: str = ""


MARK: Final = "\x1f"
"""Before each text of `Terms.texts`, and at the end of all; in no text itself."""


def index(resource: Mapping[str, Any], own_base: str = "") -> Terms:
    """Index one resource.

    Parameters
    ----------
    own_base
        Base URL of this server, without a slash at the end: references below it are ours.

    Examples
    --------
    >>> index({"resourceType": "Flag", "status": "active"}).terms
    ['F.status=active', 'F.status=|active']
    """
    taken = _Taken([], [], [], [], [], own_base, resource)
    plan = _plan(resource["resourceType"], generation())
    for member, value in resource.items():
        for follow, take, name in plan.get(member, ()):
            for element in follow(value):
                take(taken, name, element)
    for follow, take, name in plan.get("", ()):
        for element in follow(resource):
            take(taken, name, element)
    sort_at, sort_until = next(
        ((low, high) for code, low, high in taken.dates if code == ""), (None, None)
    )
    return Terms(
        list(dict.fromkeys(taken.terms)),
        sort_at,
        sort_until,
        [each for each in dict.fromkeys(taken.dates) if each.code],
        list(dict.fromkeys(taken.strings)),
        tuple(dict.fromkeys(taken.values)),
        MARK.join(["", *dict.fromkeys(taken.texts), ""]) if taken.texts else "",
    )


def is_valued(type: str) -> bool:
    """Whether resources of a type may have values (`Terms.values`)."""
    return _is_valued(type, generation())


@cache
def initials(type: str) -> str:
    """The capitals of a type, with which its terms begin. Two types may share them.

    Examples
    --------
    >>> initials("ServiceRequest"), initials("Task")
    ('SR', 'T')
    """
    return "".join(letter for letter in type if letter.isupper())


class _Taken(NamedTuple):
    """What has been gathered so far; a date without a code is the chief date."""

    terms: list[str]
    dates: list[DateTerm]
    strings: list[StringTerm]
    values: list[ValueTerm]
    texts: list[str]
    own_base: str
    resource: Mapping[str, Any]


_Take: TypeAlias = Callable[[_Taken, str, Any], None]
_Step: TypeAlias = tuple[Evaluate, _Take, str]

NOT_INDEXED: Final = frozenset({"_id", "_lastUpdated"})
"""Columns of their own."""


VALUED: Final = frozenset({"number", "quantity", "composite", "special"})
"""The kinds whose values are kept in a table of their own."""


@lru_cache(maxsize=1000)
def _plan(type: str, generation: int) -> Mapping[str, list[_Step]]:
    """Sort the parameters of a type by the member they start at; "" for the whole resource."""
    steps: dict[str, list[_Step]] = {}
    for parameter in indexed(type).values():
        if parameter.code in NOT_INDEXED or is_ranked(type, parameter.code):
            continue
        name = _name(type, parameter)
        for branches, take in _takes(parameter):
            for member, follow in branches:
                steps.setdefault(member, []).append((follow, take, name))
    return steps


@lru_cache(maxsize=1000)
def _is_valued(type: str, generation: int) -> bool:
    return any(
        parameter.kind in VALUED and not is_ranked(type, parameter.code)
        for parameter in indexed(type).values()
    )


def _takes(parameter: SearchParameter) -> Iterator[tuple[Iterable[Branch], _Take]]:
    """Ways into a resource, and what is taken there."""
    if parameter.kind != "composite":
        yield parameter.path.branches, _TAKERS[parameter.kind]
    for group in parameter.groups:
        yield group.branches, _combining(group, [each.kind for each in parameter.components])


def _name(type: str, parameter: SearchParameter) -> str:
    if parameter.kind == "date":
        return "" if CHIEF_DATE.get(type) == parameter.code else parameter.code
    if parameter.kind == "string":
        return parameter.code
    return f"{initials(type)}.{parameter.code}"


def _take_token(taken: _Taken, name: str, element: Any) -> None:
    terms = taken.terms
    before = len(terms)
    token.index(name, element, terms.append)
    if element.__class__ is dict:
        for text in token.texts(element):
            taken.texts.append(f"{_code(name)}={string.fold(text)}")
        if "type" in element:
            for typed in token.typed(element):
                taken.texts.append(f"{_code(name)}:of-type={typed.replace(MARK, '')}")
        if len(terms) == before:
            terms.append(f"{name}:")


def _take_reference(taken: _Taken, name: str, element: Any) -> None:
    before = len(taken.terms)
    reference.index(name, element, taken.own_base, taken.terms.append)
    if element.__class__ is dict:
        identifier = element.get("identifier")
        if identifier.__class__ is dict:
            token.index(f"{name}:identifier", identifier, taken.terms.append)
        if len(taken.terms) == before:
            taken.terms.append(f"{name}:")


def _take_uri(taken: _Taken, name: str, element: Any) -> None:
    uri.index(name, element, taken.terms.append)


def _take_date(taken: _Taken, name: str, element: Any) -> None:
    for low, high in date.periods(element):
        taken.dates.append(DateTerm(name, low, high))


def _take_string(taken: _Taken, name: str, element: Any) -> None:
    for original in string.originals(element):
        value = string.fold(original)
        if value:
            taken.strings.append(StringTerm(name, value, original))


def _take_number(taken: _Taken, name: str, element: Any) -> None:
    span = number.range(element)
    if span is not None:
        taken.values.append(ValueTerm(_code(name), (), *span))


def _take_quantity(taken: _Taken, name: str, element: Any) -> None:
    for low, high, units in quantity.extents(element):
        words = tuple(f"{name}={unit}" for unit in units)
        taken.values.append(ValueTerm(_code(name), words, low, high))


def _take_place(taken: _Taken, name: str, element: Any) -> None:
    place = near.place(element)
    if place is not None:
        latitude, longitude = place
        taken.values.append(ValueTerm(_code(name), (), latitude, latitude, longitude, longitude))


def _combining(group: Group, kinds: Sequence[str]) -> _Take:
    def take(taken: _Taken, name: str, element: Any) -> None:
        values = [
            part(taken.resource if of_all else element)
            for part, of_all in zip(group.parts, group.of_all, strict=True)
        ]
        for words, spans in composite.elements(name, kinds, values, taken.own_base):
            first, second, *_ = [*spans, (None, None), (None, None)]
            taken.values.append(ValueTerm(_code(name), words, *first, *second))

    return take


def _code(name: str) -> str:
    return name.partition(".")[2]


_TAKERS: Final[Mapping[str, _Take]] = {
    "token": _take_token,
    "reference": _take_reference,
    "uri": _take_uri,
    "date": _take_date,
    "string": _take_string,
    "number": _take_number,
    "quantity": _take_quantity,
    "special": _take_place,
}
