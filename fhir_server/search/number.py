"""Number parameters: a number as it is written says how exactly it is meant.

``100`` is a hundred to three significant figures, anything from 99.5 up to but not including 100.5;
``100.00`` is narrower. Where an order is asked for (``gt``, ``lt``, ``ge``, ``le``, ``sa``, ``eb``)
the number is taken as it is, arbitrarily precise.

References
----------
* FHIR R4 search, "number" and "Prefixes"
"""

import re
from decimal import Context, Decimal
from typing import Any, Final, NamedTuple

from resources.errors import Invalid

PREFIXES: Final = {
    "eq": "{low} >= {a} and {low} < {b} and {high} < {b}",
    "ne": "not ({low} >= {a} and {high} < {b})",
    "gt": "{high} > {x}",
    "lt": "{low} < {x}",
    "ge": "({high} > {x} or {low} >= {x})",
    "le": "({low} < {x} or {high} <= {x})",
    "sa": "{low} > {x}",
    "eb": "{high} < {x}",
    "ap": "{low} <= {b} and {high} >= {a}",
}
"""FHIR R4 search, "Prefixes": the range `low`-`high` of a resource, which for most is one number,
against the number `x` asked for and the range `a`-`b` that it stands for."""

APPROXIMATELY: Final = 10
"""``ap`` is within a tenth of the number, as the standard recommends."""

LONGEST: Final = 60
MOST_EXPONENT: Final = 300
"""A number is not written with more characters or a larger exponent."""

BOTTOM: Final = Decimal("-Infinity")
TOP: Final = Decimal("Infinity")

_EXACTLY: Final = Context(prec=2 * MOST_EXPONENT + 2 * LONGEST)
"""Digits enough for any number that is read, with the range around it."""

_NUMBER: Final = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,4}))?", re.ASCII)


class Amount(NamedTuple):
    """A number asked for: how a resource must lie to it, it itself, and the range it stands for."""

    prefix: str
    exact: Decimal
    low: Decimal
    high: Decimal

    def bounds(self) -> dict[str, Decimal]:
        """What the templates of `PREFIXES` ask for."""
        return {"a": self.low, "b": self.high, "x": self.exact}


def read(text: str, code: str = "") -> Amount:
    """Read an optional prefix and a number.

    Examples
    --------
    >>> read("100")
    Amount(prefix='eq', exact=Decimal('100'), low=Decimal('99.5'), high=Decimal('100.5'))
    >>> read("gt0.8").exact
    Decimal('0.8')

    Raises
    ------
    Invalid
        It is not a number.
    """
    prefix = text[:2] if text[:2] in PREFIXES else "eq"
    number = text.removeprefix(prefix) if text[:2] == prefix else text
    parts = _NUMBER.fullmatch(number) if len(number) <= LONGEST else None
    if parts is None or abs(int(parts.group(4) or 0)) > MOST_EXPONENT:
        raise Invalid(f"{code} is not asked for with a number", at=code)
    exact = Decimal(number)
    slack = _half(parts)
    if prefix == "ap":
        slack = max(slack, _EXACTLY.divide(_EXACTLY.abs(exact), Decimal(APPROXIMATELY)))
    return Amount(prefix, exact, _EXACTLY.subtract(exact, slack), _EXACTLY.add(exact, slack))


def range(element: Any) -> tuple[Decimal, Decimal] | None:
    """Give the range of an element: of a number, both ends are the number; None of anything else.

    Examples
    --------
    >>> range(0.8)
    (Decimal('0.8'), Decimal('0.8'))
    """
    if element.__class__ is int or element.__class__ is float:
        number = Decimal(repr(element))
        return number, number
    if element.__class__ is dict and ("low" in element or "high" in element):
        low = range(_value(element.get("low")))
        high = range(_value(element.get("high")))
        return (low[0] if low else BOTTOM), (high[1] if high else TOP)
    return None


def _value(quantity: Any) -> Any:
    return quantity.get("value") if quantity.__class__ is dict else None


def _half(parts: re.Match[str]) -> Decimal:
    """Half of what the last significant figure counts.

    The standard's own example: ``1e2``, one figure in exponential form, is [95, 105).
    """
    _, whole, fraction, exponent = parts.groups()
    last = int(exponent or 0) - len(fraction or "")
    if exponent is not None and fraction is None and len(whole.lstrip("0")) == 1:
        last -= 1
    return Decimal(5).scaleb(last - 1)
