"""$topics: the topics that one can subscribe to, as R4 can write a SubscriptionTopic.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "Subscription Topics in R4": a Basic with extensions
"""

from typing import Final

import orjson

from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken

TAKES: Final[tuple[Taken, ...]] = ()


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer a collection of them."""
    listed = [{"resource": each} for each in server.subscriptions.topics()]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": listed}
    return Result(Answer(200, orjson.dumps(bundle)), hits=len(listed))
