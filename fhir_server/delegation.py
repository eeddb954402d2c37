"""Delegation: what part somebody has in a Task, and to whom an acknowledgement is handed on.

Somebody is the owner of a Task who is named so, acts for the organisation of who is named, or is a
member of the team that is. A report may be answered by whoever was asked on the way: the owner, the
recipient and the candidates. It is handed on within the organisations that answer for it, and to
the recipient's teams, and to nobody else.

References
----------
* R010.1 of the requirements: "or an authorised delegate"; FHIR R4 Task.owner, CareTeam
* docs/acknowledgement.md, "Delegation"
"""

from collections.abc import Mapping
from typing import Any, Final

from fhir_server import recipients
from fhir_server.access.principal import Principal
from fhir_server.naming import local, split
from fhir_server.search import date
from fhir_server.search.query import parse
from fhir_server.store.unit_of_work import Work
from resources import acknowledgement, codes, elements
from resources.errors import Forbidden
from resources.task import Party, step_of

Json = Mapping[str, Any]

PEOPLE: Final = ("PractitionerRole/", "CareTeam/", "Organization/")
"""To whom an acknowledgement is handed on."""

FOR_OTHERS: Final = frozenset({"filler-order", "proposal"})
"""Task.intent of what an organisation does for another, and sees no more for it."""


async def parties(work: Work, task: Json, base: str) -> set[Party]:
    """What the asker is to a Task as it stood: its owner, its requester, both, or neither."""
    found: set[Party] = set()
    if step_of(task) == codes.ACKNOWLEDGE.code:
        owners = acknowledgement.answerable(task)
    else:
        owners = elements.references(task.get("owner"))
    for reference in owners:
        if await is_or_acts_for(work, local(reference, base), base):
            found.add("owner")
            break
    requester = local(task.get("requester", {}).get("reference", ""), base)
    if await is_or_acts_for(work, requester, base):
        found.add("requester")
    return found


def is_named(work: Work, task: Json, base: str) -> bool:
    """Whether the asker is asked in person to acknowledge a report."""
    if step_of(task) != codes.ACKNOWLEDGE.code:
        return False
    return work.context.principal.subject in {
        local(one, base) for one in acknowledgement.answerable(task)
    }


async def is_or_acts_for(work: Work, party: str, base: str) -> bool:
    """Whether the asker is a party, acts for the same organisation, or is a member of the team."""
    principal = work.context.principal
    if party == principal.subject:
        return True
    type_, id = split(party)
    if type_ == "Organization":
        return id == principal.organization
    if type_ == "Device":
        return _is_device(await recipients.read(work, party), principal, base)
    if type_ == "CareTeam":
        team = await recipients.read(work, party)
        own = {principal.subject, f"Organization/{principal.organization}"}
        return is_in_force(team, work.context.instant) and bool(
            own & {*members(team, base), await recipients.organization(work, party, base)}
        )
    if type_ != "PractitionerRole" or principal.organization is None:
        return False
    at = await recipients.organization(work, party, base)
    return at == f"Organization/{principal.organization}"


def _is_device(device: Json, principal: Principal, base: str) -> bool:
    """Whether the asker is the station or the program that a Device of its organisation is."""
    kind, _, name = principal.subject.partition("/")
    system = {"Peer": codes.AE_TITLE, "Client": codes.CLIENT}.get(kind)
    owner = local(device.get("owner", {}).get("reference", ""), base)
    return owner == f"Organization/{principal.organization}" and any(
        one.get("system") == system and one.get("value") == name
        for one in device.get("identifier", ())
    )


async def check(work: Work, before: Json, after: Json, base: str) -> None:
    """Refuse to hand an acknowledgement to somebody who has no part in it.

    What another organisation was asked to do stays with that organisation.

    Raises
    ------
    Forbidden
        Neither of the organisations of owner, recipient and requester, nor a team of the recipient.
    """
    if before.get("owner") == after.get("owner"):
        return
    new = local(after.get("owner", {}).get("reference", ""), base)
    if step_of(before) != codes.ACKNOWLEDGE.code:
        if before.get("intent") in FOR_OTHERS and not await is_or_acts_for(work, new, base):
            raise Forbidden("who was asked hands nothing on", "Task.owner", "relationship")
        return
    recipient = local(acknowledgement.recipient(before), base)
    known = [local(one, base) for one in acknowledgement.answerable(before)]
    if new in known:
        return
    requester = local(before.get("requester", {}).get("reference", ""), base)
    places = {await recipients.organization(work, one, base) for one in (*known, requester)}
    if new.startswith(PEOPLE) and await recipients.organization(work, new, base) in places - {""}:
        return
    for team in await teams(work, recipient):
        if new in {f"CareTeam/{team['id']}", *members(team, base)}:
            return
    raise Forbidden(
        "a report is handed on to those who answer for it", "Task.owner", "relationship"
    )


async def teams(work: Work, member: str) -> list[Json]:
    """The teams in force that somebody is a member of, by id."""
    asked = [("participant", member), ("status", "active"), ("_count", "100")]
    found = await work.search(parse("CareTeam", asked, strict=True))
    now = work.context.instant
    return sorted(
        (one.json for one in found if is_in_force(one.json, now)), key=lambda one: one["id"]
    )


def members(team: Json, base: str = "") -> set[str]:
    """Who takes part in a team, as ``Type/id``."""
    named = [one.get("member") for one in team.get("participant", ())]
    return {local(one, base) for one in elements.references(named)}


def is_in_force(team: Json, instant: int) -> bool:
    """Whether a team is active at an instant: absence cover is one for some time.

    Parameters
    ----------
    instant
        Microseconds since 1970 UTC.
    """
    period = team.get("period", {})
    start = date.period(period["start"])[0] if "start" in period else date.BEGINNING
    end = date.period(period["end"])[1] if "end" in period else instant
    return team.get("status", "active") == "active" and start <= instant <= end
