"""FHIR http, "batch": each entry by itself."""

import httpx
import pytest

from resources import models
from tests.build import a_patient, a_request
from tests.standards.asking import Json, refused, stored

pytestmark = pytest.mark.standard("FHIR http batch")


def batch(api: httpx.Client, *entries: Json) -> list[Json]:
    answer = api.post("/", json={"resourceType": "Bundle", "type": "batch", "entry": list(entries)})
    assert answer.status_code == 200, answer.text
    models.model("Bundle").model_validate_json(answer.content)
    assert answer.json()["type"] == "batch-response"
    responses: list[Json] = answer.json()["entry"]
    assert len(responses) == len(entries)
    return responses


def asking(method: str, url: str, resource: Json | None = None, **request: str) -> Json:
    entry: Json = {"request": {"method": method, "url": url, **request}}
    return {"resource": resource, **entry} if resource is not None else entry


def test_each_entry_is_answered_as_if_it_had_come_by_itself(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    address = f"Patient/{patient['id']}"

    responses = batch(
        api,
        asking("GET", address),
        asking("POST", "Patient", a_patient(None, gender="bogus")),
        asking("POST", "Patient", a_patient(None)),
        asking("GET", "Patient/nothing-here"),
        asking("GET", f"Patient?_id={patient['id']}"),
        asking("GET", f"{address}/_history"),
        asking("GET", f"{address}/_history/1"),
        asking("DELETE", "Patient/nothing-here-either"),
        asking("GET", f"/{address}"),
        asking("GET", f"{api.base_url!s}{address}"),
        asking("GET", address, ifNoneMatch='W/"1"'),
        asking("HEAD", address),
    )

    assert [each["response"]["status"][:3] for each in responses] == [
        "200", "400", "201", "404", "200", "200", "200", "204", "200", "200", "304", "200",
    ]  # fmt: skip
    assert responses[0]["resource"] == patient
    assert responses[2]["response"]["location"]
    assert responses[4]["resource"]["type"] == "searchset"
    assert responses[5]["resource"]["type"] == "history"


def test_what_is_refused_names_its_place_in_the_bundle(api: httpx.Client) -> None:
    responses = batch(
        api,
        asking("POST", "Patient", a_patient(None)),
        asking("POST", "Patient", a_patient(None, gender="bogus")),
        asking(
            "POST",
            "ServiceRequest",
            a_request(None, subject={"reference": "Patient/no"}, requester=None),
        ),
        asking("POST", "Patient"),
        asking("POST", "Patient", a_patient(None), ifNoneExist="wings=2"),
    )

    issues = [each["response"]["outcome"]["issue"][0] for each in responses[1:]]
    assert [issue["expression"][0] for issue in issues] == [
        "Bundle.entry[1].resource.gender",
        "Bundle.entry[2].resource.subject",
        "Bundle.entry[3].resource",
        "Bundle.entry[4].request.ifNoneExist",
    ]


def test_entries_are_gated_one_by_one(api: httpx.Client, other: httpx.Client) -> None:
    id = stored(api, a_patient(None))["id"]

    responses = batch(other, asking("GET", f"Patient/{id}"), asking("GET", "Organization/lead"))

    assert [each["response"]["status"][:3] for each in responses] == ["404", "200"]


def test_a_bundle_in_a_bundle_is_not_answered(api: httpx.Client) -> None:
    inner = {"resourceType": "Bundle", "type": "batch"}

    responses = batch(api, asking("POST", "/", inner), asking("POST", "?x=y", inner))

    assert [each["response"]["status"][:3] for each in responses] == ["400", "400"]


def test_one_bad_frame_spoils_the_batch(api: httpx.Client) -> None:
    answer = api.post(
        "", json={"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"url": "x"}}]}
    )

    refused(answer, 400, "", "Bundle.entry[0].request.method")


@pytest.mark.parametrize("type", [["Patient"], {}, None, 1, True, ""])
@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_a_resource_whose_type_is_no_name_is_refused(
    api: httpx.Client, type: object, kind: str
) -> None:
    entry = {"resource": {"resourceType": type}, "request": {"method": "POST", "url": "Patient"}}

    answer = api.post("/", json={"resourceType": "Bundle", "type": kind, "entry": [entry]})

    refused(answer, 400, "structure", "Bundle.entry[0].resource")


@pytest.mark.parametrize("entry", [None, True, 1, "x", {}, [None], [1], [[]]], ids=repr)
@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_entries_that_are_none_are_refused(api: httpx.Client, kind: str, entry: object) -> None:
    answer = api.post("/", json={"resourceType": "Bundle", "type": kind, "entry": entry})

    refused(answer, 400)
