"""Values that have a table of their own: numbers, quantities, composites, places.

A row of `value_term` is one value: its words (units, the words of a composite's parts) and up to
two ranges. The text of a condition depends on the *form* of what is asked for: ``number:gt``,
``quantity:eq|`` with a unit, ``token$quantity:lt`` of a composite, ``near``.

References
----------
* FHIR R4 search, "number", "quantity", "composite", "special"
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from fhir_server.search import date, near, number, reference, token, uri
from fhir_server.search.composite import RANGED, Combination
from fhir_server.search.date import Range
from fhir_server.search.near import Near
from fhir_server.search.number import Amount
from fhir_server.search.quantity import Measure
from fhir_server.search.reach import Place
from fhir_server.search.token import Token

TABLE: Final = "value_term"

RANGES: Final = (("t.low", "t.high"), ("t.low2", "t.high2"))


def form(value: Any) -> str:
    """Say all of a value that the text depends on."""
    if isinstance(value, Combination):
        pairs = zip(value.kinds, value.parts, strict=True)
        return "$".join(kind if kind not in RANGED else form(part) for kind, part in pairs)
    if isinstance(value, Measure):
        return f"quantity:{value.amount.prefix}{'' if value.unit is None else '|'}"
    if isinstance(value, Amount):
        return f"number:{value.prefix}"
    if isinstance(value, Range):
        return f"date:{value.prefix}"
    return "near"


def text(forms: Sequence[str], name: str, place: Place) -> str:
    """Write that a row ``t`` of `TABLE` is one of the values asked for."""
    alternatives = [
        " and ".join(_parts(each, f"{name}v{n}.", place)) for n, each in enumerate(forms)
    ]
    return f"({' or '.join(f'({each})' for each in alternatives)})"


def amounts(forms: Sequence[str], expression: str, name: str, place: Place) -> str:
    """Write that an expression that is one number is one of those asked for."""
    alternatives = [
        _ranged(
            each.partition(":")[2], number.PREFIXES, expression, expression, f"{name}v{n}.1", place
        )
        for n, each in enumerate(forms)
    ]
    return f"({' or '.join(alternatives)})"


def bind(values: Sequence[Any], prefix: str, name: str, instant: int) -> dict[str, Any]:
    """The values, by the names that `text` gives them.

    Parameters
    ----------
    prefix
        Initials of the type and code of the parameter.
    """
    found: dict[str, Any] = {}
    for n, value in enumerate(values):
        its_name = f"{name}v{n}."
        if isinstance(value, Near):
            found |= {f"{its_name}{key}": each for key, each in value._asdict().items()}
        elif isinstance(value, Combination):
            for p, (kind, part) in enumerate(zip(value.kinds, value.parts, strict=True), 1):
                found |= _bound(kind, part, f"{prefix}${p}", f"{its_name}{p}", instant)
        else:
            kind = "quantity" if isinstance(value, Measure) else "number"
            found |= _bound(kind, value, prefix, f"{its_name}1", instant)
    return found


def _parts(form: str, name: str, place: Place) -> Iterator[str]:
    if form == "near":
        x, y, most = (
            f"{place(name + each)}::float8" for each in ("latitude", "longitude", "distance")
        )
        yield near.condition("t.low", "t.low2", x, y, most)
        return
    ranges = iter(RANGES)
    for n, part in enumerate(form.split("$"), 1):
        kind, _, rest = part.partition(":")
        prefix, unit = rest[:2], rest[2:]
        if kind in RANGED:
            low, high = next(ranges)
            templates = date.PREFIXES if kind == "date" else number.PREFIXES
            yield _ranged(prefix, templates, low, high, f"{name}{n}", place)
        elif kind == "string":
            begins = f"x ^@ {place(f'{name}{n}words')}::text"
            yield f"exists (select from unnest(t.words) x where {begins})"
            continue
        if kind not in RANGED or unit:
            yield f"t.words && {place(f'{name}{n}words')}::text[]"


def _ranged(
    prefix: str, templates: dict[str, str], low: str, high: str, name: str, place: Place
) -> str:
    template = templates[prefix]
    bounds = {each: f"{place(name + each)}::numeric" for each in "abx" if f"{{{each}}}" in template}
    return template.format(low=low, high=high, **bounds)


def _bound(kind: str, value: Any, prefix: str, name: str, instant: int) -> dict[str, Any]:
    match kind, value:
        case "date", Range():
            return {
                f"{name}{each}": at for each, at in zip("ab", value.bounds(instant), strict=True)
            }
        case "number", Amount():
            return {f"{name}{each}": at for each, at in value.bounds().items()}
        case "quantity", Measure(amount, unit):
            words = {} if unit is None else {f"{name}words": [f"{prefix}={unit}"]}
            return words | {f"{name}{each}": at for each, at in amount.bounds().items()}
        case "token", Token():
            return {f"{name}words": token.sought(prefix, value)}
        case "reference", _:
            return {f"{name}words": reference.sought(prefix, list(value))}
        case "uri", _:
            return {f"{name}words": uri.sought(prefix, str(value))}
    return {f"{name}words": f"{prefix}={value}"}
