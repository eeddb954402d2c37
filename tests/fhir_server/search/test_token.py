from typing import Any

import pytest

from fhir_server.search import token
from fhir_server.search.token import Token


@pytest.mark.standard("FHIR search token")
@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a", Token(None, "a")),
        ("http://s|a", Token("http://s", "a")),
        ("|a", Token("", "a")),
        ("http://s|", Token("http://s", None)),
        (r"http://s|a\|b", Token("http://s", "a|b")),
        ("s|a|b", Token("s", "a|b")),
    ],
)
def test_the_four_ways_to_ask_for_a_token(text: str, meant: Token) -> None:
    assert token.read(text) == meant


@pytest.mark.standard("FHIR search token")
@pytest.mark.parametrize(
    ("element", "terms"),
    [
        ("active", {"T.x=active", "T.x=|active"}),
        (True, {"T.x=true", "T.x=|true"}),
        (False, {"T.x=false", "T.x=|false"}),
        ({"system": "s", "code": "c"}, {"T.x=c", "T.x=s|c", "T.x=s|"}),
        ({"code": "c"}, {"T.x=c", "T.x=|c"}),
        ({"display": "only"}, set()),
        (
            {"coding": [{"system": "s", "code": "c"}, {"code": "d"}], "text": "t"},
            {"T.x=c", "T.x=s|c", "T.x=s|", "T.x=d", "T.x=|d"},
        ),
        ({"text": "only"}, set()),
        ({"system": "s", "value": "v", "type": {"text": "t"}}, {"T.x=v", "T.x=s|v", "T.x=s|"}),
        ({"value": "v"}, {"T.x=v", "T.x=|v"}),
        ({"system": "phone", "value": "1", "use": "home"}, {"T.x=1", "T.x=home|1", "T.x=home|"}),
        ({"system": "phone", "value": "1"}, {"T.x=1", "T.x=|1"}),
    ],
)
def test_each_datatype_is_indexed_as_the_table_says(element: Any, terms: set[str]) -> None:
    found: list[str] = []

    token.index("T.x", element, found.append)

    assert set(found) == terms


@pytest.mark.parametrize("asked", ["1.2.840.10008.1", "urn:oid:1.2.840.10008.1"])
@pytest.mark.parametrize("held", ["1.2.840.10008.1", "urn:oid:1.2.840.10008.1"])
def test_a_uid_is_found_with_and_without_its_urn(asked: str, held: str) -> None:
    found: list[str] = []

    token.index("IS.identifier", {"system": "urn:dicom:uid", "value": held}, found.append)

    assert set(found) & set(token.sought("IS.identifier", token.read(f"urn:dicom:uid|{asked}")))
    assert set(found) & set(token.sought("IS.identifier", token.read(asked)))


def test_codes_are_case_sensitive() -> None:
    assert token.sought("T.x", token.read("Active")) == ["T.x=Active"]
