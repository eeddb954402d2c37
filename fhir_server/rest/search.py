"""search of one type, by GET and by POST _search (FHIR http, "search"; FHIR Search).

Parameters that are not known are ignored and reported, and are absent from the self link, so that
an asker can see what was answered; with ``Prefer: handling=strict`` they are refused.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from fhir_server.rest import bundles, outcomes
from fhir_server.rest.exchange import Answer, Request, Server, decoded
from fhir_server.rest.negotiate import check_form, preference
from fhir_server.search import query as queries
from fhir_server.search.find import Page
from fhir_server.search.query import Query
from resources.errors import Invalid, Issue, Unsupported

CURSOR = "_cursor"
"""Where a next link keeps its place; opaque to clients."""

PRESENTATION = frozenset({"_format", "_pretty"})
"""Parameters about the answer, not about what is searched."""

SHAPES: Final = {"_summary": ("count", "false"), "_elements": ()}
"""Parameters that would cut resources down: the values that this server follows."""

Pairs = list[tuple[str, str]]


async def search(server: Server, request: Request) -> Answer:
    """Answer a page of what a GET asks for."""
    return await found(server, request, request.pairs())


async def search_by_post(server: Server, request: Request) -> Answer:
    """Answer a page of what a form asks for, together with the query of the address."""
    check_form(request.headers.get("content-type"))
    try:
        form = request.body.decode()
    except UnicodeDecodeError:
        raise Invalid("The form is not UTF-8.", code="invalid") from None
    return await found(server, request, request.pairs() + decoded(form))


async def found(server: Server, request: Request, pairs: Pairs) -> Answer:
    """Ask the store, and write what it found as a searchset."""
    query, asked = parsed(server, request, pairs)

    request.handed_over = True
    page = await server.store.search(request.context, query)

    return Answer(200, searchset(server, request.type, asked, query, page))


def parsed(server: Server, request: Request, pairs: Pairs) -> tuple[Query, Pairs]:
    """Read the pairs as a query; give it with those pairs that are about searching."""
    asked = [pair for pair in pairs if pair[0] not in PRESENTATION]
    strict = preference(request.headers.get("prefer")).strict
    query = queries.parse(request.type, asked, strict=strict, own_base=server.base_url)
    unshaped = tuple(name for name, value in asked if name in SHAPES and value not in SHAPES[name])
    if unshaped and strict:
        raise Unsupported("Answers hold whole resources.", unshaped[0])
    return (replace(query, ignored=query.ignored + unshaped) if unshaped else query), asked


def searchset(server: Server, type: str, asked: Pairs, query: Query, page: Page) -> bytes:
    """Write a page: matches, what they include, what was ignored, and where it goes on."""
    base = server.base_url.encode()
    entries = bundles.hits(base, page.matches, b"match")
    entries += bundles.hits(base, page.included, b"include")
    if query.ignored:
        entries.append(bundles.remark(_ignored(query.ignored)))
    return bundles.bundle(
        b"searchset", entries, total=page.total, links=_links(server, type, asked, query, page)
    )


def _ignored(names: Sequence[str]) -> bytes:
    issues = [Issue("not-supported", f"Parameter {name} is ignored.", name) for name in names]
    return outcomes.outcome(issues, severity="warning")


def _links(
    server: Server, type: str, asked: Pairs, query: Query, page: Page
) -> list[tuple[str, str]]:
    """Name this page by the parameters that were used, and the next one by its cursor."""
    base = f"{server.base_url}/{type}"
    ignored = frozenset(query.ignored)
    used = [pair for pair in asked if pair[0] not in ignored]
    links = [("self", bundles.address(base, used))]
    if page.next:
        used = [pair for pair in used if pair[0] != CURSOR]
        links.append(("next", bundles.address(base, [*used, (CURSOR, page.next)])))
    return links
