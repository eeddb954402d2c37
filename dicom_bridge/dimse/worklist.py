"""Modality Worklist C-FIND: what a peer's organisation is to acquire, justified and booked.

A Task(acquire) is only there because its justification was authorised; the worklist looks at the
justification all the same, since nobody may be exposed without one (IR(ME)R regulation 11). What
is not booked has no place on a modality's list. For who acquires for another organisation it is the
study of the request that is served, and where the agreement says so its justification.

References
----------
* PS3.4 Annex K, Table K.6-1 (Attributes for the Modality Worklist), K.4.1.1.4 (statuses)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import find
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.mapping import worklist
from dicom_bridge.mapping.matching import dataset_matches, text
from dicom_bridge.mapping.worklist import NOTHING, Step
from fhir_server.context import RequestContext
from fhir_server.search import query as queries
from fhir_server.search.stored import Stored
from resources import codes
from resources.errors import Exhausted
from resources.onward_request import is_onward
from resources.onward_request import parent_of as served_by
from resources.service_request import WORDS

MODALITY_WORKLIST: Final = "1.2.840.10008.5.1.4.31"

OPEN: Final = "ready,in-progress"
"""Task statuses of steps to be acquired: SCHEDULED or ARRIVED, and STARTED."""
BOOKED: Final = "booked,arrived,checked-in,fulfilled"
PAGE: Final = 500
MOST_STEPS: Final = 5000
REFERENCES: Final = 100
"""Requests that one search names."""

Answers = Iterator[tuple[int | Dataset, Dataset | None]]
Pairs = list[tuple[str, str]]


def handle_worklist(event: Any, bridge: Bridge, portal: Portal) -> Answers:
    """Answer a Modality Worklist query, item by item."""
    sender = event.assoc.sender

    def look(keys: Dataset) -> Iterator[Dataset]:
        for step in portal.call(scheduled(bridge, sender.context("MWL C-FIND"), keys)):
            item = worklist.item(step, sender.peer.ae)
            if dataset_matches(keys, item):
                yield item

    return find.worklist(event, "worklist query", look)


async def scheduled(bridge: Bridge, context: RequestContext, identifier: Dataset) -> list[Step]:
    """Gather the steps that the peer's organisation is to acquire, by their planned start.

    Raises
    ------
    Exhausted
        More steps than one answer may have.
    """
    tasks, others = await _tasks(bridge, context, identifier)
    own = [task for task in tasks if _performed_by(task, others, context.principal.organization)]
    requests = list(dict.fromkeys(_request_of(task) for task in own))
    served = {
        one: served_by(others[one]) if is_onward(others[one]) else ""
        for one in requests
        if one in others
    }
    others.update(await _read(bridge, context, served.values(), others))
    found = await _around(bridge, context, [*requests, *filter(None, served.values())])
    steps = []
    for task in own:
        request = _request_of(task)
        parent = served.get(request, "")
        step = Step(
            task=task,
            request=_told(others.get(request, NOTHING), others.get(parent, NOTHING)),
            patient=others.get(task.get("for", {}).get("reference", ""), NOTHING),
            justification=found["Task"].get(request) or found["Task"].get(parent, NOTHING),
            appointment=found["Appointment"].get(request, NOTHING),
            study=found["ImagingStudy"].get(parent) or found["ImagingStudy"].get(request, NOTHING),
            others=others,
        )
        if step.request and step.patient and step.justification and step.appointment:
            steps.append(step)
    named = [reference for step in steps for reference in _people(step)]
    others.update(await _read(bridge, context, named, others))
    roles = [others[reference] for reference in named if reference in others]
    behind = [one for role in roles for one in _behind(role)]
    others.update(await _read(bridge, context, behind, others))
    return sorted(steps, key=_when)


async def _tasks(
    bridge: Bridge, context: RequestContext, identifier: Dataset
) -> tuple[list[Mapping[str, Any]], dict[str, Mapping[str, Any]]]:
    """Find open Task(acquire) with their requests, patients and owners."""
    pairs = [
        ("code", codes.ACQUIRE.token),
        ("status", OPEN),
        ("_include", "Task:based-on"),
        ("_include", "Task:patient"),
        ("_include", "Task:owner"),
        ("_total", "none"),
    ]
    patient_id = text(identifier.get("PatientID")).strip()
    if patient_id and not any(mark in patient_id for mark in "*?\\,|$"):
        pairs.append(("patient.identifier", patient_id))
    tasks: list[Mapping[str, Any]] = []
    others: dict[str, Mapping[str, Any]] = {}
    async for matches, included in _pages(bridge, context, "Task", pairs):
        tasks += [stored.json for stored in matches]
        others.update((stored.reference, stored.json) for stored in included)
        if len(tasks) > MOST_STEPS:
            raise Exhausted("Too many steps are scheduled: ask for a date or a patient")
    return tasks, others


async def _around(
    bridge: Bridge, context: RequestContext, requests: Sequence[str]
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Find what else there is about the requests: justification, appointment, study."""
    searches: tuple[tuple[str, str, Pairs], ...] = (
        (
            "Task",
            "based-on",
            [
                ("code", codes.JUSTIFY.token),
                ("status", "completed"),
                ("business-status", codes.AUTHORISED.token),
            ],
        ),
        ("Appointment", "based-on", [("status", BOOKED)]),
        ("ImagingStudy", "basedon", []),
    )
    found: dict[str, dict[str, Mapping[str, Any]]] = {type: {} for type, _, _ in searches}
    for at in range(0, len(requests), REFERENCES):
        named = ",".join(requests[at : at + REFERENCES])
        for type, parameter, pairs in searches:
            pairs = [*pairs, (parameter, named), ("_total", "none")]
            async for matches, _ in _pages(bridge, context, type, pairs):
                for stored in matches:
                    for reference in stored.json.get("basedOn", ()):
                        key = _unversioned(reference)
                        found[type].setdefault(key, stored.json)
    return found


