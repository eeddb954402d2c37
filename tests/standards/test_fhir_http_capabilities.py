"""FHIR http, "capabilities"."""

import httpx
import pytest

from resources import models, validate
from tests.server import Server
from tests.standards.asking import Json, refused

STRICT = {"Prefer": "handling=strict"}

pytestmark = pytest.mark.standard("FHIR http capabilities")


@pytest.fixture(scope="module")
def statement(shared_server: Server) -> Json:
    json: Json = shared_server.stranger().get("/metadata").json()
    return json


def of(statement: Json, type: str) -> Json:
    resource: Json = next(r for r in statement["rest"][0]["resource"] if r["type"] == type)
    return resource


def test_anybody_may_ask_what_the_server_can_do(shared_server: Server) -> None:
    answer = shared_server.stranger().get("/metadata")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+json; fhirVersion=4.0"
    models.model("CapabilityStatement").model_validate_json(answer.content)
    assert validate.check(answer.json()) == []


def test_the_release_and_the_base_are_named(shared_server: Server, statement: Json) -> None:
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["implementation"]["url"] == shared_server.base
    assert {each["code"] for each in statement["rest"][0]["interaction"]} >= {
        "batch",
        "transaction",
        "history-system",
    }
    assert set(statement["patchFormat"]) == {
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/fhir+json",
    }


@pytest.mark.parametrize("type", ["Patient", "ServiceRequest", "Task", "ImagingStudy", "Basic"])
def test_each_type_says_what_it_takes(statement: Json, type: str) -> None:
    resource = of(statement, type)

    assert {each["code"] for each in resource["interaction"]} == {
        "read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create",
        "search-type",
    }  # fmt: skip
    assert resource["versioning"] == "versioned-update"
    assert resource["readHistory"] is True
    assert resource["updateCreate"] is True
    assert resource["conditionalCreate"] is True
    assert resource["conditionalUpdate"] is True
    assert resource["conditionalDelete"] == "single"


@pytest.mark.parametrize("type", ["AuditEvent", "Provenance"])
def test_records_of_what_happened_are_not_changed(statement: Json, type: str) -> None:
    resource = of(statement, type)

    offered = {each["code"] for each in resource["interaction"]}
    assert not {"update", "patch", "delete"} & offered
    assert (resource["updateCreate"], resource["conditionalUpdate"]) == (False, False)
    assert resource["conditionalDelete"] == "not-supported"


def test_search_parameters_and_includes_are_listed(statement: Json) -> None:
    study = of(statement, "ImagingStudy")

    parameters = {each["name"]: each["type"] for each in study["searchParam"]}
    assert parameters["basedon"] == "reference"
    assert parameters["modality"] == "token"
    assert parameters["started"] == "date"
    assert "ImagingStudy:basedon" in study["searchInclude"]
    assert "DiagnosticReport:imaging-study" in study["searchRevInclude"] or (
        "DiagnosticReport:imagingStudy" in study["searchRevInclude"]
    )


def test_what_all_types_have_and_the_compartments_are_listed_and_answered(
    api: httpx.Client, statement: Json
) -> None:
    rest = statement["rest"][0]

    common = {each["name"] for each in rest["searchParam"]}
    assert common == {"_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"}
    for name in common:
        value = "2026" if name == "_lastUpdated" else "urn:x"
        answer = api.get("/", params={"_type": "Task", name: value}, headers=STRICT)
        assert answer.status_code == 200, answer.text
    assert {each.rpartition("/")[2] for each in rest["compartment"]} == {
        "device", "encounter", "patient", "practitioner", "relatedperson",
    }  # fmt: skip
    for type in ("Device", "Encounter", "Patient", "Practitioner", "RelatedPerson"):
        assert api.get(f"/{type}/nobody/*").status_code == 200
        assert api.get(f"/{type}/nobody/Observation", headers=STRICT).status_code == 200


def test_every_include_may_be_asked_for_by_a_star(api: httpx.Client, statement: Json) -> None:
    study = of(statement, "ImagingStudy")

    assert (study["searchInclude"][0], study["searchRevInclude"][0]) == ("*", "*")
    asked = "/ImagingStudy?_id=none&_include=*&_revinclude=*"
    assert api.get(asked, headers=STRICT).status_code == 200


def test_every_listed_type_is_answered(api: httpx.Client, statement: Json) -> None:
    for resource in statement["rest"][0]["resource"][::12]:
        assert api.get(f"/{resource['type']}?_count=1").status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PROPFIND"])
def test_metadata_is_read_only(api: httpx.Client, method: str) -> None:
    answer = api.request(method, "/metadata")

    refused(answer, 405, "not-supported")
    assert answer.headers["allow"] == "GET, HEAD"
