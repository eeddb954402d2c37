"""The demonstration's people and places: complete, valid, and nobody real."""

import json
from pathlib import Path

import pytest

from demo import data
from demo.load import load
from demo.resources import resources
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.settings import Settings
from fhir_server.store.store import Store
from resources import references
from resources.identifiers import is_nhs_number, is_ods_code
from resources.validate import check

ROLES = {"referrer", "practitioner", "operator", "reporter", "reviewer", "coordinator", "delegate"}


def test_there_is_a_person_for_every_clinical_role() -> None:
    assert {person.role for person in data.PEOPLE} >= ROLES | {
        "auditor",
        "safety-officer",
        "administrator",
    }


def test_there_are_a_lead_a_second_trust_an_independent_provider_and_a_practice() -> None:
    assert len(data.PLACES) >= 4
    assert all(is_ods_code(place.ods) for place in data.PLACES)


def test_nhs_numbers_are_valid_and_of_the_test_range() -> None:
    numbers = [patient.nhs_number for patient in data.PATIENTS]

    assert all(is_nhs_number(number) and number.startswith("999") for number in numbers)
    assert len(set(numbers)) == len(numbers)


def test_every_resource_is_valid_and_refers_to_what_came_before() -> None:
    known: set[str] = set()
    for resource in resources():
        assert check(resource) == [], resource["id"]
        assert {literal for _, literal, _ in references.find(resource)} <= known
        known.add(f"{resource['resourceType']}/{resource['id']}")


@pytest.mark.anyio
async def test_loading_twice_is_loading_once(
    store: Store, database: Database, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path)
    context = RequestContext(Principal.system("test"), "read")

    path = await load(settings, database, store)
    key = (tmp_path / "demo-backend.jwk.json").read_text()
    first = path.read_text()
    assert await load(settings, database, store) == path

    assert path.read_text() == first
    assert (tmp_path / "demo-backend.jwk.json").read_text() == key
    for resource in resources():
        stored = await store.read(context, resource["resourceType"], resource["id"])
        assert stored.version == 1


@pytest.mark.anyio
async def test_demo_json_says_what_scripts_need(
    store: Store, database: Database, tmp_path: Path
) -> None:
    said = json.loads((await load(Settings(data_dir=tmp_path), database, store)).read_text())

    assert set(said) == {
        "fhir_base",
        "dicomweb_base",
        "dicom",
        "organizations",
        "users",
        "clients",
        "peers",
        "patients",
        "studies",
    }
    backend, app = said["clients"]
    assert (backend["id"], backend["scopes"]) == ("demo-backend", "system/*.cruds")
    assert json.loads(Path(backend["jwk_file"]).read_text())["d"]
    assert app["redirect_uris"] == ["http://127.0.0.1:18999/cb", "http://localhost:18999/cb"]
    assert {"ae": "ACCEPT", "host": "127.0.0.1", "port": 14300, "organization": "northmoor"} in (
        said["peers"]
    )
    assert all({"login", "password", "role", "organization"} <= set(one) for one in said["users"])
