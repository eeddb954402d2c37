"""FHIR R4 terminology-service: $expand, $lookup, $validate-code and $subsumes over HTTP."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.standards.asking import Json, refused, stored

PRIORITY = "http://hl7.org/fhir/ValueSet/request-priority"
PRIORITIES = "http://hl7.org/fhir/request-priority"
REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"


def asked(api: httpx.Client, path: str, **pairs: str) -> httpx.Response:
    query = "&".join(f"{name}={quote(value)}" for name, value in pairs.items())
    return api.get(f"{path}?{query}")


def posted(api: httpx.Client, path: str, *parameters: Json) -> httpx.Response:
    body = {"resourceType": "Parameters", "parameter": list(parameters)}
    return api.post(path, json=body)


def said(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    assert answer.json()["resourceType"] == "Parameters"
    return {
        each["name"]: next(v for k, v in each.items() if k.startswith("value"))
        for each in answer.json()["parameter"]
        if "part" not in each
    }


def listed(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["code"] for each in answer.json()["expansion"].get("contains", [])]


@pytest.mark.standard("FHIR R4 ValueSet $expand")
def test_an_expansion_lists_the_codes_with_system_and_display(api: httpx.Client) -> None:
    answer = asked(api, "/ValueSet/$expand", url=PRIORITY)
    expansion = answer.json()["expansion"]
    assert sorted(listed(answer)) == ["asap", "routine", "stat", "urgent"]
    assert expansion["total"] == 4
    assert {"system": PRIORITIES, "code": "stat", "display": "STAT"} in expansion["contains"]


@pytest.mark.standard("FHIR R4 ValueSet $expand")
def test_an_expansion_is_paged_by_offset_and_count(api: httpx.Client) -> None:
    whole = listed(asked(api, "/ValueSet/$expand", url=PRIORITY))
    first = asked(api, "/ValueSet/$expand", url=PRIORITY, count="3")
    rest = asked(api, "/ValueSet/$expand", url=PRIORITY, count="3", offset="3")
    assert listed(first) + listed(rest) == whole
    assert rest.json()["expansion"]["offset"] == 3
    assert rest.json()["expansion"]["total"] == 4


@pytest.mark.standard("FHIR R4 ValueSet $expand")
def test_a_filter_finds_the_beginning_of_a_word(api: httpx.Client) -> None:
    cid_29 = "http://dicom.nema.org/medical/dicom/current/output/chtml/part16/sect_CID_29.html"
    assert "CT" in listed(asked(api, "/ValueSet/$expand", url=cid_29, filter="tomo comp"))
    assert "US" not in listed(asked(api, "/ValueSet/$expand", url=cid_29, filter="tomo comp"))


@pytest.mark.standard("FHIR R4 ValueSet $expand")
def test_a_value_set_that_comes_with_the_question_is_expanded(api: httpx.Client) -> None:
    value_set = {
        "resourceType": "ValueSet",
        "status": "draft",
        "compose": {
            "include": [
                {
                    "system": REASON,
                    "filter": [{"property": "concept", "op": "is-a", "value": "TREAT"}],
                }
            ]
        },
    }
    by_itself = api.post("/ValueSet/$expand", json=value_set)
    in_parameters = posted(api, "/ValueSet/$expand", {"name": "valueSet", "resource": value_set})
    assert {"TREAT", "ETREAT"} <= set(listed(by_itself))
    assert "HPAYMT" not in listed(by_itself)
    assert listed(in_parameters) == listed(by_itself)


@pytest.mark.standard("FHIR R4 terminology-service")
def test_what_clients_have_stored_is_expanded_too(api: httpx.Client) -> None:
    stored(api, {
        "resourceType": "CodeSystem", "url": "urn:rooms", "status": "active",
        "content": "complete",
        "concept": [{"code": "ct", "display": "CT room", "concept": [{"code": "ct1"}]}],
    })  # fmt: skip
    stored(api, {
        "resourceType": "ValueSet", "url": "urn:all-rooms", "status": "active",
        "compose": {"include": [{"system": "urn:rooms"}]},
    })  # fmt: skip
    held = stored(api, {
        "resourceType": "ValueSet", "url": "urn:our-rooms", "status": "active",
        "compose": {"include": [{"valueSet": ["urn:all-rooms"]}]},
    })  # fmt: skip
    assert listed(asked(api, "/ValueSet/$expand", url="urn:our-rooms")) == ["ct", "ct1"]
    assert listed(api.get(f"/ValueSet/{held['id']}/$expand")) == ["ct", "ct1"]
    outcome = asked(api, "/CodeSystem/$subsumes", system="urn:rooms", codeA="ct", codeB="ct1")
    assert said(outcome) == {"outcome": "subsumes"}


@pytest.mark.standard("FHIR R4 CodeSystem $lookup")
def test_a_lookup_tells_name_display_and_parents(api: httpx.Client) -> None:
    answer = asked(api, "/CodeSystem/$lookup", system=REASON, code="ETREAT")
    found = said(answer)
    assert found["display"] == "Emergency Treatment"
    parts = [p["part"] for p in answer.json()["parameter"] if p["name"] == "property"]
    assert [
        {"name": "code", "valueCode": "parent"},
        {"name": "value", "valueCode": "TREAT"},
    ] in parts


@pytest.mark.standard("FHIR R4 CodeSystem $lookup")
def test_a_code_that_does_not_exist_is_not_found(api: httpx.Client) -> None:
    refused(asked(api, "/CodeSystem/$lookup", system=REASON, code="NOPE"), 404, "not-found")
    refused(asked(api, "/CodeSystem/$lookup", system="urn:none", code="x"), 404, "not-found")


@pytest.mark.standard("FHIR R4 ValueSet $validate-code")
@pytest.mark.parametrize(
    ("pairs", "result"),
    [
        ({"system": PRIORITIES, "code": "stat"}, True),
        ({"system": PRIORITIES, "code": "never"}, False),
        ({"system": "urn:other", "code": "stat"}, False),
        ({"system": PRIORITIES, "code": "stat", "display": "stat"}, True),
        ({"system": PRIORITIES, "code": "stat", "display": "Whenever"}, False),
        ({"code": "stat"}, False),
    ],
)
def test_a_code_is_in_a_value_set_or_not(
    api: httpx.Client, pairs: dict[str, str], result: bool
) -> None:
    answer = said(asked(api, "/ValueSet/$validate-code", url=PRIORITY, **pairs))
    assert answer["result"] is result
    assert ("message" in answer) is not result


@pytest.mark.standard("FHIR R4 ValueSet $validate-code")
def test_one_coding_of_a_concept_is_enough(api: httpx.Client) -> None:
    concept = {"coding": [{"system": "urn:x", "code": "1"}, {"system": PRIORITIES, "code": "asap"}]}
    answer = posted(
        api,
        "/ValueSet/$validate-code",
        {"name": "url", "valueUri": PRIORITY},
        {"name": "codeableConcept", "valueCodeableConcept": concept},
    )
    assert said(answer)["result"] is True


@pytest.mark.standard("FHIR R4 CodeSystem $validate-code")
def test_a_code_is_in_a_code_system_or_not(api: httpx.Client) -> None:
    path = "/CodeSystem/$validate-code"
    assert said(asked(api, path, url=PRIORITIES, code="stat"))["result"] is True
    assert said(asked(api, path, url=PRIORITIES, code="nope"))["result"] is False
    coding = {"name": "coding", "valueCoding": {"system": "urn:other", "code": "stat"}}
    answer = posted(api, path, {"name": "url", "valueUri": PRIORITIES}, coding)
    assert said(answer)["result"] is False


@pytest.mark.standard("FHIR R4 CodeSystem $subsumes")
@pytest.mark.parametrize(
    ("one", "other", "outcome"),
    [
        ("TREAT", "TREAT", "equivalent"),
        ("TREAT", "ETREAT", "subsumes"),
        ("ETREAT", "TREAT", "subsumed-by"),
        ("ETREAT", "HPAYMT", "not-subsumed"),
    ],
)
def test_two_codes_lie_to_each_other_in_one_of_four_ways(
    api: httpx.Client, one: str, other: str, outcome: str
) -> None:
    answer = asked(api, "/CodeSystem/$subsumes", system=REASON, codeA=one, codeB=other)
    assert said(answer) == {"outcome": outcome}


@pytest.mark.standard("FHIR R4 operations")
@pytest.mark.parametrize(
    ("path", "status", "code", "place"),
    [
        ("/ValueSet/$expand", 400, "required", "url"),
        ("/ValueSet/$expand?url=urn:nobody", 404, "not-found", ""),
        (f"/ValueSet/$expand?url={PRIORITY}&count=-1", 400, "value", "count"),
        (f"/ValueSet/$expand?url={PRIORITY}&colour=red", 400, "not-supported", "colour"),
        (f"/ValueSet/$expand?url={PRIORITY}&url=x", 400, "invalid", "url"),
        ("/CodeSystem/$lookup?code=x", 400, "required", "code"),
        ("/CodeSystem/$subsumes?codeA=a&codeB=b", 400, "required", "system"),
        ("/ValueSet/$validate-code?url=" + PRIORITY, 400, "required", "code"),
        ("/ValueSet/$translate", 404, "not-supported", ""),
        ("/$expand", 404, "not-supported", ""),
        ("/Nothing/$expand", 404, "not-supported", ""),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_by_name(
    api: httpx.Client, path: str, status: int, code: str, place: str
) -> None:
    refused(api.get(path), status, code, place)


@pytest.mark.parametrize(
    "given",
    [
        {"resourceType": "ValueSet", "status": "draft", "compose": "x"},
        {"resourceType": "ValueSet", "status": "draft", "compose": {"include": [{"system": 1}]}},
        {"resourceType": "ValueSet", "status": "draft", "expansion": {"contains": ["x"]}},
        {"resourceType": "Patient"},
    ],
)
def test_a_value_set_that_is_none_is_refused(api: httpx.Client, given: Json) -> None:
    rows: list[Json] = [
        {"name": "valueSet", "resource": given},
        {"name": "code", "valueCode": "x"},
        {"name": "system", "valueUri": "urn:x"},
    ]
    refused(api.post("/ValueSet/$expand", json=given), 400)
    refused(posted(api, "/ValueSet/$expand", rows[0]), 400)
    refused(posted(api, "/ValueSet/$validate-code", *rows), 400)


def test_a_stranger_is_told_nothing(shared_server: Any) -> None:
    refused(shared_server.stranger().get("/ValueSet/$expand?url=" + PRIORITY), 401, "login")


def test_who_may_not_read_value_sets_may_not_expand_them(shared_server: Any) -> None:
    client = shared_server.client(scope="system/Patient.rs")
    refused(client.get("/ValueSet/$expand?url=" + PRIORITY), 403, "forbidden")
