"""FHIR R4 search over HTTP: values, modifiers and vocabularies that clients store themselves."""

import uuid
from typing import Any

import httpx
import pytest

from tests.standards.asking import put, refused, stored

Json = dict[str, Any]

PETS = {
    "resourceType": "CodeSystem", "url": "http://pets.example/cs", "status": "active",
    "content": "complete",
    "concept": [{"code": "dog", "concept": [{"code": "pug"}, {"code": "beagle"}]}, {"code": "cat"}],
}  # fmt: skip
DOGS = {
    "resourceType": "ValueSet", "url": "http://pets.example/vs/dogs", "status": "active",
    "compose": {"include": [{"system": "http://pets.example/cs", "filter": [
        {"property": "concept", "op": "is-a", "value": "dog"}]}]},
}  # fmt: skip


def tagged(api: httpx.Client, mark: str, code: str) -> Json:
    device = {"resourceType": "Device", "identifier": [{"system": "urn:mark", "value": mark}],
              "type": {"coding": [{"system": PETS["url"], "code": code}]}}  # fmt: skip
    return stored(api, device)


def found(api: httpx.Client, address: str) -> set[str]:
    answer = api.get(address)
    assert answer.status_code == 200, answer.text
    return {each["resource"]["id"] for each in answer.json().get("entry", ())}


@pytest.mark.standard("FHIR search token")
def test_value_sets_and_code_systems_that_clients_store_can_be_asked_for(
    api: httpx.Client,
) -> None:
    put(api, {**PETS, "id": "pets"})
    put(api, {**DOGS, "id": "dogs"})
    mark = uuid.uuid4().hex
    pug, cat = (tagged(api, mark, code)["id"] for code in ("pug", "cat"))
    mine = f"/Device?identifier=urn:mark|{mark}"

    assert found(api, f"{mine}&type:in={DOGS['url']}") == {pug}
    assert found(api, f"{mine}&type:not-in={DOGS['url']}") == {cat}
    assert found(api, f"{mine}&type:below={PETS['url']}|dog") == {pug}
    assert found(api, f"{mine}&type:above={PETS['url']}|pug") == {pug}
    refused(api.get(f"{mine}&type:in=http://pets.example/vs/none"), 400, "not-found")


@pytest.mark.standard("FHIR search quantity")
def test_what_is_written_is_found_by_its_values_and_its_next_version_by_its_own(
    api: httpx.Client,
) -> None:
    patient = stored(api, {"resourceType": "Patient"})
    observation: Json = {
        "resourceType": "Observation", "id": uuid.uuid4().hex, "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "3141-9"}], "text": "Weight"},
        "subject": {"reference": f"Patient/{patient['id']}"},
        "valueQuantity": {"value": 72.5, "unit": "kg", "system": "http://unitsofmeasure.org",
                          "code": "kg"},
    }  # fmt: skip
    id = put(api, observation)["id"]
    mine = f"/Observation?subject=Patient/{patient['id']}"

    assert found(api, f"{mine}&value-quantity=72.5|http://unitsofmeasure.org|kg") == {id}
    assert found(api, f"{mine}&code-value-quantity=3141-9$gt70") == {id}
    assert found(api, f"{mine}&code:text=weight") == {id}
    observation["valueQuantity"]["value"] = 60.5
    put(api, observation)
    assert found(api, f"{mine}&value-quantity=gt70") == set()
    assert found(api, f"{mine}&code-value-quantity=3141-9$lt70") == {id}
    assert api.delete(f"/Observation/{id}").status_code == 204
    assert found(api, f"{mine}&value-quantity=lt70") == set()


@pytest.mark.standard("FHIR search modifiers")
@pytest.mark.parametrize(
    "query",
    ["value-quantity=x", "value-quantity=1|2", "code-value-quantity=1", "value-quantity:exact=1",
     "code:contains=x", "subject:below=Patient/1", "value-quantity=1e99999"],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_the_parameter(api: httpx.Client, query: str) -> None:
    answer = api.get(f"/Observation?{query}")

    issue = refused(answer, 400)
    assert query.partition("=")[0].partition(":")[0] in str(issue)


@pytest.mark.standard("FHIR search chained parameters")
def test_a_chain_ends_at_values_too(api: httpx.Client) -> None:
    place = stored(api, {"resourceType": "Location", "name": "Here",
                         "position": {"latitude": 51.5, "longitude": -0.12}})  # fmt: skip
    device = stored(api, {"resourceType": "Device",
                          "location": {"reference": f"Location/{place['id']}"}})  # fmt: skip

    assert device["id"] in found(api, "/Device?location.near=51.5|-0.12|1|km&_count=1000")
    assert device["id"] not in found(api, "/Device?location.near=0|0|1|km&_count=1000")
