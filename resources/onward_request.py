"""Onward request: what a lead provider asks of another organisation, under an agreement.

It serves the request that the referrer made: same patient, same procedure, same imaging service
request. Its kind names its pathway, and the pathway the parts of the work that it hands over. Of
each part there is one onward request at a time, made by the lead alone while an agreement is in
force; its terms are those of that version of the agreement for ever.

References
----------
* FHIR R4 ServiceRequest.intent ``filler-order``, .basedOn; requirements, workflows 2 to 4
* docs/representation.md, "Onward requests"
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from resources import agreement, elements, plan
from resources.conditions import asked, found
from resources.errors import Conflict, Forbidden, Unprocessable
from resources.request_state import Held, RequestState, kind
from resources.task import step_of

Json = Mapping[str, Any]

INTENT: Final = "filler-order"
SAME: Final[Mapping[str, Callable[[Json], Any]]] = {
    "subject": lambda request: elements.references(request.get("subject")),
    "requisition": lambda request: request.get("requisition", {}).get("value"),
    "code": lambda request: request.get("code", {}).get("coding"),
}
"""What an onward request has from the one that it serves, and what is compared of it."""

FIXED: Final = ("category", "code", "basedOn", "performer", "requester")
"""What an agreement was found for does not change."""

ENDS: Final = frozenset({"revoked", "entered-in-error"})


MAKES: Final[Mapping[str, str]] = {"DiagnosticReport": "reporting", "ImagingStudy": "acquiring"}
"""Resource type -> the part of the work that makes it."""


def parts(kind: str) -> tuple[str, ...]:
    """The parts of the work that a kind of request hands over; none of a kind that is not known."""
    return plan.parts(kind) if kind in plan.every() else ()


def is_onward(request: Json) -> bool:
    """Whether a request hands work to another organisation.

    Examples
    --------
    >>> is_onward({"category": []})
    False
    """
    return bool(parts(kind(request)))


def parent_of(request: Json) -> str:
    """``ServiceRequest/id`` of the request that one serves; empty if there is none."""
    based_on = map(elements.unversioned, elements.references(request.get("basedOn")))
    return next((one for one in based_on if one.startswith("ServiceRequest/")), "")


def family(root: RequestState, onward: Sequence[RequestState]) -> tuple[RequestState, ...]:
    """The states of requests that hang together, those that serve before the one that is served."""
    known = tuple(
        held
        for state in onward
        for held in (state.request, *state.others)
        if held.json["resourceType"] not in ("Consent", "OrganizationAffiliation")
    )
    own = (root.request, *root.others)
    return (
        *(replace(state, around={**state.around, "parent": own}) for state in onward),
        replace(root, around={**root.around, "onward": known}),
    )


def partners(lead: str, request: Json, affiliations: Iterable[Held], at: str) -> tuple[Held, ...]:
    """The agreements in force by which a provider does the parts that a request hands over."""
    wanted = set(parts(kind(request)))
    agreeing = []
    for held in sorted(affiliations, key=lambda one: one.reference):
        agreed = agreement.read(lead, [held.json], at).partners
        performers = elements.references(request.get("performer"))
        if any(
            partner.organization in performers
            for part in wanted
            for partner in agreed.get(part, ())
        ):
            agreeing.append(held)
    return tuple(agreeing)


def check_made(
    state: RequestState, parent: RequestState | None, agreed: Sequence[Held], at: str
) -> None:
    """Refuse an onward request that may not be made.

    Parameters
    ----------
    state, parent
        The request, and the one that it serves with all that serve it.
    agreed
        The agreements in force between the lead and the provider.

    Raises
    ------
    Unprocessable
        It serves no request that is under way, says something else than that, or hands over what
        no agreement in force covers.
    Conflict
        Its part of the work is with somebody already, under way or done.
    """
    request = state.request.json
    if request.get("intent") != INTENT:
        raise Unprocessable(f"An onward request has the intent {INTENT}.", "ServiceRequest.intent")
    if request.get("status") != "active":
        raise Unprocessable("An onward request begins as active.", "ServiceRequest.status")
    if parent is None or is_onward(parent.request.json):
        raise Unprocessable(
            "An onward request serves a request of a referrer, and no other.",
            "ServiceRequest.basedOn",
        )
    if parent.request.json.get("status") != "active":
        raise Conflict("The request that it serves is not active.", "ServiceRequest.basedOn")
    for element, compared in SAME.items():
        if compared(request) != compared(parent.request.json):
            raise Unprocessable(
                f"{element} is that of the request that it serves.", f"ServiceRequest.{element}"
            )
    named = elements.references(request.get("supportingInfo"))
    if any(one.startswith("OrganizationAffiliation/") for one in named):
        raise Unprocessable(
            "Under which agreement it is, the server says.", "ServiceRequest.supportingInfo"
        )
    performers = elements.references(request.get("performer"))
    if len(performers) != 1 or state.performer is None or state.performer == parent.performer:
        raise Unprocessable(
            "An onward request asks one other organisation.", "ServiceRequest.performer"
        )
    _check_parts(state, parent, agreed, at)


def _check_parts(
    state: RequestState, parent: RequestState, agreed: Sequence[Held], at: str
) -> None:
    request = state.request.json
    known = agreement.read(parent.performer or "", [one.json for one in agreed], at).partners
    for part in parts(kind(request)):
        if not any(one.organization == state.performer for one in known.get(part, ())):
            raise Unprocessable(
                f"There is no agreement in force by which it is {part} for the lead.",
                "ServiceRequest.performer",
            )
    for other in parent.of_type("ServiceRequest", "onward"):
        shared = set(parts(kind(other.json))) & set(parts(kind(request)))
        if (
            other.reference != state.request.reference
            and other.json["status"] == "active"
            and shared
        ):
            raise Conflict(f"{min(shared)} is with another organisation already.")
    steps = {
        action.step
        for action in plan.load(kind(request))
        if any(path == "partOf" for path, _ in action.values)
    }
    for task in parent.of_type("Task"):
        status = task.json.get("status")
        if step_of(task.json) in steps and status in ("in-progress", "completed"):
            raise Conflict(f"{step_of(task.json)} is {status} at the lead.")


def check_work(request: Json, made: Json, author: str) -> None:
    """Refuse what is made for a request by somebody whom it does not ask, or when it has ended.

    Raises
    ------
    Forbidden
        It asks another organisation, or for something else.
    Conflict
        It was taken back before there was a result.
    """
    at = f"{made['resourceType']}.basedOn"
    if author not in elements.references(request.get("performer")):
        raise Forbidden("the request asks another organisation", at, "relationship")
    if MAKES[made["resourceType"]] not in parts(kind(request)):
        raise Forbidden("the request does not ask for that", at, "relationship")
    if request.get("status") in ENDS:
        raise Conflict("The request was taken back; nothing is made for it any more.", at)


def authority(state: RequestState) -> tuple[list[str], list[str]]:
    """On whose authority images are acquired, where the acquiring organisation does not justify.

    Returns
    -------
    :
        Versioned references: the agreements that delegate it, and what the lead's practitioner did.
    """
    term = asked("OrganizationAffiliation?term=delegated-justification")
    justified = asked("parent.Task?code=justify&status=completed")
    agreed = [one.versioned for one in found(term, state)]
    steps = [one.versioned for one in found(justified, state)]
    return (agreed, steps) if agreed else ([], [])


def check_change(before: Json, after: Json, *, by_lead: bool) -> None:
    """Refuse a change of what the provider relies on, or an end that is not the asker's.

    Raises
    ------
    Unprocessable
        What the agreement was found for, or the agreement, would be another.
    Forbidden
        Only the lead takes it back; it is completed when the work was accepted.
    """
    for element in FIXED:
        if before.get(element) != after.get(element):
            raise Unprocessable(
                f"{element} of an onward request does not change", at=f"ServiceRequest.{element}"
            )
    if _terms(before) != _terms(after):
        raise Unprocessable("its terms do not change", at="ServiceRequest.supportingInfo")
    if before.get("status") == after.get("status"):
        return
    if not by_lead:
        raise Forbidden(
            "an onward request is taken back by the lead; decline the step instead",
            "ServiceRequest.status",
            "relationship",
        )
    if before.get("status") != "active" or after.get("status") not in ENDS:
        raise Conflict(
            "an onward request is taken back while it is active, or accepted by its step",
            "ServiceRequest.status",
        )


def _terms(request: Json) -> list[str]:
    named = elements.references(request.get("supportingInfo"))
    return [one for one in named if one.startswith("OrganizationAffiliation/")]
