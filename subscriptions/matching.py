"""Matching in memory: whether one version of a resource meets a query, by its index terms alone.

It says what the search would say of a row with these terms (`search.criteria`). What a resource
does not know of itself, what it refers to and what refers to it, and what only the database
compares, is answered with "not known": then the database is asked.

References
----------
* FHIR R4 search, "Search Parameter Types", "Prefixes", "Modifiers"
* FHIR R4B SubscriptionTopic.resourceTrigger.queryCriteria
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from fhir_server.search import date, number, string
from fhir_server.search.criteria import BY_TERMS, terms_sought
from fhir_server.search.criterion import Criterion
from fhir_server.search.date import Range
from fhir_server.search.number import Amount
from fhir_server.search.quantity import Measure
from fhir_server.search.query import Query
from fhir_server.search.rank import OTHERWISE, RANKS, is_ranked
from fhir_server.search.terms import MARK, NOT_INDEXED, Terms, initials
from fhir_server.store.index_rows import SEPARATOR, cut, joined
from resources.search_parameters import CHIEF_DATE

Answer = bool | None
"""Yes, no, or not known here."""

Within = Callable[..., bool]


class State(NamedTuple):
    """One version of a resource, as the index sees it.

    Parameters
    ----------
    instant
        When it was written, in microseconds since 1970 UTC.
    words
        Its token, reference and URI terms, as a row of `current` keeps them.
    """

    type: str
    id: str
    instant: int
    terms: Terms
    words: frozenset[str]


def state(type: str, id: str, instant: int, terms: Terms) -> State:
    """Look at a version as the index does."""
    return State(type, id, instant, terms, frozenset(joined(terms.terms).split(SEPARATOR)))


def meets(query: Query, state: State, instant: int) -> Answer:
    """Say whether a version meets all criteria of a query.

    Parameters
    ----------
    instant
        Now, in microseconds since 1970 UTC: ``ap`` depends on it.
    """
    answer: Answer = True
    for criterion in query.criteria:
        found = _meets(criterion, state, instant)
        if found is False:
            return False
        if found is None:
            answer = None
    return answer


def sought(criterion: Criterion, type: str) -> list[str] | None:
    """Name the terms of which a resource must have one to meet a criterion.

    None where it may meet it without.
    """
    by_terms = criterion.kind in BY_TERMS and criterion.modifier == "" and criterion.code != "_id"
    if not by_terms or criterion.chain is not None or criterion.either:
        return None
    return terms_sought(criterion, type)


def _meets(criterion: Criterion, state: State, instant: int) -> Answer:
    code, kind, modifier = criterion.code, criterion.kind, criterion.modifier
    if criterion.chain is not None or criterion.either:
        return None
    if modifier == "missing":
        return _is_there(criterion, state) is not criterion.values[0]
    if is_ranked(state.type, code):
        rank = _rank(state)
        return any(
            _lies(each, [(rank, rank)]) for each in criterion.values if isinstance(each, Amount)
        )
    if code == "_id":
        return state.id in terms_sought(criterion, state.type)
    if code == "_lastUpdated":
        return _any_period(criterion, _OF_AN_INSTANT, [(state.instant, state.instant)], instant)
    if kind in BY_TERMS:
        return _meets_by_terms(criterion, state)
    if kind == "date":
        return _any_period(criterion, _OF_A_PERIOD, _periods(criterion, state), instant)
    if kind == "string":
        return _meets_text(criterion, state)
    if kind in ("number", "quantity"):
        return _meets_value(criterion, state)
    return None


def _meets_by_terms(criterion: Criterion, state: State) -> Answer:
    code, modifier = criterion.code, criterion.modifier
    prefix = _prefix(criterion, state)
    if modifier in ("", "not"):
        has = not state.words.isdisjoint(terms_sought(criterion, state.type))
        return has is not (modifier == "not")
    asked = [str(each) for each in criterion.values]
    if modifier == "below":
        urls = [each.rstrip("/") for each in asked]
        same = any(f"{prefix}={url}" in state.words for url in urls)
        begins = tuple(f"{prefix}={url}{end}" for url in urls for end in "/|")
        return same or any(word.startswith(begins) for word in state.words)
    texts = state.terms.texts.replace("\0", "")
    if modifier == "text":
        return any(f"{MARK}{code}={each}" in texts for each in asked)
    if modifier == "of-type":
        values = (f"{prefix}={each.split('|', 2)[2]}" for each in asked)
        has = not state.words.isdisjoint(values)
        return has and any(f"{MARK}{code}:of-type={each}{MARK}" in texts for each in asked)
    return None


def _meets_text(criterion: Criterion, state: State) -> Answer:
    modifier = criterion.modifier
    asked = [str(each) for each in criterion.values]
    texts = [each for each in state.terms.strings if each.code == criterion.code]
    if modifier == "exact":
        folded = {string.fold(each)[: string.LONGEST] for each in asked}
        return any(
            cut(each.value) in folded and _unmarked(each.original) in asked for each in texts
        )
    values = [cut(each.value) for each in texts]
    if modifier == "contains":
        return any(each in value for each in asked for value in values)
    if modifier == "":
        beginnings = tuple(each[: string.LONGEST] for each in asked)
        return any(value.startswith(beginnings) for value in values)
    return None


def _meets_value(criterion: Criterion, state: State) -> Answer:
    found = [each for each in state.terms.values if each.code == criterion.code]
    prefix = _prefix(criterion, state)
    for asked in criterion.values:
        unit = asked.unit if isinstance(asked, Measure) else None
        amount = asked.amount if isinstance(asked, Measure) else asked
        if not isinstance(amount, Amount):
            return None
        spans = [
            (each.low, each.high)
            for each in found
            if unit is None or f"{prefix}={unit}" in each.words
        ]
        if _lies(amount, spans):
            return True
    return False


def _lies(amount: Amount, spans: Iterable[tuple[Any, Any]]) -> bool:
    within, bounds = _OF_A_NUMBER[amount.prefix], amount.bounds()
    return any(within(low=low, high=high, **bounds) for low, high in spans)


def _any_period(
    criterion: Criterion,
    table: Mapping[str, Within],
    periods: Iterable[tuple[int, int]],
    instant: int,
) -> bool:
    asked = [
        (each.prefix, *each.bounds(instant)) for each in criterion.values if isinstance(each, Range)
    ]
    return any(
        table[prefix](low=low, high=high, a=a, b=b, x=None)
        for low, high in periods
        for prefix, a, b in asked
    )


def _periods(criterion: Criterion, state: State) -> list[tuple[int, int]]:
    terms = state.terms
    if CHIEF_DATE.get(state.type) == criterion.code:
        if terms.sort_at is None or terms.sort_until is None:
            return []
        return [(terms.sort_at, terms.sort_until)]
    return [(each.low, each.high) for each in terms.dates if each.code == criterion.code]


def _is_there(criterion: Criterion, state: State) -> bool:
    code, kind = criterion.code, criterion.kind
    if code in NOT_INDEXED or is_ranked(state.type, code):
        return True
    if kind in BY_TERMS:
        prefix = _prefix(criterion, state)
        return any(word.startswith((f"{prefix}=", f"{prefix}:")) for word in state.words)
    if kind == "date":
        return bool(_periods(criterion, state))
    found = state.terms.strings if kind == "string" else state.terms.values
    return any(each.code == code for each in found)


def _rank(state: State) -> int:
    words = (f"{initials(state.type)}.priority={each}" for each in RANKS)
    ranks = zip(words, RANKS.values(), strict=True)
    return next((rank for word, rank in ranks if word in state.words), OTHERWISE)


def _prefix(criterion: Criterion, state: State) -> str:
    return f"{initials(state.type)}.{criterion.code}"


def _unmarked(text: str) -> str:
    return text.replace(SEPARATOR, "").replace("\0", "")


def _comparisons(templates: Mapping[str, str]) -> Mapping[str, Within]:
    """Read templates of the search as Python: what they say of SQL they say of numbers too."""
    names = {name: name for name in ("low", "high", "a", "b", "x")}
    return {
        prefix: eval(f"lambda low, high, a, b, x: {template.format(**names)}")
        for prefix, template in templates.items()
    }


_OF_A_PERIOD: Final = _comparisons(date.PREFIXES)
_OF_AN_INSTANT: Final = _comparisons(date.OF_AN_INSTANT)
_OF_A_NUMBER: Final = _comparisons(number.PREFIXES)
