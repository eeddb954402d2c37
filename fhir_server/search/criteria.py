"""A criterion as a condition on rows of `current`, in SQL.

A `Slot` is a criterion without its values: the text depends on nothing else, so that two queries
of the same shape are one prepared statement. `bind` gives the values by the names that `text`
asked for.

Token, reference and URI criteria look at `current.terms`, with ``:text`` and ``:of-type`` at
`current.texts`, the chief date and ``_lastUpdated`` at columns, other dates, strings and values
(`search.values`) at tables of their own. Those tables know rows by version key;
where nothing else narrows a query they lead it, by way of `version` to ids.
"""

from typing import Any, Final, NamedTuple

from fhir_server.search import date, reference, string, token, uri, values
from fhir_server.search.criterion import Criterion
from fhir_server.search.date import Range
from fhir_server.search.rank import expression, is_ranked
from fhir_server.search.reach import Place
from fhir_server.search.terms import MARK, NOT_INDEXED, VALUED, initials
from fhir_server.search.token import Token
from fhir_server.search.values import form
from resources.search_parameters import CHIEF_DATE, PRIORITY_RANK

BY_TERMS: Final = frozenset({"token", "reference", "uri"})

CHECKS: Final = frozenset({"missing", "not", "text", "below"})
CHECKED: Final = frozenset({"_lastUpdated", PRIORITY_RANK})
"""Modifiers and parameters that no index finds the rows by: they check what others find."""


class Slot(NamedTuple):
    """A criterion without its values.

    Parameters
    ----------
    forms
        What of its values the text depends on: prefixes of dates, the answer to ``missing``, or
        whether there is one text or several.
    leads
        It is to find the rows, and not only to check them.
    """

    code: str
    kind: str
    modifier: str
    forms: tuple[str, ...]
    leads: bool


def slot(criterion: Criterion, leads: bool) -> Slot:
    """Take the values away."""
    code, kind, modifier = criterion.code, criterion.kind, criterion.modifier
    asked = criterion.values
    forms: tuple[str, ...] = ()
    if modifier == "missing":
        forms = ("true" if asked[0] else "false",)
    elif kind == "date":
        forms = tuple(each.prefix for each in asked if isinstance(each, Range))
    elif kind in VALUED:
        forms = tuple(form(each) for each in asked)
    elif kind == "string":
        forms = ("one" if len(asked) == 1 else "many",)
    return Slot(code, kind, modifier, forms, leads)


def text(slot: Slot, type: str, alias: str, name: str, place: Place) -> str:
    """Write the condition.

    Parameters
    ----------
    type
        The type of the rows.
    alias
        What a row of `current` is called.
    name
        Begins the names of the values.
    """
    if slot.modifier == "missing":
        return _missing(slot, type, alias)
    if is_ranked(type, slot.code):
        rank = expression(initials(type), alias)
        return values.amounts(slot.forms, rank, name, place)
    if slot.kind in VALUED:
        return _in_table(values.TABLE, slot, type, alias, values.text(slot.forms, name, place))
    if slot.code == "_id":
        return f"{alias}.id = any({place(name + 'terms')}::text[])"
    if slot.modifier in ("text", "of-type"):
        like = f"{alias}.texts like any({place(name + 'like')}::text[])"
        if slot.modifier == "text":
            return like
        return f"({alias}.terms && {place(name + 'terms')}::text[] and {like})"
    if slot.modifier == "below":
        begins = f"x ^@ any({place(name + 'begins')}::text[])"
        same = f"{alias}.terms && {place(name + 'terms')}::text[]"
        return f"({same} or exists (select from unnest({alias}.terms) x where {begins}))"
    if slot.kind in BY_TERMS:
        found = f"{alias}.terms && {place(name + 'terms')}::text[]"
        return f"not ({found})" if slot.modifier == "not" else found
    if slot.kind == "string":
        return _in_table("string_term", slot, type, alias, _texts(slot, name, place))
    if slot.code == "_lastUpdated":
        return _any_period(slot, f"{alias}.instant", f"{alias}.instant", name, place)
    if CHIEF_DATE.get(type) == slot.code:
        return _any_period(slot, f"{alias}.sort_at", f"{alias}.sort_until", name, place)
    periods = _any_period(slot, "t.low", "t.high", name, place)
    return _in_table("date_term", slot, type, alias, periods)


