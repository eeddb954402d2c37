"""Request family: a request with those that serve it, as the engine brings them to rest together.

The request of the referrer is the root; one lock on it orders all that happens to any of them.

References
----------
* `resources.onward_request`; docs/adr/0016; docs/representation.md, "Onward requests"
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from fhir_server import provider_view, recipients, request_gathering, reviews
from fhir_server.naming import held as pin
from fhir_server.naming import local, split
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Work
from resources import acknowledgement, agreement, elements, onward_request
from resources.content import written_instant
from resources.errors import Forbidden
from resources.pathway import Case
from resources.plan import Action
from resources.request_names import name_for
from resources.request_state import RequestState, begins, kind

Json = Mapping[str, Any]

VERSION: Final = """
select version, instant, interaction, body from version
where type = $1 and id = $2 and version = $3
"""


class Family(NamedTuple):
    """Requests that hang together, those that serve first, and as what all of it is stored."""

    cases: tuple[Case, ...]
    known: dict[str, Stored]


async def root(work: Work, request: Json, base: str) -> str:
    """``ServiceRequest/id`` of the request that one serves; its own where it serves none."""
    own = f"ServiceRequest/{request['id']}"
    if not onward_request.is_onward(request):
        return own
    named = [{"reference": local(one, base)} for one in _based_on(request)]
    parent = onward_request.parent_of({"basedOn": named})
    return parent if parent and await recipients.read(work, parent) else own


async def locked(work: Work, written: Sequence[Write], ids: set[str], base: str) -> list[Stored]:
    """The requests that those of these ids serve, or are; nobody else changes them meanwhile.

    A step of intent order belongs to no onward request, so that its request is looked up once.
    """
    ordered = {
        id
        for write in written
        if write.stored.type == "Task" and write.after.get("intent") == "order"
        for id in request_gathering.asked_for(write.after, base)
    }
    names = {f"ServiceRequest/{id}" for id in ids & ordered}
    for id in sorted(ids - ordered):
        names.add(await root(work, (await work.read("ServiceRequest", id)).json, base))
    found: dict[str, Stored] = {}
    for name in sorted(names):
        stored = await work.read(*split(name), lock=not work.is_new(name))
        served = await root(work, stored.json, base)
        if served != name:
            stored = await work.read(*split(served), lock=not work.is_new(served))
        found[served] = stored
    return list(found.values())


async def gathered(
    work: Work,
    stored: Stored,
    written: Sequence[Write],
    pathways: Mapping[str, tuple[Action, ...]],
    policy: acknowledgement.Policy,
    base: str,
) -> Family:
    """Gather a request and all that serve it.

    Raises
    ------
    Refusal
        Somebody makes an onward request that may not be made.
    """
    instant = written_instant(work.context.instant)
    there = await request_gathering.hanging(work, stored.reference)
    top, known = await request_gathering.state(work, stored, written, there, policy, base)
    serving: list[RequestState] = []
    for one in _onward(stored.reference, written, there, base):
        own = await request_gathering.hanging(work, one.reference)
        state, theirs = await request_gathering.state(work, one, written, own, policy, base)
        beside = await _beside(work, state, top, pathways[kind(one.json)], instant, base)
        known |= theirs | beside
        held = tuple(pin(each, base) for each in beside.values())
        serving.append(replace(state, others=(*state.others, *held)))
    told = await reviews.acknowledgements(work, top.request.json, top.others, base)
    if told:
        top = replace(top, around={**top.around, "reviewed": told})
    states = onward_request.family(top, serving)
    _check_made(work, states, written, instant, base)
    if any(state.request.json["status"] in ("active", "completed") for state in serving):
        named = await provider_view.named(work, top, base)
        states = tuple(
            replace(state, named=named) if state.around.get("parent") else state for state in states
        )
    cases = []
    for state in states:
        actions = pathways.get(kind(state.request.json))
        if actions is not None and begins(state.request.json):
            cases.append(Case(actions, _agreement(state, instant), state))
    return Family(tuple(cases), known)


def authority(case: Case, base: str) -> dict[str, tuple[list[str], list[str]]]:
    """For each study that is acquired on delegated authority: policies, and what gave it.

    FHIR R4 Provenance.policy: "may be the url of a policy".
    """
    agreed, steps = onward_request.authority(case.state)
    if not agreed:
        return {}
    policies = [f"{base}/{one}" for one in agreed]
    return {held.reference: (policies, steps) for held in case.state.of_type("ImagingStudy")}


def _agreement(state: RequestState, instant: str) -> agreement.Agreement:
    return agreement.read(
        state.lead or "",
        [held.json for held in state.of_type("OrganizationAffiliation")],
        instant,
    )


def _based_on(request: Json) -> list[str]:
    return elements.references(request.get("basedOn"))


def _onward(
    name: str, written: Sequence[Write], there: Sequence[Stored], base: str
) -> list[Stored]:
    """The requests that serve a request, by id: what was there, and over it what is written."""
    found = {one.reference: one for one in there if one.type == "ServiceRequest"}
    for write in written:
        if write.stored.type == "ServiceRequest" and name in (
            local(one, base) for one in _based_on(write.after)
        ):
            found[write.stored.reference] = write.stored
    return [found[one] for one in sorted(found) if onward_request.is_onward(found[one].json)]


async def _beside(
    work: Work,
    state: RequestState,
    top: RequestState,
    actions: Sequence[Action],
    instant: str,
    base: str,
) -> dict[str, Stored]:
    """The agreements that an onward request is done under, and what lets others read for it."""
    request = state.request.json
    found = await _pinned(work, request, base)
    if not found and work.is_new(state.request.reference):
        query = parse(
            "OrganizationAffiliation",
            [
                ("primary-organization", top.performer or ""),
                ("participating-organization", state.performer or ""),
                ("_count", "100"),
            ],
            strict=True,
        )
        stored = {one.reference: one for one in await work.search(query)}
        held = onward_request.partners(
            top.performer or "", request, [pin(one, base) for one in stored.values()], instant
        )
        found = {one.reference: stored[one.reference] for one in held}
    if not work.is_new(state.request.reference):
        ids = [name_for(state.request, one.id) for one in actions if one.grant is not None]
        query = parse("Consent", [("_id", ",".join(ids)), ("_count", "100")], strict=True)
        found |= {one.reference: one for one in await work.search(query)}
    return found


async def _pinned(work: Work, request: Json, base: str) -> dict[str, Stored]:
    """The agreements that a request names, at the versions that it names."""
    found: dict[str, Stored] = {}
    for reference in elements.references(request.get("supportingInfo")):
        name, _, version = reference.removeprefix(f"{base}/").partition("/_history/")
        if name.startswith("OrganizationAffiliation/") and version.isdecimal():
            type_, id = split(name)
            for row in await work.rows(VERSION, (type_, id, int(version))):
                found[name] = Stored(type_, id, *row)
    return found


def _check_made(
    work: Work,
    states: Sequence[RequestState],
    written: Sequence[Write],
    instant: str,
    base: str,
) -> None:
    """Refuse an onward request that is made here and may not be."""
    principal = work.context.principal
    if principal.role == "system":
        return
    made = {one.stored.reference for one in written if one.before is None}
    top = states[-1]
    for state in (*states[:-1], *(one for one in states[-1:] if _is_orphan(one))):
        if state.request.reference not in made:
            continue
        parent = top if state is not top else None
        if parent is not None and parent.performer != f"Organization/{principal.organization}":
            raise Forbidden(
                "work is handed out by the lead provider of the request",
                "ServiceRequest.requester",
                "relationship",
            )
        agreed = state.of_type("OrganizationAffiliation")
        onward_request.check_made(state, parent, agreed, instant)


def _is_orphan(state: RequestState) -> bool:
    return onward_request.is_onward(state.request.json)
