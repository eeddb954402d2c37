"""Task/[id]/$retry: have what a failed prefetch did not bring be sent once more.

The failed Task stays as it is, says that it is superseded, and so leaves the worklist; the Task
that takes its place says which one it replaces. What has arrived is not sent again.

References
----------
* R003.2 of the requirements; docs/pacs-manager.md, "Prefetch"
* FHIR R4 extension task-replaces
"""

from typing import Final

from fhir_server.naming import versioned
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations import parameters
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from resources import codes, content, prefetch
from resources.errors import Conflict, Unprocessable
from resources.task import business_status

TAKES: Final[tuple[Taken, ...]] = ()
GIVES: Final = (Taken("task", "Reference", 1),)


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Make the next Task, and answer a reference to it.

    Raises
    ------
    Unprocessable
        It is no prefetch.
    Conflict
        It has not failed, or somebody has had it done again already.
    """
    request.handed_over = True
    async with server.store.begin(request.context) as work:
        failed = await work.read("Task", request.id)
        if not prefetch.is_prefetch(failed.json):
            raise Unprocessable(f"{failed.reference} is no prefetch.", "task")
        if failed.json["status"] != "failed":
            raise Conflict(f"{failed.reference} has not failed.", "task")
        if business_status(failed.json) == codes.SUPERSEDED.code:
            raise Conflict(f"{failed.reference} was done again already.", "task")
        instant = content.written_instant(request.context.instant)
        members = {"businessStatus": codes.SUPERSEDED.concept, "lastModified": instant}
        changed = content.replaced(content.read(failed.text), members)
        made = await work.create(content.made(prefetch.again(failed.json, instant)))
        await work.update("Task", failed.id, changed, failed.version)
    patient = failed.json["for"]["reference"].rpartition("/")[2]
    rows = [("task", "Reference", {"reference": versioned(made)})]
    return Result(Answer(200, parameters.written(rows)), patient=patient)
