"""Required bindings: which codes an element may hold when the standard leaves no choice.

The table is the standard's: `value_sets/required.ndjson` has the expansion of each value set that
a required binding of R4 names. fhir.resources checks none of them.

References
----------
* FHIR Terminologies, "Binding Strengths", required: "the concept in this element SHALL be from the
  specified value set"
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

_FILE: Final = Path(__file__).parent / "value_sets" / "required.ndjson"

NOT_LISTED: Final = frozenset({
    "mimetypes",   # BCP 13, any media type; R4's own examples also write plain "json" and "xml"
    "currencies",  # ISO 4217
    "ucum-units",  # a grammar, not a list
    "LL379-9",     # a LOINC answer list, not part of the FHIR package
})  # fmt: skip
"""Required value sets that are not checked, since they cannot be listed offline."""


def codes(value_set: str) -> frozenset[str] | None:
    """Tell the codes that an element of type code may hold; ``None`` if any will do.

    Examples
    --------
    >>> sorted(codes("imagingstudy-status"))
    ['available', 'cancelled', 'entered-in-error', 'registered', 'unknown']
    """
    systems = _systems(value_set)
    return (
        None
        if systems is None
        else frozenset(code for listed in systems.values() for code in listed)
    )


def holds(value_set: str, concept: Mapping[str, Any]) -> bool:
    """Tell whether a Coding, or one coding of a CodeableConcept, is in the value set.

    Text alone is not enough: the binding speaks of the coding.

    Examples
    --------
    >>> holds("condition-clinical", {"text": "active"})
    False
    """
    systems = _systems(value_set)
    if systems is None:
        return True
    codings = concept.get("coding", ()) if "code" not in concept else (concept,)
    return any(each.get("code") in systems.get(each.get("system", ""), ()) for each in codings)


def _systems(value_set: str) -> Mapping[str, frozenset[str]] | None:
    return None if value_set in NOT_LISTED else _expansions()[value_set]


@cache
def _expansions() -> Mapping[str, Mapping[str, frozenset[str]]]:
    rows = map(json.loads, _FILE.read_text(encoding="utf-8").splitlines())
    return {
        row["name"]: {system: frozenset(listed) for system, listed in row["codes"].items()}
        for row in rows
    }
