"""$status: how one subscription is, or several, or all that the asker sees.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, OperationDefinition backport-subscription-status
"""

from typing import Final

import orjson

from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken

TAKES: Final = (Taken("id", "id", 0, "*"), Taken("status", "code", 0, "*"))


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer a searchset of Parameters, one for each subscription."""
    request.handed_over = True
    if request.id:
        bundle = await server.subscriptions.status_of(request.context, request.id)
    else:
        ids, statuses = given.listed("id"), given.listed("status")
        bundle = await server.subscriptions.status(request.context, ids, statuses)
    return Result(Answer(200, orjson.dumps(bundle)), hits=bundle["total"])
