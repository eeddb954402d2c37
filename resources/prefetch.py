"""Prefetch: the Task by which studies are brought to where they will be needed.

What is scheduled at an organisation makes it: an appointment that is booked, or a step that needs
images. The Task names what it is for (`reasonReference`), who receives (`owner`), the study of it
(`focus`), its priors (`input`) and when they are needed (`restriction.period.end`); when it has
ended its outputs say what arrived, or its `statusReason` what did not.

It gives nobody a relation to the patient: who has none may not receive anything.

References
----------
* R003.2, R003.3 of the requirements; docs/representation.md, "Prefetch"
* FHIR R4 Task, Appointment
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from resources import codes, elements
from resources.imaging_study import Manifest
from resources.task import FINAL, step_of

Json = Mapping[str, Any]

STEPS: Final = frozenset({"acquire", "report", "review-formal", "review-informal", "mdt-review"})
"""Steps that need images where they are done."""
OPEN: Final = ("requested", "received", "accepted", "ready", "in-progress", "on-hold")
"""Task.status of what will be done, or is being done."""
BOOKED: Final = ("booked", "arrived", "checked-in")
"""Appointment.status of what will be."""
STEP: Final = "prefetch"
AGAIN: Final = "superseded"


def is_trigger(resource: Json) -> bool:
    """Whether something is scheduled that may need images, whatever has become of it."""
    type_ = resource.get("resourceType")
    return type_ == "Appointment" or (type_ == "Task" and step_of(resource) in STEPS)


def is_open(trigger: Json) -> bool:
    """Whether it is still going to be done."""
    expected = BOOKED if trigger.get("resourceType") == "Appointment" else OPEN
    return trigger.get("status") in expected


def is_prefetch(resource: Json) -> bool:
    """Whether a resource is such a Task."""
    return resource.get("resourceType") == "Task" and step_of(resource) == STEP


def needed(trigger: Json) -> str:
    """When images are needed: when it starts, else when it is due; empty if nothing says so.

    Examples
    --------
    >>> needed({"resourceType": "Appointment", "start": "2026-11-25T09:00:00Z"})
    '2026-11-25T09:00:00Z'
    >>> needed({"restriction": {"period": {"end": "2026-11-26"}}})
    '2026-11-26'
    """
    period = trigger.get("restriction", {}).get("period", {})
    return str(trigger.get("start") or period.get("start") or period.get("end") or "")


def patient(trigger: Json) -> str:
    """The patient that it is about; empty if it does not say."""
    named = elements.references(trigger.get("for"))
    actors = [one.get("actor") for one in trigger.get("participant", ())]
    named += [one for actor in actors for one in elements.references(actor)]
    return next((one for one in named if "Patient/" in one), "")


def places(trigger: Json) -> list[str]:
    """References to where it is done, or by whom."""
    named = [*elements.references(trigger.get("owner"))]
    named += elements.references(trigger.get("location"))
    for participant in trigger.get("participant", ()):
        named += elements.references(participant.get("actor"))
    return [one for one in named if "Patient/" not in one]


def task(
    trigger: Json,
    name: str,
    organization: str,
    subject: Json,
    focus: str,
    inputs: Sequence[tuple[codes.Coding, str]],
    instant: str,
) -> dict[str, Any]:
    """Make the Task.

    Parameters
    ----------
    trigger, name
        What is scheduled, and its reference.
    organization
        Id of the Organization that receives.
    subject
        Reference to the patient.
    focus, inputs
        The study or the request that it is for, and the studies besides, as what.
    """
    made: dict[str, Any] = {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "priority": trigger.get("priority", "routine"),
        "code": codes.PREFETCH.concept,
        "focus": {"reference": focus},
        "for": dict(subject),
        "authoredOn": instant,
        "lastModified": instant,
        "owner": {"reference": f"Organization/{organization}"},
        "reasonReference": {"reference": name},
        "input": [parameter(*one) for one in inputs],
    }
    if not isinstance(made["priority"], str):  # Appointment.priority is a number
        made["priority"] = "routine"
    for member in ("requester", "groupIdentifier"):
        if member in trigger:
            made[member] = trigger[member]
    if when := needed(trigger):
        made["restriction"] = {"period": {"end": when}}
    if not made["input"]:
        del made["input"]
    return made


def parameter(kind: codes.Coding, reference: str) -> dict[str, Any]:
    """A study as an input."""
    return {"type": kind.concept, "valueReference": {"reference": reference}}


def studies(task: Json) -> list[str]:
    """Ids of the studies that a Task brings."""
    named = elements.references(task.get("focus"))
    for one in task.get("input", ()):
        named += elements.references(one.get("valueReference"))
    found = (elements.unversioned(one) for one in named)
    prefix = "ImagingStudy/"
    ids = (one.rpartition(prefix)[2] for one in found if prefix in one)
    return list(dict.fromkeys(ids))


def delivered(versioned: str, manifest: Manifest) -> dict[str, Any]:
    """The output that says that all of a study, at a version, has arrived."""
    return {
        "extension": [
            {
                "url": codes.INSTANCE_MANIFEST,
                "extension": [
                    {"url": "count", "valueUnsignedInt": manifest.instances},
                    {"url": "sha256", "valueString": manifest.sha256},
                ],
            }
        ],
        "type": codes.IO_MANIFEST.concept,
        "valueReference": {"reference": versioned},
    }


def progress(task: Json, percent: int, words: str) -> list[Any]:
    """The extensions of a Task with how far it is."""
    parts = [
        {"url": "percent", "valueString": str(percent)},
        {"url": "description", "valueString": words},
    ]
    changed = elements.with_extension(task, codes.STEP_PROGRESS, {"extension": parts})
    found: list[Any] = changed["extension"]
    return found


def again(failed: Json, instant: str) -> dict[str, Any]:
    """Make the Task that does a failed one once more."""
    kept = ("resourceType", "intent", "priority", "code", "focus", "for", "owner",
            "reasonReference", "input", "requester", "groupIdentifier", "restriction")  # fmt: skip
    made = {name: failed[name] for name in kept if name in failed}
    reference = {"reference": f"Task/{failed['id']}"}
    return {
        **made,
        "extension": [{"url": codes.TASK_REPLACES, "valueReference": reference}],
        "status": "requested",
        "authoredOn": instant,
        "lastModified": instant,
    }


def is_ended(task: Json) -> bool:
    """Whether nothing more is done about a Task."""
    return task.get("status") in FINAL


def words(parts: Iterable[str]) -> str:
    """A sentence of its parts.

    Examples
    --------
    >>> words(["2 of 5 objects are missing", "1 answered A700"])
    '2 of 5 objects are missing; 1 answered A700.'
    """
    return f"{'; '.join(parts)}."
