"""What is left of a resource by _summary and _elements."""

import re
from pathlib import Path

import orjson
import pytest

from resources import summary, validate

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.json"))


@pytest.mark.parametrize("kind", ["true", "text"])
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
@pytest.mark.standard("FHIR R4 search, Summary")
def test_a_part_of_an_example_has_all_that_is_mandatory_and_says_that_it_is_a_part(
    file: Path, kind: str
) -> None:
    whole = file.read_bytes()
    type = orjson.loads(whole)["resourceType"]
    keep = summary.of_summary(type, kind)
    assert keep is not None
    part = orjson.loads(summary.part(whole, keep))
    assert part["meta"]["tag"][-1]["code"] == "SUBSETTED"
    required = [issue for issue in validate.check(part) if issue.code == "required"]
    assert required == []


@pytest.mark.standard("FHIR R4 search, Summary")
def test_decimals_keep_their_digits() -> None:
    whole = next(file for file in EXAMPLES if file.stem == "Observation-decimal").read_bytes()
    keep = summary.of_summary("Observation", "true")
    assert keep is not None
    number = re.compile(rb'"value": *([^,\s]+)')
    assert number.findall(summary.part(whole, keep)) == number.findall(whole)


@pytest.mark.standard("FHIR R4 search, Summary")
def test_nested_elements_that_are_not_of_the_summary_are_left_out() -> None:
    whole = next(file for file in EXAMPLES if file.stem == "ImagingStudy-example").read_bytes()
    keep = summary.of_summary("ImagingStudy", "true")
    assert keep is not None
    (series,) = orjson.loads(summary.part(whole, keep))["series"]
    assert "uid" in series
    assert "instance" not in series


@pytest.mark.standard("FHIR R4 search, Elements")
def test_elements_named_come_with_those_that_must_not_be_without() -> None:
    whole = b'{"resourceType":"Observation","id":"1","status":"final","code":{"text":"a"},"valueString":"b","issued":"2026-11-24T00:00:00Z"}'  # noqa: E501
    keep = summary.of_elements("Observation", frozenset({"value"}))
    part = orjson.loads(summary.part(whole, keep))
    assert set(part) == {"resourceType", "id", "meta", "status", "code", "valueString"}


@pytest.mark.standard("FHIR R4 search, Summary")
def test_data_is_all_but_the_text() -> None:
    cut = summary.without(b'{"resourceType":"Flag","text":{},"meta":{"tag":[]},"id":"1"}', "text")
    assert set(orjson.loads(cut)) == {"resourceType", "meta", "id"}
