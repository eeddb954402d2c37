"""Task/$acknowledge: say of one report, or of several at once, that they have been seen to.

All of them are acknowledged or none is. Reports that are flagged, or more urgent than routine, are
acknowledged one at a time: among several they could be passed over. A report that was acknowledged
before stays so, by whoever did it; one that was superseded is refused, since there is a newer one.

References
----------
* R010.1, R010.2, R011.2 of the requirements; docs/acknowledgement.md
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fhir_server.naming import versioned
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.ids import is_id
from fhir_server.rest.operations import parameters
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search.stored import Stored
from resources import acknowledgement, codes, content, references
from resources.content import written_instant
from resources.errors import Conflict, Invalid, Stale, TooLarge, Unprocessable
from resources.task import step_of

TAKES: Final = (Taken("task", "Reference", 1, "*"), Taken("note", "string"))
GIVES: Final = (Taken("task", "Reference", 1, "*"),)

MOST: Final = 100
ATTEMPTS: Final = 3


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Acknowledge, and answer the versions of the Tasks that say so.

    Raises
    ------
    Unprocessable
        Several are named and one of them is urgent, or one is no acknowledgement.
    Conflict
        One has been superseded.
    Forbidden
        One is not the asker's to acknowledge.
    """
    ids = [_id(server, each) for each in given.all("task")]
    ids = list(dict.fromkeys(ids))
    if not ids:
        raise Invalid("Name the tasks.", "task", "required")
    if len(ids) > MOST:
        raise TooLarge(f"At most {MOST} at once.", code="too-costly")
    note = given.text("note")
    request.handed_over = True
    for attempt in range(ATTEMPTS):
        try:
            done = await _acknowledged(server, request, ids, note)
            break
        except Stale:
            # The worker noted meanwhile that one was delivered or opened.
            if attempt == ATTEMPTS - 1:
                raise
    rows = [("task", "Reference", {"reference": versioned(each)}) for each in done]
    return Result(Answer(200, parameters.written(rows)), hits=len(done))


async def _acknowledged(
    server: Server, request: Request, ids: Sequence[str], note: str
) -> list[Stored]:
    async with server.store.begin(request.context) as work:
        tasks = [await work.read("Task", id) for id in sorted(ids)]
        for task in tasks:
            _check(task, alone=len(tasks) == 1)
        done = []
        for task in tasks:
            if task.json.get("status") == "completed":
                done.append(task)
                continue
            changed = content.replaced(content.read(task.text), _members(task.json, request, note))
            done.append(await work.update("Task", task.id, changed, task.version))
    return done


def _id(server: Server, given: Any) -> str:
    """The id of a Task: a Reference, or its text, or the id alone."""
    text = given.get("reference", "") if isinstance(given, dict) else str(given)
    found = references.parse(text, server.base_url)
    if found is not None and found.type == "Task" and not found.base:
        return found.id
    if not is_id(text):
        raise Invalid("A task is named by its id, or by a reference to it.", "task", "value")
    return text


def _check(task: Stored, *, alone: bool) -> None:
    json = task.json
    if step_of(json) != codes.ACKNOWLEDGE.code:
        raise Unprocessable(f"{task.reference} is no acknowledgement of a report.", "task")
    if json.get("status") == "completed":
        return
    if json.get("status") not in acknowledgement.OPEN:
        raise Conflict(f"{task.reference} is no longer open: the report has changed.", "task")
    if not alone and acknowledgement.is_urgent(json):
        raise Unprocessable(f"{task.reference} is urgent: acknowledge it by itself.", "task")


def _members(json: Mapping[str, Any], request: Request, note: str) -> dict[str, Any]:
    instant = written_instant(request.context.instant)
    members: dict[str, Any] = {
        "status": "completed",
        "businessStatus": codes.ACKNOWLEDGED.concept,
        "executionPeriod": {**json.get("executionPeriod", {}), "end": instant},
        "lastModified": instant,
    }
    if note:
        members["note"] = [*json.get("note", ()), {"time": instant, "text": note}]
    return members
