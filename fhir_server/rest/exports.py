"""The orders of bulk exports and their files: how far, what came of it, no longer wanted.

References
----------
* HL7 Bulk Data Access 2.0, "Bulk Data Status Request" (202 with X-Progress, 200 with the manifest),
  "Bulk Data Delete Request", "Bulk Data Output File Request"
* RFC 9110 Section 10.2.3 (Retry-After); Section 5.6.7 (the date of Expires)
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from fhir_server.access import gate
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.export.orders import Order
from fhir_server.rest import outcomes, preconditions
from fhir_server.rest.exchange import Answer, Interaction, Request, Server
from fhir_server.rest.outcomes import MethodNotAllowed
from resources.errors import Conflict, Forbidden, Issue, NotFound

PLACE: Final = "_export"
"""Below the FHIR base: the address of an order is ``_export/[id]``."""

NAME: Final = "export"
"""What the ledger calls it; see `audit.events`."""

NDJSON: Final = b"application/fhir+ndjson"
JSON: Final = b"application/json"
RETRY_SECONDS: Final = b"1"
FAILED: Final = Issue("exception", "The export failed; ask for it again.")


Answering = Callable[[Server, Request], Awaitable[Answer]]


def interaction(request: Request, parts: Sequence[str]) -> Interaction:
    """Find who answers an address below `PLACE`.

    Raises
    ------
    NotFound
        There is no such address.
    MethodNotAllowed
        It is there for other methods.
    """
    row = ROWS.get(len(parts))
    if row is None:
        raise NotFound("There is nothing at this address.")
    if request.method not in row:
        raise MethodNotAllowed(sorted(row))
    request.id, request.version = parts[1], parts[2] if len(parts) == 3 else ""
    return Interaction(request.method, "/".join(parts), NAME, row[request.method])


async def status(server: Server, request: Request) -> Answer:
    """Answer how far an order is, or what came of it; 500 where that is a failure of ours.

    Raises
    ------
    NotFound
        It is not there, or not the asker's own.
    """
    order = await server.exports.find(request.context, request.id)
    if order.state == "failed":
        return Answer(500, outcomes.outcome([FAILED]))
    if order.manifest is None:
        progress = f"{order.state}, {order.done} resources written".encode()
        return Answer(202, headers=((b"x-progress", progress), (b"retry-after", RETRY_SECONDS)))
    expires = (b"expires", preconditions.http_date(order.expires))
    return Answer(200, order.manifest.encode(), (expires,), media=JSON)


async def cancel(server: Server, request: Request) -> Answer:
    """Cancel an order that is under way, or forget one that is complete; it is audited first."""
    await server.exports.find(request.context, request.id)
    detail = f"export {request.id} is no longer wanted"
    await server.ledger.append(ledger.entry(request.context, detail=detail))
    await server.exports.cancel(request.context, request.id)
    return Answer(202)


async def file(server: Server, request: Request) -> Answer:
    """Answer a file of a complete order, if its asker may still read what is in it."""
    order = await server.exports.find(request.context, request.id)
    if order.manifest is None:
        raise Conflict("The export is not complete.")
    type = request.version.partition(".")[0]
    _check(request.context, order, type)
    body = await server.exports.read(request.id, request.version)
    await server.ledger.append(
        ledger.entry(request.context, type=type, query=request.version, hits=body.count(b"\n"))
    )
    return Answer(200, body, media=NDJSON)


def _check(context: RequestContext, order: Order, type: str) -> None:
    """Refuse who is now granted less of a type than when the export was asked for."""
    now = gate.reach(context, "r", type)
    then = gate.reach(order.context, "r", type)
    if now.patient not in (None, then.patient) or (now.only and now.only != then.only):
        raise Forbidden(f"the scopes grant less {type} than was exported", step="scope")


ROWS: Final[Mapping[int, Mapping[str, Answering]]] = {
    2: {"GET": status, "HEAD": status, "DELETE": cancel},
    3: {"GET": file, "HEAD": file},
}
"""By the number of parts of the address."""
