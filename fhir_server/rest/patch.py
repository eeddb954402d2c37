"""patch: a change of a resource by operations on it (FHIR http, "patch"; "conditional patch").

JSON Patch comes as ``application/json-patch+json``, JSON Merge Patch (RFC 7396) as
``application/merge-patch+json`` or as plain JSON, FHIRPath Patch as a Parameters resource. In a
Bundle, the first two are a Binary of that type. What comes out is stored as an update is.
"""

from collections.abc import Callable
from functools import partial

from fhir_server.rest import conditions, incoming, negotiate, preconditions, representation
from fhir_server.rest.binary import octets
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.search.stored import Stored
from resources import content as contents
from resources import fhirpath_patch, json_patch, merge_patch, patching, validate
from resources.content import Content
from resources.errors import Invalid, NotFound

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"


async def patch(server: Server, request: Request) -> Answer:
    """Change the resource of the address."""
    if_match = preconditions.if_match(request.headers.get("if-match"), request.place_of("If-Match"))
    change = changing(request)

    request.handed_over = True
    async with server.store.begin(request.context) as work:
        stored = await work.patch(request.type, request.id, change, if_match)

    return representation.written(server, request, stored)


async def patch_where(server: Server, request: Request) -> Answer:
    """Change the one resource that meets the condition."""
    condition = conditions.of_address(server, request)
    if_match = preconditions.if_match(request.headers.get("if-match"), request.place_of("If-Match"))
    change = changing(request)

    request.handed_over = True
    async with server.store.begin(request.context) as work:
        await work.hold([condition])
        found = await work.sole(condition, request.place_of("url") if request.at else "")
        if found is None:
            raise NotFound(f"No {request.type} meets the condition.")
        stored = await work.patch(request.type, found.id, change, if_match)

    return representation.written(server, request, stored)


def changing(request: Request) -> Callable[[Stored], Content]:
    """Read the patch of a request: what makes the next version of the present one.

    Raises
    ------
    UnsupportedMedia
        Neither JSON Patch nor FHIR JSON.
    Invalid
        Not a patch, or what it makes is against the definitions.
    """
    change = _operations(request)

    def patched(stored: Stored) -> Content:
        after = patching.patched(contents.read(stored.text), change)
        if issues := validate.check(after):
            raise Invalid(issues=issues)
        return after

    return patched


def _operations(request: Request) -> patching.Change:
    given = request.content
    if given is not None and given.type == "Binary":
        incoming.checked(given, "Binary", request.at)
        kind = given.json.get("contentType")
        if kind not in (JSON_PATCH, MERGE_PATCH):
            text = f"A patch is {JSON_PATCH}, {MERGE_PATCH} or Parameters."
            raise Invalid(text, "Binary.contentType", "value")
        read = _json_patch if kind == JSON_PATCH else _merge_patch
        return read(octets(given.json))
    if given is None:
        media = request.headers.get("content-type")
        if negotiate.is_media(media, JSON_PATCH):
            return _json_patch(request.body)
        if negotiate.is_media(media, MERGE_PATCH) or _is_plain(media, request.body):
            return _merge_patch(request.body)
        negotiate.check_content(media)
        given = contents.read(request.body)
    parameters = incoming.checked(given, "Parameters", request.at)
    return partial(fhirpath_patch.apply, fhirpath_patch.read(patching.exact(parameters.text)))


def _is_plain(media: str | None, body: bytes) -> bool:
    """Whether this is plain JSON that is no FHIRPath Patch."""
    if not negotiate.is_media(media, "application/json"):
        return False
    given = contents.parsed(body)
    return isinstance(given, dict) and given.get("resourceType") != "Parameters"


def _merge_patch(text: bytes) -> patching.Change:
    if not isinstance(contents.parsed(text), dict):
        raise Invalid("A merge patch is an object.", code="structure")
    return partial(merge_patch.apply, patching.exact(text))


def _json_patch(text: bytes) -> patching.Change:
    contents.parsed(text)
    return partial(json_patch.apply, json_patch.read(patching.exact(text)))
