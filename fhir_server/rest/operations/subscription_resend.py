"""$resend: have the events of a subscription sent again, from a number or an instant on.

They are sent in order, with the numbers that they have, and so is everything after them: who
receives a number twice has had it.

References
----------
* HL7 Subscriptions R5 Backport 1.2.0, OperationDefinition backport-subscription-resend
"""

from typing import Final

import orjson

from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.rest.operations.subscription_events import LARGEST
from fhir_server.rest.outcomes import MethodNotAllowed
from fhir_server.search import date
from resources.errors import Invalid

TAKES: Final = (Taken("eventsSinceNumber", "string"), Taken("eventsSinceInstant", "instant"))


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer an OperationOutcome that says how many events wait to be sent."""
    if request.method != "POST":
        raise MethodNotAllowed(["POST"])
    number, instant = given.number("eventsSinceNumber", LARGEST), given.text("eventsSinceInstant")
    if (number is None) == (not instant):
        raise Invalid("Say from which number, or from which instant.", code="required")
    try:
        since = date.period(instant)[0] if instant else None
    except ValueError:
        raise Invalid("It is an instant.", "eventsSinceInstant", "value") from None
    request.handed_over = True
    count = await server.subscriptions.resend(
        request.context, request.id, number=number, since=since
    )
    said = {"severity": "information", "code": "informational"}
    said_text = {"text": f"{count} events wait to be sent."}
    outcome = {"resourceType": "OperationOutcome", "issue": [{**said, "details": said_text}]}
    return Result(Answer(200, orjson.dumps(outcome)), hits=count)
