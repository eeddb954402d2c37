"""Narrowing: what a token for one patient asks for is said to be about that patient.

The gate would let nothing else through anyway; but what a Subscription says shall be what it does.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "Safety and Security"; SMART App Launch 2.2, ``patient/``
"""

from collections.abc import Mapping
from typing import Any, Final

from fhir_server.access import gate
from fhir_server.context import RequestContext
from fhir_server.search.query import Query
from resources import subscription, topics
from resources.errors import Forbidden
from resources.search_parameters import parameter
from subscriptions.criteria import AT_CRITERIA

FILTERS: Final = "_criteria"


def narrowed(json: Mapping[str, Any], context: RequestContext) -> dict[str, Any]:
    """Say of what a token for one patient asks that it is about them.

    Raises
    ------
    Forbidden
        It cannot be said of it.
    """
    asked = subscription.asked(json)
    topic = topics.topics().get(asked.topic)
    types = topic.types if topic else (asked.criteria[0].partition("?")[0],)
    bound = {type: gate.reach(context, "r", type).patient for type in types}
    added = {type: f"patient=Patient/{patient}" for type, patient in bound.items() if patient}
    if not added:
        return {}
    able = topic.filters if topic else {type: ("patient",) for type in types if _knows(type)}
    if any("patient" not in able.get(type, ()) for type in added):
        raise Forbidden(
            "the token is for one patient, and this is not told by patient",
            AT_CRITERIA,
            step="patient",
        )
    if topic is None:
        (narrowing,) = added.values()
        said = asked.criteria[0]
        if narrowing in said.partition("?")[2].split("&"):
            return {}
        return {"criteria": f"{said}{'&' if '?' in said else '?'}{narrowing}"}
    new = [f"{type}?{each}" for type, each in added.items()]
    extensions = list(json.get(FILTERS, {}).get("extension", ()))
    extensions += [
        {"url": subscription.FILTER, "valueString": each}
        for each in new
        if each not in asked.criteria
    ]
    return {FILTERS: {**json.get(FILTERS, {}), "extension": extensions}}


def check_patient(query: Query, patient: str | None) -> None:
    """Refuse to ask for another patient than the token's."""
    if patient is None:
        return
    own = f"Patient/{patient}"
    for each in query.criteria:
        if each.code in ("patient", "subject") and not each.modifier:
            named = [one for value in each.values if isinstance(value, tuple) for one in value]
            if named and own not in named:
                raise Forbidden("it is not about the token's patient", AT_CRITERIA, step="patient")


def _knows(type: str) -> bool:
    return parameter(type, "patient") is not None
