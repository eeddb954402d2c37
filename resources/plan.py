"""Plan: a pathway file read into actions; the reader of `pathways/README.md`.

References
----------
* FHIR R4 PlanDefinition; Expression, language ``application/x-fhir-query``
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from resources import codes, elements
from resources.request_state import Held, RequestState

Json = Mapping[str, Any]
PARTY: Final = f"{codes.BASE}/CodeSystem/pathway-party"
DUE: Final = f"{codes.OURS}/due"
NONE: Final = f"{codes.OURS}/none"
PATHWAYS: Final = Path(__file__).parent / "pathways"
UNITS: Final = {"min": "minutes", "h": "hours", "d": "days"}


class Query(NamedTuple):
    """A condition: something of the request matches, or nothing does."""

    type: str
    criteria: tuple[tuple[str, frozenset[str]], ...]
    none: bool


class Action(NamedTuple):
    """One action of a pathway, read once; fields as `pathways/README.md` tells."""

    id: str
    code: Json | None
    party: str
    after: tuple[str, ...]
    start: tuple[Query, ...]
    ready: tuple[Query, ...]
    stop: tuple[Query, ...]
    multiple: bool
    values: tuple[tuple[str, str], ...]
    due: Mapping[str, timedelta]

    @property
    def step(self) -> str | None:
        """The imaging step, or None for an action that changes the request itself."""
        return elements.code_in(self.code, codes.IMAGING_STEP)


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
}
"""Search parameters that a condition may use; `identifier` means an identifier's type here."""


def _adds_to_ours(resource: Json) -> bool:
    """Whether it is an addendum to a report that is here, which is issued anew for it."""
    named = elements.references(elements.extension_value(resource, codes.ADDENDUM_OF))
    return any(one.startswith("DiagnosticReport/") for one in named)


def _codes(value: object) -> list[str]:
    concepts: Iterable[Any] = value if isinstance(value, list) else [value or {}]
    return [coding.get("code", "") for one in concepts for coding in one.get("coding", ())]


def found(query: Query, state: RequestState) -> tuple[Held, ...]:
    """What of a request matches a condition."""
    return tuple(
        held
        for held in state.of_type(query.type)
        if all(values.intersection(CRITERIA[name](held.json)) for name, values in query.criteria)
    )


def holds(query: Query, state: RequestState) -> bool:
    """Whether something matches; or nothing does, where that is what the condition says."""
    return bool(found(query, state)) != query.none


@cache
def every() -> Mapping[str, tuple[Action, ...]]:
    """Every pathway there is: the kind of a request -> its actions, in order.

    Examples
    --------
    >>> "primary" in every()
    True
    """
    return {path.stem: load(path.stem) for path in sorted(PATHWAYS.glob("*.json"))}


@cache
def load(name: str) -> tuple[Action, ...]:
    """The actions of a pathway file, in order."""
    text = (PATHWAYS / f"{name}.json").read_text("utf-8")
    return tuple(_action(action) for action in json.loads(text)["action"])


def _action(action: Json) -> Action:
    conditions = action.get("condition", ())

    def queries(kind: str) -> tuple[Query, ...]:
        return tuple(_query(one) for one in conditions if one["kind"] == kind)

    party = [elements.code_in(one["role"], PARTY) or "" for one in action.get("participant", ())]
    return Action(
        id=action["id"],
        code=next(iter(action.get("code", ())), None),
        party=next(iter(party), ""),
        after=tuple(one["actionId"] for one in action.get("relatedAction", ())),
        start=queries("start"),
        ready=queries("applicability"),
        stop=queries("stop"),
        multiple=action.get("cardinalityBehavior") == "multiple",
        values=tuple(
            (one["path"], one["expression"]["expression"]) for one in action.get("dynamicValue", ())
        ),
        due=dict(_due(one) for one in action.get("extension", ()) if one["url"] == DUE),
    )


def _query(condition: Json) -> Query:
    type_, _, criteria = condition["expression"]["expression"].partition("?")
    pairs = [pair.partition("=") for pair in criteria.split("&") if pair]
    return Query(
        type_,
        tuple((name, frozenset(values.split(","))) for name, _, values in pairs),
        elements.extension_value(condition, NONE) is True,
    )


def _due(extension: Json) -> tuple[str, timedelta]:
    within = elements.extension_value(extension, "within")
    amount = timedelta(**{UNITS[within["code"]]: within["value"]})
    return elements.extension_value(extension, "priority"), amount
