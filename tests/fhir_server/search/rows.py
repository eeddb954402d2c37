"""Resources put straight into the tables that a search reads, and searches on them."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from fhir_server.access.gate import Reach
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.search import find, query
from fhir_server.search.find import Page
from fhir_server.search.terms import index
from fhir_server.store import index_rows
from resources.compartments import patient_of

EVERYTHING = Reach(everything=True, organization=None, patient=None, open=True)
OWN_BASE = "https://fhir.example/r4"
CONTEXT = RequestContext(Principal.system("test"), "search-type")

_instants = itertools.count(1_700_000_000_000_000, 1_000_000)


async def put(
    database: Database, *resources: dict[str, Any], organizations: Sequence[str] = ()
) -> None:
    """Write each resource as its newest version, and nothing else."""
    for resource in resources:
        await _put(database, resource, list(organizations), deleted=False)


async def delete(database: Database, resource: dict[str, Any]) -> None:
    """Write a deletion, with terms left behind as the worst store might."""
    await _put(database, resource, [], deleted=True)


async def relate(database: Database, organization: str, patient: str, until: int) -> None:
    """Let an organisation have to do with a patient, until an instant."""
    await database.run(
        "insert into relation values ($1, $2, 'ServiceRequest', 'x', $3)",
        (organization, patient, until),
    )


async def search(
    database: Database, type: str, text: str = "", *, reach: Reach = EVERYTHING, **given: Any
) -> Page:
    """Search as a client writes it, ``status=active&_sort=-authored``, seeing as far as `reach`."""
    asked = query.parse(type, pairs(text), strict=True, own_base=OWN_BASE)
    return await find.find(database, replace(asked, reach=reach), CONTEXT, **given)


async def pages(database: Database, type: str, text: str) -> list[list[str]]:
    """Every page of a search, one after the other."""
    found = []
    cursor = ""
    while True:
        page = await search(database, type, text + cursor)
        found.append(ids(page))
        if page.next is None:
            return found
        cursor = f"&_cursor={page.next}"


def pairs(text: str) -> list[tuple[str, str]]:
    """Take a query string apart; nothing in it is percent-encoded."""
    found = [pair.partition("=") for pair in text.split("&") if pair]
    return [(name, value) for name, _, value in found]


def ids(page: Page) -> list[str]:
    """The ids of the matches, in order."""
    return [stored.id for stored in page.matches]


async def _put(
    database: Database, resource: dict[str, Any], organizations: list[str], *, deleted: bool
) -> None:
    type, id = resource["resourceType"], resource["id"]
    terms = index(resource, OWN_BASE)
    instant = next(_instants)
    body = None if deleted else orjson.dumps(resource)
    old = await database.run(
        "delete from current where type = $1 and id = $2 returning key, version", (type, id)
    )
    for key, _ in old:
        await database.run("delete from date_term where key = $1", (key,))
        await database.run("delete from string_term where key = $1", (key,))
        await database.run("delete from value_term where key = $1", (key,))
    version = old[0][1] + 1 if old else 1
    ((key,),) = await database.run(
        "insert into version(type, id, version, instant, interaction, body)"
        " values ($1, $2, $3, $4, $5, $6) returning key",
        (type, id, version, instant, "D" if deleted else "C", body),
    )
    await database.run(
        "insert into current values ($1, $2, $3, $4, $5, $6, $7, $8::text[], $9, $10, $11::text[],"
        " nullif($12, ''))",
        (type, id, key, version, instant, deleted, patient_of(resource, OWN_BASE), organizations,
         terms.sort_at, terms.sort_until, terms.terms, terms.texts),
    )  # fmt: skip
    for code, low, high in terms.dates:
        await database.run(
            "insert into date_term values ($1, $2, $3, $4, $5)", (type, code, low, high, key)
        )
    for (code, value), originals in index_rows.texts(terms.strings).items():
        await database.run(
            "insert into string_term values ($1, $2, $3, $4, $5)",
            (type, code, value, key, originals),
        )
    for code, n, words, *ends in index_rows.values(terms.values):
        await database.run(
            "insert into value_term values ($1, $2, string_to_array($3, chr(31)),"
            " $4::text::numeric, $5::text::numeric, $6::text::numeric, $7::text::numeric, $8, $9)",
            (type, code, words, *ends, key, n),
        )