async def _pages(bridge: Bridge, context: RequestContext, type: str, pairs: Pairs) -> Any:
    """Bring the pages of a search: matches and what they include."""
    cursor: str | None = None
    while True:
        more = [("_cursor", cursor)] if cursor else []
        query = queries.parse(type, [*pairs, ("_count", str(PAGE)), *more], strict=True)
        page = await bridge.store.search(context, query)
        yield page.matches, page.included
        cursor = page.next
        if cursor is None:
            return


async def _read(
    bridge: Bridge,
    context: RequestContext,
    references: Iterable[str],
    known: Mapping[str, Any],
) -> dict[str, Mapping[str, Any]]:
    wanted = [one for one in dict.fromkeys(references) if one and one not in known]
    found: Mapping[str, Stored] = await bridge.store.many(context, wanted) if wanted else {}
    return {reference: stored.json for reference, stored in found.items()}


def _performed_by(
    task: Mapping[str, Any], others: Mapping[str, Any], organization: str | None
) -> bool:
    """Tell whether a step is owned by this organisation, or by somebody or something of it."""
    reference = _unversioned(task.get("owner", {}))
    owner = others.get(reference, {})
    parties = (reference, *(_unversioned(owner.get(m, {})) for m in ("organization", "owner")))
    return f"Organization/{organization}" in parties


def _request_of(task: Mapping[str, Any]) -> str:
    requests = (_unversioned(one) for one in task.get("basedOn", ()))
    return next((one for one in requests if one.startswith("ServiceRequest/")), "")


def _told(request: Mapping[str, Any], parent: Mapping[str, Any]) -> Mapping[str, Any]:
    """An onward request with the words of the referrer, which are in the request that it serves."""
    if not request or not parent:
        return request
    words = {name: parent[name] for name in WORDS if name in parent}
    return {**words, **request, "requester": parent.get("requester", {})}


def _people(step: Step) -> list[str]:
    """Name who and where a step refers to."""
    actors = [one.get("actor", {}) for one in step.appointment.get("participant", ())]
    references = [step.request.get("requester", {}), step.task.get("location", {}), *actors]
    types = ("PractitionerRole", "Practitioner", "Organization", "Device", "Location")
    names = (_unversioned(reference) for reference in references)
    return [name for name in names if name.split("/")[0] in types]


def _behind(role: Mapping[str, Any]) -> list[str]:
    """Name the person and the organisation behind a PractitionerRole."""
    return [_unversioned(role.get(member, {})) for member in ("practitioner", "organization")]


def _unversioned(reference: Mapping[str, Any]) -> str:
    return str(reference.get("reference", "")).partition("/_history/")[0]


def _when(step: Step) -> str:
    planned = step.task.get("executionPeriod", {}).get("start", "")
    return str(step.appointment.get("start") or planned)
