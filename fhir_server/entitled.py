"""Entitled: whose it is to make and to change what belongs to a request.

These are not rules of a type: who is named is often a role, and for which organisation a role acts
is another resource. What belongs to a request is ended, and stays to be looked at.

References
----------
* FHIR R4 ServiceRequest, Task; docs/representation.md, "Steps"
"""

from collections.abc import Mapping
from typing import Any

from fhir_server import delegation, onward, recipients
from fhir_server.naming import local
from fhir_server.request_gathering import BASED_ON
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Work
from resources import elements, onward_request, review, service_request, task
from resources.errors import Conflict, Unprocessable
from resources.request_state import begins

Json = Mapping[str, Any]


async def check(work: Work, write: Write, base: str) -> None:
    """Refuse what is done in the name of another, or to what is not the asker's to change."""
    before, after = write.before, write.after
    placed = before is not None and begins(before)
    if write.stored.type == "ServiceRequest" and (placed or begins(after)):
        said: Json = before if before is not None and placed else after
        requester = local(said.get("requester", {}).get("reference", ""), base)
        # A bare Practitioner is of no organisation in particular: nobody is kept out then.
        by_referrer = not requester.startswith(
            ("PractitionerRole/", "Organization/")
        ) or await delegation.is_or_acts_for(work, requester, base)
        if placed:
            service_request.check_change(said, after, by_referrer=by_referrer)
            review.check_kind(said, after)
            if onward_request.is_onward(said):
                onward_request.check_change(said, after, by_lead=by_referrer)
            elif onward_request.is_onward(after):
                raise Unprocessable(
                    "work is handed out by a request of its own", "ServiceRequest.category"
                )
            else:
                by_party = by_referrer or await _is_asked(work, said, base)
                service_request.check_party(said, after, by_party=by_party)
        else:
            service_request.check_made(by_referrer=by_referrer)
    elif before is None:
        if write.stored.type in onward_request.MAKES:
            await onward.check(work, after, base)
    elif write.stored.type == "Task" and task.step_of(before):
        if all(before.get(name) == after.get(name) for name in ("status", "owner")):
            return
        parties = await delegation.parties(work, before, base)
        named = delegation.is_named(work, before, base)
        role = work.context.principal.role
        task.check_parties(before, after, parties, role, named=named)
        await delegation.check(work, before, after, base)


async def _is_asked(work: Work, request: Json, base: str) -> bool:
    """Whether the asker is of an organisation that a request asks."""
    for reference in elements.references(request.get("performer")):
        if await delegation.is_or_acts_for(work, local(reference, base), base):
            return True
    return False


async def keep(work: Work, write: Write, base: str) -> None:
    """Refuse to delete what belongs to a request: it is ended, and stays to be looked at."""
    before: Json = write.before or {}
    asked = [before] if write.stored.type == "ServiceRequest" else []
    if write.stored.type in BASED_ON:
        for reference in elements.references(before.get("basedOn")):
            name = local(reference, base)
            if name.startswith("ServiceRequest/"):
                asked.append(await recipients.read(work, name))
    if any(begins(request) for request in asked):
        raise Conflict(f"{write.stored.reference} belongs to a request; it can be cancelled.")
