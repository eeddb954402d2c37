"""Plan: a pathway file read into actions; the reader of `pathways/README.md`.

References
----------
* FHIR R4 PlanDefinition; Expression, language ``application/x-fhir-query``
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from resources import codes, elements
from resources.conditions import CRITERIA as CRITERIA
from resources.conditions import Query, asked, query
from resources.conditions import found as found
from resources.conditions import holds as holds

Json = Mapping[str, Any]
PARTY: Final = f"{codes.BASE}/CodeSystem/pathway-party"
DUE: Final = f"{codes.OURS}/due"
PART: Final = f"{codes.OURS}/part"
GRANT: Final = f"{codes.OURS}/grant"
PATHWAYS: Final = Path(__file__).parent / "pathways"
UNITS: Final = {"min": "minutes", "h": "hours", "d": "days"}


class Grant(NamedTuple):
    """Who may read what, while an action's conditions hold.

    Parameters
    ----------
    to
        The party.
    data
        Queries, and names of values (``%name``) that are lists of references.
    keep
        How long it lasts after the request was completed.
    """

    to: str
    data: tuple[Query | str, ...]
    keep: timedelta


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
    again: tuple[Query, ...] = ()
    grant: Grant | None = None

    @property
    def step(self) -> str | None:
        """The imaging step, or None for an action that changes the request itself."""
        return elements.code_in(self.code, codes.IMAGING_STEP)


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
def parts(name: str) -> tuple[str, ...]:
    """The parts of the work that a pathway hands to another organisation (`resources.agreement`).

    Examples
    --------
    >>> parts("primary")
    ()
    """
    said = _file(name).get("extension", ())
    return tuple(one["valueCode"] for one in said if one["url"] == PART)


@cache
def load(name: str) -> tuple[Action, ...]:
    """The actions of a pathway file, in order."""
    return tuple(_action(action) for action in _file(name)["action"])


def _file(name: str) -> Json:
    read: Json = json.loads((PATHWAYS / f"{name}.json").read_text("utf-8"))
    return read


def _action(action: Json) -> Action:
    conditions = action.get("condition", ())

    read = [(one["kind"], query(one)) for one in conditions]

    def queries(kind: str) -> tuple[Query, ...]:
        return tuple(one for said, one in read if said == kind and not one.again)

    party = [elements.code_in(one["role"], PARTY) or "" for one in action.get("participant", ())]
    own = action.get("extension", ())
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
        due=dict(_due(one) for one in own if one["url"] == DUE),
        again=tuple(one for _, one in read if one.again),
        grant=next(
            map(_grant, (x for x in action.get("extension", ()) if x["url"] == GRANT)), None
        ),
    )


def _due(extension: Json) -> tuple[str, timedelta]:
    within = _duration(elements.extension_value(extension, "within"))
    return elements.extension_value(extension, "priority"), within


def _grant(extension: Json) -> Grant:
    said = [one["valueString"] for one in extension["extension"] if one["url"] == "data"]
    return Grant(
        elements.extension_value(extension, "to"),
        tuple(one if one.startswith("%") else asked(one) for one in said),
        _duration(elements.extension_value(extension, "keep")),
    )


def _duration(said: Json) -> timedelta:
    return timedelta(**{UNITS[said["code"]]: said["value"]})
