"""FHIR clients that others wrote: what they expect of a server, they find."""

import json
import subprocess
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.build import an_organization
from tests.server import Server

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of their own making
    import fhirclient.models.observation as observations
    import fhirclient.models.patient as patients
    from fhirclient import client as smart
    from fhirpy import SyncFHIRClient
    from fhirpy.base.exceptions import MultipleResourcesFound, OperationOutcome, ResourceNotFound

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

CLIENTS = Path(__file__).parents[1] / "clients"
SYSTEM = "https://clients.example/id"


@pytest.fixture(scope="module")
def there(shared_server: Server) -> Server:
    """A server with the organisation for which the clients act."""
    client = shared_server.client()
    client.put("Organization/lead", content=json.dumps(an_organization())).raise_for_status()
    return shared_server


@pytest.fixture
def fhirpy(there: Server) -> SyncFHIRClient:
    return SyncFHIRClient(there.base, authorization=f"Bearer {there.token()}")


def a_person(family: str, value: str | None = None) -> dict[str, Any]:
    return {
        "identifier": [{"system": SYSTEM, "value": value or str(uuid.uuid4())}],
        "name": [{"family": family, "given": ["Robin"]}],
        "managingOrganization": {"reference": "Organization/lead"},
    }


def saved(fhirpy: SyncFHIRClient, person: dict[str, Any]) -> Any:
    resource = fhirpy.resource("Patient", **person)
    resource.save()
    return resource


