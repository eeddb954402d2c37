"""Every search parameter of R4, on the official examples: usable, and finds what has the value.

What value an example has is found by another implementation of FHIRPath (fhirpathpy) on the
definitions as they are published; what to ask for is written here by hand for each datatype.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fhirpathpy import evaluate
from fhirpathpy.models import models

from fhir_server.postgres.database import Database
from tests.fhir_server.search.rows import ids, put, search

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "tests" / "examples").glob("*.json"))
DEFINITIONS = [
    json.loads(line)
    for file in sorted((ROOT / "resources" / "search_parameters").glob("*.ndjson"))
    for line in file.read_text().splitlines()
]

UNDATED = {"_id", "_lastUpdated"}
"""The tables of these tests have their own ids and instants."""

OF_EACH = 3
"""Values of one parameter of one example that are asked for."""

Json = dict[str, Any]


def rewritten(expression: str, type: str) -> str:
    """Say an expression so that fhirpathpy, which resolves nothing, understands it."""
    operands = [each.strip() for each in expression.split("|")]
    mine = " | ".join(
        each for each in operands if re.match(rf"\(*({type}|Resource|DomainResource)\b", each)
        or each.startswith("iif(")
    )  # fmt: skip
    mine = re.sub(r"hasExtension\(([^)]*)\)", r"extension(\1).exists()", mine)
    mine = re.sub(r"resolve\(\) is (\w+)", r"reference.contains('\1/')", mine)
    mine = re.sub(r"\(([\w.]+) as (\w+)\)", r"\1.ofType(\2)", mine)
    return re.sub(r"\.as\((\w+)\)", r".ofType(\1)", mine)


def values(definition: Json, resource: Json) -> list[Any]:
    expression = rewritten(definition["expression"], resource["resourceType"])
    found: list[Any] = evaluate(resource, expression, {}, models["r4"]) if expression else []
    return found


def escaped(text: str) -> str:
    return re.sub(r"([\\,|$])", r"\\\1", text)


def tokens(value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, str):
        yield escaped(value)
    elif "coding" in value:
        for coding in value["coding"]:
            yield from tokens(coding)
    elif "code" in value:
        system = value.get("system")
        yield f"{escaped(system)}|{escaped(value['code'])}" if system else escaped(value["code"])
    elif "value" in value:
        yield escaped(value["value"])


def references(value: Any) -> Iterator[str]:
    literal = value.get("reference", "#") if isinstance(value, dict) else value
    if not literal.startswith(("#", "urn:uuid:")):
        yield escaped(literal)


def dates(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif value.get("start"):
        yield f"ge{value['start']}"
    elif value.get("end"):
        yield f"le{value['end']}"


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield escaped(value[:30])
    elif isinstance(value, dict):
        for part in ("family", "text", "city", "country"):
            if part in value:
                yield escaped(value[part][:30])


def numbers(value: Any) -> Iterator[str]:
    yield str(value)


def quantities(value: Any) -> Iterator[str]:
    if "value" in value and "comparator" not in value:
        yield str(value["value"])
        if "code" in value and "system" in value:
            yield f"{value['value']}|{escaped(value['system'])}|{escaped(value['code'])}"
        if "unit" in value:
            yield f"ge{value['value']}||{escaped(value['unit'])}"
    elif "low" in value:
        yield f"ge{value['low']['value']}"


def places(value: Any) -> Iterator[str]:
    yield f"{value['latitude']}|{value['longitude']}|1|km"


def uris(value: Any) -> Iterator[str]:
    yield escaped(value)


ASK = {
    "token": tokens, "reference": references, "date": dates, "string": strings, "uri": uris,
    "number": numbers, "quantity": quantities, "special": places,
}  # fmt: skip


def parts(definition: Json, element: Json) -> Iterator[str]:
    """What to ask a composite for: the first value of each part."""
    kinds = {each["url"]: each["type"] for each in DEFINITIONS}
    found = []
    for component in definition["component"]:
        asked = None
        for expression in component["expression"].split("|"):
            name = re.sub(r"\.as\((\w+)\)", lambda cast: cast[1][0].upper() + cast[1][1:],
                          expression.strip())  # fmt: skip
            if name in element and asked is None:
                asked = next(ASK[kinds[component["definition"]]](element[name]), None)
        if asked is None:
            return
        found.append(asked)
    yield "$".join(found)


def questions(resource: Json) -> Iterator[tuple[str, str, str]]:
    type = resource["resourceType"]
    for definition in DEFINITIONS:
        bases = {"Resource", "DomainResource", type}.intersection(definition["base"])
        if not bases or definition["code"] in UNDATED:
            continue
        ask = parts if definition["type"] == "composite" else None
        asked = [
            text
            for value in values(definition, resource)
            for text in (ask(definition, value) if ask else ASK[definition["type"]](value))
        ]
        for text in asked[:OF_EACH]:
            yield definition["type"], definition["code"], text


@pytest.mark.standard("FHIR search parameter types")
async def test_every_parameter_finds_the_example_that_has_the_value(database: Database) -> None:
    lost = []
    asked: list[str] = []
    for file in EXAMPLES:
        resource = json.loads(file.read_text())
        resource["id"] = f"example-{EXAMPLES.index(file)}"
        await put(database, resource)
        for kind, code, text in questions(resource):
            asked.append(kind)
            found = await search(database, resource["resourceType"], f"{code}={text}&_count=1000")
            if resource["id"] not in ids(found):
                lost.append((file.stem, code, text))

    assert lost == []
    assert len(asked) > 800
    assert set(asked) == {*ASK, "composite"}


VALUES = {
    "token": "s|x", "reference": "Group/x", "date": "2026", "string": "x", "uri": "http://x",
    "number": "5", "quantity": "5||mg", "special": "51|0|5|km",
}  # fmt: skip


@pytest.mark.standard("FHIR searchparameter-registry")
async def test_every_parameter_of_every_type_can_be_asked_for(database: Database) -> None:
    kinds = {each["url"]: each["type"] for each in DEFINITIONS}
    asked: dict[str, list[str]] = {}
    for definition in DEFINITIONS:
        components = [kinds[each["definition"]] for each in definition.get("component", ())]
        if definition["code"] == "relationship":
            components.reverse()
        value = "$".join(VALUES[kind] for kind in components or [definition["type"]])
        for base in definition["base"]:
            asked.setdefault(base, []).append(f"{definition['code']}={value}")
    for type, texts in asked.items():
        if type not in ("Resource", "DomainResource"):
            for at in range(0, len(texts), 40):
                page = await search(database, type, "&".join(texts[at : at + 40]))
                assert page.matches == []
