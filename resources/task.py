"""Task: which status may follow which, at whose hand, and what a step needs to be ended.

The figure of FHIR R4 Task ("Task State Machine") as a table, and next to it what this house
adds: who performs which step of an imaging request, and under which business status a step may
be called completed. A Task whose code is not an imaging step is left to the figure alone.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from resources import codes, elements
from resources.errors import Conflict, Forbidden, Unprocessable

Status = Literal[
    "draft",
    "requested",
    "received",
    "accepted",
    "rejected",
    "ready",
    "cancelled",
    "in-progress",
    "on-hold",
    "failed",
    "completed",
    "entered-in-error",
]
Party = Literal["requester", "owner", "system"]

FINAL: Final = frozenset({"completed", "failed", "rejected", "cancelled", "entered-in-error"})
"""From here a Task goes nowhere but to entered-in-error."""

_FIGURE: Final[Mapping[str, Mapping[str, tuple[Party, ...]]]] = {
    "draft": {
        "requested": ("requester", "system"),
        "cancelled": ("requester", "system"),
        "entered-in-error": ("requester", "system"),
    },
    "requested": {
        "received": ("owner", "system"),
        "accepted": ("owner", "system"),
        "rejected": ("owner",),
        "ready": ("owner", "system"),
        "in-progress": ("owner",),
        "on-hold": ("system",),
        "completed": ("owner", "system"),
        "failed": ("owner",),
        "cancelled": ("requester", "system"),
        "entered-in-error": ("requester", "system"),
    },
    "received": {
        "accepted": ("owner",),
        "rejected": ("owner",),
        "ready": ("owner", "system"),
        "in-progress": ("owner",),
        "on-hold": ("system",),
        "completed": ("owner", "system"),
        "failed": ("owner",),
        "cancelled": ("requester", "system"),
        "entered-in-error": ("requester", "system"),
    },
    "accepted": {
        "rejected": ("owner",),
        "ready": ("owner", "system"),
        "in-progress": ("owner",),
        "on-hold": ("system",),
        "completed": ("owner", "system"),
        "failed": ("owner",),
        "cancelled": ("requester", "system"),
        "entered-in-error": ("requester", "system"),
    },
    "ready": {
        "requested": ("system",),
        "rejected": ("owner",),
        "in-progress": ("owner",),
        "on-hold": ("owner", "system"),
        "completed": ("owner", "system"),
        "failed": ("owner",),
        "cancelled": ("requester", "system"),
        "entered-in-error": ("requester", "system"),
    },
    "in-progress": {
        "ready": ("owner", "system"),
        "on-hold": ("owner", "requester"),
        "completed": ("owner", "system"),
        "failed": ("owner",),
        "cancelled": ("requester", "system"),
        "entered-in-error": ("requester", "system"),
    },
    "on-hold": {
        "requested": ("system",),
        "ready": ("system",),
        "in-progress": ("owner", "requester"),
        "completed": ("owner", "system"),
        "failed": ("owner",),
        "cancelled": ("requester", "system"),
        "entered-in-error": ("requester", "system"),
    },
    **{
        status: {"entered-in-error": ("owner", "requester", "system")}
        for status in ("completed", "failed", "rejected", "cancelled")
    },
    "entered-in-error": {},
}

MOVES: Final[Mapping[str, Mapping[str, frozenset[Party]]]] = {
    source: {target: frozenset(parties) for target, parties in targets.items()}
    for source, targets in _FIGURE.items()
}
"""FHIR R4 Task, "Task State Machine"; a slot that is lost takes a step back from ready, and what
another organisation does for the lead is on hold until it is done, or comes back."""

PERFORMERS: Final[Mapping[str, frozenset[str]]] = {
    "justify": frozenset({"practitioner", "application"}),
    "acquire": frozenset({"operator", "device", "application"}),
    "post-process": frozenset({"operator", "device", "application"}),
    "report": frozenset({"reporter", "application"}),
    "addendum": frozenset({"reporter", "application"}),
    "monitor": frozenset({"coordinator", "practitioner", "reporter", "application"}),
    "acknowledge": frozenset(
        {
            "referrer",
            "delegate",
            "coordinator",
            "reviewer",
            "safety-officer",
            "application",
        }
    ),
}
"""Who does which step: the actors of IR(ME)R; an application acts for its organisation."""

AUTHORITY: Final[Mapping[str, frozenset[str]]] = {
    "justify": frozenset({"authorised"}),
    "monitor": frozenset({"accepted"}),
}
"""Steps that are completed with an authority, or not at all (IR(ME)R 2000, justification)."""

BY_PERSONS: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "monitor": {"ready": frozenset({"completed", "in-progress"})},
}
"""Steps of which people make these moves alone: a report that is back is accepted or sent back."""

RETURNED: Final = frozenset({codes.RETURNED.code})
"""Step specific statuses that say why."""

FIXED: Final = ("code", "focus", "basedOn", "for", "groupIdentifier")
"""What a step is about does not change while it is done (docs/representation.md, "Steps")."""


def step_of(task: Mapping[str, Any]) -> str | None:
    """The imaging step of a Task, or None when its code is not one of ours."""
    return elements.code_in(task.get("code"), codes.IMAGING_STEP)


def business_status(task: Mapping[str, Any]) -> str | None:
    """The code of the step specific status, if it is one of ours."""
    return elements.code_in(task.get("businessStatus"), codes.STEP_BUSINESS_STATUS)


def check_move(source: str, target: str, by: Party) -> None:
    """Refuse a status change that the table does not list.

    Staying in the same status is not a move and is always allowed: most updates of a Task
    change its inputs, outputs or notes, not its status.

    Raises
    ------
    Conflict
        `by` may not take a Task from `source` to `target`.

    Examples
    --------
    >>> check_move("requested", "accepted", by="owner")
    >>> check_move("completed", "in-progress", by="owner")
    Traceback (most recent call last):
    resources.errors.Conflict: owner may not move a Task from completed to in-progress
    """
    if source != target and by not in MOVES.get(source, {}).get(target, frozenset()):
        raise Conflict(f"{by} may not move a Task from {source} to {target}", at="Task.status")


def check_parties(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    parties: Collection[Party],
    role: str,
    *,
    named: bool = False,
) -> None:
    """Refuse a move that none of the parties somebody is may make.

    Parameters
    ----------
    parties
        What the asker is to this Task as it stood: its owner, its requester, both, or neither.
    role
        The role of the asker, a key of the gate's table.
    named
        The asker is asked in person to do it, whatever their role.

    Raises
    ------
    Forbidden
        The asker is no party to the Task, another party makes this move, or the step is not for
        this role.
    Conflict
        Nobody makes this move.
    """
    if "system" in parties:
        return
    if before.get("owner") != after.get("owner") and "owner" not in parties:
        raise Forbidden("only its owner hands a Task on", "Task.owner", "relationship")
    source, target = before.get("status", ""), after.get("status", "")
    if source == target:
        return
    if not parties:
        raise Forbidden("the Task belongs to another organisation", "Task.owner", "relationship")
    step = step_of(after) or ""
    if business_status(before) == codes.OUTSOURCED.code and source == "on-hold":
        raise Conflict("another organisation does this: take the request back first", "Task.status")
    if step in BY_PERSONS and target not in BY_PERSONS[step].get(source, ()):
        raise Conflict(f"nobody takes {step} from {source} to {target}", "Task.status")
    allowed = MOVES.get(source, {}).get(target, frozenset())
    if not allowed:
        check_move(source, target, by=min(parties))
    if not allowed.intersection(parties):
        others = " or ".join(sorted(allowed))
        raise Forbidden(
            f"only its {others} takes a Task to {target}", "Task.status", "relationship"
        )
    if "requester" not in allowed and not named and role not in PERFORMERS.get(step, {role}):
        raise Forbidden(f"the step {step} is not for the role {role}", "Task.status", "role")


def rule(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], context: object = None
) -> None:
    """What must be true of every imaging step, whoever writes it.

    Raises
    ------
    Unprocessable
        What the step is about has changed; a completed justification without authority; a
        rejection without its reason.
    Conflict
        A status that does not follow from the one before, for anybody.
    """
    if before is not None and before.get("status") != after.get("status"):
        source, target = before.get("status", ""), after.get("status", "")
        if target not in MOVES.get(source, {}):
            raise Conflict(f"a Task does not go from {source} to {target}", at="Task.status")
    if before is not None and step_of(before):
        for element in FIXED:
            if before.get(element) != after.get(element):
                raise Unprocessable(f"{element} of a step does not change", at=f"Task.{element}")
    step = step_of(after)
    if step is None:
        return
    status = after.get("status")
    authority = AUTHORITY.get(step)
    if status == "completed" and authority and business_status(after) not in authority:
        expected = " or ".join(sorted(authority))
        raise Unprocessable(
            f"{step} is completed with businessStatus {expected} only", at="Task.businessStatus"
        )
    if business_status(after) in RETURNED and not after.get("statusReason"):
        raise Unprocessable("what is sent back names the reason", at="Task.statusReason")
    if status == "rejected" and not after.get("statusReason"):
        raise Unprocessable("a rejection names its reason", at="Task.statusReason")