@pytest.mark.requirement("R016.1")
def test_fhir_kit_client_finds_what_it_expects(there: Server) -> None:
    ran = subprocess.run(
        ["node", "kit.mjs", there.base, there.token()],
        cwd=CLIENTS,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    told = {line.pop("step"): line for line in lines}

    assert ran.returncode == 0, ran.stderr[-2000:]
    assert told == {
        "capabilities": {"fhirVersion": "4.0.1"},
        "create": {"status": 201, "id": True, "version": "1"},
        "read": {"family": True},
        "update": {"version": "2", "gender": "other"},
        "vread": {"gender": None},
        "patch": {"version": "3", "gender": "unknown"},
        "history": {"total": 3, "type": "history"},
        "conditional create": {"status": 200, "same": True},
        "conditional update": {"status": 201, "other": True},
        "paging": {"pages": 3, "found": 7, "distinct": 7},
        "transaction": {"type": "transaction-response", "statuses": ["201", "201"]},
        "chain and include": {
            "types": ["Observation", "Patient"],
            "modes": ["include", "match"],
        },
        "compartment": {"found": 1},
        "batch": {"statuses": ["200", "404"]},
        "operation": {"resourceType": "OperationOutcome"},
        "delete": {"status": 410, "resourceType": "OperationOutcome"},
        "not found": {"status": 404, "resourceType": "OperationOutcome"},
        "unknown type": {"status": 404, "resourceType": "OperationOutcome"},
        "invalid": {"status": 400, "resourceType": "OperationOutcome"},
    }


@pytest.mark.requirement("R016.1")
def test_fhirpy_creates_reads_updates_and_deletes(fhirpy: SyncFHIRClient) -> None:
    person = fhirpy.resource("Patient", **a_person("Fhirpy"))
    person.save()
    assert person["meta"]["versionId"] == "1"

    person["gender"] = "other"
    person.save()
    found = fhirpy.reference("Patient", person.id).to_resource()

    assert found["gender"] == "other"
    assert found["meta"]["versionId"] == "2"
    person.delete()  # type: ignore[no-untyped-call]
    with pytest.raises(ResourceNotFound):
        fhirpy.reference("Patient", person.id).to_resource()


def test_fhirpy_walks_all_pages(fhirpy: SyncFHIRClient) -> None:
    family = f"Fhirpy{uuid.uuid4().hex}"
    made = {saved(fhirpy, a_person(family))["id"] for _ in range(7)}

    found = [one["id"] for one in fhirpy.resources("Patient").search(family=family).limit(3)]

    assert len(found) == 7
    assert set(found) == made
    assert fhirpy.resources("Patient").search(family=family).count() == 7


def test_fhirpy_updates_by_condition(fhirpy: SyncFHIRClient) -> None:
    value = str(uuid.uuid4())
    condition = fhirpy.resources("Patient").search(identifier=f"{SYSTEM}|{value}")

    first, created = condition.update(fhirpy.resource("Patient", **a_person("First", value)))
    second, created_again = condition.update(
        fhirpy.resource("Patient", **a_person("Second", value))
    )

    assert (created, created_again) == (True, False)
    assert first["id"] == second["id"]
    assert condition.get()["name"][0]["family"] == "Second"
    condition.delete()
    with pytest.raises(ResourceNotFound):
        condition.get()


def test_fhirpy_hears_that_a_condition_fits_several(fhirpy: SyncFHIRClient) -> None:
    family = f"Fhirpy{uuid.uuid4().hex}"
    for _ in range(2):
        saved(fhirpy, a_person(family))

    with pytest.raises(MultipleResourcesFound):
        fhirpy.resources("Patient").search(family=family).update(
            fhirpy.resource("Patient", **a_person(family))
        )


def test_fhirpy_patches_what_is_named_and_leaves_the_rest(fhirpy: SyncFHIRClient) -> None:
    person = saved(fhirpy, a_person("Fhirpy"))

    fhirpy.patch("Patient", person["id"], gender="other", managingOrganization=None)
    found = fhirpy.get("Patient", person["id"])

    assert found["gender"] == "other"
    assert "managingOrganization" not in found
    assert found["name"] == person["name"]


def test_fhirpy_follows_references_in_chains_and_includes(fhirpy: SyncFHIRClient) -> None:
    family = f"Fhirpy{uuid.uuid4().hex}"
    person = saved(fhirpy, a_person(family))
    fhirpy.resource(
        "Observation",
        status="final",
        code={"text": "weight"},
        subject=person.to_reference(),
        performer=[{"reference": "Organization/lead"}],
    ).save()

    chained = fhirpy.resources("Observation").search(patient__family=family).fetch()
    with_patient = (
        fhirpy.resources("Observation")
        .search(patient__family=family)
        .include("Observation", "patient")
        .fetch_raw()
    )
    by_patient = (
        fhirpy.resources("Patient")
        .has("Observation", "patient", status="final")
        .search(family=family)
    )

    assert len(chained) == 1
    assert {one["resource"]["resourceType"] for one in with_patient["entry"]} == {
        "Observation",
        "Patient",
    }
    assert [one["id"] for one in by_patient.fetch()] == [person["id"]]


def test_fhirpy_hears_the_reason_of_a_refusal(fhirpy: SyncFHIRClient) -> None:
    with pytest.raises(OperationOutcome) as refused:
        fhirpy.resource("Patient", gender="nonsense").save()

    assert refused.value.resource["issue"][0]["expression"] == ["Patient.gender"]


@pytest.fixture
def fhirclient(there: Server) -> Iterator[Any]:
    client = smart.FHIRClient(settings={"app_id": "test", "api_base": there.base})
    client.server.session.headers["Authorization"] = f"Bearer {there.token()}"
    yield client.server
    client.server.session.close()


@pytest.mark.requirement("R016.1")
def test_fhirclient_creates_reads_updates_and_deletes(fhirclient: Any) -> None:
    person = patients.Patient(a_person("Fhirclient"))
    made = person.create(fhirclient)
    assert made["meta"]["versionId"] == "1"

    found = patients.Patient.read(made["id"], fhirclient)
    found.gender = "other"
    found.update(fhirclient)

    assert patients.Patient.read(made["id"], fhirclient).gender == "other"
    found.delete()
    with pytest.raises(Exception, match=r"410|404"):
        patients.Patient.read(made["id"], fhirclient)


def test_fhirclient_searches_with_includes_and_pages(fhirclient: Any, there: Server) -> None:
    family = f"Fhirclient{uuid.uuid4().hex}"
    for number in range(5):
        made = patients.Patient(a_person(family)).create(fhirclient)
        observations.Observation({
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": f"weight {number}"},
            "subject": {"reference": f"Patient/{made['id']}"},
            "performer": [{"reference": "Organization/lead"}],
        }).create(fhirclient)  # fmt: skip

    search = observations.Observation.where({"patient.family": family, "_count": "2"})
    found = search.perform_resources(fhirclient)

    assert len([one for one in found if one.resource_type == "Observation"]) == 5
    assert httpx.get(f"{there.base}/metadata").json()["fhirVersion"] == "4.0.1"
