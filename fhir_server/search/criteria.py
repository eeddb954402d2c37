"""A criterion as a condition on rows of `current`, in SQL.

A `Slot` is a criterion without its values: the text depends on nothing else, so that two queries
of the same shape are one prepared statement. `bind` gives the values by the names that `text`
asked for.

Token, reference and URI criteria look at `current.terms`, the chief date and ``_lastUpdated`` at
columns, other dates and strings at tables of their own. Those tables know rows by version key;
where nothing else narrows a query they lead it, by way of `version` to ids.
"""

from typing import Any, Final, NamedTuple

from fhir_server.search import date, reach, reference, string, token, uri
from fhir_server.search.date import Range
from fhir_server.search.query import Criterion
from fhir_server.search.reach import Extent, Place
from fhir_server.search.terms import NOT_INDEXED, initials
from fhir_server.search.token import Token
from resources.search_parameters import CHIEF_DATE

BY_TERMS: Final = frozenset({"token", "reference", "uri"})

NAMING: Final = frozenset(
    {"_id", "identifier", "accession", "requisition", "family", "given", "name", "phone", "email",
     "series", "instance", "url"}
)  # fmt: skip
"""Parameters that few resources of a type agree on: a chain to one is followed from its end."""


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
    chain: "ChainSlot | None"


class ChainSlot(NamedTuple):
    """The end of a chain; without an extent nothing of that type may be seen."""

    type: str
    slot: Slot
    extent: Extent | None


def slot(criterion: Criterion, leads: bool, extent: Extent | None) -> Slot:
    """Take the values away.

    Parameters
    ----------
    extent
        What may be seen of the type at the end of a chain.
    """
    code, kind, modifier, values = (
        criterion.code, criterion.kind, criterion.modifier, criterion.values,
    )  # fmt: skip
    forms: tuple[str, ...] = ()
    if modifier == "missing":
        forms = ("true" if values[0] else "false",)
    elif kind == "date":
        forms = tuple(each.prefix for each in values if isinstance(each, Range))
    elif kind == "string":
        forms = ("one" if len(values) == 1 else "many",)
    chain = None
    if criterion.chain is not None:
        inner = criterion.chain.criterion
        leads = leads or inner.code in NAMING
        chain = ChainSlot(criterion.chain.type, slot(inner, leads, None), extent)
    return Slot(code, kind, modifier, forms, leads, chain)


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
    if slot.chain is not None:
        return _chained(slot, slot.chain, type, alias, name, place)
    if slot.modifier == "missing":
        return _missing(slot, type, alias)
    if slot.code == "_id":
        return f"{alias}.id = any({place(name + 'terms')}::text[])"
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
    if criterion.chain is not None:
        return bind(criterion.chain.criterion, criterion.chain.type, name + "end.", instant)
    values = criterion.values
    if criterion.modifier == "missing":
        return {}
    if criterion.kind == "date":
        bounds = [each.bounds(instant) for each in values if isinstance(each, Range)]
        return {
            f"{name}{end}{n}": limit
            for n, pair in enumerate(bounds)
            for end, limit in zip("ab", pair, strict=True)
        }
    if criterion.kind == "string":
        return _bound_texts(criterion, name)
    return {f"{name}terms": _terms(criterion, type)}


def _terms(criterion: Criterion, type: str) -> list[str]:
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
    if criterion.modifier == "like":
        return {f"{name}like": values}
    lows, highs = zip(*(string.between(each) for each in values), strict=True)
    if len(values) == 1:
        return {f"{name}low": lows[0], f"{name}high": highs[0]}
    return {f"{name}low": list(lows), f"{name}high": list(highs)}


def _texts(slot: Slot, name: str, place: Place) -> str:
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
    if slot.code in NOT_INDEXED:
        present = "true"
    elif CHIEF_DATE.get(type) == slot.code:
        present = f"{alias}.sort_at is not null"
    elif slot.kind in BY_TERMS:
        prefix = f"{initials(type)}.{slot.code}="
        present = f"exists (select from unnest({alias}.terms) x where x ^@ '{prefix}')"
    else:
        present = _in_table(f"{slot.kind}_term", slot._replace(leads=False), type, alias, "true")
    return f"not ({present})" if slot.forms == ("true",) else f"({present})"


def _chained(slot: Slot, chain: ChainSlot, type: str, alias: str, name: str, place: Place) -> str:
    """Follow a reference: from its end, if few are there, else from each row.

    Only what may be seen counts at the end, or a chain would tell what a read would not.
    """
    if chain.extent is None:
        return "false"
    prefix = f"{initials(type)}.{slot.code}={chain.type}/"
    end = " and ".join(
        (
            f"k.type = '{chain.type}' and not k.deleted",
            text(chain.slot, chain.type, "k", name + "end.", place),
            reach.text(chain.extent, "k", f"reach.{chain.type}.", place),
        )
    )
    if slot.leads:
        return f"{alias}.terms && array(select '{prefix}' || k.id from current k where {end})"
    return (
        f"exists (select from unnest({alias}.terms) x join current k"
        f" on k.id = substr(x, {len(prefix) + 1}) where x ^@ '{prefix}' and {end})"
    )
