"""Onward: what the server puts into a report that is made for another organisation's request.

It is based on the request of the referrer too, so that study and report stay together, and bears
from its first version on that it is not released, where it is not.

References
----------
* `resources.onward_request`; docs/representation.md, "Onward requests"
"""

from collections.abc import Mapping
from typing import Any

from fhir_server import recipients, request_family
from fhir_server.naming import local, split
from fhir_server.search.query import parse
from fhir_server.store.unit_of_work import Work
from resources import acknowledgement, content, elements, onward_request, pathway
from resources.content import Content
from resources.plan import Action
from resources.request_state import kind

Json = Mapping[str, Any]


async def completed(
    work: Work,
    given: Content,
    pathways: Mapping[str, tuple[Action, ...]],
    policy: acknowledgement.Policy,
    base: str,
) -> Content:
    """The report with what the server adds to what somebody else writes."""
    if work.is_by_server:
        return given
    with work.as_server():
        served = await _served(work, given.json, base)
        if served is None:
            return given
        request, parent = served
        names = [f"ServiceRequest/{request['id']}", parent]
        known = [local(one, base) for one in elements.references(given.json.get("basedOn"))]
        more = [{"reference": one} for one in names if one and one not in known]
        if more:
            based_on = [*given.json.get("basedOn", ()), *more]
            given = content.replaced(given, {"basedOn": based_on})
        if not parent:
            return given
        family = await request_family.gathered(
            work, await work.read(*split(parent)), work.writes, pathways, policy, base
        )
        case = next(
            (one for one in family.cases if one.state.request.json["id"] == request["id"]), None
        )
        changed = pathway.stamped(case, given.json) if case else given.json
    members = {name: one for name, one in changed.items() if given.json.get(name) != one}
    return content.replaced(given, members) if members else given


async def check(work: Work, made: Json, base: str) -> None:
    """Refuse a new report for a request of somebody whom it does not ask, or when it has ended.

    Raises
    ------
    Conflict
        It was taken back.
    Forbidden
        It asks somebody else, or does not ask for a report.
    """
    author = f"Organization/{work.context.principal.organization}"
    for reference in elements.references(made.get("basedOn")):
        name = local(reference, base)
        request = await recipients.read(work, name) if name.startswith("ServiceRequest/") else {}
        if request and onward_request.is_onward(request):
            onward_request.check_work(request, made, author)


async def _served(work: Work, given: Json, base: str) -> tuple[Json, str] | None:
    """The onward request that a report is for, and the request that it serves in turn."""
    for reference in elements.references(given.get("basedOn")):
        name = local(reference, base)
        if not name.startswith("ServiceRequest/"):
            continue
        request = await recipients.read(work, name)
        if request and onward_request.is_onward(request):
            root = await request_family.root(work, request, base)
            return request, root if root != name else ""
        if request and work.context.principal.organization and not work.is_new(name):
            own = await _asked(work, name)
            if own is not None:
                return own, name
    return None


async def _asked(work: Work, name: str) -> Json | None:
    """The request by which the asker's organisation serves a request, while it does."""
    author = f"Organization/{work.context.principal.organization}"
    asked = [("based-on", name), ("status", "active"), ("performer", author)]
    for one in await work.search(parse("ServiceRequest", asked, strict=True)):
        if onward_request.is_onward(one.json) and onward_request.MAKES["DiagnosticReport"] in (
            onward_request.parts(kind(one.json))
        ):
            return one.json
    return None
