"""Cards: what an order repeats, as CDS Hooks tells it to who is about to place it.

Each repeat is a card with links to images, request and report; what the server would refuse
without a reason suggests the order with each of the usual reasons in it, and to leave it.

CDS Hooks 2.0, "CDS Service Response"; `fhir_server.repeating`.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fhir_server.checking import Checked
from fhir_server.repeating import REFUSED
from resources import codes, repeats
from smart_apps.decision_support.services import REASONS

Json = Mapping[str, Any]

INDICATORS: Final[Mapping[str, str]] = {"high": "critical", "moderate": "warning", "low": "info"}
"""DetectedIssue.severity -> indicator of the card."""

LONGEST: Final = 139
"""Characters of a summary: fewer than 140."""


def of(order: Json, found: Iterable[Checked], base: str) -> list[Json]:
    """Write the cards of one order, the gravest first.

    Parameters
    ----------
    order
        The draft ServiceRequest as it was given.
    base
        Of this FHIR server.
    """
    return [_card(order, each, base) for each in found]


def _card(order: Json, checked: Checked, base: str) -> Json:
    repeat, issue = checked.repeat, checked.issue
    said = repeats.said(repeat, checked.place)
    card: dict[str, Any] = {
        "uuid": str(uuid.uuid4()),
        "summary": said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…",
        "detail": said,
        "indicator": INDICATORS[issue["severity"]],
        "source": {
            "label": "Isocentre",
            "url": base,
            "topic": {**issue["code"]["coding"][-1]},
        },
        "links": _links(checked, base),
    }
    if repeat.kind in REFUSED:
        card["suggestions"] = [*_suggestions(order)]
        card["selectionBehavior"] = "at-most-one"
        card["overrideReasons"] = [
            {"code": code, "system": codes.REQUEST_OVERRIDE, "display": display}
            for code, display in REASONS.items()
        ]
    return card


def _links(checked: Checked, base: str) -> list[Json]:
    about = checked.repeat.about
    what = "Images" if about["resourceType"] == "ImagingStudy" else "Request"
    named = [(what, about), *(("Report", one) for one in checked.repeat.reports)]
    return [
        {"label": label, "url": f"{base}/{one['resourceType']}/{one['id']}", "type": "absolute"}
        for label, one in named
    ]


def _suggestions(order: Json) -> Iterable[Json]:
    name = f"ServiceRequest/{order['id']}" if "id" in order else ""
    if name:
        yield {
            "label": "Do not ask for it again",
            "uuid": str(uuid.uuid4()),
            "actions": [
                {"type": "delete", "description": "Remove the order", "resourceId": [name]}
            ],
        }
    for code, display in REASONS.items():
        concept = {"coding": [{"system": codes.REQUEST_OVERRIDE, "code": code, "display": display}]}
        kept = [one for one in order.get("extension", ()) if one["url"] != codes.OVERRIDE_REASON]
        why = {"url": codes.OVERRIDE_REASON, "valueCodeableConcept": concept}
        yield {
            "label": f"Ask all the same: {display[0].lower()}{display[1:]}",
            "uuid": str(uuid.uuid4()),
            "actions": [
                {
                    "type": "update",
                    "description": "Say so in the order",
                    "resource": {**order, "extension": [*kept, why]},
                }
            ],
        }
