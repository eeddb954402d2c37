"""FHIR http, "create", "return preference"."""

import gzip
import json

import httpx
import pytest

from resources import models
from tests.build import a_patient, a_report, a_request
from tests.server import BODY_LIMIT
from tests.standards.asking import Json, refused, stored

pytestmark = pytest.mark.standard("FHIR http create")


def test_a_create_says_where_the_resource_is(api: httpx.Client) -> None:
    answer = api.post("/Patient", json=a_patient(None))

    assert answer.status_code == 201
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["location"].endswith(f"/fhir/Patient/{answer.json()['id']}/_history/1")
    assert httpx.get(answer.headers["location"], headers=api.headers).json() == answer.json()
    models.model("Patient").model_validate_json(answer.content)


def test_the_id_of_the_sender_is_ignored(api: httpx.Client) -> None:
    patient = stored(api, a_patient("mine"))

    assert patient["id"] != "mine"


@pytest.mark.standard("FHIR http return preference")
@pytest.mark.parametrize(
    ("prefer", "type"),
    [
        ("return=minimal", ""),
        ("return=representation", "Patient"),
        ("return=OperationOutcome", "OperationOutcome"),
    ],
)
def test_the_answer_holds_what_was_preferred(api: httpx.Client, prefer: str, type: str) -> None:
    answer = api.post("/Patient", json=a_patient(None), headers={"Prefer": prefer})

    assert answer.status_code == 201
    assert answer.headers["location"]
    assert (answer.json()["resourceType"] if answer.content else "") == type


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b"null",
        b"1",
        b'"Patient"',
        b"{}",
        b'{"resourceType":1}',
        b'{"resourceType":"Ghost"}',
        b'{"resourceType":"Patient","active":tru}',
        b'{"resourceType":"Patient","active":true,}',
        b'{"resourceType":"Patient","active":true,"active":false}',
        b'{"resourceType":"Patient","gender":"\xff"}',
        b'{"resourceType":"Patient","gender":"\\ud800"}',
        b'{"resourceType":"Patient"}{"resourceType":"Patient"}',
        b'\xef\xbb\xbf{"resourceType":"Patient"}',
        '{"resourceType":"Patient"}'.encode("utf-16"),
        b"<Patient xmlns='http://hl7.org/fhir'/>",
        b'{"resourceType":"Observation","valueInteger":' + b"1" * 101 + b"}",
        b'{"resourceType":"Patient","multipleBirthInteger":NaN}',
    ],
)
def test_what_cannot_be_read_is_a_bad_request(api: httpx.Client, content: bytes) -> None:
    refused(api.post("/Patient", content=content), 400)


def nested(levels: int) -> bytes:
    """A valid resource of so many levels: resource, array and extension are the first three."""
    text, depth = b'{"url":"u:x","valueBoolean":true}', 3
    if (levels - depth) % 2:
        text = b'{"url":"u:x","valuePeriod":{"extension":[' + text + b"]}}"
        depth += 3
    while depth < levels:
        text = b'{"url":"u:x","extension":[' + text + b"]}"
        depth += 2
    return b'{"resourceType":"Basic","code":{"text":"x"},"extension":[' + text + b"]}"


def test_nesting_is_allowed_to_64_levels_and_no_further(api: httpx.Client) -> None:
    assert api.post("/Basic", content=nested(64)).status_code == 201
    refused(api.post("/Basic", content=nested(65)), 400)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_tower_of_brackets_is_a_bad_request(api: httpx.Client, opening: bytes) -> None:
    refused(api.post("/Patient", content=opening * 100_000), 400)


@pytest.mark.parametrize(
    ("change", "expression"),
    [
        ({"birthDate": 19700101}, "Patient.birthDate"),
        ({"birthDate": "yesterday"}, "Patient.birthDate"),
        ({"active": "yes"}, "Patient.active"),
        ({"gender": "bogus"}, "Patient.gender"),
        ({"name": "Robin"}, "Patient.name"),
        ({"name": [{"family": ["Robin"]}]}, "Patient.name[0].family"),
        ({"wings": 2}, "Patient.wings"),
        ({"contact": [{}, {"wings": 2}]}, ""),
        ({"name": []}, "Patient.name"),
        ({"name": [None]}, ""),
        ({"deceasedBoolean": True, "deceasedDateTime": "2026"}, ""),
        ({"link": [{"type": "refer"}]}, "Patient.link[0].other"),
        ({"gender": ""}, "Patient.gender"),
        ({"text": {"status": "generated"}}, "Patient.text.div"),
    ],
)
def test_what_the_definitions_forbid_is_a_bad_request_at_its_place(
    api: httpx.Client, change: Json, expression: str
) -> None:
    refused(api.post("/Patient", json=a_patient(None, **change)), 400, "", expression)


def test_all_that_is_wrong_is_told_at_once(api: httpx.Client) -> None:
    answer = api.post("/Patient", json=a_patient(None, gender="bogus", wings=2, active="yes"))

    places = {issue["expression"][0] for issue in answer.json()["issue"]}
    assert places == {"Patient.gender", "Patient.wings", "Patient.active"}


