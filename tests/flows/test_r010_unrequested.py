"""R010.1: a report that nobody asked for here is acknowledged all the same."""

import uuid
from typing import Any

import pytest

from fhir_server.context import now
from resources import codes
from resources.content import written_instant
from tests.build import a_patient, a_report, a_study
from tests.flows.clinic import Clinic, Json
from tests.flows.test_r010_acknowledgement import DAY, escalate
from tests.flows.test_r010_status import acknowledge, by_hand

pytestmark = pytest.mark.requirement("R010.1")


def reported(clinic: Clinic, **members: Any) -> Json:
    """A report of images that were not asked for here, issued by Northmoor."""
    study = clinic.post("operator", a_study(id=None, uid=a_uid(), subject=about(clinic), **members))
    return issued(clinic, study)


def issued(clinic: Clinic, study: Json, **members: Any) -> Json:
    given = {
        "basedOn": None,
        "subject": about(clinic),
        "issued": written_instant(now()),
        "performer": None,
        "resultsInterpreter": None,
        **members,
    }
    return clinic.post("reporter", a_report(id=None, study=study["id"], **given))


def a_uid() -> str:
    return f"2.25.{uuid.uuid4().int}"


def about(clinic: Clinic) -> Json:
    return {"reference": clinic.patient}


def asked(clinic: Clinic, report: Json, status: str = "requested") -> list[tuple[str, str]]:
    """Who is asked to acknowledge a report: whom it is for, and about which version."""
    pairs = f"focus=DiagnosticReport/{report['id']}&code=acknowledge&status={status}"
    found = clinic.search("coordinator", f"Task?{pairs}")
    assert all("basedOn" not in one for one in found)
    return sorted(
        (
            one["restriction"]["recipient"][0]["reference"],
            one["focus"]["reference"].rpartition("/")[2],
        )
        for one in found
    )


def practice(clinic: Clinic, *references: str) -> None:
    """The patient of the test has these general practitioners, or none."""
    made = a_patient(
        id=None,
        generalPractitioner=[{"reference": one} for one in references] or None,
        managingOrganization={"reference": "Organization/northmoor"},
    )
    clinic.patient = f"Patient/{clinic.post('gp', made)['id']}"


def test_the_practice_of_the_patient_is_asked_and_may_acknowledge(clinic: Clinic) -> None:
    report = reported(clinic)

    assert asked(clinic, report) == [("Organization/harbour", "1")]
    (task,) = clinic.search("gp", f"Task?focus=DiagnosticReport/{report['id']}")
    assert task["requester"]["reference"] == "Organization/northmoor"
    assert task["restriction"]["period"]["end"] > written_instant(now() + 6 * DAY)
    assert acknowledge(clinic, "gp", task).status_code == 200
    assert asked(clinic, report, "completed") == [("Organization/harbour", "1")]


def test_who_referred_for_the_images_is_asked_first(clinic: Clinic) -> None:
    report = reported(clinic, referrer={"reference": "PractitionerRole/gp"})

    assert asked(clinic, report) == [("PractitionerRole/gp", "1")]


def test_who_is_named_for_a_copy_is_asked_too(clinic: Clinic) -> None:
    study = clinic.post("operator", a_study(id=None, uid=a_uid(), subject=about(clinic)))
    copy = {"url": codes.COPY_TO, "valueReference": {"reference": "PractitionerRole/reviewer"}}

    report = issued(clinic, study, extension=[copy])

    assert ("PractitionerRole/reviewer", "1") in asked(clinic, report)
    assert ("Organization/harbour", "1") in asked(clinic, report)


