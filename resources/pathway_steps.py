"""The Task of a step: which one there is, and how a new one is made of a pathway's action.

A step of which there are many is there once for each version that it is about and for each
recipient; a new version supersedes the open steps of the one before.

References
----------
* FHIR R4 Task; R009.3, R010, R011.2 of the requirements; docs/representation.md, "Steps"
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from resources import acknowledgement, codes, elements
from resources.pathway_values import NOTHING, PARTIES, Scene, recipients, value_of
from resources.plan import Action
from resources.request_names import name_for
from resources.request_state import Held
from resources.task import FINAL, step_of

Json = Mapping[str, Any]


class Create(NamedTuple):
    """Make this; its id follows from the request and the step."""

    json: Json


class Update(NamedTuple):
    """Write this over the version named."""

    json: Json
    version: int


Next = Create | Update


def parties(action: Action, scene: Scene) -> tuple[Json | None, ...]:
    """Who performs a step: one party, or each of the recipients of a report."""
    if action.party == "recipients":
        return recipients(scene)
    return (PARTIES[action.party](scene),)


def is_step(action: Action, task: Json, match: Held, party: Json | None) -> bool:
    """Whether a Task is this step; one of many also is for that party and about that version."""
    if step_of(task) != action.step or task.get("status") == "entered-in-error":
        return False
    if not action.multiple:
        return True
    focus = elements.references(task.get("focus"))
    return focus == [match.versioned] and _is_for(task, party)


def _is_for(task: Json, party: Json | None) -> bool:
    return [acknowledgement.recipient(task)] == elements.references(party)


def is_about(task: Json, reference: str) -> bool:
    """Whether a Task is about a resource, in whatever version."""
    about = elements.references(task.get("focus"))
    return any(elements.is_reference_to(one, reference) for one in about)


def new_step(action: Action, scene: Scene, party: Json | None) -> Iterable[Next]:
    """The Task of a step, and the end of those it supersedes."""
    scene = scene._replace(code=action.code)
    request = scene.state.request
    about = scene.match.versioned if action.multiple else ""
    each = elements.references(party) if action.multiple else []
    earlier = sum(
        step_of(task.json) == action.step
        and (not about or elements.references(task.json.get("focus")) == [about])
        and (not each or _is_for(task.json, party))
        for task in scene.state.of_type("Task")
    )
    priority = str(request.json.get("priority", "routine"))
    task: dict[str, Any] = {
        "resourceType": "Task",
        "id": name_for(request, str(action.step), about, *each, earlier),
        "groupIdentifier": request.json["requisition"],
        "basedOn": [{"reference": request.reference}],
        "status": "requested",
        "intent": "order",
        "priority": priority,
        "code": action.code,
        "for": request.json["subject"],
        "authoredOn": scene.instant,
        "lastModified": scene.instant,
    }
    if party:
        task["owner"] = party
    if priority in action.due:
        end = datetime.fromisoformat(scene.instant) + action.due[priority]
        task["restriction"] = {"period": {"end": written(end)}}
    for path, name in action.values:
        if not path.startswith(("output[", "executionPeriod", "location")):
            put(task, path, value_of(name, scene))
    if action.multiple:
        task = _for_recipient(task, party, scene)
        older = [old for old in scene.state.of_type("Task") if _supersedes(action, scene, old.json)]
        own = [old for old in older if _is_for(old.json, party)]
        if own:
            task = elements.with_extension(
                task,
                codes.TASK_REPLACES,
                {"valueReference": {"reference": own[-1].reference}},
            )
        for old in older:
            superseded = {"status": "cancelled", "businessStatus": codes.SUPERSEDED.concept}
            yield Update({**old.json, **superseded, "lastModified": scene.instant}, old.version)
    yield Create(task)
    if acknowledgement.category_of(task) and party:
        sender = elements.references(task["requester"])[0]
        told = acknowledgement.alert(
            task, sender, elements.references(party), scene.instant, codes.NOTE_ALERT.code
        )
        yield Create({**told, "id": name_for(request, task["id"], codes.NOTE_ALERT.code)})


def _for_recipient(task: dict[str, Any], party: Json | None, scene: Scene) -> dict[str, Any]:
    """What the recipient of a report has to answer, by when: as urgent as the report says."""
    category = acknowledgement.category(scene.match.json)
    if category:
        task["reasonCode"] = codes.URGENCIES[category].concept
    task["priority"] = acknowledgement.priority(task["priority"], category)
    policy = scene.state.policy
    times = acknowledgement.deadlines(policy, task)
    period = {"end": written(times["escalate-team"])}
    task["restriction"] = {"period": period, **({"recipient": [party]} if party else {})}
    first = acknowledgement.next_step(policy, task)
    when = written(first[1]) if first else ""
    task["extension"] = acknowledgement.with_next_step(policy, task, when)
    return task


def _supersedes(action: Action, scene: Scene, old: Json) -> bool:
    return (
        step_of(old) == action.step
        and old.get("status") not in FINAL
        and is_about(old, scene.match.reference)
        and elements.references(old.get("focus")) != [scene.match.versioned]
    )


def put(resource: dict[str, Any], path: str, value: Any) -> None:
    """Set an element; ``input[code]`` and ``output[code]`` add one parameter of that kind."""
    if value is None:
        return
    element, _, kind = path.rstrip("]").partition("[")
    if value is NOTHING:
        resource.pop(element, None)
    elif element == "meta.security":
        _label(resource, kind, is_on=value == "true")
    elif element == "statusReason" and isinstance(value, str):
        resource[element] = {"text": value}
    elif kind:
        parameters = [
            {
                "type": elements.concept(codes.STEP_IO, kind),
                ("valueReference" if isinstance(one, Mapping) else "valueString"): one,
            }
            for one in (value if isinstance(value, list) else [value])
        ]
        resource[element] = [*resource.get(element, ()), *parameters]
    elif element == "businessStatus":
        resource[element] = elements.concept(codes.STEP_BUSINESS_STATUS, value)
    else:
        resource[element] = value


def _label(resource: dict[str, Any], code: str, *, is_on: bool) -> None:
    """Put our label on what is not released, or take it off."""
    meta = dict(resource.get("meta", {}))
    label = {codes.UNRELEASED.code: codes.UNRELEASED.json}[code]
    labels = [
        one
        for one in meta.pop("security", ())
        if (one.get("system"), one.get("code")) != (label["system"], label["code"])
    ]
    labels += [label] if is_on else []
    if labels:
        meta["security"] = labels
    resource["meta"] = meta
    if not meta:
        del resource["meta"]


def written(when: datetime) -> str:
    """A moment as FHIR writes an instant."""
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
