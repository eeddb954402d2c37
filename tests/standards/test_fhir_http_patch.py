"""FHIR http, "patch" and "conditional patch"; RFC 6902; FHIR R4 fhirpatch."""

import base64
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.build import a_patient, a_request
from tests.server import Server
from tests.standards.asking import Json, refused, stored

pytestmark = pytest.mark.standard("FHIR http patch")

JSON_PATCH = {"Content-Type": "application/json-patch+json"}


def patch(api: httpx.Client, address: str, *operations: Json, **headers: str) -> httpx.Response:
    return api.patch(address, json=list(operations), headers={**JSON_PATCH, **headers})


def operation(type: str, path: str, **parts: Any) -> Json:
    """An operation of FHIRPath Patch; a part is ``name=("valueX", value)``."""
    given = {"type": ("valueCode", type), "path": ("valueString", path), **parts}
    return {
        "name": "operation",
        "part": [{"name": name, member: value} for name, (member, value) in given.items()],
    }


def parameters(*operations: Json) -> Json:
    return {"resourceType": "Parameters", "parameter": list(operations)}


@pytest.fixture
def patient(api: httpx.Client) -> Json:
    return stored(api, a_patient(None))


def at(resource: Json) -> str:
    return f"/{resource['resourceType']}/{resource['id']}"


def test_a_json_patch_makes_the_next_version(api: httpx.Client, patient: Json) -> None:
    answer = patch(
        api,
        at(patient),
        {"op": "test", "path": "/gender", "value": "other"},
        {"op": "replace", "path": "/gender", "value": "female"},
        {"op": "add", "path": "/name/0/given/-", "value": "Sam"},
    )

    assert answer.status_code == 200
    assert answer.headers["etag"] == 'W/"2"'
    changed = answer.json()
    assert changed["gender"] == "female"
    assert changed["name"][0]["given"] == [*patient["name"][0]["given"], "Sam"]
    assert changed["identifier"] == patient["identifier"]
    assert api.get(at(patient)).json() == changed


def test_what_a_patch_does_not_touch_keeps_its_digits_and_its_order(api: httpx.Client) -> None:
    text = (
        '{"resourceType":"Observation","status":"final","code":{"text":"x"},'
        '"component":[{"code":{"text":"a"},"valueQuantity":{"value":1.500}},'
        '{"code":{"text":"b"},"valueQuantity":{"value":0.10}}],'
        '"valueQuantity":{"unit":"mg", "value": 2.50}}'
    )
    made = api.post("/Observation", content=text).json()

    answer = patch(
        api,
        f"/Observation/{made['id']}",
        {"op": "replace", "path": "/component/0/code/text", "value": "c"},
        {"op": "add", "path": "/component/1/valueQuantity/unit", "value": "g"},
    )

    assert '"value":1.500' in answer.text
    assert '{"value":0.10,"unit":"g"}' in answer.text
    assert '"valueQuantity":{"unit":"mg", "value": 2.50}' in answer.text


@pytest.mark.parametrize(
    ("document", "status", "expression"),
    [
        ({}, 400, "$this"),
        ([1], 400, "$this[0]"),
        ([{}], 400, "$this[0].op"),
        ([{"op": "grow", "path": "/a"}], 400, "$this[0].op"),
        ([{"op": "remove"}], 400, "$this[0].path"),
        ([{"op": "add", "path": "/active"}], 400, "$this[0].value"),
        ([{"op": "remove", "path": "gender"}], 400, "$this[0].path"),
        ([{"op": "remove", "path": "/a~2"}], 400, "$this[0].path"),
        ([{"op": "copy", "path": "/a"}], 400, "$this[0].from"),
        ([{"op": "move", "from": "/name", "path": "/name/0"}], 400, "$this[0].path"),
        ([{"op": "remove", "path": "/deceasedBoolean"}], 409, "$this[0].path"),
        ([{"op": "replace", "path": "/name/7", "value": {}}], 409, "$this[0].path"),
        ([{"op": "remove", "path": "/name/00"}], 409, "$this[0].path"),
        ([{"op": "add", "path": "/name/0/given/9", "value": "x"}], 409, "$this[0].path"),
        ([{"op": "test", "path": "/gender", "value": "male"}], 409, "$this[0]"),
        ([{"op": "test", "path": "/active", "value": 1}], 409, "$this[0].path"),
        ([{"op": "replace", "path": "/id", "value": "x"}], 400, "Patient.id"),
        ([{"op": "replace", "path": "/resourceType", "value": "Flag"}], 400, ""),
        ([{"op": "replace", "path": "", "value": 1}], 400, ""),
        ([{"op": "remove", "path": ""}], 400, "$this[0].path"),
        ([{"op": "replace", "path": "/gender", "value": "bogus"}], 400, "Patient.gender"),
        ([{"op": "add", "path": "/wings", "value": 2}], 400, ""),
    ],
)
def test_a_patch_that_cannot_be_applied_is_refused_at_its_place_and_changes_nothing(
    api: httpx.Client, patient: Json, document: object, status: int, expression: str
) -> None:
    answer = api.patch(at(patient), json=document, headers=JSON_PATCH)

    refused(answer, status, "", expression)
    assert api.get(at(patient)).json() == patient


