"""FHIR R4 JSON, "JSON representation of resources": the rules of the page, typed in again."""

from typing import Any

import pytest

from resources.content import read, stamped
from resources.errors import Unreadable
from resources.validate import check

pytestmark = pytest.mark.standard("FHIR JSON")

XHTML = '<div xmlns=\\"http://www.w3.org/1999/xhtml\\">x</div>'


def issues(text: str) -> list[Any]:
    return check(read(text.encode()))


def test_the_type_of_a_resource_is_the_member_resource_type_wherever_it_stands() -> None:
    assert issues('{"active": true, "resourceType": "Patient"}') == []


def test_objects_are_never_empty() -> None:
    assert issues('{"resourceType":"Patient","maritalStatus":{}}')


def test_arrays_are_never_empty() -> None:
    assert issues('{"resourceType":"Patient","name":[]}')


def test_an_element_that_may_repeat_is_an_array_even_when_it_does_not() -> None:
    assert issues('{"resourceType":"Patient","name":{"text":"x"}}')
    assert issues('{"resourceType":"Patient","name":[{"text":"x"}]}') == []


def test_an_element_that_may_not_repeat_is_no_array() -> None:
    assert issues('{"resourceType":"Patient","maritalStatus":[{"text":"x"}]}')


def test_a_member_is_never_null() -> None:
    assert issues('{"resourceType":"Patient","active":null}')


def test_an_attribute_is_never_an_empty_string() -> None:
    assert issues('{"resourceType":"Patient","gender":""}')


def test_the_names_of_members_are_unique_within_their_object() -> None:
    with pytest.raises(Unreadable):
        read(b'{"resourceType":"Patient","active":true,"active":true}')


def test_names_are_case_sensitive() -> None:
    assert issues('{"resourceType":"Patient","Active":true}')


def test_there_are_no_comments() -> None:
    with pytest.raises(Unreadable):
        read(b'{"resourceType":"Patient" /* x */}')


@pytest.mark.parametrize("value", ['"true"', "1", "0"])
def test_a_boolean_is_a_json_boolean(value: str) -> None:
    assert issues(f'{{"resourceType":"Patient","active":{value}}}')


@pytest.mark.parametrize("value", ['"2"', "2.5", "true"])
def test_an_integer_is_a_json_number_without_fraction(value: str) -> None:
    assert issues(f'{{"resourceType":"Patient","multipleBirthInteger":{value}}}')


def test_a_decimal_is_a_json_number() -> None:
    start = '{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":'

    assert issues(start + '{"value":"1.0"}}')
    assert issues(start + '{"value":1.0}}') == []


@pytest.mark.parametrize("value", ["1.0", "1.00", "1.10E3", "0.000"])
def test_the_precision_of_a_decimal_is_kept(value: str) -> None:
    sent = f'{{"resourceType":"Basic","extension":[{{"url":"x","valueDecimal":{value}}}]}}'

    assert f'"valueDecimal":{value}}}'.encode() in stamped(read(sent.encode()), "b", 1, 0)


def test_an_id_and_extensions_of_a_primitive_stand_in_a_sibling_with_an_underscore() -> None:
    # The example of the page.
    birth = """{"resourceType":"Patient","birthDate":"1970-03-30","_birthDate":{"id":"314159",
        "extension":[{"url":"http://example.org/fhir/StructureDefinition/text",
        "valueString":"Easter 1970"}]}}"""

    assert issues(birth) == []


def test_a_primitive_may_have_no_value_but_extensions() -> None:
    absent = """{"resourceType":"Patient","_birthDate":{"extension":[{"url":
        "http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}}"""

    assert issues(absent) == []


def test_repeating_primitives_have_their_siblings_at_the_same_place() -> None:
    # The example of the page: the first has an id, the second has only an extension.
    names = """{"resourceType":"Basic","code":{"text":"x"},"extension":[{"url":"x","valueTiming":
        {"event":["2026-01-01",null],"_event":[{"id":"a1"},{"extension":[{"url":"x",
        "valueString":"no"}]}]}}]}"""

    assert issues(names) == []
    assert issues(names.replace('"2026-01-01",null', '"2026-01-01"'))


def test_the_narrative_is_one_escaped_string() -> None:
    text = '{"resourceType":"Basic","code":{"text":"x"},"text":{"status":"generated","div":"%s"}}'

    assert issues(text % XHTML) == []
    assert issues(text % "x")


def test_a_choice_of_types_is_named_with_its_type() -> None:
    assert issues('{"resourceType":"Patient","deceasedBoolean":false}') == []
    assert issues('{"resourceType":"Patient","deceased":false}')
    assert issues('{"resourceType":"Patient","deceasedBoolean":false,"deceasedDateTime":"2026"}')


def test_a_bundle_holds_resources_with_their_type() -> None:
    bundle = '{"resourceType":"Bundle","type":"collection","entry":[{"resource":%s}]}'

    assert issues(bundle % '{"resourceType":"Patient","active":true}') == []
    assert issues(bundle % '{"active":true}')


def test_the_encoding_is_utf_8() -> None:
    with pytest.raises(Unreadable):
        read('{"resourceType":"Patient"}'.encode("utf-16"))


def test_escaped_and_plain_characters_mean_the_same_and_stay_as_sent() -> None:
    sent = r'{"resourceType":"Basic","code":{"text":"\u00e5 å \/ /"}}'

    assert read(sent.encode()).json["code"]["text"] == "å å / /"
    assert r'"\u00e5 å \/ /"'.encode() in stamped(read(sent.encode()), "b", 1, 0)
