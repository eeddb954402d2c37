"""Conditions: what a pathway asks of that which exists of a request.

References
----------
* FHIR R4 Expression, language ``application/x-fhir-query``; `pathways/README.md`
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from resources import agreement, codes, elements
from resources.request_state import Held, RequestState

Json = Mapping[str, Any]
NONE: Final = f"{codes.OURS}/none"
NEW: Final = f"{codes.OURS}/new"
AGAIN: Final = f"{codes.OURS}/again"


class Query(NamedTuple):
    """A condition: something of the request matches, or nothing does.

    Parameters
    ----------
    of
        ``parent`` or ``onward``: asked of the requests around it; empty for its own.
    none
        Nothing may match.
    new
        Only what is no input or output of the Task at hand, in that very version.
    again
        Not when the step happens first, but when it happens once more.
    """

    type: str
    criteria: tuple[tuple[str, frozenset[str]], ...]
    none: bool = False
    of: str = ""
    new: bool = False
    again: bool = False


CRITERIA: Final[Mapping[str, Callable[[Json], Iterable[str]]]] = {
    "status": lambda resource: [resource.get("status", "")],
    "intent": lambda resource: [resource.get("intent", "")],
    "code": lambda resource: _codes(resource.get("code")),
    "business-status": lambda resource: _codes(resource.get("businessStatus")),
    "addendum-of:missing": lambda resource: [str(not _adds_to_ours(resource)).lower()],
    "category": lambda resource: _codes(resource.get("category")),
    "identifier": lambda resource: [
        code for one in resource.get("identifier", ()) for code in _codes(one.get("type"))
    ],
    "term": lambda resource: _terms(resource),
    "_security": lambda resource: _labels(resource),
    "_security:missing": lambda resource: [str(not _labels(resource)).lower()],
}
"""Search parameters that a condition may use; `identifier` means an identifier's type here, `term`
a term of an agreement, `_security` our label on what is not released yet."""


def query(condition: Json) -> Query:
    """Read a condition of an action."""
    return asked(
        condition["expression"]["expression"],
        none=elements.extension_value(condition, NONE) is True,
        new=elements.extension_value(condition, NEW) is True,
        again=elements.extension_value(condition, AGAIN) is True,
    )


def asked(text: str, *, none: bool = False, new: bool = False, again: bool = False) -> Query:
    """Read a query.

    Examples
    --------
    >>> asked("parent.Task?code=acquire").of
    'parent'
    """
    name, _, criteria = text.partition("?")
    of, _, type_ = name.rpartition(".")
    pairs = [pair.partition("=") for pair in criteria.split("&") if pair]
    return Query(
        type_,
        tuple((name, frozenset(values.split(","))) for name, _, values in pairs),
        none,
        of,
        new,
        again,
    )


def found(query: Query, state: RequestState, at_hand: Json | None = None) -> tuple[Held, ...]:
    """What of a request matches a condition."""
    known = _named(at_hand or {}) if query.new else ()
    return tuple(
        held
        for held in state.of_type(query.type, query.of)
        if held.versioned not in known
        and all(values.intersection(CRITERIA[name](held.json)) for name, values in query.criteria)
    )


def holds(query: Query, state: RequestState, at_hand: Json | None = None) -> bool:
    """Whether something matches; or nothing does, where that is what the condition says."""
    return bool(found(query, state, at_hand)) != query.none


def _named(task: Json) -> list[str]:
    """What a Task has as its input or output."""
    said = [*task.get("input", ()), *task.get("output", ())]
    return elements.references([one.get("valueReference") for one in said])


def _labels(resource: Json) -> list[str]:
    return [
        label["code"]
        for label in resource.get("meta", {}).get("security", ())
        if label.get("system") == codes.RELEASE
    ]


def _terms(resource: Json) -> list[str]:
    return [
        url.rpartition("/")[2]
        for url in agreement.TERMS
        if elements.extension_value(resource, url) is True
    ]


def _adds_to_ours(resource: Json) -> bool:
    """Whether it is an addendum to a report that is here, which is issued anew for it."""
    named = elements.references(elements.extension_value(resource, codes.ADDENDUM_OF))
    return any(one.startswith("DiagnosticReport/") for one in named)


def _codes(value: object) -> list[str]:
    concepts: Iterable[Any] = value if isinstance(value, list) else [value or {}]
    return [coding.get("code", "") for one in concepts for coding in one.get("coding", ())]
