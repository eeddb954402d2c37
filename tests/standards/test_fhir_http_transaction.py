"""FHIR http, "transaction" and "Transaction Processing Rules"."""

import json
import uuid

import httpx
import pytest

from resources import models
from tests.build import a_patient, a_request
from tests.standards.asking import Json, refused, stored

pytestmark = pytest.mark.standard("FHIR http transaction")


def urn() -> str:
    return f"urn:uuid:{uuid.uuid4()}"


def post(resource: Json, full_url: str = "") -> Json:
    entry = {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
    return {"fullUrl": full_url, **entry} if full_url else entry


def put(resource: Json, **request: str) -> Json:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"resource": resource, "request": {"method": "PUT", "url": url, **request}}


def get(url: str) -> Json:
    return {"request": {"method": "GET", "url": url}}


def bundle(*entries: Json, type: str = "transaction") -> Json:
    return {"resourceType": "Bundle", "type": type, "entry": list(entries)}


def about(patient: str, **members: object) -> Json:
    return a_request(None, subject={"reference": patient}, requester=None, **members)


def done(api: httpx.Client, *entries: Json) -> list[Json]:
    answer = api.post("", json=bundle(*entries))
    assert answer.status_code == 200, answer.text
    models.model("Bundle").model_validate_json(answer.content)
    assert answer.json()["type"] == "transaction-response"
    responses: list[Json] = answer.json()["entry"]
    assert len(responses) == len(entries)
    return responses


def at(api: httpx.Client, response: Json) -> Json:
    resource: Json = httpx.get(response["response"]["location"], headers=api.headers).json()
    return resource


def test_answers_stand_in_the_order_of_the_entries(api: httpx.Client) -> None:
    id = f"o-{uuid.uuid4()}"
    organization = {"resourceType": "Organization", "id": id, "name": "x"}

    responses = done(api, get(f"Organization/{id}"), put(organization), post(a_patient(None)))

    assert [each["response"]["status"] for each in responses] == [
        "200 OK",
        "201 Created",
        "201 Created",
    ]
    assert responses[0]["resource"]["id"] == id
    assert responses[1]["response"]["location"].endswith(f"/Organization/{id}/_history/1")
    assert responses[2]["response"]["etag"] == 'W/"1"'
    assert responses[2]["response"]["lastModified"].endswith("Z")


@pytest.mark.standard("FHIR http replacing hyperlinks")
@pytest.mark.parametrize("scheme", ["urn:uuid:", "urn:oid:"])
def test_links_to_other_entries_are_rewritten_whatever_their_order(
    api: httpx.Client, scheme: str
) -> None:
    patient = urn() if scheme == "urn:uuid:" else f"urn:oid:2.25.{uuid.uuid4().int}"
    first, second = urn(), urn()

    responses = done(
        api,
        post(about(patient, replaces=[{"reference": second}]), first),
        post(about(patient, basedOn=[{"reference": first}]), second),
        post(a_patient(None), patient),
    )

    one, two, person = (at(api, each) for each in responses)
    assert one["subject"]["reference"] == f"Patient/{person['id']}"
    assert one["replaces"][0]["reference"] == f"ServiceRequest/{two['id']}"
    assert two["basedOn"][0]["reference"] == f"ServiceRequest/{one['id']}"


@pytest.mark.standard("FHIR http replacing hyperlinks")
def test_nothing_but_links_is_rewritten(api: httpx.Client) -> None:
    patient = urn()
    request = about(patient, note=[{"text": f"see {patient}"}])

    responses = done(api, post(a_patient(None), patient), post(request))

    assert at(api, responses[1])["note"][0]["text"] == f"see {patient}"


@pytest.mark.standard("FHIR Bundle resolving references")
def test_a_full_url_of_another_server_is_a_name_too(api: httpx.Client) -> None:
    base = "https://elsewhere.example/fhir"

    responses = done(
        api,
        post(a_patient(None), f"{base}/Patient/7"),
        post(about("Patient/7"), f"{base}/ServiceRequest/8"),
        post(about(f"{base}/Patient/7")),
    )

    person, *requests = (at(api, each) for each in responses)
    assert {each["subject"]["reference"] for each in requests} == {f"Patient/{person['id']}"}


