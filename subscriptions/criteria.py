"""Criteria: the filters of a subscription as queries, and what of them could never be met.

A filter is written ``Task?owner=Organization/x``, ``Task.owner=Organization/x`` or
``owner=Organization/x``; all filters of a subscription must be met. One that names a type is about
resources of that type; a topic that is about several fires for those alone that a filter is about.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, StructureDefinition backport-filter-criteria
* FHIR R4 subscription, criteria: "the rules that the server should use to determine when to
  generate notifications"
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from fhir_server.search import query as queries
from fhir_server.search.criterion import Criterion
from fhir_server.search.date import Range
from fhir_server.search.query import Query
from fhir_server.search.returned import PARAMETERS as OF_THE_ANSWER
from fhir_server.search.token import Token
from resources import structures
from resources.errors import Invalid, Issue, Refusal, Unprocessable
from resources.models import TYPES
from resources.search_parameters import generation, parameter
from resources.topics import Topic

NOT_FOLLOWED: Final = frozenset({"AuditEvent"})
"""Types of which the change log says nothing."""

PAST: Final = frozenset({"eq", "lt", "le", "eb"})
"""Comparisons with ``_lastUpdated`` that no later change meets once their date has passed."""

AT_CRITERIA: Final = "Subscription.criteria"
AT_FILTER: Final = f"{AT_CRITERIA}.extension"

_TYPED: Final = re.compile(r"([A-Z][A-Za-z]{1,63})([?.])(.+)", re.DOTALL)


class Filter(NamedTuple):
    """One filter: the type that it names, if it does, and its parameters."""

    type: str
    pairs: tuple[tuple[str, str], ...]


def read(text: str) -> Filter:
    """Read a filter as it is written.

    Raises
    ------
    Invalid
        It asks for nothing.

    Examples
    --------
    >>> read("Task.owner=Organization/x")
    Filter(type='Task', pairs=(('owner', 'Organization/x'),))
    >>> read("code:in=http://x.example&priority=urgent").pairs[1]
    ('priority', 'urgent')
    """
    typed = _TYPED.fullmatch(text)
    type, query = (typed[1], typed[3]) if typed and typed[1] in TYPES else ("", text)
    pairs = tuple(parse_qsl(query.removeprefix("?"), keep_blank_values=True))
    if not pairs:
        raise Invalid("A filter is parameter=value.")
    return Filter(type, pairs)


def of_topic(topic: Topic, filters: Sequence[str], base_url: str) -> dict[str, Query]:
    """Read filters as one query for each type that the topic fires for.

    Raises
    ------
    Unprocessable
        With an issue for every filter that is none of this topic, or could never be met.
    """
    found: dict[str, list[tuple[str, str]]] = {type: [] for type in topic.types}
    named: set[str] = set()
    issues: list[Issue] = []
    for n, text in enumerate(filters):
        try:
            one = read(text)
            types = _types_of(topic, one)
        except Refusal as refusal:
            issues.append(Issue("value", refusal.reason, f"{AT_FILTER}[{n}]"))
            continue
        named |= types
        for type in types:
            found[type] += one.pairs
    asked: dict[str, Query] = {}
    for type, pairs in found.items():
        if named and type not in named:
            continue
        try:
            asked[type] = query(type, tuple(pairs), base_url)
        except Refusal as refusal:
            issues += [Issue(each.code or "value", each.text, AT_FILTER) for each in refusal.issues]
    if issues:
        raise Unprocessable(issues=issues)
    return asked


def plain(text: str, base_url: str) -> Query:
    """Read the criteria of a subscription without a topic.

    Raises
    ------
    Unprocessable
        They are not a search that this server does, or could never be met.
    """
    type, _, pairs = text.partition("?")
    if type not in TYPES or type in NOT_FOLLOWED:
        raise Unprocessable(f"Nothing is told of {type} here.", AT_CRITERIA, "not-supported")
    try:
        return query(type, tuple(parse_qsl(pairs, keep_blank_values=True)), base_url)
    except Refusal as refusal:
        raise Unprocessable(
            issues=[Issue(each.code or "value", each.text, AT_CRITERIA) for each in refusal.issues]
        ) from None


def query(type: str, pairs: tuple[tuple[str, str], ...], base_url: str) -> Query:
    """Read parameters strictly: a parameter that this server ignored would change what is meant.

    Raises
    ------
    Refusal
        One of them cannot be asked, or asks for something that is not in the resource.
    """
    return _query(type, pairs, base_url, generation())


def check_possible(query: Query, instant: int) -> None:
    """Refuse what no resource that is written from now on can meet.

    Raises
    ------
    Invalid
        A code that the standard does not allow there, or a time that has passed.
    """
    for each in query.criteria:
        if _is_impossible(query.type, each, instant):
            raise Invalid(f"No {query.type} can meet {each.code}: nothing would ever be sent.")


@lru_cache(maxsize=20_000)
def _query(type: str, pairs: tuple[tuple[str, str], ...], base_url: str, generation: int) -> Query:
    for name, _ in pairs:
        if name.partition(":")[0] in OF_THE_ANSWER:
            raise Invalid(f"{name} says how to answer a search, and here is none.", at=name)
    return queries.parse(type, pairs, strict=True, own_base=base_url)


def _types_of(topic: Topic, one: Filter) -> set[str]:
    """The types of a topic that a filter is about.

    Raises
    ------
    Invalid
        The topic cannot be filtered so.
    """
    types = {one.type} if one.type else set(topic.types)
    names = [_code(name) for name, _ in one.pairs]
    able = {type for type in types if all(name in topic.filters.get(type, ()) for name in names)}
    if not able:
        listed = sorted({name for type in types for name in topic.filters.get(type, ())})
        said = f"it can be by {', '.join(listed)}" if listed else "the topic is not about that type"
        raise Invalid(f"{topic.title}: not filtered by {', '.join(names)}; {said}.")
    return able


def _code(name: str) -> str:
    """The parameter that a filter begins with: what follows are modifier and chain."""
    return re.split(r"[:.]", name, maxsplit=1)[0]


def _is_impossible(type: str, criterion: Criterion, instant: int) -> bool:
    if criterion.modifier or criterion.chain is not None or criterion.either:
        return False
    if criterion.code == "_lastUpdated":
        ranges = [each for each in criterion.values if isinstance(each, Range)]
        return all(each.prefix in PAST and each.bounds(instant)[1] < instant for each in ranges)
    allowed = _allowed(type, criterion.code)
    tokens = [each for each in criterion.values if isinstance(each, Token)]
    if allowed is None or len(tokens) < len(criterion.values):
        return False
    return not any(each.code is None or allowed(each.code) for each in tokens)


def _allowed(type: str, code: str) -> Callable[[str], bool] | None:
    """What codes the one element may have that a parameter looks at, where that is bound."""
    found = parameter(type, code)
    element = "" if found is None else found.expression.removeprefix(f"{type}.")
    shape = structures.shape(type)
    member = (shape.members or shape.compile()).get(element)
    if member is None or not member.bound:
        return None
    is_allowed: Callable[[str], bool] = member.test
    return is_allowed
