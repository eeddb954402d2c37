"""Acknowledgement: who answers for a report by when, and what happens if nobody does.

A Task(acknowledge) is one recipient's answer to one issued version of a report. It is *delivered*
(received), *opened* (accepted) and *acknowledged* (completed); each is said once, with its time. If
the answer does not come, it is asked for again (remind), then asked of the recipient's team, then
of the fail-safe officer of the organisation that reported. Who was asked before may still answer.

References
----------
* R009.2, R009.3, R010.1 to R010.3, R011.2 of the requirements
* Academy of Medical Royal Colleges and RCR 2022: categories critical, urgent, significant, cancer
* FHIR R4 Task: executionPeriod, restriction, output
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from resources import codes, elements
from resources.errors import Invalid, Unprocessable

Json = Mapping[str, Any]

OPEN: Final = ("requested", "received", "accepted", "ready", "in-progress", "on-hold")
"""Statuses of a Task that still waits for its answer (FHIR R4 Task)."""

RANKS: Final = ("stat", "asap", "urgent", "routine")
"""FHIR R4 request-priority, the most urgent first."""

PRIORITIES: Final[Mapping[str, str]] = {
    "critical":    "stat",
    "urgent":      "asap",
    "significant": "urgent",
    "cancer":      "urgent",
}  # fmt: skip
"""Category of a report -> least priority of its acknowledgement (R011.2)."""

STEPS: Final = ("remind", "escalate-team", "escalate-fail-safe")
"""What is done about an answer that does not come, in this order."""

UNANSWERED: Final = frozenset({"cancelled", "entered-in-error", "failed", "rejected"})
"""Ends that are no answer: only the server takes an acknowledgement there, for another one."""

KEPT: Final = ("requester", "restriction", "reasonCode", "authoredOn")
"""What only the server says of an acknowledgement."""


class Terms(NamedTuple):
    """How long after a report was issued: a reminder, the due time, the fail-safe officer."""

    remind: timedelta
    due: timedelta
    fail_safe: timedelta


class Policy(NamedTuple):
    """Deadlines by category of the report, and by priority where it has none."""

    categories: Mapping[str, Terms]
    priorities: Mapping[str, Terms]

    def terms(self, category: str | None, priority: str) -> Terms:
        """The deadlines of one acknowledgement."""
        if category in self.categories:
            return self.categories[str(category)]
        return self.priorities.get(priority, self.priorities["routine"])


class Asker(Protocol):
    """As much of a RequestContext as the rule looks at."""

    @property
    def principal(self) -> Any:
        """Who asks."""


def read(path: Path) -> Policy:
    """Read deadlines, in minutes from the issue of a report.

    Raises
    ------
    Invalid
        A category or priority is missing or unknown, or deadlines do not follow one another.
    """
    try:
        said = json.loads(path.read_text("utf-8"))
        policy = Policy(_rows(said["categories"]), _rows(said["priorities"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise Invalid(f"The deadlines of acknowledgement cannot be read: {error}.") from error
    if set(policy.categories) != set(PRIORITIES) or set(policy.priorities) != set(RANKS):
        raise Invalid("Deadlines are given for each category and each priority, and no other.")
    for name, terms in (*policy.categories.items(), *policy.priorities.items()):
        if not timedelta() < terms.remind < terms.due < terms.fail_safe:
            raise Invalid(f"The deadlines of {name} do not follow one another.")
    return policy


def _rows(said: Mapping[str, Mapping[str, float]]) -> dict[str, Terms]:
    return {
        name: Terms(*(timedelta(minutes=row[each]) for each in Terms._fields))
        for name, row in said.items()
    }


DEFAULT: Final = read(Path(__file__).with_suffix(".json"))
"""Where the operator says nothing else."""


def category(report: Json) -> str | None:
    """The category that the reporting clinician gave a report, if any (R011.2)."""
    value = elements.extension_value(report, codes.REPORT_URGENCY_EXTENSION)
    code = value.get("code") if isinstance(value, Mapping) else value
    return code if code in PRIORITIES else None


def category_of(task: Json) -> str | None:
    """The category that an acknowledgement was made under."""
    return elements.code_in(task.get("reasonCode"), codes.REPORT_URGENCY)


def priority(asked: str, of_report: str | None) -> str:
    """The priority of an acknowledgement: raised by the report's category, never lowered.

    Examples
    --------
    >>> priority("routine", "cancer"), priority("stat", "cancer"), priority("urgent", None)
    ('urgent', 'stat', 'urgent')
    """
    least = PRIORITIES.get(of_report or "", "routine")
    return min((one for one in (asked, least) if one in RANKS), key=RANKS.index)


def is_urgent(task: Json) -> bool:
    """Whether a report is to be acknowledged by itself: it is flagged, or more than routine."""
    return category_of(task) is not None or task.get("priority", "routine") != "routine"


def recipient(task: Json) -> str:
    """For whom the report is, whoever acknowledges it: a reference, empty if nobody is named."""
    named = elements.references(task.get("restriction", {}).get("recipient"))
    return next(iter(named or elements.references(task.get("owner"))), "")


def answerable(task: Json) -> list[str]:
    """Who may answer: the owner, the recipient, and those who were asked on the way."""
    candidates = [
        one.get("valueReference")
        for one in task.get("extension", ())
        if one.get("url") == codes.TASK_CANDIDATE_LIST
    ]
    named = [task.get("owner"), *task.get("restriction", {}).get("recipient", ()), *candidates]
    return list(dict.fromkeys(elements.references(named)))


def with_candidate(task: Json, reference: str) -> list[Json]:
    """The extensions of a Task, with one more who may answer."""
    made = {"url": codes.TASK_CANDIDATE_LIST, "valueReference": {"reference": reference}}
    held = list(task.get("extension", ()))
    return held if made in held else [*held, made]


def deadlines(policy: Policy, task: Json) -> dict[str, datetime]:
    """When each of `STEPS` is taken if there is no answer."""
    issued = datetime.fromisoformat(task["authoredOn"])
    issued = issued if issued.tzinfo else issued.replace(tzinfo=UTC)
    terms = policy.terms(category_of(task), task.get("priority", "routine"))
    times = (terms.remind, terms.due, terms.fail_safe)
    return {step: issued + after for step, after in zip(STEPS, times, strict=True)}


def said(task: Json, kind: str) -> str | None:
    """When something was noted of an acknowledgement: an output of that kind."""
    for one in task.get("output", ()):
        if elements.code_in(one.get("type"), codes.STEP_IO) == kind:
            return str(one.get("valueDateTime", ""))
    return None


def saying(task: Json, kind: str, instant: str) -> list[Json]:
    """The outputs of a Task, with the time of something that happened to it."""
    made = {"type": elements.concept(codes.STEP_IO, kind), "valueDateTime": instant}
    return [*task.get("output", ()), made]


def next_step(policy: Policy, task: Json) -> tuple[str, datetime] | None:
    """The first of `STEPS` that has not been taken, and when it is to be; None after the last."""
    for step, when in deadlines(policy, task).items():
        if said(task, step) is None:
            return step, when
    return None


def with_next_step(policy: Policy, task: Json, written: str) -> list[Json]:
    """The extensions of a Task that say when the next step is taken (`escalates`)."""
    held = [one for one in task.get("extension", ()) if one.get("url") != codes.ESCALATES]
    return [*held, {"url": codes.ESCALATES, "valueDateTime": written}] if written else held


def rule(before: Json | None, after: Json, context: Asker) -> None:
    """What nobody but the server changes of an acknowledgement.

    Raises
    ------
    Unprocessable
        For whom, from whom and by when it is; its priority is lowered; something that was noted of
        it is left out; it is ended without an answer, or made by hand for a request or a report.
    """
    if context.principal.role == "system":
        return
    if before is None:
        about = elements.references(after.get("focus"))
        if after.get("basedOn") or any("DiagnosticReport/" in one for one in about):
            raise Unprocessable("the server asks for acknowledgements itself", at="Task.code")
        before = {**after, "extension": []}
    if after.get("status") in UNANSWERED and before.get("status") != after.get("status"):
        raise Unprocessable("a report is acknowledged, or handed on", at="Task.status")
    if _extensions(after, codes.ESCALATES) != _extensions(before, codes.ESCALATES):
        raise Unprocessable("the server says when it asks again", at="Task.extension")
    for element in KEPT:
        if before.get(element) != after.get(element):
            raise Unprocessable(
                f"{element} of an acknowledgement does not change", at=f"Task.{element}"
            )
    if _rank(after) > _rank(before):
        raise Unprocessable("the priority of an acknowledgement is not lowered", at="Task.priority")
    candidates = _extensions(after, codes.TASK_CANDIDATE_LIST)
    if any(one not in candidates for one in _extensions(before, codes.TASK_CANDIDATE_LIST)):
        raise Unprocessable("who was asked stays a candidate", at="Task.extension")
    if any(one not in after.get("output", ()) for one in before.get("output", ())):
        raise Unprocessable("what was noted stays", at="Task.output")


def _rank(task: Json) -> int:
    priority = task.get("priority", "routine")
    return RANKS.index(priority) if priority in RANKS else len(RANKS)


def _extensions(task: Json, url: str) -> list[Json]:
    return [one for one in task.get("extension", ()) if one.get("url") == url]


def alert(
    task: Json, sender: str, recipients: Iterable[str], instant: str, reason: str
) -> dict[str, Any]:
    """The message that goes with an acknowledgement: that it is urgent, late, or somebody else's.

    It names report and patient by reference alone; what is sent on outside says no more.

    Parameters
    ----------
    reason
        `alert` for an urgent report when it is issued, else one of `STEPS`.
    """
    asked = {"reference": f"Task/{task['id']}"}
    about = [asked, *({"reference": one} for one in elements.references(task.get("focus")))]
    return {
        "resourceType": "Communication",
        "basedOn": list(task.get("basedOn", ())),
        "status": "completed",
        "category": [codes.ALERT.concept],
        "priority": task.get("priority", "routine"),
        "subject": task["for"],
        "about": about,
        "sent": instant,
        "recipient": [{"reference": one} for one in recipients],
        "sender": {"reference": sender},
        "reasonCode": [codes.ACKNOWLEDGEMENT_NOTES[reason].concept],
    }
