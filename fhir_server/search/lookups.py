"""Lookups: which searches look for a person, by what can be guessed of one.

A search by NHS number, name or date of birth that finds nobody tells the asker something too; many
of them are how records are guessed at. OWASP ASVS 5.0 V2.4; threats T22.
"""

from collections.abc import Iterable
from typing import Final

from fhir_server.search.criterion import Criterion
from fhir_server.search.query import Query

ABOUT: Final = frozenset(
    {
        "address", "address-city", "address-postalcode", "birthdate", "death-date", "email",
        "family", "given", "identifier", "name", "phone", "phonetic", "telecom",
    }
)  # fmt: skip
"""Search parameters of Patient that say something of the person (FHIR R4, Patient)."""
BY_IDENTIFIER: Final = frozenset({"patient:identifier", "subject:identifier"})
"""The same of a reference to one, by the modifier ``identifier``."""


def is_lookup(query: Query) -> bool:
    """Say whether a query looks for a person, at once or along a chain."""
    return any(_looks(query.type, each) for each in query.criteria)


def _looks(type: str, criterion: Criterion) -> bool:
    if criterion.either:
        return _any(type, criterion.either)
    if criterion.chain is not None:
        return _looks(criterion.chain.type, criterion.chain.criterion)
    return criterion.code in (ABOUT if type == "Patient" else BY_IDENTIFIER)


def _any(type: str, criteria: Iterable[Criterion]) -> bool:
    return any(_looks(type, each) for each in criteria)
