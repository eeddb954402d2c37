"""What an action of a pathway changes, registers, or lets others read.

References
----------
* `pathways/README.md`; docs/representation.md, "Onward requests"
* FHIR R4 Consent.provision.data; Resource.meta.security
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from resources import codes, consent
from resources.conditions import Query, found
from resources.pathway_steps import Create, Next, Update, put, written
from resources.pathway_values import PARTIES, Scene, value_of
from resources.plan import Action, Grant
from resources.request_names import name_for

Json = Mapping[str, Any]

DISCLOSURE: Final = codes.Coding(
    "http://terminology.hl7.org/CodeSystem/consentcategorycodes", "idscl", "Information disclosure"
)
RECIPIENT: Final = codes.INFORMATION_RECIPIENT


def is_about_matches(action: Action) -> bool:
    """Whether it changes each of what its first condition finds, rather than the request."""
    named = {path.partition(".")[0] for path, _ in action.values if "." in path}
    return action.start[0].type in named


def changes(action: Action, scene: Scene) -> Iterable[Next]:
    """What an action writes into what was matched, into the request, or registers beside it."""
    request = scene.state.request
    before = {scene.match.json["resourceType"]: scene.match}
    before.setdefault("ServiceRequest", request)
    after: dict[str, dict[str, Any]] = {}
    for path, name in action.values:
        value = value_of(name, scene)
        type_, _, element = path.partition(".")
        if value is None:
            continue
        if not element:
            yield Create({"resourceType": type_, "id": name_for(request, action.id), **value})
            continue
        now = after.setdefault(type_, dict(before[type_].json))
        if isinstance(value, list):
            known = now.get(element, [])
            now[element] = [*known, *(one for one in value if one not in known)]
        else:
            put(now, element, value)
    for type_, json in after.items():
        if json != before[type_].json:
            if type_ == "Task":
                json["lastModified"] = scene.instant
            yield Update(json, before[type_].version)


def granted(action: Action, grant: Grant, scene: Scene, *, holds: bool) -> Iterable[Next]:
    """The Consent of a grant: made, brought up to date, or ended."""
    state = scene.state
    id = name_for(state.request, action.id)
    there = next((one for one in state.of_type("Consent") if one.json["id"] == id), None)
    to = PARTIES[grant.to](scene)
    data = list(dict.fromkeys(one for each in grant.data for one in _data(each, scene)))
    if not holds or not data or to is None:
        if there is not None and there.json["status"] == "active":
            yield Update({**there.json, "status": "inactive"}, there.version)
        return
    period = dict(there.json["provision"]["period"]) if there else {"start": scene.instant}
    if state.request.json.get("status") == "completed" and "end" not in period:
        period["end"] = written(datetime.fromisoformat(scene.instant) + grant.keep)
    json: dict[str, Any] = {
        "resourceType": "Consent",
        "id": id,
        "status": "active",
        "scope": consent.PATIENT_PRIVACY.concept,
        "category": [DISCLOSURE.concept],
        "patient": state.request.json["subject"],
        "dateTime": there.json["dateTime"] if there else scene.instant,
        "policyRule": {"text": "Agreed between the organisations that take part in the request"},
        "performer": [to],
        "sourceReference": {"reference": state.request.reference},
        "provision": {
            "type": "permit",
            "period": period,
            "actor": [{"role": RECIPIENT.concept, "reference": to}],
            "data": [{"meaning": "instance", "reference": {"reference": one}} for one in data],
        },
    }
    if state.lead:
        json["organization"] = [{"reference": state.lead}]
    if there is None:
        yield Create(json)
    elif any(there.json.get(name) != value for name, value in json.items()):
        yield Update({**there.json, **json}, there.version)


def _data(each: Query | str, scene: Scene) -> list[str]:
    if isinstance(each, Query):
        return [held.reference for held in found(each, scene.state)]
    return list(value_of(each, scene) or ())
