"""W1, the primary imaging workflow (figure 4-1), over HTTP with everybody as themselves."""

import json

import pytest

from resources import codes, elements
from tests.build import a_step
from tests.flows.clinic import Clinic

pytestmark = [pytest.mark.requirement("W1"), pytest.mark.requirement("G1")]


def test_a_request_goes_from_referral_to_acknowledgement(clinic: Clinic) -> None:
    first, second = clinic.refer({}, {"code": {"text": "CT of sinuses"}})
    assert {first["status"], second["status"]} == {"active"}

    clinic.authorise(first)
    assert clinic.task(first, "acquire")["status"] == "requested"
    clinic.book(first)
    acquire = clinic.task(first, "acquire")
    assert acquire["status"] == "ready"
    assert acquire["location"] == {"reference": "Location/northmoor-ct"}
    clinic.change("operator", acquire, status="in-progress", note=[{"text": "Mild nausea"}])

    study = clinic.images_arrive(first)
    assert study["status"] == "available"
    assert clinic.task(first, "acquire")["status"] == "completed"
    step = clinic.task(first, "report")
    assert step["status"] == "ready"
    reading = {"status": "in-progress", "owner": {"reference": "PractitionerRole/reporter"}}
    clinic.change("reporter", step, **reading)

    report = clinic.report(first, study)
    assert clinic.task(first, "report")["status"] == "completed"
    assert clinic.task(first, "acknowledge", "gp")["focus"] == {
        "reference": f"DiagnosticReport/{report['id']}/_history/1"
    }

    clinic.acknowledge(first)
    assert clinic.get("gp", f"ServiceRequest/{first['id']}")["status"] == "completed"
    assert clinic.get("gp", f"ServiceRequest/{second['id']}")["status"] == "active"


def test_rejecting_the_justification_revokes_the_request_with_its_reason(clinic: Clinic) -> None:
    (request,) = clinic.refer()

    clinic.reject(request, "A CT of last week answers the question")

    after = clinic.get("gp", f"ServiceRequest/{request['id']}")
    assert after["status"] == "revoked"
    assert elements.extension_value(after, codes.REQUEST_STATUS_REASON) == {
        "text": "A CT of last week answers the question"
    }
    assert clinic.tasks(request, "acquire") == []


def test_only_a_practitioner_of_the_lead_justifies(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    task = clinic.task(request, "justify")
    done = {**task, "status": "completed", "businessStatus": codes.AUTHORISED.concept}

    for login in ("gp", "operator", "westvale-practitioner"):
        assert clinic.put(login, done).status_code in (403, 404, 412), login
    assert clinic.task(request, "justify")["status"] == "requested"


def test_nobody_makes_themselves_the_one_who_justifies(clinic: Clinic) -> None:
    places = [{"reference": f"Organization/{id}"} for id in ("northmoor", "westvale")]
    (request,) = clinic.refer({"performer": places})
    justify = clinic.task(request, "justify")
    theirs = {"reference": "Organization/westvale"}

    hijacked = clinic.put("westvale-practitioner", {**justify, "owner": theirs})
    made = clinic.as_("westvale-practitioner").post(
        "Task",
        content=json.dumps(
            a_step(
                "justify",
                focus=justify["focus"],
                basedOn=justify["basedOn"],
                requester=theirs,
                owner=theirs,
                **{"for": justify["for"]},
            )
        ),
    )
    done = clinic.as_("practitioner").post(
        "Task",
        content=json.dumps(
            a_step(
                "justify",
                focus=justify["focus"],
                basedOn=justify["basedOn"],
                requester=theirs,
                owner={"reference": "Organization/northmoor"},
                status="completed",
                businessStatus=codes.AUTHORISED.concept,
                **{"for": justify["for"]},
            )
        ),
    )

    assert (hijacked.status_code, made.status_code, done.status_code) == (403, 403, 403)
    assert clinic.tasks(request, "acquire") == []


def test_a_justification_without_authority_is_refused(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    task = clinic.task(request, "justify")

    answer = clinic.put("practitioner", {**task, "status": "completed"})

    assert answer.status_code == 422
    assert answer.json()["issue"][0]["expression"] == ["Task.businessStatus"]
    assert clinic.tasks(request, "acquire") == []


def test_images_of_an_unjustified_request_are_kept_and_wait(clinic: Clinic) -> None:
    (request,) = clinic.refer()

    study = clinic.images_arrive(request)
    assert study["status"] == "available"
    assert clinic.tasks(request, "report") == []

    clinic.authorise(request)
    assert clinic.task(request, "acquire")["status"] == "completed"
    assert clinic.task(request, "report")["status"] == "ready"


def test_the_accession_number_and_the_study_are_there_with_the_acquisition(
    clinic: Clinic,
) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)

    after = clinic.get("gp", f"ServiceRequest/{request['id']}")
    (accession,) = after["identifier"]
    assert accession["system"].endswith("/Id/accession/ZZ901")
    found = clinic.search(
        "operator", f"ImagingStudy?identifier={accession['system']}|{accession['value']}"
    )
    assert [one["status"] for one in found] == ["registered"]


def test_a_cancelled_slot_takes_the_acquisition_off_the_worklist(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    slot = clinic.book(request)

    clinic.change("coordinator", slot, status="cancelled")

    task = clinic.task(request, "acquire")
    assert task["status"] == "requested"
    assert "executionPeriod" not in task


def test_a_step_and_what_follows_from_it_are_there_together_or_not_at_all(
    clinic: Clinic,
) -> None:
    (request,) = clinic.refer()
    task = clinic.task(request, "justify")
    stale = {**task, "meta": {**task["meta"], "versionId": "9"}, "status": "completed"}
    stale["businessStatus"] = codes.AUTHORISED.concept

    assert clinic.put("practitioner", stale).status_code == 412
    assert clinic.tasks(request, "acquire") == []
    assert clinic.search("operator", f"ImagingStudy?basedon=ServiceRequest/{request['id']}") == []


def test_a_request_without_requisition_starts_no_pathway(clinic: Clinic) -> None:
    (request,) = clinic.refer({"requisition": None})

    assert clinic.tasks(request, "justify") == []
