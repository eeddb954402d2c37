"""Reports: the study they name, and what the server adds (R001.1, R007.3, R015.3, G3)."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from resources import codes, reporters
from resources.addenda import Addendum
from resources.errors import Unprocessable
from resources.report import WHOLE_REPORT, Remark, Surroundings, completed, rule
from resources.reporters import Reporter
from tests.build import a_practitioner, a_report, a_request, a_role, a_study, an_organization

AROUND = Surroundings(
    requests=[("ServiceRequest/sr1/_history/2", a_request())],
    remarks=[
        Remark("Justification", "Agreed, low dose"),
        Remark("Acquisition", "Mild contrast reaction"),
    ],
    reporters=[
        Reporter(
            an_organization(name="Lead Trust"),
            a_practitioner(family="Radcliffe"),
            a_role(specialty="Neuroradiology"),
        )
    ],
    studies=[("https://here.example/fhir/ImagingStudy/is1", "CT of head")],
)


def page(members: dict[str, Any]) -> str:
    (form,) = [one for one in members["presentedForm"] if one.get("title") == WHOLE_REPORT]
    return base64.b64decode(form["data"]).decode()


@pytest.mark.requirement("R001.1")
def test_a_radiology_report_without_its_study_is_refused() -> None:
    with pytest.raises(Unprocessable) as refusal:
        rule(None, a_report(imagingStudy=None))
    assert refusal.value.at == "DiagnosticReport.imagingStudy"


def test_a_registered_report_may_wait_for_its_study() -> None:
    rule(None, a_report(imagingStudy=None, status="registered"))


def test_a_report_of_another_department_needs_no_study() -> None:
    rule(None, a_report(imagingStudy=None, category=[{"text": "Pathology"}]))


@pytest.mark.requirement("R001.1")
def test_an_issued_report_keeps_its_study_through_updates() -> None:
    moved = a_report(imagingStudy=[{"reference": "ImagingStudy/other"}], status="amended")
    with pytest.raises(Unprocessable):
        rule(a_report(), moved)
    rule(a_report(), a_report(status="amended"))


def test_an_issued_report_is_not_a_draft_again() -> None:
    with pytest.raises(Unprocessable):
        rule(a_report(), a_report(status="preliminary"))


@pytest.mark.requirement("R007.3")
def test_the_clinical_information_of_the_request_is_in_the_report() -> None:
    members = completed(a_report(), AROUND)

    for said in ("Headache for three weeks", "On anticoagulants", "CT of head"):
        assert said in members["text"]["div"]
        assert said in page(members)
    assert members["extension"] == [
        {
            "url": codes.REPORT_SUPPORTING_INFO,
            "valueReference": {"reference": "ServiceRequest/sr1/_history/2"},
        }
    ]


@pytest.mark.requirement("G3")
def test_the_notes_of_practitioner_and_operator_are_in_the_report() -> None:
    members = completed(a_report(), AROUND)

    for said in ("Agreed, low dose", "Mild contrast reaction"):
        assert said in members["text"]["div"]
        assert said in page(members)


@pytest.mark.requirement("R015.3")
def test_the_whole_report_names_organisation_clinician_and_speciality() -> None:
    whole = page(completed(a_report(), AROUND))

    members = completed(a_report(), AROUND)
    for said in ("Lead Trust (ZZ901)", "Dr Sam Radcliffe", "Neuroradiology"):
        assert said in whole
        assert said in members["text"]["div"]


@pytest.mark.requirement("R015.3")
def test_each_of_several_reporters_is_named_and_so_is_who_added_to_it() -> None:
    other = an_organization(name="Other Trust")
    second = Reporter(other, a_practitioner(family="Second"), a_role(specialty="Paediatrics"))
    third = Reporter(other, a_practitioner(family="Third"), a_role(specialty="Cardiology"))
    around = replace(
        AROUND, reporters=[*AROUND.reporters, second], addenda=[Addendum(a_report(), [third])]
    )

    members = completed(a_report(), around)

    for text in (members["text"]["div"], page(members)):
        for said in ("Dr Sam Radcliffe", "Dr Sam Second", "Paediatrics", "Dr Sam Third",
                     "Cardiology", "Other Trust"):  # fmt: skip
            assert said in text


@pytest.mark.requirement("R015.3")
@pytest.mark.parametrize(
    ("reporter", "at"),
    [
        (Reporter({}, a_practitioner(), a_role()), "performer"),
        (Reporter(an_organization(), {}, {}), "resultsInterpreter"),
    ],
)
def test_a_report_that_names_no_organisation_or_no_clinician_is_refused(
    reporter: Reporter, at: str
) -> None:
    with pytest.raises(Unprocessable) as refusal:
        reporters.check([reporter])
    assert refusal.value.at == f"DiagnosticReport.{at}"
    reporters.check([Reporter(an_organization(), {}, {}, "Dr Only A Name")])


@pytest.mark.requirement("R015.3")
def test_a_speciality_that_nobody_registered_is_said_to_be_so() -> None:
    said = reporters.words(Reporter(an_organization(), a_practitioner(), {}))
    assert said.endswith("speciality not registered")


@pytest.mark.requirement("R001.3")
def test_the_whole_report_links_to_its_images() -> None:
    whole = page(completed(a_report(), AROUND))
    assert '<a href="https://here.example/fhir/ImagingStudy/is1">CT of head</a>' in whole


def test_the_narrative_of_the_author_stays_and_ours_comes_after() -> None:
    own = {
        "status": "generated",
        "div": '<div xmlns="http://www.w3.org/1999/xhtml"><p>Mine</p></div>',
    }
    text = completed(a_report(text=own), AROUND)["text"]

    assert text["div"].startswith('<div xmlns="http://www.w3.org/1999/xhtml"><p>Mine</p>')
    assert text["div"].index("Mine") < text["div"].index("Clinical information")
    assert text["status"] == "additional"


def test_completing_a_report_twice_adds_nothing_twice() -> None:
    other = {"contentType": "application/pdf", "url": "urn:x", "title": "Scan"}
    once = {**a_report(presentedForm=[other]), **completed(a_report(presentedForm=[other]), AROUND)}
    twice = {**once, **completed(once, AROUND)}

    assert twice["text"]["div"].count("Clinical information") == 1
    assert [one["title"] for one in twice["presentedForm"]] == ["Scan", WHOLE_REPORT]
    assert len(twice["extension"]) == 1


def test_words_of_people_cannot_become_markup() -> None:
    evil = "<script>alert(1)</script></div>"
    around = Surroundings(
        requests=[("ServiceRequest/sr1/_history/1", a_request(reasonCode=[{"text": evil}]))],
        remarks=[Remark(evil, evil)],
        reporters=[Reporter(an_organization(name=evil), {}, {}, evil)],
        studies=[('"><script>', evil)],
    )
    members = completed(a_report(conclusion=evil), around)

    assert "<script" not in members["text"]["div"]
    assert "<script" not in page(members)
    again = {**a_report(), **members}
    assert completed(again, around)["text"]["div"].count("Clinical information") == 1


def test_performers_left_out_are_filled_in_and_others_left_alone() -> None:
    defaults = {
        "performer": [{"reference": "Organization/mine"}],
        "resultsInterpreter": [{"reference": "PractitionerRole/me"}],
    }
    around = Surroundings(defaults=defaults)

    assert "performer" not in completed(a_report(), around)
    bare = a_report(performer=None)
    assert completed(bare, around)["performer"] == [{"reference": "Organization/mine"}]
    assert "resultsInterpreter" not in completed(bare, around)


def test_builders_agree_with_each_other() -> None:
    assert a_report()["imagingStudy"] == [{"reference": f"ImagingStudy/{a_study()['id']}"}]