def test_a_patch_does_not_grow_without_end(api: httpx.Client, patient: Json) -> None:
    grow = [{"op": "copy", "from": "/name", "path": "/name/-"}] * 40

    refused(api.patch(at(patient), json=grow, headers=JSON_PATCH), 400, "too-costly")


def test_all_operations_or_none(api: httpx.Client, patient: Json) -> None:
    answer = patch(
        api,
        at(patient),
        {"op": "replace", "path": "/gender", "value": "female"},
        {"op": "remove", "path": "/nothing"},
    )

    refused(answer, 409)
    assert api.get(at(patient)).json() == patient


@pytest.mark.standard("FHIR http concurrency")
def test_patches_that_arrive_together_are_all_done(shared_server: Server) -> None:
    api = shared_server.client()
    patient = stored(api, a_patient(None, name=[{"family": "x", "given": ["a"]}]))

    def one(n: int) -> httpx.Response:
        return patch(api, at(patient), {"op": "add", "path": "/name/0/given/-", "value": f"g{n}"})

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(one, range(12)))

    assert {answer.status_code for answer in answers} == {200}
    given = api.get(at(patient)).json()["name"][0]["given"]
    assert sorted(given[1:]) == sorted(f"g{n}" for n in range(12))
    history = api.get(f"{at(patient)}/_history").json()["entry"]
    written = [entry["resource"]["meta"]["lastUpdated"] for entry in history]
    assert written == sorted(written, reverse=True)


@pytest.mark.standard("FHIR http concurrency")
def test_if_match_names_the_version_that_is_patched(api: httpx.Client, patient: Json) -> None:
    change = {"op": "replace", "path": "/gender", "value": "male"}

    refused(patch(api, at(patient), change, **{"If-Match": 'W/"7"'}), 412)
    assert patch(api, at(patient), change, **{"If-Match": 'W/"1"'}).status_code == 200


@pytest.mark.standard("FHIR http concurrency")
def test_what_changes_hands_is_not_patched_without_naming_a_version(
    api: httpx.Client, patient: Json
) -> None:
    subject = {"reference": at(patient)[1:]}
    request = stored(api, a_request(None, subject=subject, requester=None))
    change = {"op": "replace", "path": "/priority", "value": "stat"}

    refused(patch(api, at(request), change), 428)
    assert patch(api, at(request), change, **{"If-Match": 'W/"1"'}).status_code == 200


def test_nothing_and_what_is_hidden_cannot_be_patched(
    api: httpx.Client, other: httpx.Client, patient: Json
) -> None:
    change = {"op": "test", "path": "/gender", "value": "other"}

    hidden = refused(patch(other, at(patient), change), 404)
    nothing = refused(patch(other, "/Patient/nothing-here", change), 404)
    assert (
        hidden["details"]["text"].replace(patient["id"], "nothing-here")
        == (nothing["details"]["text"])
    )
    api.delete(at(patient))
    refused(patch(api, at(patient), change), 410)


def test_who_may_not_read_it_may_not_test_it_by_a_patch(
    patient: Json, shared_server: Server
) -> None:
    writer = shared_server.client(scope="system/*.cud")

    refused(patch(writer, at(patient), {"op": "test", "path": "/gender", "value": "other"}), 403)


@pytest.mark.parametrize("media", ["application/xml-patch+xml", "text/plain", "application/x"])
def test_a_patch_in_another_format_is_refused(api: httpx.Client, patient: Json, media: str) -> None:
    answer = api.patch(at(patient), content=b"[]", headers={"Content-Type": media})

    refused(answer, 415)


@pytest.mark.parametrize(
    ("status", "left"), [("generated", False), ("extensions", False), ("additional", True)]
)
def test_a_narrative_does_not_outlive_what_it_tells_of(
    api: httpx.Client, status: str, left: bool
) -> None:
    div = '<div xmlns="http://www.w3.org/1999/xhtml">other</div>'
    patient = stored(api, a_patient(None, text={"status": status, "div": div}))

    answer = patch(api, at(patient), {"op": "replace", "path": "/gender", "value": "male"})

    if left:
        refused(answer, 422, "", "Patient.text")
    else:
        assert "text" not in answer.json()


