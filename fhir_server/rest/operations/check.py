"""ServiceRequest/$check: what a request would do again, before or after it is placed (G2).

The answer is a Bundle of type collection: a DetectedIssue for each study or open request that is
repeated, the gravest first, and after them what they speak of, as far as the asker may see it. No
DetectedIssue: nothing is repeated, of what the asker may see. Nothing is kept.

References
----------
* `resources.repeats`, `fhir_server.repeating`; FHIR R4 DetectedIssue, Bundle (type collection)
"""

import uuid
from collections.abc import Mapping
from typing import Any, Final

import orjson

from fhir_server import checking
from fhir_server.naming import local, normal
from fhir_server.rest import bundles
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from resources import validate
from resources.errors import Invalid

Json = Mapping[str, Any]

TYPE: Final = "ServiceRequest"
TAKES: Final = (Taken("resource", TYPE),)


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer what the request that is given, or kept under the address, repeats.

    Raises
    ------
    Invalid
        Neither is a ServiceRequest.
    """
    asked = await _asked(server, request, given)
    request.handed_over = True
    base = server.base_url
    found = await checking.check(server.store, request.context, asked, server.repeats, base)
    spoken_of = {
        f"{base}/{one['resourceType']}/{one['id']}": one
        for each in found
        for one in (each.repeat.about, *each.repeat.reports)
    }
    entries = [_entry(f"urn:uuid:{uuid.uuid4()}", each.issue) for each in found]
    entries += [_entry(address, json) for address, json in spoken_of.items()]
    patient = local(asked.get("subject", {}).get("reference", ""), base)
    return Result(
        Answer(200, bundles.bundle(b"collection", entries)),
        patient.removeprefix("Patient/") if patient.startswith("Patient/") else None,
        len(found),
    )


async def _asked(server: Server, request: Request, given: Given) -> Json:
    if request.id:
        request.handed_over = True
        kept = await server.store.read(request.context, TYPE, request.id)
        return normal(kept, server.base_url)
    asked = given.object("resource")
    if asked.get("resourceType") != TYPE:
        raise Invalid("The ServiceRequest that is to be checked is wanted.", "resource", "required")
    if issues := validate.check(asked):
        raise Invalid(issues=issues)
    short: Json = orjson.loads(orjson.dumps(asked).replace(f'"{server.base_url}/'.encode(), b'"'))
    return short


def _entry(address: str, resource: Json) -> bytes:
    return orjson.dumps({"fullUrl": address, "resource": resource})
