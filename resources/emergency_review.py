"""The Task by which an emergency access is looked at afterwards, and the rule for it.

Each emergency access leaves one, asked of the organisation that keeps the patient's record and told
to the one whose clinician asked. It is listed until an auditor of either (the privacy officer)
closes it, with a note: ``completed`` where it was right, ``rejected`` where it was not, which also
ends the access at once.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from resources import codes
from resources.codes import Coding
from resources.errors import Forbidden, Unprocessable

Json = Mapping[str, Any]

CLOSED: Final = frozenset({"completed", "rejected"})
CLOSER: Final = "auditor"
CHANGING: Final = frozenset({"status", "note", "meta", "lastModified", "statusReason", "text"})
"""What closing may touch."""


class Asker(Protocol):
    """As much of a RequestContext as the rule looks at."""

    @property
    def principal(self) -> Any:
        """Who asks."""


def is_review(json: Json | None) -> bool:
    """Whether this is a Task by which an emergency access is looked at."""
    return (
        json is not None
        and json.get("resourceType") == "Task"
        and codes.has(json.get("code"), codes.REVIEW_EMERGENCY_ACCESS)
    )


def made(
    *,
    patient: str,
    subject: str,
    organization: str,
    holder: str,
    reason: Coding,
    text: str,
    start: str,
    end: str,
) -> dict[str, Any]:
    """Write the Task.

    Parameters
    ----------
    subject
        Who asked, ``PractitionerRole/x``.
    organization, holder
        Ids of the organisation that the asker acts for, and of the one that keeps the record.
    text
        The asker's own words.
    start, end
        FHIR instants.
    """
    return {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "priority": "urgent",
        "code": codes.REVIEW_EMERGENCY_ACCESS.concept,
        "for": {"reference": f"Patient/{patient}"},
        "requester": {"reference": subject},
        "owner": {"reference": f"Organization/{holder}"},
        "authoredOn": start,
        "executionPeriod": {"start": start, "end": end},
        "reasonCode": codes.concept(reason, text=text),
        "restriction": {"recipient": [{"reference": f"Organization/{organization}"}]},
    }


def rule(before: Json | None, after: Json, context: Asker) -> None:
    """Let the server alone write it, and an auditor alone close it, once and with a note.

    Raises
    ------
    Forbidden
        It is not the asker's to write.
    Unprocessable
        It is closed without a note, or more is changed than that.
    """
    role = context.principal.role
    if not is_review(before) and not is_review(after):
        if role == CLOSER:
            raise Forbidden("an auditor closes reviews of emergency access alone", step="role")
        return
    if role == "system":
        return
    if before is None or not is_review(before) or role != CLOSER:
        raise Forbidden("only an auditor closes the review of an emergency access", step="role")
    if before.get("status") in CLOSED:
        raise Unprocessable("This review is closed.", "Task.status")
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    if changed - CHANGING:
        raise Unprocessable("Of a review, only status and note change.", "Task")
    notes = after.get("note", ())
    if after.get("status") in CLOSED and not any(note.get("text", "").strip() for note in notes):
        raise Unprocessable("A review is closed with a note.", "Task.note")
