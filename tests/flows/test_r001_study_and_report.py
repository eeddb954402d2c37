"""R001.1: a study and its reports stay together, through whatever happens to either."""

import json

import pytest

from tests.build import a_report
from tests.flows.clinic import Clinic

pytestmark = pytest.mark.requirement("R001.1")


def test_a_radiology_report_without_its_study_is_refused(clinic: Clinic) -> None:
    subject = {"reference": clinic.patient}
    (request,) = clinic.refer()
    report = a_report(id=None, request=request["id"], imagingStudy=None, subject=subject)
    report |= {"performer": None, "resultsInterpreter": None}
    bare = {name: value for name, value in report.items() if value is not None}

    answer = clinic.as_("reporter").post("DiagnosticReport", content=json.dumps(bare))

    assert answer.status_code == 422
    assert answer.json()["issue"][0]["expression"] == ["DiagnosticReport.imagingStudy"]


def test_the_reports_of_a_study_are_found_by_the_study(clinic: Clinic) -> None:
    _, study, report = clinic.reported()

    found = clinic.search("reporter", f"DiagnosticReport?imagingStudy=ImagingStudy/{study['id']}")

    assert [one["id"] for one in found] == [report["id"]]


def test_an_amended_report_is_still_of_its_study(clinic: Clinic) -> None:
    _, study, report = clinic.reported()
    changed = {**report, "status": "amended", "conclusion": "On review: small infarct."}

    moved = clinic.put("reporter", {**changed, "imagingStudy": []} | {"imagingStudy": None})
    kept = clinic.put("reporter", changed)

    assert moved.status_code in (400, 422)
    assert kept.status_code == 200
    found = clinic.search("reporter", f"DiagnosticReport?imagingStudy=ImagingStudy/{study['id']}")
    assert [one["status"] for one in found] == ["amended"]


def test_images_that_come_later_leave_the_report_with_its_study(clinic: Clinic) -> None:
    request, study, report = clinic.reported()

    after = clinic.images_arrive(request, images=5)

    assert after["id"] == study["id"]
    assert after["numberOfInstances"] > study["numberOfInstances"]
    found = clinic.search("reporter", f"DiagnosticReport?imagingStudy=ImagingStudy/{after['id']}")
    assert [one["id"] for one in found] == [report["id"]]


def test_a_report_about_another_patient_than_its_study_is_refused(clinic: Clinic) -> None:
    _, study, report = clinic.reported()
    other = clinic.as_("reporter").get("Patient?_count=50").json()["entry"]
    somebody = next(
        f"Patient/{each['resource']['id']}"
        for each in other
        if f"Patient/{each['resource']['id']}" != clinic.patient
    )
    wrong = {name: value for name, value in report.items() if name not in ("id", "meta", "basedOn")}
    wrong |= {"subject": {"reference": somebody}, "status": "preliminary"}

    answer = clinic.as_("reporter").post("DiagnosticReport", content=json.dumps(wrong))

    assert answer.status_code == 422, answer.text
    assert answer.json()["issue"][0]["expression"] == ["DiagnosticReport.subject"]
    found = clinic.search("reporter", f"DiagnosticReport?imagingStudy=ImagingStudy/{study['id']}")
    assert [one["id"] for one in found] == [report["id"]]
