"""transaction: all entries or none, as one unit of work (FHIR http, "transaction").

"The actions are processed in this order: DELETE, POST, PUT or PATCH, GET or HEAD". Conditions are
held and resolved first, against what was there before. Links to the fullUrl of another entry are
rewritten to what that entry becomes, conditional references to what they mean. Reads see what the
transaction wrote. Searches are answered when it is written; what could be refused about them is
refused before.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from fhir_server.rest import bundles, conditions, representation, steps
from fhir_server.rest.entries import Entry, within
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.links import Links
from fhir_server.rest.steps import Step
from fhir_server.store import ids
from fhir_server.store.unit_of_work import Work
from resources import references
from resources.content import Content
from resources.errors import NotFound, Unprocessable

ORDER: Final = (("delete",), ("create",), ("update", "patch"), ("read",))
"""FHIR http, "Transaction Processing Rules": in this order; all others only ask."""

BEFORE: Final = frozenset(
    {"vread", "history-instance", "history-type", "history-system", "operation"}
)
"""What says nothing that the transaction writes, and fails the whole if it is refused."""
AFTER: Final = frozenset({"search-type", "search-system"})


async def transaction(server: Server, request: Request, listed: Sequence[Entry]) -> Answer:
    """Do what all entries say, or nothing; answers stand in the order of the entries."""
    todo = [steps.understood(server, request, entry) for entry in listed]
    steps.refuse_duplicates(todo)
    await steps.check(todo)
    answers: dict[str, Answer] = {}
    for step in todo:
        if step.row.name in BEFORE:
            with within(step.entry.at):
                answers[step.entry.at] = await step.row.answer(server, step.asked)

    request.handed_over = True
    async with server.store.begin(request.context) as work:
        if any(step.condition is not None for step in todo):
            todo = await _resolved(work, todo)
            steps.refuse_duplicates(todo)
        links = Links(todo, server.base_url)
        meant = await _meant(server, work, todo)
        for step in _ordered(todo):
            work.at = step.asked.at
            with within(step.asked.at if step.content is not None else step.entry.at):
                content = step.content and references.rewrite(links.rewritten(step), meant)
                answers[step.entry.at] = await _done(server, work, step, content)
            await asyncio.sleep(0)

    for step in todo:
        if step.row.name in AFTER:
            answers[step.entry.at] = await step.row.answer(server, step.asked)
    responses = [bundles.response(answers[step.entry.at]) for step in todo]
    return Answer(200, bundles.bundle(b"transaction-response", responses))


async def _resolved(work: Work, todo: Sequence[Step]) -> list[Step]:
    """Hold every condition, and find out which resources they mean."""
    await work.hold([step.condition for step in todo if step.condition is not None])
    resolved = []
    for step in todo:
        with within(step.entry.at):
            resolved.append(await _met(work, step) if step.condition is not None else step)
    return resolved


async def _met(work: Work, step: Step) -> Step:
    condition, type = step.condition, step.asked.type
    assert condition is not None
    if step.row.name == "update" and step.content is not None:
        id, first = await conditions.target(
            work, condition, step.content, step.if_match, "request.url"
        )
        return step._replace(target=f"{type}/{id or ids.new()}", first=first, new=not id)
    place = "request.ifNoneExist" if step.row.name == "create" else "request.url"
    found = await work.sole(condition, place)
    if step.row.name == "create":
        return step if found is None else step._replace(target=found.reference, held=found)
    if found is None and step.row.name == "patch":
        raise NotFound(f"No {type} meets the condition.", place)
    return step._replace(target="" if found is None else found.reference)


async def _meant(server: Server, work: Work, todo: Sequence[Step]) -> dict[str, str]:
    """Find what conditional references mean.

    "If there are no matches, or multiple matches, the transaction fails".
    """
    meant: dict[str, str] = {}
    for step in todo:
        if step.content is None or b"?" not in step.content.text:
            continue
        for path, literal, _ in references.find(step.content.json):
            at = f"{step.asked.at}.{path.partition('.')[2]}"
            with within(at):
                condition = None if literal in meant else conditions.of_reference(server, literal)
                if condition is not None:
                    found = await work.sole(condition, at)
                    if found is None:
                        raise Unprocessable("Nothing meets this condition.", at, "not-found")
                    meant[literal] = found.reference
    return meant


def _ordered(todo: Sequence[Step]) -> Iterator[Step]:
    """Give what is done inside the unit of work, in the order of the standard."""
    for names in ORDER:
        yield from (step for step in todo if step.row.name in names)


async def _done(server: Server, work: Work, step: Step, content: Content | None) -> Answer:
    asked = step.asked
    type, _, id = step.target.partition("/")
    match step.row.name:
        case "read":
            return representation.found(asked, await work.read(asked.type, asked.id))
        case "delete":
            return representation.deleted(asked, await steps.deleted(work, step))
        case "patch":
            assert step.change is not None
            stored = await work.patch(type, id, step.change, step.if_match)
        case "create" if step.held is not None:
            return representation.written(server, asked, step.held, held=True)
        case _ if content is None:
            raise AssertionError(step.row.name)
        case "update" if not step.new:
            stored = await work.update(type, id, content, step.if_match, first=step.first)
        case _:
            stored = await work.create(content, id)
    return representation.written(server, asked, stored)
