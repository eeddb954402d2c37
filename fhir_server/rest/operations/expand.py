"""ValueSet/$expand: the codes of a value set, a page of them.

References
----------
* FHIR R4 ValueSet, operation $expand: url, valueSet, filter, offset, count
"""

import asyncio
import time
import uuid
from typing import Any, Final

import orjson

from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations import shelves
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from resources import validate
from resources.errors import Invalid
from resources.terminology.expansion import Contained, expand

MOST: Final = 10_000
"""Codes in one answer; with `offset` there is more."""

TAKES: Final = (
    Taken("url", "uri"),
    Taken("valueSet", "ValueSet"),
    Taken("valueSetVersion", "string"),
    Taken("filter", "string"),
    Taken("offset", "integer"),
    Taken("count", "integer"),
)


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer a ValueSet with its expansion."""
    shelf, value_set = await chosen(server, request, given)
    found = list((await asyncio.to_thread(expand, value_set, shelf)).values())
    if words := given.text("filter").casefold().split():
        found = [each for each in found if _matches(each, words)]
    offset = given.number("offset", 10**9) or 0
    count = given.number("count", MOST)
    page = found[offset : offset + (MOST if count is None else count)]
    expansion: dict[str, Any] = {
        "identifier": f"urn:uuid:{uuid.uuid4()}",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "total": len(found),
        "offset": offset,
    }
    if page:
        expansion["contains"] = [_written(each) for each in page]
    head = {key: value_set[key] for key in ("url", "version", "name", "title") if key in value_set}
    body = {"resourceType": "ValueSet", **head, "status": value_set.get("status", "active")}
    answer = Answer(200, orjson.dumps({**body, "expansion": expansion}))
    return Result(answer, hits=len(page))


async def chosen(server: Server, request: Request, given: Given) -> tuple[Any, Any]:
    """Find the value set that is asked about: the one given, of the address, or of the URL.

    Raises
    ------
    Invalid
        None is named, or what is given is not one.
    NotFound
        The one that is named is not here.
    """
    value_set = given.object("valueSet")
    if request.id:
        request.handed_over = True
        value_set = (await server.store.read(request.context, "ValueSet", request.id)).json
    elif value_set:
        _require_value_set(value_set)
    if value_set:
        return await shelves.library(server, request, (), [value_set]), value_set
    url, version = given.text("url"), given.text("valueSetVersion")
    if not url:
        raise Invalid("Name a value set by url, or give one as valueSet.", "url", "required")
    if version and "|" not in url:
        url = f"{url}|{version}"
    shelf = await shelves.library(server, request, [("ValueSet", url)])
    return shelf, shelf.value_set(url)


def _require_value_set(given: Any) -> None:
    """Refuse what came as a value set and is none."""
    if given.get("resourceType") != "ValueSet":
        raise Invalid("The parameter valueSet is a ValueSet.", "valueSet", "invalid")
    if issues := validate.check(given):
        raise Invalid(issues=issues)


def _matches(each: Contained, words: list[str]) -> bool:
    """Whether each word begins some word of the display, or the code."""
    begun = [each.code.casefold(), *each.display.casefold().split()]
    return all(any(one.startswith(word) for one in begun) for word in words)


def _written(each: Contained) -> dict[str, Any]:
    row: dict[str, Any] = {"system": each.system, "code": each.code}
    if each.abstract:
        row["abstract"] = True
    if each.display:
        row["display"] = each.display
    return row