def test_where_nobody_is_named_the_fail_safe_officer_is_asked(clinic: Clinic) -> None:
    practice(clinic)
    assert asked(clinic, reported(clinic)) == [("Organization/northmoor", "1")]
    officer = {
        "resourceType": "PractitionerRole",
        "active": True,
        "practitioner": {"reference": "Practitioner/coordinator"},
        "organization": {"reference": "Organization/northmoor"},
        "code": [{"coding": [{"system": f"{codes.BASE}/CodeSystem/role", "code": "fail-safe"}]}],
    }
    northmoor = clinic.server.client("administrator", "northmoor", scope="user/*.cruds")
    made = northmoor.post("PractitionerRole", json=officer).json()
    try:
        found = asked(clinic, reported(clinic))
    finally:
        northmoor.put(f"PractitionerRole/{made['id']}", json={**made, "active": False})

    assert found == [(f"PractitionerRole/{made['id']}", "1")]


def test_a_correction_is_asked_anew_and_supersedes_what_was_open(clinic: Clinic) -> None:
    report = reported(clinic)

    clinic.change("reporter", report, status="corrected", conclusion="Corrected.")

    assert asked(clinic, report) == [("Organization/harbour", "2")]
    assert asked(clinic, report, "cancelled") == [("Organization/harbour", "1")]


def test_a_withdrawal_is_asked_of_who_was_asked(clinic: Clinic) -> None:
    report = reported(clinic)

    clinic.change("reporter", report, status="entered-in-error")

    assert asked(clinic, report) == [("Organization/harbour", "2")]


def test_a_report_that_is_found_to_belong_to_a_request_is_asked_by_it(clinic: Clinic) -> None:
    request, study, _ = clinic.reported()
    clinic.acknowledge(request)
    report = issued(clinic, study)
    assert asked(clinic, report) == [("PractitionerRole/gp", "1")], "who referred for the images"

    based_on = [{"reference": f"ServiceRequest/{request['id']}"}]
    clinic.change("reporter", report, status="corrected", basedOn=based_on)

    pairs = f"focus=DiagnosticReport/{report['id']}&status=requested"
    (task,) = clinic.search("gp", f"Task?{pairs}")
    assert task["basedOn"] == based_on
    assert task["restriction"]["recipient"] == [{"reference": "PractitionerRole/gp"}]
    assert asked(clinic, report, "cancelled") == [("PractitionerRole/gp", "1")]


def test_a_report_that_comes_after_its_request_was_withdrawn_is_for_who_asked(
    clinic: Clinic,
) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    now_ = clinic.get("gp", f"ServiceRequest/{request['id']}")
    clinic.change("gp", now_, status="revoked")

    based_on = [{"reference": f"ServiceRequest/{request['id']}"}]
    report = issued(clinic, study, basedOn=based_on)

    assert asked(clinic, report) == [("PractitionerRole/gp", "1")]


@pytest.mark.parametrize("status", ["requested", "completed"])
def test_nobody_answers_beforehand(clinic: Clinic, status: str) -> None:
    report = reported(clinic)
    given = by_hand(clinic) | {
        "status": status,
        "focus": {"reference": f"DiagnosticReport/{report['id']}/_history/1"},
    }

    answer = clinic.as_("gp").post("Task", json=given)

    assert answer.status_code == 422, answer.text
    assert asked(clinic, report) == [("Organization/harbour", "1")]


def test_of_history_nobody_is_asked(clinic: Clinic) -> None:
    study = clinic.post("operator", a_study(id=None, uid=a_uid(), subject=about(clinic)))

    report = issued(clinic, study, issued=written_instant(now() - 40 * DAY))

    assert asked(clinic, report) == []


def test_a_draft_is_asked_of_nobody_until_it_is_issued(clinic: Clinic) -> None:
    study = clinic.post("operator", a_study(id=None, uid=a_uid(), subject=about(clinic)))
    report = issued(clinic, study, status="preliminary")
    assert asked(clinic, report) == []

    clinic.change("reporter", report, status="final")

    assert asked(clinic, report) == [("Organization/harbour", "2")]


def test_when_no_answer_comes_it_is_escalated(clinic: Clinic) -> None:
    report = reported(clinic)

    escalate(clinic, now() + 20 * DAY)

    pairs = f"focus=DiagnosticReport/{report['id']}&business-status=escalated"
    (task,) = clinic.search("coordinator", f"Task?{pairs}")
    assert task["owner"]["reference"] == "Organization/northmoor"
