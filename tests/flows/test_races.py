"""Sixteen who do the same thing at the same moment: one of them did it (threats F9, F7)."""

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from resources import codes
from tests.build import a_patient
from tests.flows.clinic import Clinic, Json

pytestmark = [
    pytest.mark.requirement("G1"),
    pytest.mark.standard("FHIR http, Managing Resource Contention"),
]

RACERS = 16


def all_at_once(act: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    """Let sixteen threads do it, once all of them stand at the line."""
    line = threading.Barrier(RACERS)

    def run(number: int) -> httpx.Response:
        line.wait(10)
        return act(number)

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(run, range(RACERS)))


def statuses(answers: list[httpx.Response]) -> dict[int, int]:
    counted: dict[int, int] = {}
    for one in answers:
        counted[one.status_code] = counted.get(one.status_code, 0) + 1
    return counted


def versions(clinic: Clinic, login: str, reference: str) -> list[str]:
    entries = clinic.get(login, f"{reference}/_history")["entry"]
    return [one["resource"]["meta"]["versionId"] for one in entries]


def test_of_sixteen_updates_of_one_version_one_is_made(clinic: Clinic) -> None:
    patient = clinic.get("gp", clinic.patient)

    answers = all_at_once(
        lambda number: clinic.put("gp", {**patient, "name": [{"family": f"Racer{number}"}]})
    )

    assert statuses(answers) == {200: 1, 412: RACERS - 1}
    (won,) = [one.json() for one in answers if one.status_code == 200]
    assert clinic.get("gp", clinic.patient)["name"] == won["name"]
    assert versions(clinic, "gp", clinic.patient) == ["2", "1"]


def test_a_step_that_sixteen_claim_is_owned_by_one(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    task = clinic.task(request, "justify", "practitioner")
    reference = f"Task/{task['id']}"
    before = versions(clinic, "practitioner", reference)

    answers = all_at_once(
        lambda number: clinic.put(
            "practitioner", {**task, "status": "in-progress", "note": [{"text": str(number)}]}
        )
    )

    assert statuses(answers) == {200: 1, 412: RACERS - 1}
    assert len(versions(clinic, "practitioner", reference)) == len(before) + 1


def test_a_step_that_sixteen_complete_is_followed_once(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    task = clinic.task(request, "justify", "practitioner")
    done = {**task, "status": "completed", "businessStatus": codes.AUTHORISED.concept}

    answers = all_at_once(lambda number: clinic.put("practitioner", done))

    assert statuses(answers) == {200: 1, 412: RACERS - 1}
    assert len(clinic.tasks(request, "acquire")) == 1


@pytest.mark.standard("FHIR http, Update as Create")
def test_of_sixteen_first_versions_under_one_id_each_is_kept_or_refused(clinic: Clinic) -> None:
    id = f"raced-{uuid.uuid4()}"
    place = {"managingOrganization": {"reference": "Organization/harbour"}}

    def act(number: int) -> httpx.Response:
        patient = a_patient(id, name=[{"family": f"Racer{number}"}], **place)
        return clinic.as_("gp").put(f"Patient/{id}", content=json.dumps(patient))

    counted = statuses(all_at_once(act))

    assert counted.pop(201) == 1
    assert set(counted) <= {200, 409, 412}, counted
    kept = versions(clinic, "gp", f"Patient/{id}")
    assert kept == [str(number) for number in range(counted.get(200, 0) + 1, 0, -1)]


@pytest.mark.standard("FHIR http, conditional create")
@pytest.mark.parametrize("form", ["create", "transaction"])
def test_what_is_sent_sixteen_times_on_a_condition_is_there_once(clinic: Clinic, form: str) -> None:
    """A double submission: the sender did not hear the answer and sends it again."""
    number = {"system": "urn:example:local", "value": str(uuid.uuid4())}
    condition = f"identifier={number['system']}|{number['value']}"
    patient = a_patient(
        None, identifier=[number], managingOrganization={"reference": "Organization/harbour"}
    )
    request: Json = {"method": "POST", "url": "Patient", "ifNoneExist": condition}
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": patient, "request": request}],
    }

    def act(_: int) -> httpx.Response:
        if form == "transaction":
            return clinic.as_("gp").post("", content=json.dumps(bundle))
        headers = {"If-None-Exist": condition}
        return clinic.as_("gp").post("Patient", content=json.dumps(patient), headers=headers)

    counted = statuses(all_at_once(act))

    assert sum(counted.get(each, 0) for each in (200, 201)) >= 1
    assert set(counted) <= {200, 201, 409, 412}, counted
    assert len(clinic.search("gp", f"Patient?{condition}")) == 1
