from typing import Any

import pytest

from fhir_server.search import reference
from resources.errors import Invalid

OWN = "https://our.example/fhir"


@pytest.mark.standard("FHIR search reference")
@pytest.mark.parametrize(
    ("text", "modifier", "meant"),
    [
        ("Patient/p1", "", ("Patient/p1",)),
        ("p1", "Patient", ("Patient/p1",)),
        ("p1", "", ("Patient/p1", "Group/p1")),
        ("Patient/p1", "Patient", ("Patient/p1",)),
        (f"{OWN}/Patient/p1", "", ("Patient/p1",)),
        ("https://other.example/Patient/p1", "", ("https://other.example/Patient/p1",)),
        ("Patient/p1/_history/2", "", ("Patient/p1/_history/2",)),
        ("urn:uuid:1", "", ("urn:uuid:1",)),
    ],
)
def test_the_ways_to_ask_for_a_reference(text: str, modifier: str, meant: tuple[str, ...]) -> None:
    assert reference.read(text, "subject", ("Patient", "Group"), modifier, OWN) == meant


def test_a_bare_id_needs_a_type() -> None:
    with pytest.raises(Invalid, match="any type"):
        reference.read("p1", "focus", (), "", OWN)


def test_a_reference_of_another_type_than_the_modifier_is_refused() -> None:
    with pytest.raises(Invalid):
        reference.read("Group/g", "subject", ("Patient", "Group"), "Patient", OWN)


@pytest.mark.standard("FHIR references")
@pytest.mark.parametrize(
    ("element", "terms"),
    [
        ({"reference": "Task/1"}, ["T.x=Task/1"]),
        ({"reference": f"{OWN}/Task/1"}, ["T.x=Task/1"]),
        ({"reference": "http://other/Task/1"}, ["T.x=http://other/Task/1"]),
        ({"reference": "Task/1/_history/2"}, ["T.x=Task/1/_history/2", "T.x=Task/1"]),
        ({"reference": "urn:uuid:1"}, ["T.x=urn:uuid:1"]),
        ({"reference": "#inside"}, []),
        ({"identifier": {"value": "x"}}, []),
        ("http://a|1.0", ["T.x=http://a|1.0", "T.x=http://a"]),
        ({"resourceType": "Task", "id": "1"}, ["T.x=Task/1"]),
        (3, []),
    ],
)
def test_a_reference_is_indexed_as_it_is_compared(element: Any, terms: list[str]) -> None:
    found: list[str] = []

    reference.index("T.x", element, OWN, found.append)

    assert found == terms
