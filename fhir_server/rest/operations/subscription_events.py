"""$events: what has happened for a subscription, by number; for whoever has missed something.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, OperationDefinition backport-subscription-events
"""

from typing import Final

import orjson

from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken

TAKES: Final = (
    Taken("eventsSinceNumber", "string"),
    Taken("eventsUntilNumber", "string"),
    Taken("content", "code"),
)

LARGEST: Final = 2**53


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer a notification of those events, both numbers included."""
    since = given.number("eventsSinceNumber", LARGEST)
    until = given.number("eventsUntilNumber", LARGEST)
    content = given.text("content") or None
    request.handed_over = True
    bundle = await server.subscriptions.events(
        request.context, request.id, since=since, until=until, content=content
    )
    return Result(Answer(200, orjson.dumps(bundle)), hits=len(bundle["entry"]) - 1)