def test_one_failure_undoes_all(api: httpx.Client) -> None:
    id = f"o-{uuid.uuid4()}"
    organization = {"resourceType": "Organization", "id": id, "name": "x"}

    answer = api.post("", json=bundle(put(organization), post(about("Patient/nothing-here"))))

    refused(answer, 422, "", "Bundle.entry[1].resource.subject")
    refused(api.get(f"/Organization/{id}"), 404)


def test_a_link_to_no_entry_is_unprocessable(api: httpx.Client) -> None:
    answer = api.post("", json=bundle(post(about(urn()))))

    assert answer.status_code in {400, 422}
    refused(answer, answer.status_code, "", "Bundle.entry[0].resource.subject")


def test_reads_see_what_the_transaction_wrote(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    address = f"Patient/{patient['id']}"

    responses = done(
        api,
        get(address),
        get(f"{address}/_history/1"),
        get(f"Patient?_id={patient['id']}"),
        put({**patient, "active": False}),
    )

    read, vread, search, _ = responses
    assert read["resource"]["active"] is False
    assert "active" not in vread["resource"]
    assert search["resource"]["type"] == "searchset"
    assert search["resource"]["entry"][0]["resource"]["active"] is False


def test_a_read_of_nothing_undoes_all(api: httpx.Client) -> None:
    id = f"o-{uuid.uuid4()}"
    organization = {"resourceType": "Organization", "id": id, "name": "x"}

    answer = api.post("", json=bundle(put(organization), get("Patient/nothing-here")))

    refused(answer, 404, "", "Bundle.entry[1]")
    refused(api.get(f"/Organization/{id}"), 404)


@pytest.mark.standard("FHIR http managing resource contention")
def test_a_condition_holds_for_the_whole(api: httpx.Client) -> None:
    patient = f"Patient/{stored(api, a_patient(None))['id']}"
    request = stored(api, about(patient))

    stale = api.post("", json=bundle(post(a_patient(None)), put(request, ifMatch='W/"7"')))
    missing = api.post("", json=bundle(put(request)))
    current = api.post("", json=bundle(put(request, ifMatch='W/"1"')))

    refused(stale, 412)
    refused(missing, 428)
    assert current.status_code == 200


def test_two_entries_for_one_resource_are_refused(api: httpx.Client) -> None:
    organization = {"resourceType": "Organization", "id": "twice", "name": "x"}
    name = urn()

    same = api.post("", json=bundle(put(organization), put(organization)))
    named = api.post("", json=bundle(post(a_patient(None), name), post(a_patient(None), name)))

    refused(same, 400, "duplicate")
    refused(named, 400, "invariant")


@pytest.mark.standard("FHIR http return preference")
@pytest.mark.parametrize(
    ("prefer", "member", "type"),
    [
        ("return=minimal", "", ""),
        ("return=representation", "resource", "Patient"),
        ("return=OperationOutcome", "response", "OperationOutcome"),
    ],
)
def test_what_is_written_comes_back_as_preferred(
    api: httpx.Client, prefer: str, member: str, type: str
) -> None:
    answer = api.post("", json=bundle(post(a_patient(None))), headers={"Prefer": prefer})

    (entry,) = answer.json()["entry"]
    content = entry.get("resource") or entry["response"].get("outcome")
    assert (content or {}).get("resourceType", "") == type
    assert not member or "resource" in entry or "outcome" in entry[member]


def test_a_resource_is_stored_byte_for_byte(api: httpx.Client) -> None:
    text = json.dumps(bundle(post({"resourceType": "Observation"}))).replace(
        '{"resourceType": "Observation"}',
        '{"status":"final", "resourceType":"Observation","code":{"text":"x"},\n'
        '"valueQuantity":{"value":0.40}}',
    )

    answer = api.post("", content=text.encode())

    location = answer.json()["entry"][0]["response"]["location"]
    got = httpx.get(location, headers=api.headers).content
    assert b'"code":{"text":"x"}' in got
    assert b'"valueQuantity":{"value":0.40}' in got


def entry(**members: object) -> Json:
    return {"resource": a_patient(None), "request": {"method": "POST", "url": "Patient"}, **members}


@pytest.mark.parametrize(
    ("entries", "expression"),
    [
        ("x", "Bundle.entry"),
        ({}, "Bundle.entry"),
        ([1], "Bundle.entry[0]"),
        ([{}], ""),
        ([{"resource": a_patient(None)}], "Bundle.entry[0].request"),
        ([entry(request={"url": "Patient"})], "Bundle.entry[0].request.method"),
        ([entry(request={"method": "POST"})], "Bundle.entry[0].request.url"),
        ([entry(request={"method": "BREW", "url": "Patient"})], "Bundle.entry[0].request.method"),
        ([entry(request="POST")], "Bundle.entry[0].request"),
        ([entry(request={"method": "POST", "url": 1})], "Bundle.entry[0].request.url"),
        ([entry(fullUrl=1)], "Bundle.entry[0].fullUrl"),
        ([entry(wings=1)], "Bundle.entry[0].wings"),
        ([entry(resource=1)], "Bundle.entry[0].resource"),
        ([entry(resource=[])], "Bundle.entry[0].resource"),
        ([entry(resource={})], "Bundle.entry[0].resource"),
        ([entry(resource={"resourceType": "Ghost"})], "Bundle.entry[0].resource"),
        ([{"request": {"method": "POST", "url": "Patient"}}], "Bundle.entry[0].resource"),
        ([entry(), entry(resource=a_patient(None, gender="x"))], "Bundle.entry[1].resource.gender"),
        ([entry(resource=a_request(None))], "Bundle.entry[0].resource"),
        (
            [entry(request={"method": "POST", "url": "Patient", "ifNoneExist": "wings=2"})],
            "Bundle.entry[0].request.ifNoneExist",
        ),
        ([entry(request={"method": "PUT", "url": "Patient/p2"})], "Bundle.entry[0].resource.id"),
        ([get("ServiceRequest?_count=x")], ""),
        ([get("ServiceRequest?code=%00")], ""),
    ],
)
def test_a_bundle_that_cannot_be_meant_is_a_bad_request_at_its_place(
    api: httpx.Client, entries: object, expression: str
) -> None:
    answer = api.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})

    refused(answer, 400, "", expression)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"method": "DELETE", "url": "Provenance/1"}, 405),
        ({"method": "PATCH", "url": "Patient/1"}, 400),
        ({"method": "PUT", "url": "Patient"}, 400),
        ({"method": "POST", "url": "Patient/$match"}, 404),
        ({"method": "POST", "url": "Patient/_search"}, 501),
        ({"method": "POST", "url": ""}, 400),
        ({"method": "POST", "url": "/"}, 501),
        ({"method": "GET", "url": "metadata"}, 501),
        ({"method": "GET", "url": "Ghost/1"}, 404),
        ({"method": "GET", "url": "Patient/a_b"}, 404),
        ({"method": "GET", "url": "https://elsewhere.example/fhir/Patient/1"}, 404),
        ({"method": "GET", "url": "../../etc/passwd"}, 404),
        ({"method": "PUT", "url": "Patient/a_b"}, 400),
        ({"method": "POST", "url": "Patient/1"}, 405),
    ],
)
def test_what_cannot_be_part_of_it_is_refused(
    api: httpx.Client, request_: Json, status: int
) -> None:
    answer = api.post("", json=bundle({"resource": a_patient("x"), "request": request_}))

    issue = refused(answer, status)
    assert issue["expression"][0].startswith("Bundle.entry[0]")


@pytest.mark.parametrize("type", ["document", "searchset", "bogus", "", None, 1])
def test_another_kind_of_bundle_is_refused(api: httpx.Client, type: object) -> None:
    refused(api.post("", json={"resourceType": "Bundle", "type": type}), 400, "", "Bundle.type")


def test_an_empty_transaction_does_nothing(api: httpx.Client) -> None:
    answer = api.post("", json={"resourceType": "Bundle", "type": "transaction"})

    assert answer.status_code == 200
    assert answer.json() == {"resourceType": "Bundle", "type": "transaction-response"}


def test_something_else_than_a_bundle_is_refused(api: httpx.Client) -> None:
    refused(api.post("", json=a_patient(None)), 400)
    refused(api.post("", content=b"{"), 400)
    refused(api.post("", content=b"x", headers={"Content-Type": "text/plain"}), 415)


def test_a_large_transaction_does_not_hold_up_others(api: httpx.Client) -> None:
    entries = [post(a_patient(None)) for _ in range(300)]

    assert len(done(api, *entries)) == 300
