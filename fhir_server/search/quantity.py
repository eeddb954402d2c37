"""Quantity parameters: a number with a unit, compared in the unit it is written in.

``5.4|http://unitsofmeasure.org|mg`` names system and code, ``5.4||mg`` the unit as a code or as it
is shown, ``5.4`` any. Units are matched as they are written: nothing is converted. A quantity that
is only known to be less than something, by its comparator, is everything that is less.

References
----------
* FHIR R4 search, "quantity"; FHIR R4 datatypes, Quantity, Range, Money, SampledData
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple

from fhir_server.search import number
from fhir_server.search.escaping import plain, split
from fhir_server.search.number import BOTTOM, TOP, Amount
from resources.errors import Invalid

CURRENCIES: Final = "urn:iso:std:iso:4217"
"""FHIR R4 datatypes, Money: its currency is a code of ISO 4217."""


class Measure(NamedTuple):
    """What is asked for: an amount, and the unit term a resource must have, if one."""

    amount: Amount
    unit: str | None


class Extent(NamedTuple):
    """What a resource has: a range, and the unit terms that it can be asked for by."""

    low: Decimal
    high: Decimal
    units: tuple[str, ...]


def read(text: str, code: str = "") -> Measure:
    """Read a number and, after bars, the system and the code of its unit.

    Examples
    --------
    >>> read("5.4|http://unitsofmeasure.org|mg").unit, read("5.4||mg").unit, read("5.4").unit
    ('http://unitsofmeasure.org|mg', 'mg', None)

    Raises
    ------
    Invalid
        It is not a number, or more follows than a system and a code.
    """
    amount, *unit = split(text, "|")
    if len(unit) not in (0, 2):
        raise Invalid(f"{code} is number, number|system|code or number||code", at=code)
    read_amount = number.read(plain(amount), code)
    if not unit or unit == ["", ""]:
        return Measure(read_amount, None)
    system, its_code = (plain(each) for each in unit)
    return Measure(read_amount, f"{system}|{its_code}" if system else its_code)


def extents(element: Any) -> Iterator[Extent]:
    """Yield the range of one element: a Quantity of any kind, a Money, a Range, a SampledData."""
    if element.__class__ is not dict:
        return
    if "low" in element or "high" in element:
        between = number.range(element)
        if between is not None:
            units = _units(element.get("low", {})) or _units(element.get("high", {}))
            yield Extent(*between, units)
    elif "origin" in element:
        yield from _of_samples(element)
    else:
        value = number.range(element.get("value"))
        if value is not None:
            low, high = _compared(value[0], element.get("comparator"))
            yield Extent(low, high, _units(element))


def _compared(value: Decimal, comparator: Any) -> tuple[Decimal, Decimal]:
    if comparator in ("<", "<="):
        return BOTTOM, value
    if comparator in (">", ">="):
        return value, TOP
    return value, value


def _of_samples(element: dict[str, Any]) -> Iterator[Extent]:
    """Of samples, the limits between which they lie."""
    lower, upper = number.range(element.get("lowerLimit")), number.range(element.get("upperLimit"))
    if lower is None or upper is None:
        return
    origin = number.range(element["origin"].get("value")) or (Decimal(0),)
    factor = (number.range(element.get("factor")) or (Decimal(1),))[0]
    ends = sorted((lower[0] * factor + origin[0], upper[0] * factor + origin[0]))
    yield Extent(ends[0], ends[1], _units(element["origin"]))


def _units(element: dict[str, Any]) -> tuple[str, ...]:
    system, code = element.get("system"), element.get("code")
    if "currency" in element:
        system, code = CURRENCIES, element["currency"]
    found = {element.get("unit"), code}
    if system and code:
        found |= {f"{system}|{code}"}
    if system:
        found |= {f"{system}|"}
    return tuple(sorted(each for each in found if each.__class__ is str))
