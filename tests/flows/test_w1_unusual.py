"""W1 with requests and reports that are legal and unusual: nothing breaks, nothing is lost."""

import pytest

from resources import codes
from tests.build import a_report
from tests.flows.clinic import Clinic

pytestmark = pytest.mark.requirement("W1")


def test_references_in_full_mean_the_same_as_short_ones(clinic: Clinic) -> None:
    base = clinic.server.base
    (request,) = clinic.refer(
        {
            "subject": {"reference": f"{base}/{clinic.patient}"},
            "requester": {"reference": f"{base}/PractitionerRole/gp"},
            "performer": [{"reference": f"{base}/Organization/northmoor"}],
        }
    )
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    report = clinic.report(
        request,
        study,
        basedOn=[{"reference": f"{base}/ServiceRequest/{request['id']}"}],
        imagingStudy=[{"reference": f"{base}/ImagingStudy/{study['id']}"}],
    )
    clinic.acknowledge(request)

    assert "Headache for three weeks" in report["text"]["div"]
    after = clinic.get("gp", f"ServiceRequest/{request['id']}")
    assert after["status"] == "completed"
    assert after["subject"] == {"reference": f"{base}/{clinic.patient}"}


def test_the_lead_answers_for_a_referrer_of_no_organisation(clinic: Clinic) -> None:
    (request,) = clinic.refer({"requester": {"reference": "Practitioner/gp"}})
    clinic.authorise(request)
    clinic.report(request, clinic.images_arrive(request))
    tasks = {
        one["owner"]["reference"].split("/")[1]: one for one in clinic.tasks(request, "acknowledge")
    }
    assert set(tasks) == {"northmoor", "harbour"}, "and the patient's practice for itself"

    clinic.change("coordinator", tasks["northmoor"], status="completed")
    clinic.change("gp", tasks["harbour"], status="completed")

    assert clinic.get("gp", f"ServiceRequest/{request['id']}")["status"] == "completed"


def test_a_report_may_also_be_about_a_study_elsewhere(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    elsewhere = {"reference": "https://other.example/fhir/ImagingStudy/9"}

    report = clinic.report(
        request, study, imagingStudy=[{"reference": f"ImagingStudy/{study['id']}"}, elsewhere]
    )

    assert elsewhere in report["imagingStudy"]
    assert clinic.task(request, "report")["status"] == "completed"


def test_a_report_without_request_still_marks_its_study_reported(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)

    made = a_report(id=None, study=study["id"], basedOn=None, performer=None)
    made |= {"subject": request["subject"]}
    del made["resultsInterpreter"]
    clinic.post("reporter", made)

    found = clinic.search("reporter", f"Provenance?entity=ImagingStudy/{study['id']}")
    assert any(codes.has(one["activity"], codes.LEGALLY_AUTHENTICATED) for one in found)
    assert clinic.tasks(request, "acknowledge") == []


def test_a_withdrawn_request_takes_its_steps_off_the_worklists(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    now = clinic.get("gp", f"ServiceRequest/{request['id']}")

    clinic.change("gp", now, status="revoked")

    assert clinic.task(request, "acquire")["status"] == "cancelled"


@pytest.mark.requirement("R008.3")
def test_a_review_of_existing_images_is_never_sent_to_be_acquired(clinic: Clinic) -> None:
    _, study, _ = clinic.reported()
    review = clinic.review(study)

    assert clinic.tasks(review, "justify") == []
    assert clinic.tasks(review, "acquire") == []


def test_nobody_calls_a_request_completed_whose_steps_are_not_done(clinic: Clinic) -> None:
    (request,) = clinic.refer()

    for login in ("gp", "coordinator"):
        assert clinic.put(login, {**request, "status": "completed"}).status_code == 409
    assert clinic.task(request, "justify")["status"] == "requested"


def test_who_has_no_part_in_a_request_does_not_call_it_off(clinic: Clinic) -> None:
    request, study, _ = clinic.reported()
    asked = [{"reference": "Organization/westvale"}]
    clinic.review(study, performer=asked)
    now = clinic.get("westvale-coordinator", f"ServiceRequest/{request['id']}")

    for wrong in ({"status": "revoked"}, {"performer": asked}):
        assert clinic.put("westvale-coordinator", {**now, **wrong}).status_code == 403
    assert clinic.put("coordinator", {**now, "status": "revoked"}).status_code == 200