def bind(criterion: Criterion, type: str, name: str, instant: int) -> dict[str, Any]:
    """The values of a criterion, by the names that `text` gives them.

    Parameters
    ----------
    instant
        Now, in microseconds since 1970 UTC.
    """
    asked = criterion.values
    prefix = f"{initials(type)}.{criterion.code}"
    if criterion.modifier == "missing":
        return {}
    if criterion.kind in VALUED:
        return values.bind(asked, prefix, name, instant)
    if criterion.modifier == "text":
        marked = [f"%{MARK}{criterion.code}={string.beginning(str(each))}" for each in asked]
        return {f"{name}like": marked}
    if criterion.modifier == "of-type":
        return _bound_types(criterion, prefix, name)
    if criterion.modifier == "below":
        urls = [str(each).rstrip("/") for each in asked]
        begins = [f"{prefix}={url}{end}" for url in urls for end in "/|"]
        return {f"{name}begins": begins, f"{name}terms": [f"{prefix}={url}" for url in urls]}
    if criterion.kind == "date":
        bounds = [each.bounds(instant) for each in asked if isinstance(each, Range)]
        return {
            f"{name}{end}{n}": limit
            for n, pair in enumerate(bounds)
            for end, limit in zip("ab", pair, strict=True)
        }
    if criterion.kind == "string":
        return _bound_texts(criterion, name)
    return {f"{name}terms": terms_sought(criterion, type)}


def terms_sought(criterion: Criterion, type: str) -> list[str]:
    """Give the index terms of which one is enough for a token, reference or URI criterion."""
    prefix = f"{initials(type)}.{criterion.code}"
    found: list[str] = []
    for value in criterion.values:
        if isinstance(value, Token):
            is_id = criterion.code == "_id"
            found += [value.code or ""] if is_id else token.sought(prefix, value)
        elif isinstance(value, tuple):
            found += reference.sought(prefix, [str(each) for each in value])
        else:
            found += uri.sought(prefix, str(value))
    return found


def _bound_texts(criterion: Criterion, name: str) -> dict[str, Any]:
    values = [str(value) for value in criterion.values]
    if criterion.modifier == "contains":
        return {f"{name}like": [string.containing(each) for each in values]}
    if criterion.modifier == "exact":
        folded = [string.fold(each)[: string.LONGEST] for each in values]
        return {f"{name}values": folded, f"{name}originals": values}
    if criterion.modifier == "like":
        return {f"{name}like": values}
    lows, highs = zip(*(string.between(each) for each in values), strict=True)
    if len(values) == 1:
        return {f"{name}low": lows[0], f"{name}high": highs[0]}
    return {f"{name}low": list(lows), f"{name}high": list(highs)}


def _bound_types(criterion: Criterion, prefix: str, name: str) -> dict[str, Any]:
    """The terms of identifiers that are to be of a type, and how they are written with it."""
    typed = [str(each) for each in criterion.values]
    return {
        f"{name}terms": [f"{prefix}={each.split('|', 2)[2]}" for each in typed],
        f"{name}like": [
            f"%{MARK}{string.literal(f'{criterion.code}:of-type={each}')}{MARK}%" for each in typed
        ],
    }


def _texts(slot: Slot, name: str, place: Place) -> str:
    if slot.modifier == "exact":
        originals = f"coalesce(string_to_array(t.originals, '{MARK}'), array[t.value])"
        return (
            f"t.value = any({place(name + 'values')}::text[])"
            f" and {originals} && {place(name + 'originals')}::text[]"
        )
    if slot.modifier:
        return f"t.value like any({place(name + 'like')}::text[])"
    low, high = place(name + "low"), place(name + "high")
    if slot.forms == ("one",):
        return f"t.value >= {low} and t.value < {high}"
    return (
        f"exists (select from unnest({low}::text[], {high}::text[]) b(low, high)"
        " where t.value >= b.low and t.value < b.high)"
    )


def _any_period(slot: Slot, low: str, high: str, name: str, place: Place) -> str:
    """Write the comparison of a period, or of an instant, with those asked for."""
    templates = date.PREFIXES if low != high else date.OF_AN_INSTANT
    comparisons = []
    for n, prefix in enumerate(slot.forms):
        template = templates[prefix]
        bounds = {
            end: f"{place(f'{name}{end}{n}')}::bigint" for end in "ab" if f"{{{end}}}" in template
        }
        comparisons.append(template.format(low=low, high=high, **bounds))
    return " and ".join(comparisons) if len(comparisons) == 1 else f"({' or '.join(comparisons)})"


def _in_table(table: str, slot: Slot, type: str, alias: str, condition: str) -> str:
    where = f"t.type = '{type}' and t.code = '{slot.code}' and {condition}"
    if slot.leads:
        return (
            f"{alias}.id = any(array(select v.id from {table} t"
            f" join version v on v.key = t.key where {where}))"
        )
    return f"exists (select from {table} t where t.key = {alias}.key and {where})"


def _missing(slot: Slot, type: str, alias: str) -> str:
    if slot.code in NOT_INDEXED or is_ranked(type, slot.code):
        present = "true"
    elif CHIEF_DATE.get(type) == slot.code:
        present = f"{alias}.sort_at is not null"
    elif slot.kind in BY_TERMS:
        prefix = f"{initials(type)}.{slot.code}"
        begins = f"array['{prefix}=', '{prefix}:']"
        present = f"exists (select from unnest({alias}.terms) x where x ^@ any({begins}))"
    else:
        table = values.TABLE if slot.kind in VALUED else f"{slot.kind}_term"
        present = _in_table(table, slot._replace(leads=False), type, alias, "true")
    return f"not ({present})" if slot.forms == ("true",) else f"({present})"
