"""R007, G3, R015.3: what the request says is there at every step, and in the report by itself."""

import base64
import uuid

import pytest

from resources import codes
from tests.flows.clinic import Clinic, Json

REASON = "Headache for three weeks, worse in the morning"


def whole_report(report: Json) -> str:
    (form,) = [one for one in report["presentedForm"] if one["contentType"] == "text/html"]
    return base64.b64decode(form["data"]).decode()


@pytest.mark.requirement("R007.1")
def test_a_request_leads_to_its_studies_and_their_reports(clinic: Clinic) -> None:
    request, study, report = clinic.reported()
    name = f"ServiceRequest/{request['id']}"

    assert [one["id"] for one in clinic.search("gp", f"ImagingStudy?basedon={name}")] == [
        study["id"]
    ]
    assert [one["id"] for one in clinic.search("gp", f"DiagnosticReport?based-on={name}")] == [
        report["id"]
    ]
    assert study["basedOn"] == report["basedOn"] == [{"reference": name}]


@pytest.mark.requirement("R007.1")
def test_one_imaging_service_request_may_ask_for_several_studies(clinic: Clinic) -> None:
    isr = f"ISR-{uuid.uuid4()}"
    first, second = clinic.refer({}, {"code": {"text": "CT of sinuses"}}, isr=isr)
    for request in (first, second):
        clinic.authorise(request)
        clinic.images_arrive(request)

    together = clinic.search(
        "gp", f"ServiceRequest?requisition={codes.ISR}|{isr}&_sort=_lastUpdated"
    )
    assert {one["id"] for one in together} == {first["id"], second["id"]}
    studies = clinic.search("gp", f"ImagingStudy?basedon.requisition={codes.ISR}|{isr}")
    assert len(studies) == 2


@pytest.mark.requirement("R007.2")
@pytest.mark.parametrize(
    ("login", "step"),
    [("practitioner", "justify"), ("operator", "acquire"), ("reporter", "report")],
)
def test_who_does_a_step_reads_the_clinical_information(
    clinic: Clinic, login: str, step: str
) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    clinic.images_arrive(request)

    task = clinic.task(request, step, login)
    (versioned,) = [
        one["valueReference"]["reference"]
        for one in task["input"]
        if codes.has(one["type"], codes.IO_CLINICAL_INFO)
    ]
    read = clinic.get(login, versioned)
    assert read["id"] == request["id"]
    assert read["reasonCode"][0]["text"] == REASON


@pytest.mark.requirement("R007.3")
@pytest.mark.requirement("G3")
def test_request_and_notes_are_in_the_report_without_the_reporter_writing_them(
    clinic: Clinic,
) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request, note="Agreed: red flag headache")
    clinic.book(request)
    acquire = clinic.task(request, "acquire")
    clinic.change("operator", acquire, note=[{"text": "Urticaria after contrast, settled"}])
    study = clinic.images_arrive(request)

    report = clinic.report(request, study)

    for said in (REASON, "red flag headache", "Urticaria after contrast, settled"):
        assert said in report["text"]["div"]
        assert said in whole_report(report)
    assert report["conclusion"] == "No intracranial haemorrhage."
    pinned = [
        one["valueReference"]["reference"]
        for one in report["extension"]
        if one["url"] == codes.REPORT_SUPPORTING_INFO
    ]
    assert len(pinned) == 1
    assert pinned[0].startswith(f"ServiceRequest/{request['id']}/_history/")


@pytest.mark.requirement("R015.3")
def test_a_report_names_organisation_clinician_and_speciality(clinic: Clinic) -> None:
    _, _, report = clinic.reported()

    assert report["performer"] == [{"reference": "Organization/northmoor"}]
    assert report["resultsInterpreter"] == [{"reference": "PractitionerRole/reporter"}]
    for said in ("Northmoor Hospitals", "Dr Helen Castell", "Neuroradiology"):
        assert said in whole_report(report)


@pytest.mark.requirement("R007.2")
def test_nobody_edits_what_the_referrer_says(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    edited = [{"text": "Something milder"}]

    for login in ("practitioner", "coordinator"):
        answer = clinic.put(login, {**request, "reasonCode": edited})
        assert answer.status_code == 403, login
        assert answer.json()["issue"][0]["expression"] == ["ServiceRequest.reasonCode"]
    clinic.change("gp", request, reasonCode=edited)


@pytest.mark.requirement("R007.1")
def test_a_request_does_not_become_one_for_somebody_else(clinic: Clinic) -> None:
    (request,) = clinic.refer()

    answer = clinic.put("gp", {**request, "subject": {"reference": "Patient/winter"}})

    assert answer.status_code in (403, 422)
    assert clinic.get("gp", f"ServiceRequest/{request['id']}")["subject"] == request["subject"]
