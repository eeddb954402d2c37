"""Element paths: which places a path names, and what is no path."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources import element_paths, path_steps
from resources.errors import Invalid

pytestmark = pytest.mark.standard("FHIR R4 fhirpatch")

OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "contained": [{"resourceType": "Patient", "id": "c", "name": [{"family": "x"}]}],
    "code": {"coding": [{"system": "s", "code": "a"}, {"system": "t", "code": "b"}]},
    "valueQuantity": {"value": 1.5},
    "component": [
        {"code": {"text": "one"}, "valueString": "it's"},
        {"code": {"text": "two"}, "valueBoolean": False},
    ],
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("Observation.code.coding.code", ["a", "b"]),
        ("code.coding.code", ["a", "b"]),
        ("Observation.code.coding[1].code", ["b"]),
        ("Observation.code.coding.first().code", ["a"]),
        ("Observation.code.coding.last().code", ["b"]),
        ("Observation.code.coding[7]", []),
        ("Observation.value.value", [1.5]),
        ("Observation.value.ofType(Quantity).value", [1.5]),
        ("Observation.value.ofType(string)", []),
        ("Observation.valueQuantity", []),
        ("Observation.component.where(code.text = 'two').value", [False]),
        ("Observation.component.where(value = 'it\\'s').code.text", ["one"]),
        ("Observation.component.where(value = false).code.text", ["two"]),
        ("Observation.component.where(code.text != 'two' and value.exists()).code.text", ["one"]),
        ("Observation.component.where(value = 0).code.text", []),
        ("Observation.contained.where(id = 'c').name.family", ["x"]),
        ("Observation.component.where(code.where(text = 'one').exists()).value", ["it's"]),
        ("Observation.`code`.coding[0].code", ["a"]),
        ("(Observation.code.coding)[1].code", ["b"]),
    ],
)
def test_a_path_finds_what_it_names(path: str, values: list[Any]) -> None:
    places = element_paths.find(path_steps.read(path, ""), OBSERVATION)

    assert [place.value for place in places] == values


@pytest.mark.parametrize(
    "path",
    ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[1", "a[-1]", "a(", "a.where()", "a.where(b)",
     "a.where(b = c)", "a.exists()", "a.where(b.exists().c = 1)", "a.resolve()", "a | b", "a = 'b'",
     "a.children()", "%resource", "a.where(b = 'c)", "a" * 2000, "a[9999999]",
     "a.where(" * 80, f"a{'.a' * 30}", "a.iif(b, 1, 2)", "a.extension(5)", "a.hasExtension('x')"],
)  # fmt: skip
def test_anything_else_is_refused_at_its_place(path: str) -> None:
    with pytest.raises(Invalid) as refused:
        path_steps.read(path, "here")

    assert refused.value.at == "here"


@given(st.lists(st.sampled_from(
    ["Observation", ".", "component", "code", "where(", "exists()", "(", ")", "[", "]", "0", "1",
     "=", "!=", "'x'", "and", "first()", "value", "extension(", "ofType(", "@2026", "-1", " ", "`"]
), max_size=12).map("".join))  # fmt: skip
def test_any_path_finds_something_or_nothing_or_is_refused(path: str) -> None:
    try:
        steps = path_steps.read(path, "")
    except Invalid:
        return
    for place in element_paths.find(steps, OBSERVATION):
        assert place.parent is None or place.name in place.parent
