"""List/$worklists: what the asker may work from, as searches, with what waits in each.

Each worklist is a plain search of this server with the asker's names filled in, and the topic of a
Subscription that keeps it live. It is counted as that search would count for them: the gate is the
same. Who stands in for somebody (absence cover, a CareTeam in force) has their reports on the list.

References
----------
* R004.1, R005.1, R006.3, R011.1 of the requirements; `resources.worklists`; FHIR R4 search
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from fhir_server.access import gate
from fhir_server.delegation import is_in_force, members
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations import parameters
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from resources import codes
from resources.content import written_instant
from resources.errors import Forbidden, Invalid
from resources.worklists import Worklist, worklists

TAKES: Final = (Taken("name", "code", 0, "*"), Taken("patient", "string"))
GIVES: Final = (Taken("worklist", "BackboneElement", 0, "*"),)

PAGE: Final = 1000
MOST_PAGES: Final = 20
"""Of a longer worklist the waiting time in the middle is not told."""

SECOND: Final = 1_000_000

WITHOUT_ORDER: Final = frozenset({"_sort", "_include", "_include:iterate", "_revinclude"})


class Waiting(NamedTuple):
    """How much waits, since when, and for how long what is in the middle has (seconds)."""

    items: int
    oldest: str | None = None
    median: int | None = None


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer the worklists of the asker's role, as Parameters."""
    request.handed_over = True
    named = given.listed("name")
    if unknown := sorted(set(named) - {one.name for one in worklists()}):
        raise Invalid(f"There is no worklist {unknown[0]}.", "name", "value")
    values = await _values(server, request, given.text("patient"))
    rows: list[tuple[str, str, Any]] = []
    for each in worklists():
        if request.context.principal.role not in each.roles or (named and each.name not in named):
            continue
        pairs = each.filled(values)
        if pairs is not None and _may_search(request, each.type):
            waiting = await _waiting(server, request, each.type, pairs)
            rows.append(("worklist", "", _parts(server, each, pairs, waiting)))
    return Result(Answer(200, parameters.written(rows)), hits=len(rows))


async def _values(server: Server, request: Request, patient: str) -> dict[str, Sequence[str]]:
    """What stands for the names in braces."""
    context = request.context
    who = context.principal
    person = who.subject if who.subject.startswith("PractitionerRole/") else ""
    teams = await _teams(server, request, person) if person else []
    pinned = who.patient or patient.removeprefix("Patient/")
    return {
        "me": [person] if person else [],
        "organization": [f"Organization/{who.organization}"] if who.organization else [],
        "teams": [f"CareTeam/{team['id']}" for team in teams],
        "covered": sorted({name for team in teams for name in _covered(team, server.base_url)}),
        "patient": [f"Patient/{pinned}"] if pinned else [],
        "now": [written_instant(context.instant)],
    }


async def _teams(server: Server, request: Request, person: str) -> list[dict[str, Any]]:
    """The teams in force that somebody is a member of, as far as they see them."""
    if not _may_search(request, "CareTeam"):
        return []
    asked = [("participant", person), ("status", "active"), ("_count", "100")]
    page = await server.store.search(request.context, parse("CareTeam", asked, strict=True))
    held = [one.json for one in page.matches]
    return [
        team
        for team in held
        if is_in_force(team, request.context.instant) and person in members(team, server.base_url)
    ]


def _covered(team: dict[str, Any], base: str) -> set[str]:
    """For whom the members of a team stand in: the members whose part says so."""
    absent = [
        one for one in team.get("participant", ()) if codes.has(one.get("role"), codes.COVERED)
    ]
    return members({"participant": absent}, base)


def _may_search(request: Request, type: str) -> bool:
    try:
        gate.reach(request.context, "s", type)
    except Forbidden:
        return False
    return True


async def _waiting(
    server: Server, request: Request, type: str, pairs: Sequence[tuple[str, str]]
) -> Waiting:
    """Count a worklist, and say how long its items have waited."""
    asked = [(name, value) for name, value in pairs if name not in WITHOUT_ORDER]
    sort = [("_sort", "authored-on")] if type == "Task" else []
    size = PAGE if type == "Task" else 0
    asked += [*sort, ("_count", str(size)), ("_total", "accurate")]
    page = await server.store.search(request.context, parse(type, asked, strict=True))
    total = page.total or 0
    if type != "Task" or not page.matches:
        return Waiting(total)
    oldest = page.matches[0].json.get("authoredOn")
    middle, seen = (total - 1) // 2, 0
    for _ in range(MOST_PAGES):
        if middle < seen + len(page.matches):
            return Waiting(total, oldest, _seconds(page.matches[middle - seen], request))
        seen += len(page.matches)
        if page.next is None:
            break
        query = parse(type, [*asked, ("_cursor", page.next)], strict=True)
        page = await server.store.search(request.context, query)
    return Waiting(total, oldest)


def _seconds(item: Stored, request: Request) -> int | None:
    """How long an item has waited."""
    try:
        since = datetime.fromisoformat(item.json["authoredOn"])
    except (KeyError, ValueError):
        return None
    since = since if since.tzinfo else since.replace(tzinfo=UTC)
    return max(request.context.instant // SECOND - int(since.timestamp()), 0)


def _parts(
    server: Server, worklist: Worklist, pairs: Sequence[tuple[str, str]], waiting: Waiting
) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={quote(value, safe='|:/,')}" for name, value in pairs)
    parts: list[dict[str, Any]] = [
        {"name": "name", "valueCode": worklist.name},
        {"name": "title", "valueString": worklist.title},
        {"name": "description", "valueString": worklist.description},
        {"name": "search", "valueUrl": f"{server.base_url}/{worklist.type}?{query}"},
        {"name": "topic", "valueCanonical": worklist.topic},
        {"name": "count", "valueUnsignedInt": waiting.items},
    ]
    if waiting.oldest:
        parts.append({"name": "oldest", "valueDateTime": waiting.oldest})
    if waiting.median is not None:
        minutes = {"value": round(waiting.median / 60, 1), "unit": "min"}
        minutes |= {"system": codes.UCUM, "code": "min"}
        parts.append({"name": "median-waiting", "valueDuration": minutes})
    for name, parameter in worklist.filters.items():
        pair = [
            {"name": "name", "valueCode": name},
            {"name": "parameter", "valueString": parameter},
        ]
        parts.append({"name": "filter", "part": pair})
    return parts
