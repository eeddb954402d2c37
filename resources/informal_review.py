"""Informal review: an opinion on images without a request and without a report (figure 4-5).

A Task of step `review-informal`, intent proposal, asks another organisation to look at a study. As
long as it is open, and no longer than its time, a Consent that the server writes lets that
organisation read the study, what belongs to it and the priors that matter. What came of it is said
when it is completed; or it becomes a formal review, which keeps the way back to it.

References
----------
* Requirements 3.2.1, W5; standards 1.2, figure 4-5; FHIR R4 Task, Consent
* docs/representation.md, "Informal reviews"
"""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from resources import codes, elements
from resources.consent import PATIENT_PRIVACY
from resources.errors import Unprocessable
from resources.pathway_changes import DISCLOSURE, RECIPIENT
from resources.request_names import NAMES
from resources.task import FINAL, step_of

Json = Mapping[str, Any]

HOURS: Final = 72
"""How long somebody may look who was asked informally, where nothing else is said."""

STEP: Final = codes.REVIEW_INFORMAL.code


def is_informal(task: Json) -> bool:
    """Whether a Task asks for an informal review."""
    return step_of(task) == STEP


def is_open(task: Json) -> bool:
    """Whether who was asked may still look, as far as the Task says so."""
    return is_informal(task) and task.get("status") not in {*FINAL, "draft"}


def rule(before: Json | None, after: Json) -> None:
    """Refuse an informal review that asks for nothing, of nobody, or that is something else.

    Raises
    ------
    Unprocessable
        It is an order or belongs to one; names no study, patient or owner; changes its study or
        time; or is completed without saying what came of it.
    """
    if not is_informal(after):
        return
    if after.get("intent") != "proposal":
        raise Unprocessable("an informal review is a proposal, no order", at="Task.intent")
    if any(one.startswith("ServiceRequest/") for one in elements.references(after.get("basedOn"))):
        raise Unprocessable("an informal review has no request", at="Task.basedOn")
    if not studies(after):
        raise Unprocessable("an informal review is of an ImagingStudy", at="Task.focus")
    for name in ("for", "owner", "requester"):
        if not elements.references(after.get(name)):
            raise Unprocessable(f"an informal review names its {name}", at=f"Task.{name}")
    if before is not None and end_of(before) != end_of(after) and end_of(before):
        raise Unprocessable("the time of an informal review is not changed", at="Task.restriction")
    if after.get("status") == "completed" and not (
        after.get("output") or len(after.get("note", ())) > len((before or {}).get("note", ()))
    ):
        raise Unprocessable("a review that is completed says what came of it", at="Task.output")


def studies(task: Json) -> list[str]:
    """The study that is to be looked at, and those that come with the question."""
    named = elements.references(task.get("focus"))
    named += [
        reference
        for one in task.get("input", ())
        for reference in elements.references(one.get("valueReference"))
    ]
    names = map(elements.unversioned, named)
    return list(dict.fromkeys(one for one in names if one.startswith("ImagingStudy/")))


def end_of(task: Json) -> str:
    """When the time of the review is over; empty where it is not said."""
    return str(task.get("restriction", {}).get("period", {}).get("end", ""))


def ending(task: Json, instant: str, hours: int) -> str:
    """When the time is over: what was asked for, and no more than is given.

    Parameters
    ----------
    instant
        When it is asked for.

    Examples
    --------
    >>> ending({}, "2026-11-24T12:00:00Z", 72)
    '2026-11-27T12:00:00.000Z'
    """
    latest = datetime.fromisoformat(instant) + timedelta(hours=hours)
    said = end_of(task)
    if len(said) > len("2026-11-24"):
        wanted = datetime.fromisoformat(said)
        latest = min(latest, wanted if wanted.tzinfo else wanted.astimezone())
    return latest.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def consent_id(task: str) -> str:
    """The id of the Consent of a Task: it follows from it."""
    return str(uuid.uuid5(NAMES, f"Task/{task}/look"))


def consent(
    task: Json, organization: str, names: Iterable[str], start: str, end: str, *, is_open: bool
) -> dict[str, Any]:
    """Let an organisation read what it is asked about, and nothing else.

    Parameters
    ----------
    organization
        ``Organization/id`` of who was asked.
    names
        ``Type/id`` of what it may read.
    start, end
        FHIR instants.
    """
    return {
        "resourceType": "Consent",
        "id": consent_id(task["id"]),
        "status": "active" if is_open else "inactive",
        "scope": PATIENT_PRIVACY.concept,
        "category": [DISCLOSURE.concept],
        "patient": task["for"],
        "dateTime": start,
        "policyRule": {"text": "Informal review"},
        "provision": {
            "type": "permit",
            "period": {"start": start, "end": end},
            "actor": [{"role": RECIPIENT.concept, "reference": {"reference": organization}}],
            "data": [
                {"meaning": "instance", "reference": {"reference": name}}
                for name in dict.fromkeys(names)
            ],
        },
    }


def converted(task: Json, request: str, instant: str) -> dict[str, Any]:
    """The review ended by the formal one that it became."""
    output = {
        "type": codes.IO_DECISION.concept,
        "valueReference": {"reference": request},
    }
    return {
        **task,
        "status": "completed",
        "businessStatus": codes.CONVERTED.concept,
        "lastModified": instant,
        "output": [*task.get("output", ()), output],
    }
