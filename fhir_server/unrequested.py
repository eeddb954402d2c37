"""Reports that nobody asked for here: who is asked to acknowledge them (R010.1).

A report may come with no request, with one that only another system knows, or after its request
was withdrawn. Somebody must see it all the same. It is asked of whoever the record names: the
referrer of the images, whoever the report names for a copy, the patient's general practitioner;
where it names nobody, of the fail-safe officer of the organisation that issued it. From there on it
is as with any other acknowledgement: one Task for each recipient of each version, deadlines,
reminders, escalation.

References
----------
* R009.2, R009.3, R010.1 of the requirements; docs/acknowledgement.md, "Who is asked"
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fhir_server import recipients
from fhir_server.naming import held as pin
from fhir_server.naming import local
from fhir_server.search import date
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Work
from resources import codes, elements, pathway, report
from resources.acknowledgement import Policy
from resources.agreement import Agreement
from resources.content import written_instant
from resources.pathway import Next
from resources.plan import Action
from resources.request_state import Held, RequestState, begins, kind
from resources.task import FINAL

Json = Mapping[str, Any]

WITHDRAWN: Final = frozenset({"revoked", "entered-in-error"})
OLD: Final = 30 * 86_400_000_000
"""A report that is brought in so long (microseconds) after it was issued is history, and is asked
of nobody."""


def is_issued(write: Write) -> bool:
    """Whether a radiology report is given out, or withdrawn, by a write."""
    json = write.after
    is_told = report.is_issued(json) or json.get("status") == recipients.WITHDRAWN
    return write.stored.type == "DiagnosticReport" and is_told and report.is_radiology(json)


async def asked(
    work: Work,
    write: Write,
    actions: Mapping[str, Sequence[Action]],
    policy: Policy,
    written: Sequence[Write],
    base: str,
) -> tuple[tuple[Next, ...], dict[str, Stored]]:
    """What an issued report makes necessary that no request answers for, and what is there of it.

    Parameters
    ----------
    actions
        The pathways, by the kind of a request.
    """
    of = pin(write.stored, base)
    instant = written_instant(work.context.instant)
    tasks = await _tasks(work, of)
    if await _is_requested(work, of.json, actions, base):
        open_ = [one for one in tasks.values() if one.json["status"] not in FINAL]
        return tuple(_superseded(pin(one, base), instant) for one in open_), tasks
    if _is_history(work, write):
        return (), {}
    steps = [one for one in actions[codes.KIND_PRIMARY.code] if one.step == codes.ACKNOWLEDGE.code]
    others = (of, *(pin(one, base) for one in tasks.values()))
    state = RequestState(_stand_in(of), others, policy=policy)
    named = await recipients.unrequested(work, state, of, written, base)
    state = RequestState(state.request, others, recipients={of.reference: named}, policy=policy)
    needed = pathway.reconcile(tuple(steps), Agreement(""), state, instant)
    return tuple(_alone(one) for one in needed), tasks


def _superseded(task: Held, instant: str) -> Next:
    """The end of what was asked before the report was found to belong to a request."""
    ended = {"status": "cancelled", "businessStatus": codes.SUPERSEDED.concept}
    return pathway.Update({**task.json, **ended, "lastModified": instant}, task.version)


async def _tasks(work: Work, of: Held) -> dict[str, Stored]:
    """The acknowledgements of a report that belong to no request."""
    if work.is_new(of.reference):
        return {}
    pairs = [("focus", of.reference), ("code", codes.ACKNOWLEDGE.token), ("_count", "1000")]
    found = await work.search(parse("Task", pairs, strict=True))
    return {one.reference: one for one in found if not one.json.get("basedOn")}


async def _is_requested(
    work: Work, json: Json, actions: Mapping[str, Sequence[Action]], base: str
) -> bool:
    """Whether the pathway of a request asks for the acknowledgement."""
    for reference in elements.references(json.get("basedOn")):
        name = local(reference, base)
        if not name.startswith("ServiceRequest/"):
            continue
        request = await recipients.read(work, name)
        if begins(request) and kind(request) in actions and request["status"] not in WITHDRAWN:
            return True
    return False


def _is_history(work: Work, write: Write) -> bool:
    issued = write.after.get("issued")
    return (
        write.before is None
        and issued is not None
        and date.period(str(issued))[0] < work.context.instant - OLD
    )


def _stand_in(of: Held) -> Held:
    """What stands where the request would: the patient, and who issued the report."""
    performers = [
        one
        for one in of.json.get("performer", ())
        if str(one.get("reference", "")).startswith("Organization/")
    ]
    request = {
        "resourceType": "ServiceRequest",
        "id": of.json["id"],
        "status": "active",
        "requisition": {"value": of.json["id"]},
        "subject": of.json.get("subject", {}),
        "performer": performers,
    }
    return Held(request, 1)


def _alone(one: Next) -> Next:
    """Leave out of what is new what there is no request for."""
    if isinstance(one, pathway.Update):
        return one
    without = ("basedOn", "groupIdentifier")
    return pathway.Create({name: each for name, each in one.json.items() if name not in without})
