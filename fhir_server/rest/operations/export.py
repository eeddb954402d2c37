"""$export: ask for all that one may see, of the system, of patients or of a group, as files.

The answer says where the order can be looked at; `rest.exports` answers there.

References
----------
* HL7 Bulk Data Access 2.0, "Bulk Data Kick-off Request": ``Prefer: respond-async``, _outputFormat,
  _since, _type
"""

from typing import Final

from fhir_server.access import gate
from fhir_server.rest import outcomes
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search import date
from resources import references
from resources.compartments import in_patient_compartment
from resources.errors import Forbidden, Invalid, Issue
from resources.models import TYPES

TAKES: Final = (
    Taken("_outputFormat", "string"),
    Taken("_since", "instant"),
    Taken("_type", "string", 0, "*"),
)

FORMATS: Final = frozenset({"application/fhir+ndjson", "application/ndjson", "ndjson"})
"""HL7 Bulk Data Access 2.0, _outputFormat: these three "SHALL" be accepted."""

NOT_EXPORTED: Final = frozenset({"AuditEvent"})
"""The ledger has its own way out (R014)."""


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Take an order.

    Raises
    ------
    Invalid
        Not asked for as an asynchronous request, or in words that are not known.
    Forbidden
        A type that is named may not be read.
    """
    if "respond-async" not in request.headers.get("prefer", "").lower().replace(";", ",").split(
        ","
    ):
        raise Invalid("An export is asked for with Prefer: respond-async.", "Prefer", "required")
    if given.text("_outputFormat").replace(" ", "+") not in FORMATS | {""}:
        raise Invalid("Exports are application/fhir+ndjson.", "_outputFormat", "not-supported")
    types = _types(request, given)
    patients = await _members(server, request) if request.type == "Group" else None
    address = f"{server.base_url}/{_asked(request)}"
    request.handed_over = True
    id = await server.exports.take(
        request.context,
        f"{address}?{request.query}" if request.query else address,
        types,
        patients=patients,
        about_patients=bool(request.type),
        since=_since(given),
    )
    location = f"{server.base_url}/_export/{id}"
    body = outcomes.outcome(
        [Issue("informational", "The export is under way; ask for it at Content-Location.")],
        severity="information",
    )
    return Result(Answer(202, body, ((b"content-location", location.encode()),)))


def _asked(request: Request) -> str:
    return "/".join(each for each in (request.type, request.id, "$export") if each)


def _types(request: Request, given: Given) -> list[str]:
    """Say which types are exported: those named, which must be allowed, or all that are."""
    every = {
        type for type in TYPES - NOT_EXPORTED if not request.type or in_patient_compartment(type)
    }
    named = set(given.listed("_type"))
    if unknown := sorted(named - every):
        raise Invalid(f"{unknown[0]} cannot be exported here.", "_type", "not-supported")
    for type in sorted(named):
        gate.reach(request.context, "r", type)
    allowed = named or {type for type in every if _may_read(request, type)}
    if not allowed:
        raise Forbidden("the scopes grant to read nothing that is exported", step="scope")
    return sorted(allowed)


def _may_read(request: Request, type: str) -> bool:
    try:
        gate.reach(request.context, "r", type)
    except Forbidden:
        return False
    return True


async def _members(server: Server, request: Request) -> list[str]:
    """Read the group, and give the ids of the patients who are its members now."""
    request.handed_over = True
    group = (await server.store.read(request.context, "Group", request.id)).json
    request.handed_over = False
    found: list[str] = []
    for member in group.get("member", ()):
        literal = member.get("entity", {}).get("reference", "")
        named = references.parse(literal, server.base_url)
        if named and named.type == "Patient" and not named.base and not member.get("inactive"):
            found.append(named.id)
    return list(dict.fromkeys(found))


def _since(given: Given) -> int:
    if "_since" not in given:
        return 0
    try:
        return date.period(given.text("_since"))[1]
    except ValueError:
        raise Invalid("_since is not an instant.", "_since", "value") from None
