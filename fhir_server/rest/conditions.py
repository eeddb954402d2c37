"""Conditions: search criteria that say which resource is meant, instead of its id.

A condition is never answered in part: what a search would ignore is refused here, because a
condition with a criterion less means other resources. It counts among what the asker may see, so it
tells nothing about the rest. FHIR http, "conditional create", "conditional update", "conditional
delete", "conditional patch".
"""

from fhir_server.rest.exchange import Request, Server, decoded
from fhir_server.rest.known import PRESENTATION
from fhir_server.search import query as queries
from fhir_server.search import returned
from fhir_server.search.query import Query
from fhir_server.store.unit_of_work import Work
from resources.content import Content
from resources.errors import Conflict, Invalid, Refusal, Stale, Unsupported
from resources.models import TYPES


def of_address(server: Server, request: Request) -> Query:
    """Read the condition that the query of an address is."""
    pairs = [pair for pair in request.pairs() if pair[0] not in PRESENTATION]
    return _condition(server, request.type, pairs, request.place_of("url") if request.at else "")


def if_none_exist(server: Server, request: Request) -> Query | None:
    """Read If-None-Exist, if the request has it: the query part of a search address."""
    text = request.headers.get("if-none-exist")
    if text is None:
        return None
    text = text.strip().removeprefix(request.type).removeprefix("?")
    return _condition(server, request.type, decoded(text), request.place_of("If-None-Exist"))


def of_reference(server: Server, literal: str) -> Query | None:
    """Read a conditional reference, ``Patient?identifier=...``; None if it is none."""
    type, mark, text = literal.partition("?")
    if not mark or type not in TYPES:
        return None
    return _condition(server, type, decoded(text), "")


async def target(
    work: Work, condition: Query, content: Content, if_match: int | None, at: str
) -> tuple[str, type[Conflict] | None]:
    """Say which id a conditional update writes, and what it is if there is something under it.

    An empty id stands for one that the server gives. FHIR http, "conditional update".

    Raises
    ------
    Invalid
        The resource names another id than that of the one that meets the condition.
    Stale
        A version is named, and nothing meets the condition.
    """
    found = await work.sole(condition, at)
    given = content.json.get("id")
    if found is not None:
        if given not in (None, found.id):
            raise Invalid("The resource that meets the condition has another id.", "id", "value")
        return found.id, None
    if if_match is not None:
        raise Stale("Nothing meets the condition, so it has no such version.", at)
    return given or "", Conflict


def _condition(server: Server, type: str, pairs: list[tuple[str, str]], at: str) -> Query:
    if type == "AuditEvent":
        raise Unsupported("An AuditEvent is written whatever there is already.", at)
    for name, _ in pairs:
        if name.partition(":")[0] in returned.PARAMETERS:
            raise Invalid(f"{name} is no criterion.", at or name, "not-supported")
    try:
        query = queries.parse(type, pairs, strict=True, own_base=server.base_url)
    except Refusal as refusal:
        refusal.at = at or refusal.at
        raise
    if not query.criteria:
        raise Invalid("A condition needs at least one search parameter.", at, "required")
    return query
