"""FHIR http, what every answer says of itself: custom headers, HEAD, OPTIONS, Allow, formats."""

import uuid

import httpx
import pytest

from tests.build import a_patient
from tests.server import Server
from tests.standards.asking import Json, refused, stored


@pytest.fixture
def patient(api: httpx.Client) -> Json:
    return stored(api, a_patient(None))


@pytest.mark.standard("FHIR http custom headers")
def test_the_request_id_of_the_asker_is_kept(api: httpx.Client) -> None:
    answer = api.get("/Patient/p", headers={"X-Request-Id": "abc-123"})

    assert answer.headers["x-request-id"] == "abc-123"
    assert "x-correlation-id" not in answer.headers


@pytest.mark.standard("FHIR http custom headers")
def test_an_id_that_cannot_be_kept_comes_back_as_correlation_id(api: httpx.Client) -> None:
    answer = api.get("/Patient/p", headers={"X-Request-Id": "not a word"})

    assert answer.headers["x-correlation-id"] == "not a word"
    assert answer.headers["x-request-id"] != "not a word"


@pytest.mark.standard("FHIR http custom headers")
def test_a_correlation_id_comes_back(api: httpx.Client) -> None:
    answer = api.get("/Patient/p", headers={"X-Correlation-Id": "abc"})

    assert answer.headers["x-correlation-id"] == "abc"
    assert (
        "x-correlation-id"
        not in api.get("/Patient/p", headers={"X-Correlation-Id": "a" * 1000}).headers
    )


@pytest.mark.standard("FHIR http support for HEAD")
@pytest.mark.parametrize(
    "address",
    ["{p}", "{p}/_history", "{p}/_history/1", "/Patient?_count=1", "/metadata",
     "/Patient/_history?_count=1", "/_history?_count=1"],
)  # fmt: skip
def test_head_is_get_without_its_body(api: httpx.Client, patient: Json, address: str) -> None:
    address = address.format(p=f"/Patient/{patient['id']}")

    get, head = api.get(address), api.head(address)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers.get("etag") == get.headers.get("etag")
    assert int(head.headers["content-length"]) > 0


@pytest.mark.standard("RFC 9110 9.3.7")
@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("/Patient/p", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/Patient/p/_history", "GET, HEAD, OPTIONS"),
        ("/metadata", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_says_what_an_address_takes(api: httpx.Client, address: str, allowed: str) -> None:
    answer = api.options(address)

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["allow"] == allowed


@pytest.mark.standard("RFC 9110 15.5.6")
@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [
        ("POST", "/Patient/p", "DELETE, GET, HEAD, PATCH, PUT"),
        ("DELETE", "/Patient/p/_history/1", "GET, HEAD"),
        ("PUT", "/metadata", "GET, HEAD"),
        ("TRACE", "/Patient/p", "DELETE, GET, HEAD, PATCH, PUT"),
    ],
)
def test_a_method_that_an_address_does_not_take_is_refused_with_those_it_does(
    api: httpx.Client, method: str, address: str, allowed: str
) -> None:
    answer = api.request(method, address)

    refused(answer, 405, "not-supported")
    assert answer.headers["allow"] == allowed


@pytest.mark.standard("FHIR http return preference")
@pytest.mark.parametrize(
    ("prefer", "what"),
    [("return=minimal", ""), ("return=representation", "Patient"),
     ("return=OperationOutcome", "OperationOutcome")],
)  # fmt: skip
def test_prefer_says_what_a_write_is_answered_with(
    api: httpx.Client, patient: Json, prefer: str, what: str
) -> None:
    headers = {"Prefer": prefer}
    change = [{"op": "replace", "path": "/gender", "value": "male"}]
    condition = {"If-None-Exist": f"_id={patient['id']}"}
    address = f"/Patient/{patient['id']}"

    answers = [
        api.post("/Patient", json=a_patient(None), headers=headers),
        api.post("/Patient", json=a_patient(None), headers=headers | condition),
        api.put(address, json=patient, headers=headers),
        api.patch(
            address,
            json=change,
            headers=headers | {"Content-Type": "application/json-patch+json"},
        ),
    ]

    assert [answer.status_code for answer in answers] == [201, 200, 200, 200]
    for answer in answers:
        assert answer.headers["etag"]
        assert answer.headers["last-modified"]
        assert "/_history/" in answer.headers["location"]
        assert (answer.json()["resourceType"] if answer.content else "") == what


@pytest.mark.standard("FHIR http content types")
@pytest.mark.parametrize("value", ["xml", "application/fhir+xml", "text/xml", "ttl", "html"])
@pytest.mark.parametrize("address", ["/Patient/p", "/Patient", "/metadata", "/_history"])
def test_a_format_that_is_not_spoken_is_refused_clearly(
    api: httpx.Client, address: str, value: str
) -> None:
    issue = refused(api.get(address, params={"_format": value}), 406, "not-supported")

    assert "application/fhir+json" in issue["details"]["text"]


@pytest.mark.standard("FHIR http content types")
def test_xml_is_refused_clearly(api: httpx.Client) -> None:
    answer = api.post(
        "/Patient", content=b"<Patient/>", headers={"Content-Type": "application/fhir+xml"}
    )

    issue = refused(answer, 415, "not-supported")
    assert "application/fhir+json" in issue["details"]["text"]


@pytest.mark.standard("FHIR http status codes")
@pytest.mark.parametrize("address", ["/Ghost", "/Ghost/1", "/Ghost/_history", "/evidence/1"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_type_that_nobody_knows_is_not_supported(
    api: httpx.Client, method: str, address: str
) -> None:
    refused(api.request(method, address), 404, "not-supported")


@pytest.mark.requirement("R014.1")
def test_every_change_leaves_its_row_in_the_audit(shared_server: Server, api: httpx.Client) -> None:
    value = str(uuid.uuid4())
    identifier = [{"system": "https://example.org/tests", "value": value}]
    patient = stored(api, a_patient(None, identifier=identifier))
    address = f"/Patient/{patient['id']}"
    change = [{"op": "replace", "path": "/gender", "value": "male"}]
    api.patch(
        f"/Patient?identifier={value}",
        json=change,
        headers={"Content-Type": "application/json-patch+json"},
    )
    api.delete(address)
    api.get("/Patient/_history", params={"_count": "1"})

    auditor = shared_server.client(role="auditor")
    found = auditor.get("/AuditEvent", params={"entity": address[1:]}).json()["entry"]

    subtypes = [each["resource"]["subtype"][0]["code"] for each in found]
    assert subtypes == ["delete", "patch", "create"]
    assert found[0]["resource"]["action"] == "D"
