"""FHIR http, "conditional create" and "conditional update": of many who ask, one makes it."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.build import a_patient, a_request
from tests.server import Server
from tests.standards.asking import Json, refused, stored

SYSTEM = "https://example.org/tests"


@pytest.fixture
def value() -> str:
    """The value of an identifier that nobody else has."""
    return str(uuid.uuid4())


def a_person(value: str, **members: object) -> Json:
    return {**a_patient(None, identifier=[{"system": SYSTEM, "value": value}]), **members}


def create(api: httpx.Client, value: str, **members: object) -> httpx.Response:
    condition = {"If-None-Exist": f"identifier={SYSTEM}|{value}"}
    return api.post("/Patient", json=a_person(value, **members), headers=condition)


def update(api: httpx.Client, value: str, **members: object) -> httpx.Response:
    condition = {"identifier": f"{SYSTEM}|{value}"}
    return api.put("/Patient", params=condition, json=a_person(value, **members))


@pytest.mark.standard("FHIR http conditional create")
def test_without_a_match_it_is_created(api: httpx.Client, value: str) -> None:
    answer = create(api, value)

    assert answer.status_code == 201
    assert answer.headers["location"].endswith(f"/Patient/{answer.json()['id']}/_history/1")


@pytest.mark.standard("FHIR http conditional create")
def test_with_one_match_nothing_is_written_and_it_is_named(api: httpx.Client, value: str) -> None:
    first = create(api, value)

    again = create(api, value, gender="female")

    assert again.status_code == 200
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["etag"] == 'W/"1"'


@pytest.mark.standard("FHIR http conditional create")
def test_with_several_matches_it_is_refused(api: httpx.Client, value: str) -> None:
    for _ in range(2):
        stored(api, a_person(value))

    refused(create(api, value), 412, "multiple-matches", "If-None-Exist")


@pytest.mark.standard("FHIR http conditional create")
@pytest.mark.parametrize(
    "condition", ["", "wings=2", "_count=1", "identifier:bogus=1", "x", "gender=male&_count=1"]
)
def test_a_condition_that_cannot_be_asked_is_refused(api: httpx.Client, condition: str) -> None:
    answer = api.post("/Patient", json=a_patient(None), headers={"If-None-Exist": condition})

    refused(answer, 400, "", "If-None-Exist")


@pytest.mark.standard("FHIR http conditional delete")
@pytest.mark.parametrize(
    "extra", ["_count=1", "_sort=family", "_include=Patient:link", "_total=none"]
)
def test_what_shapes_an_answer_is_no_part_of_a_condition(api: httpx.Client, extra: str) -> None:
    name = extra.partition("=")[0]

    refused(api.delete(f"/Patient?family=Nobody&{extra}"), 400, "not-supported", name)


@pytest.mark.standard("FHIR http conditional create")
def test_of_16_that_create_on_one_condition_one_does(shared_server: Server, value: str) -> None:
    client = shared_server.client()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: create(client, value), range(16)))

    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert client.get("/Patient", params={"identifier": value}).json()["total"] == 1


@pytest.mark.standard("FHIR http conditional create")
def test_the_order_of_criteria_makes_no_other_condition(shared_server: Server, value: str) -> None:
    client = shared_server.client()
    criteria = [f"identifier={SYSTEM}|{value}", "gender=other"]

    def one(n: int) -> httpx.Response:
        condition = "&".join(criteria if n % 2 else reversed(criteria))
        return client.post("/Patient", json=a_person(value), headers={"If-None-Exist": condition})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]


@pytest.mark.standard("FHIR http conditional create")
def test_a_match_that_is_hidden_is_none_and_nothing_is_told_of_it(
    api: httpx.Client, other: httpx.Client, value: str
) -> None:
    hidden = create(api, value).json()

    answer = create(other, value)

    assert answer.status_code == 201
    assert answer.json()["id"] != hidden["id"]


@pytest.mark.standard("FHIR http conditional create")
def test_a_condition_needs_the_scope_of_a_search(
    api: httpx.Client, shared_server: Server, value: str
) -> None:
    refused(create(shared_server.client(scope="system/*.cru"), value), 403)


@pytest.mark.standard("FHIR http conditional update")
def test_an_update_without_match_creates(api: httpx.Client, value: str) -> None:
    answer = update(api, value)

    assert answer.status_code == 201
    assert answer.json()["meta"]["versionId"] == "1"


@pytest.mark.standard("FHIR http conditional update")
def test_an_update_with_one_match_makes_its_next_version(api: httpx.Client, value: str) -> None:
    first = update(api, value).json()

    answer = update(api, value, gender="female")

    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["gender"]) == (first["id"], "female")
    assert answer.headers["etag"] == 'W/"2"'


@pytest.mark.standard("FHIR http conditional update")
def test_an_update_without_match_takes_the_id_it_gives(api: httpx.Client, value: str) -> None:
    answer = update(api, value, id=value)

    assert (answer.status_code, answer.json()["id"]) == (201, value)


@pytest.mark.standard("FHIR http conditional update")
def test_an_update_with_the_id_of_another_is_refused(api: httpx.Client, value: str) -> None:
    update(api, value)

    refused(update(api, value, id="another"), 400)


@pytest.mark.standard("FHIR http conditional update")
def test_an_id_that_does_not_meet_the_condition_is_not_overwritten(
    api: httpx.Client, value: str
) -> None:
    there = stored(api, a_patient(None))

    refused(update(api, value, id=there["id"]), 409, "conflict")


@pytest.mark.standard("FHIR http conditional update")
def test_an_update_with_several_matches_is_refused(api: httpx.Client, value: str) -> None:
    for _ in range(2):
        stored(api, a_person(value))

    refused(update(api, value), 412, "multiple-matches")


@pytest.mark.standard("FHIR http conditional update")
def test_of_16_that_update_on_one_condition_one_creates(shared_server: Server, value: str) -> None:
    client = shared_server.client()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: update(client, value), range(16)))

    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    versions = {int(answer.json()["meta"]["versionId"]) for answer in answers}
    assert versions == set(range(1, 17))


@pytest.mark.standard("FHIR http concurrency")
def test_a_condition_does_not_stand_for_a_version(api: httpx.Client, value: str) -> None:
    patient = stored(api, a_patient(None))
    subject = {"reference": f"Patient/{patient['id']}"}
    identifier = [{"system": SYSTEM, "value": value}]
    request = a_request(None, subject=subject, requester=None, identifier=identifier)
    stored(api, request)

    answer = api.put("/ServiceRequest", params={"identifier": value}, json=request)

    refused(answer, 428)
    named = {"If-Match": 'W/"1"'}
    answer = api.put("/ServiceRequest", params={"identifier": value}, json=request, headers=named)
    assert answer.status_code == 200


@pytest.mark.standard("FHIR http conditional read")
def test_a_read_of_what_is_held_is_not_modified(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    address = f"/Patient/{patient['id']}"
    first = api.get(address)

    for condition in (
        {"If-None-Match": first.headers["etag"]},
        {"If-Modified-Since": first.headers["last-modified"]},
    ):
        answer = api.get(address, headers=condition)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == first.headers["etag"]
    assert api.get(address, headers={"If-None-Match": 'W/"7"'}).status_code == 200
