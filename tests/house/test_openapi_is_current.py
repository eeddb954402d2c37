"""The committed OpenAPI documents say what the tables say, and are OpenAPI."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from openapi.__main__ import DOCUMENTS, written

FOLDER = Path(__file__).parents[2] / "openapi"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_committed_is_what_the_tables_say(name: str) -> None:
    assert (FOLDER / name).read_text() == written(name), "run: python -m openapi"


@pytest.mark.standard("OpenAPI 3.1.0")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_place_in_an_address_is_described_and_every_name_is_there_once(name: str) -> None:
    document = json.loads((FOLDER / name).read_text())
    names: list[str] = []
    for address, path in document["paths"].items():
        described = {one["name"] for one in path.get("parameters", ())}
        assert described == set(re.findall(r"{(\w+)}", address))
        names += [
            asked["operationId"]
            for method, asked in path.items()
            if method in {"get", "put", "post", "patch", "delete"}
        ]

    assert document["openapi"] == "3.1.0"
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_schema_is_one(name: str) -> None:
    def schemas(part: Any) -> None:
        if isinstance(part, dict):
            if "schema" in part:
                jsonschema_rs.meta.validate(part["schema"])
            for each in part.values():
                schemas(each)
        elif isinstance(part, list):
            for each in part:
                schemas(each)

    schemas(json.loads((FOLDER / name).read_text()))
