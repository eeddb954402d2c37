"""R009.2, R009.3: a report goes to the referrer, and an addendum brings the whole to them all."""

import base64
from typing import Any

import pytest

from resources import codes
from tests.build import a_patient, a_report
from tests.flows.clinic import Clinic, Json

OPEN = ("requested", "received", "accepted")


def asked(clinic: Clinic, request: Json) -> dict[str, str]:
    """Whom the open acknowledgements of a request are for: recipient -> focus."""
    return {
        one["restriction"]["recipient"][0]["reference"]: one["focus"]["reference"]
        for one in clinic.tasks(request, "acknowledge")
        if one["status"] in OPEN
    }


def addendum(clinic: Clinic, request: Json, root: Json, **members: Any) -> Json:
    extension = {
        "url": codes.ADDENDUM_OF,
        "valueReference": {"reference": f"DiagnosticReport/{root['id']}"},
    }
    study = {"id": root["imagingStudy"][0]["reference"].split("/")[1]}
    return clinic.report(request, study, extension=[extension], **members)


@pytest.mark.requirement("R009.2")
def test_every_report_is_issued_to_the_referrer(clinic: Clinic) -> None:
    request, _, report = clinic.reported()

    (task,) = clinic.tasks(request, "acknowledge")

    assert task["owner"] == request["requester"]
    assert task["focus"]["reference"] == f"DiagnosticReport/{report['id']}/_history/1"
    assert task["requester"] == {"reference": "Organization/northmoor"}


@pytest.mark.requirement("R009.2")
def test_a_report_also_goes_to_whoever_the_referrer_wants_a_copy_for(clinic: Clinic) -> None:
    copy = {"url": codes.COPY_TO, "valueReference": {"reference": "PractitionerRole/reviewer"}}
    (request,) = clinic.refer({"extension": [copy]})
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    report = clinic.report(request, study)

    issued = f"DiagnosticReport/{report['id']}/_history/1"
    assert asked(clinic, request) == {
        "PractitionerRole/gp": issued,
        "PractitionerRole/reviewer": issued,
    }
    assert clinic.get("reviewer", f"DiagnosticReport/{report['id']}")["id"] == report["id"]


@pytest.mark.requirement("R009.2")
def test_the_patients_practice_gets_the_report_that_somebody_else_asked_for(clinic: Clinic) -> None:
    made = clinic.post(
        "gp",
        a_patient(
            id=None,
            generalPractitioner=[{"reference": "Organization/quayside"}],
            managingOrganization={"reference": "Organization/harbour"},
        ),
    )
    clinic.patient = f"Patient/{made['id']}"

    request, _, _ = clinic.reported()

    assert set(asked(clinic, request)) == {"PractitionerRole/gp", "Organization/quayside"}


@pytest.mark.requirement("R009.3")
def test_an_addendum_reissues_the_whole_report_to_both_referrers(clinic: Clinic) -> None:
    request, study, root = clinic.reported()
    review = clinic.review(study)

    added = addendum(clinic, review, root, conclusion="Small infarct on the left after all.")

    whole = clinic.get("gp", f"DiagnosticReport/{root['id']}")
    assert (whole["status"], whole["meta"]["versionId"]) == ("appended", "2")
    issued = f"DiagnosticReport/{root['id']}/_history/2"
    assert asked(clinic, request) == {
        "PractitionerRole/gp": issued,
        "PractitionerRole/gp2": issued,
    }
    page = base64.b64decode(whole["presentedForm"][-1]["data"]).decode()
    assert page.index("Small infarct on the left") < page.index(root["conclusion"])
    assert not any(added["id"] in one for one in asked(clinic, request).values())


@pytest.mark.requirement("R009.1")
def test_addenda_stand_before_the_report_the_newest_first(clinic: Clinic) -> None:
    request, _, root = clinic.reported()
    addendum(clinic, request, root, conclusion="First thought.", issued="2026-11-25T09:00:00Z")
    addendum(clinic, request, root, conclusion="Second thought.", issued="2026-11-26T09:00:00Z")

    whole = clinic.get("gp", f"DiagnosticReport/{root['id']}")

    page = base64.b64decode(whole["presentedForm"][-1]["data"]).decode()
    second, first = page.index("Second thought."), page.index("First thought.")
    assert second < first < page.index(root["conclusion"])
    heading = page[page.index("2026-11-26") : second]
    assert "Northmoor Hospitals" in heading
    assert "Helen Castell" in heading
    assert "Neuroradiology" in heading


