"""Which codes are in which value set, and which code is above which: the standards again."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import NotFound, Unprocessable, Unsupported
from resources.terminology.held import ancestors, descendants, value_set_codes
from resources.terminology.library import HELD, Library
from resources.terminology.systems import CodeSystem, Concept

DCM = "http://dicom.nema.org/resources/ontology/DCM"
CID_29 = "http://dicom.nema.org/medical/dicom/current/output/chtml/part16/sect_CID_29.html"
CID_33 = "http://dicom.nema.org/medical/dicom/current/output/chtml/part16/sect_CID_33.html"
REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
OURS = "https://isocentre.example/fhir"


def pets(**members: Any) -> dict[str, Any]:
    return {
        "resourceType": "CodeSystem",
        "url": "urn:pets",
        "status": "active",
        "content": "complete",
        "concept": [
            {"code": "dog", "display": "Dog", "concept": [{"code": "pug"}, {"code": "poodle"}]},
            {"code": "cat", "property": [{"code": "indoor", "valueBoolean": True}]},
        ],
        **members,
    }


def a_set(*include: dict[str, Any], exclude: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    compose: dict[str, Any] = {"include": list(include)}
    if exclude:
        compose["exclude"] = exclude
    return {"resourceType": "ValueSet", "url": "urn:set", "status": "active", "compose": compose}


def codes(*given: dict[str, Any]) -> list[str]:
    return sorted(code for _, code in Library(given).expansion("urn:set"))


@pytest.mark.standard("PS3.16 CID 29")
@pytest.mark.parametrize("code", ["CR", "CT", "DX", "MG", "MR", "NM", "PT", "RF", "US", "XA"])
def test_the_modalities_are_those_of_dicom(code: str) -> None:
    assert (DCM, code) in (value_set_codes(CID_29) or ())


@pytest.mark.standard("PS3.16 CID 33")
def test_what_acquires_nothing_is_a_modality_but_not_an_acquisition_modality() -> None:
    for code in ("SR", "KO", "PR", "SEG", "RTDOSE"):
        assert (DCM, code) in (value_set_codes(CID_33) or ())
        assert (DCM, code) not in (value_set_codes(CID_29) or ())


@pytest.mark.standard("FHIR R4 request-priority")
def test_a_value_set_of_all_codes_of_a_system_has_them_all() -> None:
    held = value_set_codes("http://hl7.org/fhir/ValueSet/request-priority|4.0.1")
    assert set(held or ()) == {
        ("http://hl7.org/fhir/request-priority", code)
        for code in ("routine", "urgent", "asap", "stat")
    }


def test_our_own_steps_are_a_value_set() -> None:
    held = value_set_codes(f"{OURS}/ValueSet/imaging-step")
    assert held is not None
    assert (f"{OURS}/CodeSystem/imaging-step", "acknowledge") in held


def test_a_value_set_nobody_holds_has_no_codes_to_tell() -> None:
    assert value_set_codes("http://example.org/ValueSet/none") is None
    assert value_set_codes("http://hl7.org/fhir/ValueSet/request-priority|9") is None


@pytest.mark.standard("FHIR R4 terminology-service subsumption")
def test_treatment_in_an_emergency_is_treatment() -> None:
    assert "ETREAT" in descendants(REASON, "TREAT")
    assert {"TREAT", "PurposeOfUse"} <= ancestors(REASON, "ETREAT")
    assert "TREAT" not in descendants(REASON, "ETREAT")


def test_every_value_set_that_is_held_can_be_listed() -> None:
    assert len(HELD.urls) > 500
    assert [url for url in HELD.urls if value_set_codes(url) is None] == []


@pytest.mark.standard("FHIR R4 ValueSet composition rules")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], ["cat", "dog", "poodle", "pug"]),
        ([{"property": "concept", "op": "is-a", "value": "dog"}], ["dog", "poodle", "pug"]),
        ([{"property": "concept", "op": "descendent-of", "value": "dog"}], ["poodle", "pug"]),
        ([{"property": "concept", "op": "is-not-a", "value": "dog"}], ["cat"]),
        ([{"property": "concept", "op": "generalizes", "value": "pug"}], ["dog", "pug"]),
        ([{"property": "code", "op": "in", "value": "cat, pug"}], ["cat", "pug"]),
        ([{"property": "indoor", "op": "=", "value": "true"}], ["cat"]),
        ([{"property": "indoor", "op": "exists", "value": "false"}], ["dog", "poodle", "pug"]),
        (
            [
                {"property": "concept", "op": "is-a", "value": "dog"},
                {"property": "code", "op": "not-in", "value": "pug"},
            ],
            ["dog", "poodle"],
        ),
    ],
)
def test_all_filters_of_an_include_must_be_met(
    filters: list[dict[str, str]], expected: list[str]
) -> None:
    part: dict[str, Any] = {"system": "urn:pets"}
    if filters:
        part["filter"] = filters
    assert codes(pets(), a_set(part)) == expected


@pytest.mark.standard("FHIR R4 ValueSet composition rules")
def test_what_is_excluded_is_not_in_the_value_set() -> None:
    less = {"system": "urn:pets", "concept": [{"code": "cat"}]}
    assert codes(pets(), a_set({"system": "urn:pets"}, exclude=[less])) == ["dog", "poodle", "pug"]


@pytest.mark.standard("FHIR R4 ValueSet composition rules")
def test_an_include_of_a_system_and_value_sets_is_what_they_have_in_common() -> None:
    other = {**a_set({"system": "urn:pets", "concept": [{"code": "pug"}]}), "url": "urn:other"}
    mine = a_set({"system": "urn:pets", "valueSet": ["urn:other"]})
    assert codes(pets(), other, mine) == ["pug"]


def test_a_value_set_that_imports_itself_is_refused() -> None:
    with pytest.raises(Unprocessable):
        codes(a_set({"valueSet": ["urn:set"]}))


def test_what_is_imported_many_times_is_expanded_once() -> None:
    chain = [
        {**a_set(*[{"valueSet": [f"urn:set{n + 1}"]}] * 10), "url": f"urn:set{n}"}
        for n in range(15)
    ]
    last = {**a_set({"system": "urn:pets", "concept": [{"code": "pug"}]}), "url": "urn:set15"}
    assert codes(*chain, last, a_set({"valueSet": ["urn:set0"]})) == ["pug"]


@pytest.mark.parametrize(
    "part",
    [
        {"system": "urn:many"},
        {
            "system": "urn:many",
            "filter": [{"property": "concept", "op": "is-not-a", "value": "1"}] * 600,
        },
        {
            "system": "urn:many",
            "filter": [{"property": "code", "op": "in", "value": "1," * 10_000}] * 600,
        },
        {"system": "urn:many", "concept": [{"code": "1"}] * 1000},
    ],
    ids=["all", "hierarchy", "values", "listed"],
)
def test_an_expansion_that_would_take_too_long_is_refused(part: dict[str, Any]) -> None:
    many = pets(url="urn:many", concept=[{"code": str(n)} for n in range(1000)])
    begun = time.monotonic()
    with pytest.raises(Unsupported) as refused:
        codes(many, a_set(*[part] * 600))
    assert refused.value.code == "too-costly"
    assert time.monotonic() - begun < 5


def test_a_fragment_of_a_system_is_not_taken_for_all_of_it() -> None:
    with pytest.raises(Unsupported):
        codes(pets(content="fragment"), a_set({"system": "urn:pets"}))


def test_a_regular_expression_of_a_stranger_is_not_run() -> None:
    row = {"property": "code", "op": "regex", "value": "(a+)+$"}
    with pytest.raises(Unsupported):
        codes(pets(), a_set({"system": "urn:pets", "filter": [row]}))


def test_nobody_redefines_what_the_standard_defines() -> None:
    url = "http://hl7.org/fhir/request-priority"
    mine = Library([pets(url=url)])
    assert mine.code_system(url).find("stat")
    assert not mine.code_system(url).find("dog")


def test_a_system_nobody_holds_is_not_found() -> None:
    with pytest.raises(NotFound):
        codes(a_set({"system": "urn:pets"}))


GRAPHS = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3), min_size=1
)


@given(graph=GRAPHS)
def test_one_is_below_exactly_where_the_other_is_above(graph: dict[str, list[str]]) -> None:
    system = CodeSystem("urn:x", [Concept(code, "", tuple(up)) for code, up in graph.items()])
    for one in graph:
        for other in graph:
            assert (one in system.descendants(other)) == (other in system.ancestors(one))
