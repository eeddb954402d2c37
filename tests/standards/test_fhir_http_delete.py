"""FHIR http, "delete" and "conditional delete"."""

import uuid

import httpx
import pytest

from tests.build import a_patient, a_request, an_appointment
from tests.server import Server
from tests.standards.asking import Json, put, refused, stored

pytestmark = pytest.mark.standard("FHIR http delete")


def a_flag(patient: str, **members: object) -> Json:
    return {
        "resourceType": "Flag",
        "status": "active",
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{patient}"},
        **members,
    }


def named() -> Json:
    """An identifier that nobody else has."""
    return {"system": "https://example.org/tests", "value": str(uuid.uuid4())}


def test_what_was_deleted_is_gone_and_its_versions_stay(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    address = f"/Patient/{patient['id']}"

    answer = api.delete(address)

    assert (answer.status_code, answer.content, answer.headers["etag"]) == (204, b"", 'W/"2"')
    refused(api.get(address), 410, "deleted")
    assert api.get(f"{address}/_history/1").json() == patient
    newest, _ = api.get(f"{address}/_history").json()["entry"]
    assert newest["request"] == {"method": "DELETE", "url": f"Patient/{patient['id']}"}
    assert newest["response"]["status"].startswith("204")
    assert "resource" not in newest


def test_a_deleted_resource_is_not_found_by_a_search(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))

    api.delete(f"/Patient/{patient['id']}")

    assert api.get("/Patient", params={"_id": patient["id"]}).json()["total"] == 0


