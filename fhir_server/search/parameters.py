"""One parameter of a search, read: its name with modifier or chain, and its value.

What a client may write is checked here, once; what comes after can trust it. An unknown modifier
is always refused: "Servers SHALL reject any search request that contains a suffix that the server
does not support for that parameter."

References
----------
* FHIR R4 search, "Parameters", "Modifiers", "Chained Parameters", "Handling Errors"
"""

from typing import Final

from fhir_server.search import modifiers
from fhir_server.search.criterion import Criterion, Unusable
from fhir_server.search.escaping import split
from resources.errors import Invalid
from resources.search_parameters import SearchParameter, parameter

MOST_VALUES: Final = 100
"""Alternatives of one criterion."""


def plain(type: str, name: str, text: str, own_base: str) -> Criterion:
    """Read a parameter that looks at the resource itself.

    Parameters
    ----------
    name
        The code of the parameter, and perhaps a modifier.

    Raises
    ------
    Unusable
        This server has no such parameter, or nothing is asked of it.
    """
    code, _, modifier = name.partition(":")
    found = known(type, code)
    alternatives = split(text, ",")
    if len(alternatives) > MOST_VALUES:
        raise Invalid(f"{code} has more than {MOST_VALUES} alternatives", at=code)
    alternatives = [each for each in alternatives if each]
    if not alternatives:
        raise Unusable(f"the parameter {name} has no value", at=name, code="value")
    if modifier == "missing":
        return Criterion(code, found.kind, modifier, (_boolean(text, code),))
    return modifiers.criterion(type, found, modifier, alternatives, own_base)


def known(type: str, code: str) -> SearchParameter:
    """Look a parameter up.

    Raises
    ------
    Unusable
        This server has no such parameter for the type.
    """
    found = parameter(type, code)
    if found is None:
        where = f" for {type}" if type != "Resource" else ""
        raise Unusable(
            f"there is no search parameter {code}{where} here", at=code, code="not-supported"
        )
    return found


def _boolean(text: str, code: str) -> bool:
    if text not in ("true", "false"):
        raise Invalid(f"{code}:missing is true or false", at=code)
    return text == "true"
