"""CodeSystem/$lookup: what a code means.

References
----------
* FHIR R4 CodeSystem, operation $lookup: name, version, display, definition, property
"""

from typing import Any, Final

from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations import parameters, shelves
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from resources.errors import Invalid, NotFound
from resources.terminology.systems import CodeSystem, Concept

TAKES: Final = (
    Taken("code", "code"),
    Taken("system", "uri"),
    Taken("version", "string"),
    Taken("coding", "Coding"),
    Taken("property", "code", 0, "*"),
)
GIVES: Final = (
    Taken("name", "string", 1),
    Taken("version", "string"),
    Taken("display", "string", 1),
    Taken("definition", "string"),
    Taken("property", "", 0, "*", (Taken("code", "code", 1), Taken("value", "Element", 1))),
)


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer name, display, definition and properties of a code."""
    coding = given.object("coding") or {
        "system": given.text("system"),
        "code": given.text("code"),
    }
    url, code = str(coding.get("system") or ""), str(coding.get("code") or "")
    if not url or not code:
        raise Invalid("Name a code and its system, or give a coding.", "code", "required")
    version = given.text("version") or coding.get("version")
    if version:
        url = f"{url}|{version}"
    system = (await shelves.library(server, request, [("CodeSystem", url)])).code_system(url)
    concept = system.find(code)
    if concept is None:
        raise NotFound("The code is not in the code system.", "code", "not-found")
    rows: list[tuple[str, str, Any]] = [
        ("name", "String", system.name or system.url),
        ("version", "String", system.version or None),
        ("display", "String", concept.display or concept.code),
        ("definition", "String", concept.definition or None),
    ]
    wanted = set(given.listed("property"))
    rows += [
        ("property", "", [{"name": "code", "valueCode": name}, {"name": "value", **value}])
        for name, value in _properties(system, concept)
        if not wanted or name in wanted
    ]
    return Result(Answer(200, parameters.written(rows)), hits=1)


def _properties(system: CodeSystem, concept: Concept) -> list[tuple[str, dict[str, Any]]]:
    below = sorted(
        each for each in system.descendants(concept.code) if concept.code in _above(system, each)
    )
    return [
        *(("parent", {"valueCode": each}) for each in concept.parents),
        *(("child", {"valueCode": each}) for each in below),
        ("inactive", {"valueBoolean": False}),
        *((name, {"valueString": value}) for name, value in concept.properties if value),
    ]


def _above(system: CodeSystem, code: str) -> tuple[str, ...]:
    found = system.find(code)
    return found.parents if found else ()
