"""search of a type, a compartment, or all types; by GET and by POST _search (FHIR Search).

Parameters that cannot be used are ignored and reported, each with the reason, and are absent from
the self link, so that an asker can see what was answered; with ``Prefer: handling=strict`` they
are refused.

References
----------
* FHIR http, "search"; FHIR R4 search, "Search Contexts", "Handling Errors", "self link"
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Final

from fhir_server.rest import bundles, outcomes, summary
from fhir_server.rest.exchange import Answer, Request, Server, decoded
from fhir_server.rest.negotiate import check_form, preference
from fhir_server.rest.operations import shelves
from fhir_server.rest.summary import Parts
from fhir_server.search import find, include, modifiers
from fhir_server.search import query as queries
from fhir_server.search.find import Page
from fhir_server.search.lookups import is_lookup
from fhir_server.search.query import Query
from resources import compartments
from resources.errors import Invalid, Issue, NotFound, Unsupported
from resources.models import TYPES

CURSOR = "_cursor"
"""Where a next link keeps its place; opaque to clients."""

PRESENTATION = frozenset({"_format", "_pretty"})
"""Parameters about the answer, not about what is searched."""

APART: Final = "AuditEvent"
"""Kept in the ledger: it is searched by itself."""

MOST_TOLD: Final = 20
"""Elements that there are not, of one request, that are told by name."""

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
    with await _reading(server, request, pairs):
        query, asked = parsed(server, request, pairs)
    parts = _parts(request, query, asked)

    principal, looks = request.context.principal, is_lookup(query)
    if looks:
        server.checker.limits.check_lookup(principal)

    request.handed_over = True
    page = await server.store.search(request.context, query)

    if looks and not page.matches and not page.total:
        server.checker.limits.found_nobody(principal)
    return Answer(200, searchset(server, request, asked, query, parts, page))


async def _reading(
    server: Server, request: Request, pairs: Pairs
) -> AbstractContextManager[object]:
    """Have the value sets and code systems at hand that are stored here and asked for."""
    wanted = modifiers.vocabulary(pairs)
    if not wanted:
        return nullcontext()
    shelf = await shelves.library(server, request, wanted)
    return modifiers.using(shelf)


def parsed(server: Server, request: Request, pairs: Pairs) -> tuple[Query, Pairs]:
    """Read the pairs as a query; give it with those pairs that are about searching."""
    asked = [pair for pair in pairs if pair[0] not in PRESENTATION]
    strict = preference(request.headers.get("prefer")).strict
    query = queries.parse(request.type, asked, strict=strict, own_base=server.base_url)
    if request.compartment:
        query = _within(query, request.compartment)
    if not query.type:
        query = replace(query, types=_types(query, request.compartment))
    return query, asked


def searchset(
    server: Server, request: Request, asked: Pairs, query: Query, parts: Parts, page: Page
) -> bytes:
    """Write a page: matches, what they include, what was ignored, and where it goes on."""
    base = server.base_url.encode()
    matches, included = page.matches, page.included
    if not parts.whole:
        matches, included = list(map(parts.cut, matches)), list(map(parts.cut, included))
    entries = bundles.hits(base, matches, b"match")
    entries += bundles.hits(base, included, b"include")
    if issues := [*_issues(request, query, page), *_elements(query, parts)]:
        entries.append(bundles.remark(outcomes.outcome(issues, severity="warning")))
    links = _links(server, request, asked, query, page)
    return bundles.bundle(b"searchset", entries, total=page.total, links=links)


def _parts(request: Request, query: Query, asked: Pairs) -> Parts:
    parts = summary.read(asked)
    if parts.kind == "text" and (query.includes or query.revincludes):
        raise Invalid("_summary=text goes with no include", at="_summary")
    if preference(request.headers.get("prefer")).strict and (issues := _elements(query, parts)):
        raise Invalid(issues=issues)
    return parts


def _elements(query: Query, parts: Parts) -> list[Issue]:
    """Tell what ``_elements`` asks for and no resource that is found has."""
    types = [query.type] if query.type else query.types
    return [
        Issue("not-found", f"Parameter _elements: there is no element {name} here.", "_elements")
        for name in parts.unknown(types)[:MOST_TOLD]
    ]


def _within(query: Query, compartment: str) -> Query:
    """Narrow a query to a compartment.

    Raises
    ------
    NotFound
        Resources of this type are in no such compartment.
    """
    of = compartment.partition("/")[0]
    if query.type and query.type not in compartments.parameters_of(of):
        raise NotFound(f"No {query.type} is in the compartment of a {of}.", code="not-supported")
    return queries.within(query, compartment)


def _types(query: Query, compartment: str) -> tuple[str, ...]:
    """Name the types that a search on several is about: those asked for, or all there are."""
    if APART in query.types:
        raise Unsupported(f"{APART}s are searched by themselves, at /{APART}.", at="_type")
    members = compartments.parameters_of(compartment.partition("/")[0]) if compartment else TYPES
    types = tuple(each for each in query.types or sorted(TYPES) if each in members)
    if not types:
        raise Invalid("none of these types is in the compartment", at="_type")
    return tuple(each for each in types if each != APART)


def _issues(request: Request, query: Query, page: Page) -> list[Issue]:
    """Tell what was not done as asked."""
    issues = [
        Issue(each.code, f"Parameter {each.name} is ignored: {each.why}.", each.name)
        for each in query.ignored
    ]
    if query.includes or query.revincludes:
        issues += [
            Issue("suppressed", f"No {type} is included: the token does not let it be read.")
            for type in find.unseen(query, request.context)
        ]
    if page.cut:
        issues.append(
            Issue("incomplete", f"More than {include.MOST} were to be included: some are not here.")
        )
    return issues


def _links(
    server: Server, request: Request, asked: Pairs, query: Query, page: Page
) -> list[tuple[str, str]]:
    """Name this page by the parameters that were used, and the next one by its cursor."""
    base = "/".join(filter(None, (server.base_url, request.compartment, request.type)))
    if request.compartment and not request.type:
        base += "/*"
    ignored = {(each.name, each.value) for each in query.ignored}
    used = [pair for pair in asked if pair not in ignored]
    links = [("self", bundles.address(base, used))]
    if page.next:
        used = [pair for pair in used if pair[0] != CURSOR]
        links.append(("next", bundles.address(base, [*used, (CURSOR, page.next)])))
    return links
