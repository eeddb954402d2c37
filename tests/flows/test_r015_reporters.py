"""R015.3: reports and addenda name organisation, clinician and registered speciality."""

import base64
import json
from typing import Any

import pytest

from resources import codes
from tests.build import a_report
from tests.flows.clinic import Clinic, Json

pytestmark = pytest.mark.requirement("R015.3")

SAID = ("Northmoor Hospitals (demonstration) (ZZ901)", "Dr Helen Castell", "Neuroradiology")


def page(report: Json) -> str:
    (form,) = [one for one in report["presentedForm"] if one["title"] == "Whole report"]
    return base64.b64decode(form["data"]).decode()


def a_report_of(request: Json, study: Json, **members: Any) -> Json:
    """A report that names nobody, unless it is said."""
    return a_report(
        id=None, request=request["id"], study=study["id"],
        **{"subject": request["subject"], "performer": None, "resultsInterpreter": None,
           **members},
    )  # fmt: skip


def test_the_page_and_the_narrative_of_a_report_name_all_three(clinic: Clinic) -> None:
    _, _, report = clinic.reported()

    for said in SAID:
        assert said in page(report)
        assert said in report["text"]["div"]


def test_a_draft_says_who_writes_it(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)

    draft = clinic.post("reporter", a_report_of(request, study, status="preliminary"))

    assert draft["performer"] == [{"reference": "Organization/northmoor"}]
    assert draft["resultsInterpreter"] == [{"reference": "PractitionerRole/reporter"}]


def test_an_addendum_names_its_own_clinician_in_itself_and_in_the_report_it_adds_to(
    clinic: Clinic,
) -> None:
    request, study, report = clinic.reported()
    extension = {
        "url": codes.ADDENDUM_OF,
        "valueReference": {"reference": f"DiagnosticReport/{report['id']}"},
    }

    addendum = clinic.post(
        "reporter", a_report_of(request, study, extension=[extension], conclusion="Small bleed.")
    )

    root = clinic.get("reporter", f"DiagnosticReport/{report['id']}")
    for said in SAID:
        assert said in addendum["text"]["div"]
        assert said in page(root).partition("Addendum")[2]
    assert "Addendum by" in root["text"]["div"]


def test_who_changes_what_an_issued_report_says_is_named_in_it_too(clinic: Clinic) -> None:
    _, _, report = clinic.reported()
    other = clinic.server.client(
        "reporter", "northmoor", scope="user/*.cruds", subject="PractitionerRole/practitioner"
    )

    def put(**members: Any) -> Json:
        known = clinic.get("reporter", f"DiagnosticReport/{report['id']}")
        answer = other.put(
            f"DiagnosticReport/{report['id']}",
            content=json.dumps({**known, **members}),
            headers={"If-Match": f'W/"{known["meta"]["versionId"]}"'},
        )
        assert answer.status_code == 200, answer.text
        changed: Json = answer.json()
        return changed

    same = put(status="amended")
    changed = put(conclusion="There is a small bleed.")

    alone = {"reference": "PractitionerRole/reporter"}
    assert same["resultsInterpreter"] == [alone]
    assert changed["resultsInterpreter"] == [alone, {"reference": "PractitionerRole/practitioner"}]
    for said in ("Dr Helen Castell", "Neuroradiology", "Dr Ravi Menon", "Radiology"):
        assert said in page(changed)
        assert said in changed["text"]["div"]


def test_a_clinician_without_a_role_gets_the_speciality_registered_where_they_report(
    clinic: Clinic,
) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    given = a_report_of(
        request, study, performer=[{"reference": "Organization/northmoor"}],
        resultsInterpreter=[{"reference": "Practitioner/reporter"}],
    )  # fmt: skip

    report = clinic.post("reporter", given)

    for said in SAID:
        assert said in page(report)


def test_an_issued_report_that_names_no_clinician_is_refused(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    system = clinic.server.client("application", "northmoor")
    given = a_report_of(request, study)

    nameless = system.post("DiagnosticReport", content=json.dumps(given))
    named = system.post(
        "DiagnosticReport",
        content=json.dumps({**given, "resultsInterpreter": [{"display": "Dr Old System"}]}),
    )

    assert nameless.status_code == 422
    assert nameless.json()["issue"][0]["expression"] == ["DiagnosticReport.resultsInterpreter"]
    assert named.status_code == 201, named.text
    assert "Dr Old System · speciality not registered" in named.json()["text"]["div"]


@pytest.mark.parametrize(
    ("asked", "another"),
    [
        ("performer=Organization/northmoor", "performer=Organization/westvale"),
        ("performer:Organization.name=Northmoor", "performer:Organization.name=Westvale"),
        ("results-interpreter=PractitionerRole/reporter",
         "results-interpreter=PractitionerRole/reviewer"),
        ("results-interpreter:PractitionerRole.practitioner.name=Castell",
         "results-interpreter:PractitionerRole.practitioner.name=Zielinski"),
        ("results-interpreter:PractitionerRole.specialty=1321161000000104",
         "results-interpreter:PractitionerRole.specialty=394814009"),
        ("results-interpreter:PractitionerRole.organization=Organization/northmoor",
         "results-interpreter:PractitionerRole.organization=Organization/westvale"),
    ],
)  # fmt: skip
def test_reports_are_found_by_organisation_clinician_and_speciality(
    clinic: Clinic, asked: str, another: str
) -> None:
    _, _, report = clinic.reported()
    of_the_patient = f"DiagnosticReport?patient={clinic.patient}&"

    assert [one["id"] for one in clinic.search("gp", of_the_patient + asked)] == [report["id"]]
    assert clinic.search("gp", of_the_patient + another) == []