def test_no_value_is_told_back(api: httpx.Client) -> None:
    answer = api.post("/Patient", json=a_patient(None, gender="Canary", birthDate="Canary"))

    refused(answer, 400)
    assert "Canary" not in answer.text


def test_a_resource_of_another_type_than_the_address_is_a_bad_request(api: httpx.Client) -> None:
    refused(api.post("/Patient", json=a_request(None)), 400, "invalid")


@pytest.mark.parametrize(
    "content_type", ["application/fhir+xml", "text/plain", "application/x-www-form-urlencoded", ""]
)
def test_a_body_that_is_no_fhir_json_is_an_unsupported_media_type(
    api: httpx.Client, content_type: str
) -> None:
    answer = api.post("/Patient", json=a_patient(None), headers={"Content-Type": content_type})

    refused(answer, 415, "not-supported")


def test_a_body_over_the_limit_is_too_large(api: httpx.Client) -> None:
    large = json.dumps(a_patient(None)).encode().ljust(BODY_LIMIT)

    assert api.post("/Patient", content=large).status_code == 201
    refused(api.post("/Patient", content=large + b" "), 413, "too-long")
    refused(api.post("/Patient", content=(part for part in [large, b" "])), 413, "too-long")


def test_a_gzip_body_is_inflated_and_a_bomb_is_not(api: httpx.Client) -> None:
    headers = {"Content-Encoding": "gzip"}
    patient = gzip.compress(json.dumps(a_patient(None)).encode())
    bomb = gzip.compress(b" " * 50_000_000)

    assert api.post("/Patient", content=patient, headers=headers).status_code == 201
    refused(api.post("/Patient", content=bomb, headers=headers), 413)
    refused(api.post("/Patient", content=b"{}", headers=headers), 400)
    refused(api.post("/Patient", content=patient, headers={"Content-Encoding": "br"}), 415)


def test_a_reference_to_nothing_is_unprocessable_at_its_place(api: httpx.Client) -> None:
    request = a_request(None, subject={"reference": "Patient/nothing-here"}, requester=None)

    refused(api.post("/ServiceRequest", json=request), 422, "", "ServiceRequest.subject")


@pytest.mark.parametrize(
    "reference",
    [
        "Ghost/1",
        "urn:uuid:5f0b6f6c-6c1c-4d1b-8a80-3f9a56e3a6b1",
        "Patient?identifier=a",
        "Patient/" + "a" * 65,
    ],
)
def test_a_reference_that_cannot_resolve_is_refused(api: httpx.Client, reference: str) -> None:
    request = a_request(None, subject={"reference": reference}, requester=None, performer=None)

    answer = api.post("/ServiceRequest", json=request)

    assert answer.status_code in {400, 422}
    refused(answer, answer.status_code, "", "ServiceRequest.subject")


def test_a_report_of_imaging_without_its_study_is_unprocessable(api: httpx.Client) -> None:
    patient = {"reference": f"Patient/{stored(api, a_patient(None))['id']}"}
    report = a_report(
        None, subject=patient, imagingStudy=None, basedOn=None, resultsInterpreter=None
    )

    refused(api.post("/DiagnosticReport", json=report), 422)


@pytest.mark.standard("FHIR http conditional create")
def test_criteria_in_the_address_of_a_create_are_not_passed_over(api: httpx.Client) -> None:
    answer = api.post("/Patient?identifier=urn:x|1", json=a_patient(None))

    issue = refused(answer, 400, "not-supported", "identifier")
    assert "If-None-Exist" in issue["details"]["text"]


@pytest.mark.standard("FHIR http transaction")
@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_nor_are_they_in_a_bundle(api: httpx.Client, kind: str) -> None:
    asked = {"method": "POST", "url": "Patient?identifier=urn:x|1"}
    bundle = {
        "resourceType": "Bundle",
        "type": kind,
        "entry": [{"request": asked, "resource": a_patient(None)}],
    }

    answer = api.post("/", json=bundle)

    if kind == "batch":
        response = answer.json()["entry"][0]["response"]
        assert response["status"].startswith("400")
        (issue,) = response["outcome"]["issue"]
        assert issue["expression"] == ["Bundle.entry[0].request.url"]
    else:
        refused(answer, 400, "not-supported", "Bundle.entry[0].request.url")


@pytest.mark.standard("FHIR http")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_parameter_that_means_nothing_to_one_resource_is_refused(
    api: httpx.Client, method: str
) -> None:
    patient = stored(api, a_patient(None))
    address = f"/Patient/{patient['id']}"
    body = json.dumps(patient) if method == "PUT" else None

    answer = api.request(method, f"{address}?wings=2", content=body)

    refused(answer, 400, "not-supported", "wings")

    assert api.get(f"{address}?_format=json&_pretty=true").json() == patient
