"""$validate: all that would be said against a resource, without storing it.

The answer is 200 with every issue, errors of R4 first, then what claimed profiles find. A mode asks
further: would it be accepted as a create, an update or a delete, by this asker?

References
----------
* FHIR R4 Resource, operation $validate: resource, mode, profile; "the operation returns ... an
  OperationOutcome", whatever it says
"""

from typing import Any, Final, NamedTuple

from fhir_server.access import gate
from fhir_server.rest import outcomes
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import FINAL
from resources import content, profiles, validate
from resources.errors import Forbidden, Invalid, Issue, Refusal

MODES: Final = {"create": "c", "update": "u", "delete": "d", "profile": "r"}
"""FHIR resource-validation-mode -> the letter that the gate is asked for."""

REHEARSED: Final = frozenset({"create", "update", "delete"})
"""The modes in which the write is tried, up to the point where it would be written."""

TAKES: Final = (
    Taken("resource", "Resource"),
    Taken("mode", "code"),
    Taken("profile", "uri", 0, "*"),
)


class Said(NamedTuple):
    """One issue with its severity."""

    severity: str
    issue: Issue


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer an OperationOutcome with every issue; one of information if there is none."""
    mode = given.text("mode")
    if mode and mode not in MODES:
        raise Invalid(f"mode is one of {', '.join(MODES)}.", "mode", "code-invalid")
    said = _permitted(request, MODES.get(mode, "r"))
    resource = given.object("resource")
    held: Stored | None = None
    if request.id:
        held = await _held(server, request)
        resource = resource or held.json
    if mode != "delete":
        if not resource:
            raise Invalid("Give a resource to validate.", "resource", "required")
        said += _of_resource(request, resource, mode, [str(url) for url in given.all("profile")])
    elif not request.id:
        raise Invalid("A delete is of one resource: name it in the address.", "mode", "invalid")
    if mode in REHEARSED and not any(severity == "error" for severity, _ in said):
        said += await _rehearsed(server, request, resource, held, mode)
    return Result(Answer(200, outcomes.several(said or [_GOOD])), hits=len(said))


def _permitted(request: Request, letter: str) -> list[Said]:
    """Say what the gate and the policy of the type have against this kind of interaction."""
    try:
        gate.reach(request.context, letter, request.type)
    except Forbidden as refusal:
        return [Said("error", Issue("forbidden", refusal.reason, request.type))]
    if letter in "ud" and request.type in FINAL:
        return [
            Said("error", Issue("not-supported", f"No {request.type} is changed.", request.type))
        ]
    return []


async def _held(server: Server, request: Request) -> Stored:
    """Read the resource of the address; it must be there, whatever the mode."""
    request.handed_over = True
    stored = await server.store.read(request.context, request.type, request.id)
    request.handed_over = False
    return stored


async def _rehearsed(
    server: Server, request: Request, resource: dict[str, Any], held: Stored | None, mode: str
) -> list[Said]:
    """Say for what the write would be refused: rules of the house, references that lead nowhere."""
    if request.type == "AuditEvent":
        return []  # it goes to the ledger at once, and has no rules but those of R4
    try:
        async with server.store.rehearse(request.context) as work:
            if mode == "create":
                await work.create(content.made(resource))
            elif held is not None and mode == "update":
                made = content.made(resource)
                await work.update(request.type, request.id, made, held.version)
            elif held is not None:
                await work.delete(request.type, request.id, held.version)
    except Refusal as refusal:
        code = outcomes.sound(refusal).code
        return [Said("error", issue._replace(code=issue.code or code)) for issue in refusal.issues]
    return []


def _of_resource(
    request: Request, resource: dict[str, Any], mode: str, asked: list[str]
) -> list[Said]:
    said: list[Said] = []
    if resource.get("resourceType") != request.type:
        return [Said("error", Issue("invalid", f"It is no {request.type}.", "resourceType"))]
    if mode == "update":
        expected = request.id or resource.get("id")
        if not expected or resource.get("id") != expected:
            text = "The id of the resource must be that of its address."
            said.append(Said("error", Issue("invalid", text, f"{request.type}.id")))
    issues = validate.check(resource)
    said += [Said("error", issue) for issue in issues]
    if not issues:
        found = profiles.check(resource, asked)
        severity = "error" if asked or mode == "profile" else "warning"
        said += [Said(severity, issue) for issue in found.broken]
        said += [Said("warning", issue) for issue in found.unknown]
    return said


_GOOD: Final = Said("information", Issue("informational", "There is nothing against it."))
