"""The steps of a transaction: each entry understood and checked before anything is done.

FHIR http, "Transaction Processing Rules".
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from fhir_server.access import gate
from fhir_server.rest import conditions, known, patch, preconditions
from fhir_server.rest import search as searches
from fhir_server.rest.entries import Entry, within
from fhir_server.rest.exchange import Interaction, Request, Server
from fhir_server.rest.ids import require_valid_id
from fhir_server.rest.incoming import LONG, require_id, require_type
from fhir_server.rest.outcomes import NotOffered
from fhir_server.search.query import Query
from fhir_server.search.stored import Stored
from fhir_server.store import ids
from fhir_server.store.unit_of_work import Work
from resources import validate
from resources.content import Content
from resources.errors import Conflict, Invalid, Issue, NotFound

OFFERED: Final = frozenset({
    "create", "update", "patch", "delete",
    "read", "vread", "history-instance", "history-type", "history-system",
    "search-type", "search-system", "operation",
})  # fmt: skip
"""What may be part of a transaction."""


class Step(NamedTuple):
    """One entry, understood: which interaction, with what.

    Parameters
    ----------
    target
        ``Type/id`` of what is written; empty as long as a condition has not found it.
    if_match
        The version that a change is meant for, if it says so.
    condition
        The criteria that stand instead of an id, or of If-None-Exist.
    change
        What a patch makes of the present version.
    first
        There must be nothing yet under the id; this is raised otherwise.
    new, held
        What a condition has found: the id is one that the server made, or this is there already
        and nothing is written.
    """

    entry: Entry
    row: Interaction
    asked: Request
    target: str = ""
    content: Content | None = None
    if_match: int | None = None
    condition: Query | None = None
    change: Callable[[Stored], Content] | None = None
    first: type[Conflict] | None = None
    new: bool = False
    held: Stored | None = None


def understood(server: Server, request: Request, entry: Entry) -> Step:
    """Find out what an entry asks for, and refuse at its place what cannot be done."""
    with within(entry.at):
        method, url = entry.asked(server.base_url)
        address, _, query = url.partition("?")
        asked = entry.as_request(request, method, query)
        row = server.route(asked, address)
        asked.context = replace(asked.context, interaction=row.name)
        known.check(asked)
        searching = row.name in ("search-type", "search-system")
        if row.name not in OFFERED or (searching and method == "POST"):
            raise NotOffered("This cannot be part of a transaction.", "request.url")
        step = Step(entry, row, asked)
        if row.name in _UNDERSTAND:
            return _UNDERSTAND[row.name](server, step)
        if searching:
            query_read, _ = searches.parsed(server, asked, asked.pairs())
            if query_read.type:
                gate.narrow(asked.context, query_read)
        return step


def _create(server: Server, step: Step) -> Step:
    content = _content(step)
    condition = conditions.if_none_exist(server, step.asked)
    target = f"{step.asked.type}/{ids.new()}"
    return step._replace(target=target, content=content, condition=condition)


def _update(server: Server, step: Step) -> Step:
    asked, content = step.asked, _content(step)
    step = step._replace(content=content, if_match=_if_match(asked))
    if not asked.id:
        if "id" in content.json:
            require_valid_id(str(content.json["id"]), "resource.id")
        return step._replace(condition=conditions.of_address(server, asked))
    require_valid_id(asked.id, "request.url")
    require_id(content, asked.id, "resource.id")
    first = preconditions.only_new(
        asked.headers.get("if-none-match"), asked.place_of("If-None-Match")
    )
    return step._replace(target=f"{asked.type}/{asked.id}", first=first)


def _patch(server: Server, step: Step) -> Step:
    step.entry.required()
    with within(step.asked.at):
        change = patch.changing(step.asked)
    return _pointed(server, step)._replace(change=change)


def _pointed(server: Server, step: Step) -> Step:
    """Say what a patch or delete is about: an id or a condition."""
    asked = step.asked
    step = step._replace(if_match=_if_match(asked))
    if asked.id:
        return step._replace(target=f"{asked.type}/{asked.id}")
    return step._replace(condition=conditions.of_address(server, asked))


_UNDERSTAND: Final[dict[str, Callable[[Server, Step], Step]]] = {
    "create": _create, "update": _update, "patch": _patch, "delete": _pointed,
}  # fmt: skip


def _content(step: Step) -> Content:
    content = step.entry.required()
    require_type(content, step.asked.type, "resource")
    return content


def _if_match(asked: Request) -> int | None:
    return preconditions.if_match(asked.headers.get("if-match"), asked.place_of("If-Match"))


def refuse_duplicates(steps: Sequence[Step]) -> None:
    """Refuse two entries that write one resource; that of two names is bdl-7.

    FHIR http, "Transaction Processing Rules": "If any resource identities (including resolved
    identities from conditional update/delete) overlap ... then the transaction SHALL fail". Two
    entries with one condition would overlap, had it been met.
    """
    targets = Counter(step.target for step in steps if step.target and step.held is None)
    meant = Counter(_criteria(step.condition) for step in steps if step.condition is not None)
    issues = [
        Issue(
            "duplicate", "Another entry writes the same resource.", f"{step.entry.at}.request.url"
        )
        for step in steps
        if (step.held is None and targets[step.target] > 1)
        or (step.condition is not None and meant[_criteria(step.condition)] > 1)
    ]
    if issues:
        raise Invalid(issues=issues)


def _criteria(condition: Query) -> tuple[str, frozenset[object]]:
    return condition.type, frozenset(condition.criteria)


async def check(steps: Sequence[Step]) -> None:
    """Check all resources before anything is written, and tell of all that is wrong."""
    issues: list[Issue] = []
    for step in steps:
        if step.content is None:
            continue
        if len(step.content.text) >= LONG:
            issues += await asyncio.to_thread(validate.check, step.content, at=step.asked.at)
        else:
            issues += validate.check(step.content, at=step.asked.at)
            await asyncio.sleep(0)
    if issues:
        raise Invalid(issues=issues)


async def deleted(work: Work, step: Step) -> Stored | None:
    """Delete what a step says, if it is there and the asker may see it."""
    type, _, id = step.target.partition("/")
    if not id:
        return None
    try:
        return await work.delete(type, id, step.if_match)
    except NotFound:
        return None
