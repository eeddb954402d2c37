"""transaction: all entries or none, as one unit of work (FHIR http, "transaction").

"The actions are processed in this order: DELETE, POST, PUT or PATCH, GET or HEAD"; DELETE and PATCH
are not offered. Links to the fullUrl of another entry are rewritten to what that entry becomes.
Reads see what the transaction wrote. Searches are answered when it is written; what could be
refused about them is refused before.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from fhir_server.access import gate
from fhir_server.rest import bundles, preconditions, representation
from fhir_server.rest import search as searches
from fhir_server.rest.create import refuse_condition
from fhir_server.rest.entries import Entry, within
from fhir_server.rest.exchange import Answer, Interaction, Request, Server
from fhir_server.rest.ids import require_valid_id
from fhir_server.rest.incoming import LONG, require_id, require_type
from fhir_server.rest.outcomes import NotOffered
from fhir_server.store import ids
from fhir_server.store.unit_of_work import Work
from resources import references, validate
from resources.content import Content
from resources.errors import Invalid, Issue

WRITES: Final = ("create", "update")
"""FHIR http, "Transaction Processing Rules": in this order, before all that only asks."""

OFFERED: Final = frozenset({*WRITES, "read", "vread", "history-instance", "search-type"})


class Step(NamedTuple):
    """One entry, understood: which interaction, with what.

    Parameters
    ----------
    target
        ``Type/id`` of what is written; empty for what only asks.
    if_match
        The version that an update is meant for, if it says so.
    """

    entry: Entry
    row: Interaction
    asked: Request
    target: str = ""
    content: Content | None = None
    if_match: int | None = None


async def transaction(server: Server, request: Request, listed: Sequence[Entry]) -> Answer:
    """Do what all entries say, or nothing; answers stand in the order of the entries."""
    steps = [_understood(server, request, entry) for entry in listed]
    _refuse_duplicates(steps)
    await _check(steps)
    links = _Links(steps, server.base_url)
    answers: dict[str, Answer] = {}
    for step in steps:
        if step.row.name in {"vread", "history-instance"}:
            with within(step.entry.at):
                answers[step.entry.at] = await step.row.answer(server, step.asked)

    request.handed_over = True
    async with server.store.begin(request.context) as work:
        for step in _ordered(steps):
            work.at = step.asked.at
            with within(step.asked.at if step.target else step.entry.at):
                answers[step.entry.at] = await _done(server, work, step, links)
            await asyncio.sleep(0)

    for step in steps:
        if step.row.name == "search-type":
            answers[step.entry.at] = await step.row.answer(server, step.asked)
    responses = [bundles.response(answers[step.entry.at]) for step in steps]
    return Answer(200, bundles.bundle(b"transaction-response", responses))


def _understood(server: Server, request: Request, entry: Entry) -> Step:
    """Find out what an entry asks for, and refuse at its place what cannot be done."""
    with within(entry.at):
        method, url = entry.asked(server.base_url)
        address, _, query = url.partition("?")
        asked = entry.as_request(request, method, query)
        row = server.route(asked, address)
        asked.context = replace(asked.context, interaction=row.name)
        if row.name not in OFFERED or (row.name == "search-type" and method == "POST"):
            raise NotOffered("This cannot be part of a transaction.", "request.url")
        refuse_condition(asked)
        if row.name in WRITES:
            return _write(entry, row, asked)
        if row.name == "search-type":
            query_read, _ = searches.parsed(server, asked, asked.pairs())
            gate.narrow(asked.context, query_read)
        return Step(entry, row, asked)


def _write(entry: Entry, row: Interaction, asked: Request) -> Step:
    content = entry.required()
    require_type(content, asked.type, "resource")
    if row.name == "create":
        return Step(entry, row, asked, f"{asked.type}/{ids.new()}", content)
    require_valid_id(asked.id, "request.url")
    require_id(content, asked.id, "resource.id")
    if_match = preconditions.if_match(asked.headers.get("if-match"), asked.place_of("If-Match"))
    return Step(entry, row, asked, f"{asked.type}/{asked.id}", content, if_match)


def _refuse_duplicates(steps: Sequence[Step]) -> None:
    """Refuse two entries that write one resource; that of two names is bdl-7.

    FHIR http, "Transaction Processing Rules": "If any resource identities (including resolved
    identities from conditional update/delete) overlap ... then the transaction SHALL fail".
    """
    targets = Counter(step.target for step in steps if step.target)
    issues = [
        Issue(
            "duplicate", "Another entry writes the same resource.", f"{step.entry.at}.request.url"
        )
        for step in steps
        if targets[step.target] > 1
    ]
    if issues:
        raise Invalid(issues=issues)


async def _check(steps: Sequence[Step]) -> None:
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


def _ordered(steps: Sequence[Step]) -> Iterator[Step]:
    """Give what is done inside the unit of work, in the order of the standard."""
    for name in (*WRITES, "read"):
        yield from (step for step in steps if step.row.name == name)


async def _done(server: Server, work: Work, step: Step, links: "_Links") -> Answer:
    asked = step.asked
    if step.content is None:
        return representation.found(asked, await work.read(asked.type, asked.id))
    content = links.rewritten(step)
    type, _, id = step.target.partition("/")
    if step.row.name == "create":
        stored = await work.create(content, id)
    else:
        stored = await work.update(type, id, content, step.if_match)
    return representation.written(server, asked, stored)


class _Links:
    """What the names of entries become.

    FHIR http, "Replacing hyperlinks and full-urls"; FHIR Bundle, "Resolving references in
    Bundles": a relative reference in an entry whose fullUrl is a RESTful address is looked for
    under the same base in the Bundle before it is looked for on the server.
    """

    def __init__(self, steps: Sequence[Step], base_url: str) -> None:
        self._absolute: dict[str, str] = {}
        self._relative: dict[str, dict[str, str]] = {}
        for step in steps:
            name = step.entry.full_url
            if not step.target or not name or name == f"{base_url}/{step.target}":
                continue
            self._absolute[name] = step.target
            if (literal := references.parse(name)) is not None:
                self._relative.setdefault(literal.base, {})[literal.local] = step.target

    def rewritten(self, step: Step) -> Content:
        """Give the resource of a step with its links to other entries replaced."""
        assert step.content is not None
        mapping = self._absolute
        if self._relative and (literal := references.parse(step.entry.full_url)) is not None:
            mapping = {**self._relative.get(literal.base, {}), **mapping}
        return references.rewrite(step.content, mapping)
