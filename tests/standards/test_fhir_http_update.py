"""FHIR http, "update", "update as create", "Managing Resource Contention"."""

import uuid

import httpx
import pytest

from tests.build import a_patient, a_request
from tests.standards.asking import Json, put, refused, stored

pytestmark = pytest.mark.standard("FHIR http update")


@pytest.fixture
def request_stored(api: httpx.Client) -> Json:
    """A ServiceRequest: one of the types whose update must name a version."""
    patient = {"reference": f"Patient/{stored(api, a_patient(None))['id']}"}
    return stored(api, a_request(None, subject=patient, requester=None))


def test_an_update_makes_the_next_version(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))

    answer = api.put(f"/Patient/{patient['id']}", json={**patient, "active": False})

    assert answer.status_code == 200
    assert answer.headers["etag"] == 'W/"2"'
    assert answer.headers["location"].endswith(f"/Patient/{patient['id']}/_history/2")
    assert answer.json()["meta"]["versionId"] == "2"
    assert answer.json()["active"] is False
    assert api.get(f"/Patient/{patient['id']}").json() == answer.json()


@pytest.mark.standard("FHIR http update as create")
def test_an_update_of_nothing_creates_under_the_id_of_the_client(api: httpx.Client) -> None:
    answer = api.put(
        "/Organization/a.new-ONE.1",
        json={"resourceType": "Organization", "id": "a.new-ONE.1", "name": "New"},
    )

    assert answer.status_code == 201
    assert answer.headers["location"].endswith("/Organization/a.new-ONE.1/_history/1")


@pytest.mark.parametrize("id", ["a" * 65, "a_b", "%00", "%20", "%C3%A9", "x\\y"])
def test_an_id_that_fhir_does_not_know_is_refused(api: httpx.Client, id: str) -> None:
    refused(api.put(f"/Patient/{id}", json=a_patient("p")), 400, "value", "id")


@pytest.mark.parametrize("id", [None, "another", 1, "", "P1"])
def test_the_id_in_the_body_must_be_that_of_the_address(api: httpx.Client, id: object) -> None:
    patient = a_patient("p1")
    patient["id"] = id
    if id is None:
        del patient["id"]

    refused(api.put("/Patient/p1", json=patient), 400, "", "Patient.id")


def test_the_type_in_the_body_must_be_that_of_the_address(api: httpx.Client) -> None:
    refused(api.put("/Patient/p1", json=a_request("p1")), 400, "invalid")


@pytest.mark.standard("FHIR http managing resource contention")
def test_a_stale_version_is_refused_and_changes_nothing(
    api: httpx.Client, request_stored: Json
) -> None:
    address = f"/ServiceRequest/{request_stored['id']}"
    first = api.put(address, json=request_stored, headers={"If-Match": 'W/"1"'})
    assert first.status_code == 200

    stale = api.put(address, json=request_stored, headers={"If-Match": 'W/"1"'})

    refused(stale, 412, "conflict")
    assert api.get(address).headers["etag"] == 'W/"2"'


@pytest.mark.standard("FHIR http managing resource contention")
@pytest.mark.parametrize("version", ['W/"7"', 'W/"0"'])
def test_a_version_that_never_was_is_refused(
    api: httpx.Client, request_stored: Json, version: str
) -> None:
    address = f"/ServiceRequest/{request_stored['id']}"

    refused(api.put(address, json=request_stored, headers={"If-Match": version}), 412)


@pytest.mark.standard("RFC 6585 3")
def test_a_type_that_changes_hands_is_updated_by_version_only(
    api: httpx.Client, request_stored: Json
) -> None:
    refused(api.put(f"/ServiceRequest/{request_stored['id']}", json=request_stored), 428)


@pytest.mark.parametrize("if_match", ["", "*", "1", 'W/"1", W/"2"', "junk", 'W/"x"', 'W/"-1"'])
def test_an_if_match_that_names_no_version_is_a_bad_request(
    api: httpx.Client, request_stored: Json, if_match: str
) -> None:
    address = f"/ServiceRequest/{request_stored['id']}"

    answer = api.put(address, json=request_stored, headers={"If-Match": if_match})

    refused(answer, 400, "value", "If-Match")


def test_if_match_on_nothing_creates_nothing(api: httpx.Client) -> None:
    organization = {"resourceType": "Organization", "id": "never-was", "name": "x"}

    answer = api.put("/Organization/never-was", json=organization, headers={"If-Match": 'W/"1"'})

    refused(answer, 412)
    refused(api.get("/Organization/never-was"), 404)


def test_a_reference_to_nothing_is_unprocessable(api: httpx.Client, request_stored: Json) -> None:
    dangling = {**request_stored, "performer": [{"reference": "Organization/nothing-here"}]}

    answer = api.put(
        f"/ServiceRequest/{request_stored['id']}", json=dangling, headers={"If-Match": 'W/"1"'}
    )

    refused(answer, 422, "", "ServiceRequest.performer[0]")


@pytest.mark.standard("threats T1")
def test_who_has_nothing_to_do_with_a_patient_does_not_change_them(
    api: httpx.Client, other: httpx.Client
) -> None:
    patient = stored(api, a_patient(None))

    answer = other.put(f"/Patient/{patient['id']}", json={**patient, "active": False})

    assert answer.status_code in {403, 404}
    assert api.get(f"/Patient/{patient['id']}").json() == patient


@pytest.mark.parametrize("type", ["AuditEvent", "Provenance"])
def test_what_happened_is_not_changed(api: httpx.Client, type: str) -> None:
    answer = api.put(f"/{type}/1", json={"resourceType": type, "id": "1"})

    assert 400 <= answer.status_code < 500
    refused(answer, answer.status_code)


def test_writes_at_the_same_time_make_one_version_each(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    for _ in range(3):
        put(api, patient)

    history = api.get(f"/Patient/{patient['id']}/_history").json()

    assert [entry["resource"]["meta"]["versionId"] for entry in history["entry"]] == [
        "4",
        "3",
        "2",
        "1",
    ]


@pytest.mark.standard("RFC 9110 13.1.2")
def test_if_none_match_of_everything_lets_nothing_be_overwritten(api: httpx.Client) -> None:
    id = f"p-{uuid.uuid4()}"
    only_new = {"If-None-Match": "*"}

    first = api.put(f"/Patient/{id}", json=a_patient(id), headers=only_new)
    again = api.put(f"/Patient/{id}", json=a_patient(id), headers=only_new)

    assert first.status_code == 201
    refused(again, 412, "conflict")
    request = {"method": "PUT", "url": f"Patient/{id}", "ifNoneMatch": "*"}
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": a_patient(id), "request": request}],
    }
    refused(api.post("", json=bundle), 412, "conflict")
    versions = {"If-None-Match": 'W/"1"'}
    answer = api.put(f"/Patient/{id}", json=a_patient(id), headers=versions)
    refused(answer, 400, "not-supported", "If-None-Match")
