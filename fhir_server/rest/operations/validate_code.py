"""$validate-code, of CodeSystem and of ValueSet: whether a code is in it, and is shown right.

References
----------
* FHIR R4 CodeSystem and ValueSet, operations $validate-code: result, message, display
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations import expand, parameters, shelves
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from resources.errors import Invalid, NotFound
from resources.terminology.expansion import expand as expanded
from resources.terminology.library import Library

Json = Mapping[str, Any]

_OF_A_CODE: Final = (
    Taken("code", "code"),
    Taken("version", "string"),
    Taken("display", "string"),
    Taken("coding", "Coding"),
    Taken("codeableConcept", "CodeableConcept"),
)
OF_A_SYSTEM: Final = (Taken("url", "uri"), *_OF_A_CODE)
OF_A_VALUE_SET: Final = (
    Taken("url", "uri"),
    Taken("valueSet", "ValueSet"),
    Taken("valueSetVersion", "string"),
    Taken("system", "uri"),
    *_OF_A_CODE,
)
GIVES: Final = (
    Taken("result", "boolean", 1), Taken("message", "string"), Taken("display", "string"),
)  # fmt: skip


async def of_a_system(server: Server, request: Request, given: Given) -> Result:
    """Answer whether a code is one of a code system."""
    url = given.text("url")
    codings = _codings(given, url)
    named = [str(each.get("system") or url) for each in codings]
    if not all(named):
        raise Invalid("Name the code system by url.", "url", "required")
    shelf = await shelves.library(server, request, {("CodeSystem", each) for each in named})
    if url:
        shelf.code_system(url)  # what is not here is not found
    answers = [
        _in_system(shelf, url if url else name, each)
        for name, each in zip(named, codings, strict=True)
    ]
    return _told(answers)


async def of_a_value_set(server: Server, request: Request, given: Given) -> Result:
    """Answer whether a code is in a value set."""
    shelf, value_set = await expand.chosen(server, request, given)
    held = await asyncio.to_thread(expanded, value_set, shelf)
    answers: list[tuple[bool, str, str]] = []
    for each in _codings(given, given.text("system")):
        code, system = str(each.get("code")), each.get("system")
        found = [row for row in held.values() if row.code == code and system in (row.system, None)]
        if not found:
            answers.append((False, "The code is not in the value set.", ""))
        elif system is None:
            answers.append((False, "A code without a system cannot be judged.", ""))
        else:
            answers.append(_shown(each, found[0].display))
    return _told(answers)


def _codings(given: Given, system: str) -> list[Json]:
    """Give what is to be judged: one of several will do, as in a CodeableConcept."""
    if coding := given.object("coding"):
        return [coding]
    if concept := given.object("codeableConcept"):
        if not concept.get("coding"):
            raise Invalid("The concept has no coding.", "codeableConcept.coding", "required")
        return list(concept["coding"])
    if not given.text("code"):
        raise Invalid("Give a code, a coding or a codeableConcept.", "code", "required")
    coded = {"code": given.text("code"), "display": given.text("display")}
    return [{**coded, "system": system} if system else coded]


def _in_system(shelf: Library, url: str, coding: Json) -> tuple[bool, str, str]:
    if coding.get("system") not in (url.partition("|")[0], url, None):
        return False, "The code is of another system.", ""
    try:
        system = shelf.code_system(url)
    except NotFound as refusal:
        return False, refusal.reason, ""
    concept = system.find(str(coding.get("code")))
    if concept is None and not system.complete:
        return False, "The code is not among those of the system that are held here.", ""
    if concept is None:
        return False, "The code is not in the code system.", ""
    return _shown(coding, concept.display)


def _shown(coding: Json, display: str) -> tuple[bool, str, str]:
    """Judge the display: another wording is told and makes the whole false."""
    said = str(coding.get("display") or "")
    if said and display and said.casefold() != display.casefold():
        return False, "The code is there, but is shown differently.", display
    return True, "", display


def _told(answers: list[tuple[bool, str, str]]) -> Result:
    good = [each for each in answers if each[0]]
    result, message, display = (good or answers)[0]
    rows = [
        ("result", "Boolean", result),
        ("message", "String", message or None),
        ("display", "String", display or None),
    ]
    return Result(Answer(200, parameters.written(rows)), hits=int(result))
