"""ServiceRequest: what the referrer says in it is theirs to change, and nobody else's.

Others add what they know beside it: a practitioner and an operator in the notes of their Tasks,
a lead provider its identifiers (docs/representation.md, "Steps").

References
----------
* FHIR R4 ServiceRequest; requirement R007.2
"""

from collections.abc import Mapping
from typing import Any, Final

from resources.errors import Conflict, Forbidden, Unprocessable

WORDS: Final = (
    "category",
    "code",
    "orderDetail",
    "bodySite",
    "requester",
    "reasonCode",
    "reasonReference",
    "supportingInfo",
    "note",
    "patientInstruction",
)
"""What the referrer says: the procedure, the question, the clinical information."""

FIXED: Final = ("subject", "requisition", "intent")
"""What the steps of a request rely on; a request for somebody else is another request."""


def check_made(*, by_referrer: bool) -> None:
    """Refuse a request that is made in the name of another organisation.

    Raises
    ------
    Forbidden
        Whom it names as the requester is not of the organisation that makes it.
    """
    if not by_referrer:
        raise Forbidden(
            "a request is made by the organisation of its requester",
            "ServiceRequest.requester",
            "relationship",
        )


def check_change(before: Mapping[str, Any], after: Mapping[str, Any], *, by_referrer: bool) -> None:
    """Refuse a change of what a request that was placed says, by somebody who did not say it.

    Raises
    ------
    Unprocessable
        It would become a request about another patient, or another request.
    Forbidden
        The words of the referrer are changed by somebody else.
    """
    for element in FIXED:
        if before.get(element) != after.get(element):
            raise Unprocessable(
                f"{element} of a request does not change", at=f"ServiceRequest.{element}"
            )
    for element in WORDS:
        if not by_referrer and before.get(element) != after.get(element):
            raise Forbidden(
                f"{element} is what the referrer says", f"ServiceRequest.{element}", "relationship"
            )


def check_party(before: Mapping[str, Any], after: Mapping[str, Any], *, by_party: bool) -> None:
    """Refuse to end a request whose steps are open, and to end or take over that of others.

    Parameters
    ----------
    by_party
        The asker is of the organisation of its requester, or of one that is asked.

    Raises
    ------
    Forbidden
        It belongs to others.
    Conflict
        It would be completed by hand: it is when the last of its steps is.
    """
    for element in ("status", "performer"):
        if not by_party and before.get(element) != after.get(element):
            raise Forbidden(
                f"{element} is for who made a request and who is asked",
                f"ServiceRequest.{element}",
                "relationship",
            )
    if after.get("status") == "completed" != before.get("status"):
        raise Conflict("a request is completed by its last step", "ServiceRequest.status")