@pytest.mark.requirement("R009.3")
def test_an_open_acknowledgement_of_the_earlier_version_is_superseded(clinic: Clinic) -> None:
    request, _, root = clinic.reported()
    (first,) = clinic.tasks(request, "acknowledge")

    addendum(clinic, request, root)

    old = clinic.get("gp", f"Task/{first['id']}")
    assert old["status"] == "cancelled"
    assert codes.has(old["businessStatus"], codes.SUPERSEDED)
    (new,) = [one for one in clinic.tasks(request, "acknowledge") if one["status"] in OPEN]
    replaces = [one for one in new["extension"] if one["url"] == codes.TASK_REPLACES]
    assert replaces[0]["valueReference"]["reference"] == f"Task/{first['id']}"


@pytest.mark.requirement("R009.3")
@pytest.mark.parametrize("status", ["amended", "corrected"])
def test_who_acknowledged_is_asked_again_when_the_report_changes(
    clinic: Clinic, status: str
) -> None:
    request, _, report = clinic.reported()
    clinic.acknowledge(request)

    clinic.change("reporter", report, status=status, conclusion="A different conclusion.")

    assert asked(clinic, request) == {
        "PractitionerRole/gp": f"DiagnosticReport/{report['id']}/_history/2"
    }


@pytest.mark.requirement("R009.3")
def test_who_had_a_report_acknowledges_that_it_was_withdrawn(clinic: Clinic) -> None:
    request, _, report = clinic.reported()
    clinic.acknowledge(request)

    clinic.change("reporter", report, status="entered-in-error")

    assert asked(clinic, request) == {
        "PractitionerRole/gp": f"DiagnosticReport/{report['id']}/_history/2"
    }


@pytest.mark.requirement("R009.3")
def test_an_addendum_that_is_withdrawn_reissues_the_report_without_it(clinic: Clinic) -> None:
    request, _, root = clinic.reported()
    added = addendum(clinic, request, root, conclusion="On second thought.")

    clinic.change("reporter", added, status="entered-in-error")

    whole = clinic.get("gp", f"DiagnosticReport/{root['id']}")
    page = base64.b64decode(whole["presentedForm"][-1]["data"]).decode()
    assert "On second thought." not in page
    assert asked(clinic, request) == {
        "PractitionerRole/gp": f"DiagnosticReport/{root['id']}/_history/3"
    }


@pytest.mark.requirement("R009.1")
def test_an_addendum_is_about_the_patient_of_its_report(clinic: Clinic) -> None:
    _, _, root = clinic.reported()
    clinic.welcome()
    request, study, _ = clinic.reported()
    reference = {"reference": f"DiagnosticReport/{root['id']}"}
    report = a_report(
        id=None,
        request=request["id"],
        study=study["id"],
        subject=request["subject"],
        extension=[{"url": codes.ADDENDUM_OF, "valueReference": reference}],
        performer=None,
        resultsInterpreter=None,
    )

    answer = clinic.as_("reporter").post("DiagnosticReport", json=report)

    assert answer.status_code == 422, answer.text
    assert clinic.get("gp", reference["reference"])["status"] == "final"


@pytest.mark.requirement("R009.2")
def test_an_addendum_to_a_report_elsewhere_is_issued_by_itself(clinic: Clinic) -> None:
    request, study, _ = clinic.reported()
    elsewhere = {"reference": "https://other.example/fhir/DiagnosticReport/9"}

    made = clinic.report(
        request, study, extension=[{"url": codes.ADDENDUM_OF, "valueReference": elsewhere}]
    )

    about = [one["focus"]["reference"] for one in clinic.tasks(request, "acknowledge")]
    assert f"DiagnosticReport/{made['id']}/_history/1" in about