def test_a_large_resource_is_patched_like_a_small_one(api: httpx.Client) -> None:
    given = [f"Name {n} of many" for n in range(20_000)]
    patient = stored(api, a_patient(None, name=[{"given": given}]))

    answer = patch(api, at(patient), {"op": "remove", "path": "/name/0/given/0"})

    assert answer.json()["name"] == [{"given": given[1:]}]


@pytest.mark.standard("FHIR http conditional patch")
def test_a_condition_patches_the_one_that_meets_it(api: httpx.Client) -> None:
    value = str(uuid.uuid4())
    identifier = [{"system": "https://example.org/tests", "value": value}]
    change = {"op": "replace", "path": "/gender", "value": "male"}
    address = f"/Patient?identifier={value}"

    refused(patch(api, address, change), 404)
    stored(api, a_patient(None, identifier=identifier))
    assert patch(api, address, change).json()["gender"] == "male"
    stored(api, a_patient(None, identifier=identifier))
    refused(patch(api, address, change), 412, "multiple-matches")


# --- FHIRPath Patch -----------------------------------------------------------------------------

APPLIED: list[tuple[Json, Json, Json]] = [
    (
        {},
        operation(
            "add", "Patient", name=("valueString", "birthDate"), value=("valueDate", "1930-01-01")
        ),
        {"birthDate": "1930-01-01"},
    ),
    (
        {"birthDate": "1920-01-01"},
        operation("replace", "Patient.birthDate", value=("valueDate", "1930-01-01")),
        {"birthDate": "1930-01-01"},
    ),
    ({"birthDate": "1920-01-01"}, operation("delete", "Patient.birthDate"), {}),
    ({}, operation("delete", "Patient.birthDate"), {}),
    (
        {},
        operation(
            "add",
            "Patient",
            name=("valueString", "maritalStatus"),
            value=("valueCodeableConcept", {"text": "married"}),
        ),
        {"maritalStatus": {"text": "married"}},
    ),
    (
        {"maritalStatus": {"text": "married"}},
        operation("replace", "Patient.maritalStatus.text", value=("valueString", "not married")),
        {"maritalStatus": {"text": "not married"}},
    ),
    (
        {"identifier": [{"value": "a"}, {"value": "c"}]},
        operation(
            "insert",
            "Patient.identifier",
            value=("valueIdentifier", {"value": "b"}),
            index=("valueInteger", 1),
        ),
        {"identifier": [{"value": "a"}, {"value": "b"}, {"value": "c"}]},
    ),
    (
        {"identifier": [{"value": "a"}, {"value": "b"}]},
        operation("delete", "Patient.identifier[0]"),
        {"identifier": [{"value": "b"}]},
    ),
    (
        {"identifier": [{"value": "a"}, {"value": "b"}, {"value": "c"}]},
        operation(
            "move",
            "Patient.identifier",
            source=("valueInteger", 2),
            destination=("valueInteger", 0),
        ),
        {"identifier": [{"value": "c"}, {"value": "a"}, {"value": "b"}]},
    ),
    (
        {},
        operation(
            "add",
            "Patient",
            name=("valueString", "contact"),
            value=(
                "part",
                [
                    {"name": "name", "valueHumanName": {"text": "a name"}},
                    {"name": "gender", "valueCode": "male"},
                ],
            ),
        ),
        {"contact": [{"name": {"text": "a name"}, "gender": "male"}]},
    ),
    (
        {"telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "x@y"}]},
        operation(
            "replace", "Patient.telecom.where(system = 'email').value", value=("valueString", "z@y")
        ),
        {"telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "z@y"}]},
    ),
    (
        {"deceasedBoolean": False},
        operation("replace", "Patient.deceased", value=("valueDateTime", "2026-01-01")),
        {"deceasedDateTime": "2026-01-01"},
    ),
    (
        {"name": [{"given": ["a", "b"], "_given": [None, {"id": "g2"}]}]},
        operation(
            "insert", "Patient.name[0].given", value=("valueString", "x"), index=("valueInteger", 0)
        ),
        {"name": [{"given": ["x", "a", "b"], "_given": [None, None, {"id": "g2"}]}]},
    ),
    (
        {"extension": [{"url": "https://e.example/a", "valueString": "1"}]},
        operation(
            "replace", "Patient.extension('https://e.example/a').value", value=("valueString", "2")
        ),
        {"extension": [{"url": "https://e.example/a", "valueString": "2"}]},
    ),
    (
        {},
        operation(
            "add",
            "Patient",
            name=("valueString", "extension"),
            value=(
                "part",
                [
                    {"name": "url", "valueUri": "https://e.example/a"},
                    {"name": "value", "valueDecimal": 1.5},
                ],
            ),
        ),
        {"extension": [{"url": "https://e.example/a", "valueDecimal": 1.5}]},
    ),
]


@pytest.mark.standard("FHIR R4 fhirpatch")
@pytest.mark.parametrize(("before", "given", "after"), APPLIED)
def test_a_fhirpath_patch_makes_of_a_resource_what_the_table_says(
    api: httpx.Client, before: Json, given: Json, after: Json
) -> None:
    made = stored(api, {"resourceType": "Patient", **before})

    answer = api.patch(at(made), json=parameters(given))

    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert {name: changed[name] for name in changed if name not in {"id", "meta"}} == {
        "resourceType": "Patient",
        **after,
    }


@pytest.mark.standard("FHIR R4 fhirpatch")
@pytest.mark.parametrize(
    ("given", "status"),
    [
        (operation("grow", "Patient"), 400),
        (operation("delete", "Patient"), 400),
        (operation("delete", "Patient.name.given"), 409),
        (operation("delete", "Patient..name"), 400),
        (operation("delete", "Patient.name.foo("), 400),
        (operation("delete", "Patient.name.exists()"), 400),
        (operation("delete", "Patient.generalPractitioner.resolve().name"), 400),
        (operation("replace", "Patient.photo", value=("valueString", "x")), 409),
        (operation("replace", "Patient.gender", value=("valueString", "male")), 400),
        (operation("replace", "Patient.gender", value=("valueCode", "bogus")), 400),
        (operation("replace", "Patient.gender"), 400),
        (operation("add", "Patient", name=("valueString", "wings"),
                   value=("valueInteger", 2)), 400),
        (operation("add", "Patient", name=("valueString", "gender"),
                   value=("valueCode", "male")), 409),
        (operation("add", "Patient", name=("valueString", "contact"),
                   value=("valueString", "x")), 400),
        (operation("insert", "Patient.name", value=("valueHumanName", {"text": "x"}),
                   index=("valueInteger", 5)), 409),
        (operation("insert", "Patient.name", value=("valueHumanName", {"text": "x"}),
                   index=("valueString", "0")), 400),
        (operation("move", "Patient.name", source=("valueInteger", 0),
                   destination=("valueInteger", 3)), 409),
        (operation("replace", "Patient.id", value=("valueId", "x")), 400),
        ({"name": "else"}, 400),
    ],
)  # fmt: skip
def test_a_fhirpath_patch_that_cannot_be_applied_is_refused(
    api: httpx.Client, given: Json, status: int
) -> None:
    name = [{"given": ["a", "b"]}]
    patient = stored(api, a_patient(None, name=name))

    refused(api.patch(at(patient), json=parameters(given)), status)

    assert api.get(at(patient)).json() == patient


def test_a_resource_is_no_patch(api: httpx.Client, patient: Json) -> None:
    refused(api.patch(at(patient), json=a_patient(None)), 400)


# --- in a Bundle --------------------------------------------------------------------------------


@pytest.mark.standard("FHIR http transaction")
@pytest.mark.parametrize("type", ["batch", "transaction"])
def test_every_kind_of_patch_works_inside_a_bundle(api: httpx.Client, type: str) -> None:
    one, two, three = (stored(api, a_patient(None)) for _ in range(3))

    def binary(kind: str, json_: object) -> Json:
        data = base64.b64encode(json.dumps(json_).encode()).decode()
        return {"resourceType": "Binary", "contentType": f"application/{kind}+json", "data": data}

    replaced = binary("json-patch", [{"op": "replace", "path": "/gender", "value": "male"}])
    merged = binary("merge-patch", {"gender": "other"})
    change = operation("replace", "Patient.gender", value=("valueCode", "female"))
    entries = [
        {"resource": resource, "request": {"method": "PATCH", "url": at(patient)[1:]}}
        for resource, patient in ((replaced, one), (parameters(change), two), (merged, three))
    ]

    answer = api.post("", json={"resourceType": "Bundle", "type": type, "entry": entries})

    assert answer.status_code == 200, answer.text
    assert [each["response"]["status"] for each in answer.json()["entry"]] == ["200 OK"] * 3
    assert api.get(at(one)).json()["gender"] == "male"
    assert api.get(at(two)).json()["gender"] == "female"
    assert api.get(at(three)).json()["gender"] == "other"
