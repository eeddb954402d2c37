"""Resource -> index terms: what each kind of parameter can later be asked about.

The parameters of a type are sorted by the top-level member they start at, once. A resource is then
indexed by one walk over the members that it has, not over the parameters that it might have.

References
----------
* FHIR R4 search, "Search Parameter Types"
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from fhir_server.search import date, reference, string, token, uri
from resources.paths import Evaluate
from resources.search_parameters import CHIEF_DATE, SearchParameter, parameters


class DateTerm(NamedTuple):
    """A period that one value of a date parameter covers, both ends included."""

    code: str
    low: int
    high: int


class StringTerm(NamedTuple):
    """One folded text of a string parameter."""

    code: str
    value: str


class Terms(NamedTuple):
    """What the index keeps of one resource.

    Parameters
    ----------
    terms
        Token, reference and URI terms, each once: ``SR.status=active``.
    sort_at, sort_until
        The period of the type's chief date (`CHIEF_DATE`), in microseconds since 1970 UTC.
    dates
        The periods of all its other date parameters.
    strings
        The texts of its string parameters.
    """

    terms: list[str]
    sort_at: int | None
    sort_until: int | None
    dates: list[DateTerm]
    strings: list[StringTerm]


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
    taken = _Taken([], [], [], own_base)
    plan = _plan(resource["resourceType"])
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
    )


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
    own_base: str


_Take: TypeAlias = Callable[[_Taken, str, Any], None]
_Step: TypeAlias = tuple[Evaluate, _Take, str]

NOT_INDEXED: Final = frozenset({"_id", "_lastUpdated"})
"""Columns of their own."""


@cache
def _plan(type: str) -> Mapping[str, list[_Step]]:
    """Sort the parameters of a type by the member they start at; "" for the whole resource."""
    steps: dict[str, list[_Step]] = {}
    for parameter in parameters(type).values():
        if parameter.code in NOT_INDEXED:
            continue
        name = _name(type, parameter)
        for member, follow in parameter.path.branches:
            steps.setdefault(member, []).append((follow, _TAKERS[parameter.kind], name))
    return steps


def _name(type: str, parameter: SearchParameter) -> str:
    if parameter.kind == "date":
        return "" if CHIEF_DATE.get(type) == parameter.code else parameter.code
    if parameter.kind == "string":
        return parameter.code
    return f"{initials(type)}.{parameter.code}"


def _take_token(taken: _Taken, name: str, element: Any) -> None:
    token.index(name, element, taken.terms.append)


def _take_reference(taken: _Taken, name: str, element: Any) -> None:
    reference.index(name, element, taken.own_base, taken.terms.append)


def _take_uri(taken: _Taken, name: str, element: Any) -> None:
    uri.index(name, element, taken.terms.append)


def _take_date(taken: _Taken, name: str, element: Any) -> None:
    for low, high in date.periods(element):
        taken.dates.append(DateTerm(name, low, high))


def _take_string(taken: _Taken, name: str, element: Any) -> None:
    for value in string.values(element):
        if value:
            taken.strings.append(StringTerm(name, value))


_TAKERS: Final[Mapping[str, _Take]] = {
    "token": _take_token,
    "reference": _take_reference,
    "uri": _take_uri,
    "date": _take_date,
    "string": _take_string,
}
