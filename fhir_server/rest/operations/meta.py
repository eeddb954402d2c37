"""$meta: profiles, tags and labels of one resource, or of all of a type or of the server.

Of several it gives what the index keeps of a label: its system and code.

References
----------
* FHIR R4 Resource, operation $meta: "the sum total of all the tags, profiles and security labels"
"""

from collections.abc import Iterable
from typing import Any, Final

from fhir_server.access import gate
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations import parameters
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.store.labels import Label
from resources.models import TYPES

TAKES: Final[tuple[Taken, ...]] = ()


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer the meta element of the resource as it is now, or all labels that the asker sees."""
    if not request.id:
        if request.type:
            gate.reach(request.context, "r", request.type)
        types = [request.type] if request.type else sorted(TYPES)
        labels = await server.store.labels(request.context, types)
        return Result(Answer(200, parameters.written([("return", "Meta", _meta(labels))])))
    request.handed_over = True
    stored = await server.store.read(request.context, request.type, request.id)
    meta = stored.json.get("meta", {})
    return Result(Answer(200, parameters.written([("return", "Meta", meta)])), hits=1)


def _meta(labels: Iterable[Label]) -> dict[str, list[Any]]:
    """Write labels as an element; a term of a code alone, or of a system alone, says nothing new.

    Examples
    --------
    >>> _meta([Label("tag", "a"), Label("tag", "urn:x|"), Label("tag", "urn:x|a")])
    {'tag': [{'system': 'urn:x', 'code': 'a'}]}
    """
    meta: dict[str, list[Any]] = {}
    for element, term in labels:
        if element == "profile":
            meta.setdefault(element, []).append(term)
            continue
        system, bar, code = term.partition("|")
        if bar and code:
            coding = {"system": system, "code": code} if system else {"code": code}
            meta.setdefault(element, []).append(coding)
    return meta