def test_deleting_again_or_what_never_was_has_no_effect(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    api.delete(f"/Patient/{patient['id']}")

    again = api.delete(f"/Patient/{patient['id']}")
    never = api.delete("/Patient/never-was")

    assert (again.status_code, never.status_code) == (204, 204)
    assert len(api.get(f"/Patient/{patient['id']}/_history").json()["entry"]) == 2


def test_a_deleted_resource_is_brought_back_by_an_update(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    api.delete(f"/Patient/{patient['id']}")

    assert put(api, patient)["meta"]["versionId"] == "3"


def test_an_outcome_comes_where_prefer_asks_for_one(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))

    answer = api.delete(f"/Patient/{patient['id']}", headers={"Prefer": "return=OperationOutcome"})

    assert answer.status_code == 200
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_if_match_names_the_version_that_is_deleted(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    address = f"/Patient/{patient['id']}"

    refused(api.delete(address, headers={"If-Match": 'W/"2"'}), 412)
    assert api.delete(address, headers={"If-Match": 'W/"1"'}).status_code == 204


def test_what_is_referred_to_is_not_deleted(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    flag = stored(api, a_flag(patient["id"]))
    address = f"/Patient/{patient['id']}"

    issue = refused(api.delete(address), 409, "conflict")

    assert f"Flag/{flag['id']}" in issue["details"]["text"]
    assert api.get(address).status_code == 200
    assert api.delete(f"/Flag/{flag['id']}").status_code == 204
    assert api.delete(address).status_code == 204


def test_a_reference_that_no_search_reaches_counts_as_well(api: httpx.Client) -> None:
    patient, shown = stored(api, a_patient(None)), stored(api, a_patient(None))
    extension = {
        "url": "https://example.org/about",
        "valueReference": {"reference": f"Patient/{shown['id']}"},
    }
    stored(api, a_flag(patient["id"], extension=[extension]))

    refused(api.delete(f"/Patient/{shown['id']}"), 409)


def test_a_referrer_that_is_hidden_is_not_named(
    api: httpx.Client, shared_server: Server, other: httpx.Client
) -> None:
    organization = stored(api, {"resourceType": "Organization", "name": "Referred to"})
    role = {
        "resourceType": "Basic",
        "code": {"text": "x"},
        "author": {"reference": f"Organization/{organization['id']}"},
    }
    hidden = stored(other, role)

    issue = refused(api.delete(f"/Organization/{organization['id']}"), 409)

    assert hidden["id"] not in issue["details"]["text"]


def test_who_may_not_see_it_is_told_that_nothing_is_there_and_it_stays(
    api: httpx.Client, other: httpx.Client
) -> None:
    patient = stored(api, a_patient(None))

    assert other.delete(f"/Patient/{patient['id']}").status_code == 204
    assert api.get(f"/Patient/{patient['id']}").status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("headers", [{}, {"If-Match": 'W/"1"'}, {"If-Match": 'W/"7"'}])
def test_a_change_of_what_is_hidden_is_told_what_is_told_of_nothing(
    api: httpx.Client, shared_server: Server, method: str, headers: dict[str, str]
) -> None:
    """Who may not create has no other way to find out either."""
    other = shared_server.client(organization="other", scope="system/*.ruds")
    there, nowhere = stored(api, a_patient(None))["id"], str(uuid.uuid4())

    def told(id: str) -> tuple[int, str]:
        patch = {"resourceType": "Parameters"}
        resource = patch if method == "PATCH" else a_patient(id, identifier=[])
        answer = other.request(method, f"/Patient/{id}", json=resource, headers=headers)
        return answer.status_code, answer.text.replace(id, "x")

    assert told(there) == told(nowhere)
    assert api.get(f"/Patient/{there}").headers["etag"] == 'W/"1"'


def test_a_scope_without_the_letter_deletes_nothing(
    api: httpx.Client, shared_server: Server
) -> None:
    patient = stored(api, a_patient(None))
    client = shared_server.client(scope="system/*.crus")

    refused(client.delete(f"/Patient/{patient['id']}"), 403)
    refused(client.delete("/Patient/never-was"), 403)


@pytest.mark.requirement("R014.1")
@pytest.mark.parametrize("type", ["AuditEvent", "Provenance"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("id", ["", "/x"])
def test_records_of_what_was_done_are_not_changed_by_anybody(
    api: httpx.Client, type: str, method: str, id: str
) -> None:
    answer = api.request(method, f"/{type}{id}", json={"resourceType": type})

    refused(answer, 405, "not-supported")
    assert answer.headers["allow"] == ("GET, HEAD" if id else "POST, GET, HEAD")


def test_what_belongs_to_a_request_is_ended_and_not_deleted(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    about = {"subject": {"reference": f"Patient/{patient['id']}"}, "requester": None}
    request = stored(api, a_request(None, **about, requisition={"value": str(uuid.uuid4())}))
    participant = [{"actor": {"reference": f"Patient/{patient['id']}"}, "status": "accepted"}]
    slot = stored(api, an_appointment(None, request["id"], participant=participant))
    named_version = {"If-Match": 'W/"1"'}

    refused(api.delete(f"/Appointment/{slot['id']}", headers=named_version), 409)
    refused(api.delete(f"/ServiceRequest/{request['id']}", headers=named_version), 409)


@pytest.mark.standard("FHIR http conditional delete")
def test_a_condition_deletes_the_one_that_meets_it(api: httpx.Client) -> None:
    identifier = named()
    patient = stored(api, a_patient(None, identifier=[identifier]))
    condition = {"identifier": f"{identifier['system']}|{identifier['value']}"}

    answer = api.delete("/Patient", params=condition)

    assert answer.status_code == 204
    refused(api.get(f"/Patient/{patient['id']}"), 410)
    assert api.delete("/Patient", params=condition).status_code == 204


@pytest.mark.standard("FHIR http conditional delete")
def test_several_that_meet_a_condition_stay(api: httpx.Client) -> None:
    identifier = named()
    for _ in range(2):
        stored(api, a_patient(None, identifier=[identifier]))
    condition = {"identifier": identifier["value"]}

    refused(api.delete("/Patient", params=condition), 412, "multiple-matches")

    assert api.get("/Patient", params=condition).json()["total"] == 2


@pytest.mark.standard("FHIR http conditional delete")
@pytest.mark.parametrize(
    "query",
    [
        "",
        "?_format=json",
        "?wings=2",
        "?_count=1",
        "?_sort=name",
        "?identifier=",
        "?identifier=,",
        "?_include=*",
        "?_summary=true",
        "?_total=none",
        "?_type=Patient",
    ],
)
def test_a_condition_that_says_nothing_deletes_nothing(api: httpx.Client, query: str) -> None:
    refused(api.delete(f"/Patient{query}"), 400)


@pytest.mark.standard("FHIR http conditional delete")
def test_a_condition_does_not_reach_what_is_hidden(api: httpx.Client, other: httpx.Client) -> None:
    identifier = named()
    patient = stored(api, a_patient(None, identifier=[identifier]))

    answer = other.delete("/Patient", params={"identifier": identifier["value"]})

    assert answer.status_code == 204
    assert api.get(f"/Patient/{patient['id']}").status_code == 200
