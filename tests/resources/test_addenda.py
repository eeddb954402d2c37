"""Addenda: the whole report in either order, and as what it is issued anew (R009)."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from dicom_bridge.reports import documents
from dicom_bridge.reports.said import said
from resources import addenda, codes, report
from resources.addenda import Addendum, Order
from resources.errors import Conflict, Unprocessable
from resources.report import Surroundings
from resources.reporters import Reporter
from tests.build import a_practitioner, a_report, a_role, an_organization

ROOT = "DiagnosticReport/dr1"
WHY = {"url": codes.EVENT_STATUS_REASON, "valueCodeableConcept": {"text": "Wrong side."}}


def reporter(name: str) -> Reporter:
    return Reporter(
        an_organization(name="Westvale"),
        a_practitioner(family=name),
        a_role(specialty="Neurosurgery"),
    )


def whole(order: Order, **members: Any) -> dict[str, Any]:
    """A report with two addenda, as it is told."""
    added = [
        Addendum(
            a_report("dr3", issued="2026-11-27", conclusion="Newer."), [reporter("Zielinski")]
        ),
        Addendum(a_report("dr2", issued="2026-11-26", conclusion="Older."), [reporter("Castell")]),
    ]
    root = a_report(**members)
    around = Surroundings(reporters=[reporter("Radcliffe")], addenda=added, order=order)
    return {**root, **report.completed(root, around)}


def page(told: dict[str, Any]) -> str:
    return base64.b64decode(told["presentedForm"][-1]["data"]).decode()


@pytest.mark.requirement("R009.1")
def test_the_newest_addendum_stands_first() -> None:
    told = whole("newest-first")

    for text in (page(told), told["text"]["div"]):
        assert text.index("Newer.") < text.index("Older.") < text.index(told["conclusion"])
        assert "below" not in text


@pytest.mark.requirement("R009.1")
def test_the_oldest_stands_first_with_a_notice_ahead_of_the_original() -> None:
    told = whole("oldest-first")

    for text in (page(told), told["text"]["div"]):
        notice = text.index("2 addenda below, the latest of 2026-11-27")
        assert notice < text.index(told["conclusion"]) < text.index("Older.") < text.index("Newer.")


@pytest.mark.requirement("R009.1")
@pytest.mark.parametrize("order", ["newest-first", "oldest-first"])
def test_the_words_for_sr_and_pdf_are_in_the_order_of_the_page(order: Order) -> None:
    author = '<div xmlns="http://www.w3.org/1999/xhtml"><p>Grey matter is normal.</p></div>'

    sections = said(whole(order, text={"status": "additional", "div": author})).sections

    told = [paragraph for one in sections for paragraph in one.paragraphs]
    newer, older = told.index("Newer."), told.index("Older.")
    original = told.index("No intracranial haemorrhage.")
    assert told.index("Grey matter is normal.") < original
    if order == "newest-first":
        assert newer < older < original
    else:
        assert original < older < newer
        assert any("2 addenda below" in text for text in told[:original])


def test_completing_again_says_each_addendum_once_and_no_conclusion_that_was_changed() -> None:
    told = whole("newest-first")
    again = {**told, "conclusion": "Changed.", "status": "amended"}
    around = Surroundings(reporters=[reporter("Radcliffe")], order="newest-first")

    narrative = report.completed(again, around)["text"]["div"]

    assert "Newer." not in narrative
    assert "No intracranial" not in narrative
    assert narrative.count("Changed.") == 1


def test_what_an_author_wrote_stays_between_our_sections() -> None:
    author = (
        '<div xmlns="http://www.w3.org/1999/xhtml"><div id="addenda"><div>Mine</div></div></div>'
    )

    narrative = whole("newest-first", text={"status": "generated", "div": author})["text"]["div"]

    assert '<div id="addenda"><div>Mine</div></div>' in narrative
    assert narrative.count("<div") == narrative.count("</div>")


def written(status: str, *extensions: dict[str, Any]) -> dict[str, Any]:
    return a_report("dr2", status=status, extension=[*addenda.adding({}, [ROOT]), *extensions])


@pytest.mark.requirement("R009.3")
@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ({}, written("final"), "appended"),
        ({}, written("corrected", WHY), "appended"),
        (written("final"), written("amended"), "amended"),
        (written("final"), written("corrected", WHY), "corrected"),
        (written("final"), written("entered-in-error"), "corrected"),
        (written("preliminary"), written("final"), "appended"),
    ],
)
def test_a_report_is_issued_as_its_addendum_changed(
    before: dict[str, Any], after: dict[str, Any], status: str
) -> None:
    how = addenda.reissue(before, after, ROOT)

    assert how is not None
    assert how.status == status
    assert (how.reason is not None) == (status == "corrected")


def test_a_draft_of_an_addendum_changes_nothing() -> None:
    assert addenda.reissue({}, written("preliminary"), ROOT) is None


def test_an_addendum_that_is_not_released_is_told_nobody() -> None:
    hidden = {**written("final"), "meta": {"security": [codes.UNRELEASED.json]}}

    assert addenda.addended(hidden) == []
    assert addenda.reissue(hidden, written("final"), ROOT) == addenda.Reissue("appended")


def test_the_gravest_of_several_changes_is_told() -> None:
    found = [addenda.Reissue("amended"), addenda.Reissue("corrected"), addenda.Reissue()]

    assert addenda.gravest(found).status == "corrected"


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled", "preliminary"])
def test_nothing_is_added_to_a_report_that_is_not_given_out(status: str) -> None:
    with pytest.raises(Conflict):
        addenda.reissued(a_report(status=status), addenda.Reissue())


def test_the_reason_of_an_earlier_correction_goes_with_the_next_status() -> None:
    members = addenda.reissued(a_report(status="corrected", extension=[WHY]), addenda.Reissue())

    assert members == {"status": "appended", "extension": None}


def test_a_correction_says_why() -> None:
    with pytest.raises(Unprocessable):
        addenda.check_reason(a_report(status="corrected"))
    addenda.check_reason(a_report(status="corrected", extension=[WHY]))


@pytest.mark.standard("FHIR R6 DiagnosticReport.relatesTo")
def test_r6_says_the_same_in_an_element_of_its_own() -> None:
    replaced = {"url": codes.REPLACES_REPORT, "valueReference": {"reference": "DiagnosticReport/9"}}

    assert addenda.relates_to(written("final", replaced)) == [
        {"type": "appends", "target": {"reference": ROOT}},
        {"type": "replaces", "target": {"reference": "DiagnosticReport/9"}},
    ]


@pytest.mark.requirement("R009.1")
def test_a_pdf_that_is_all_an_author_wrote_gives_way_to_one_with_the_addenda() -> None:
    attached = {
        "contentType": "application/pdf",
        "data": base64.b64encode(b"%PDF-1.4 theirs").decode(),
    }
    study = documents.Study({"StudyInstanceUID": "1.2.3", "PatientID": "1"})
    version = documents.Version("r", 2, datetime(2026, 11, 27, tzinfo=UTC))
    author = documents.Author("Castell^Helen", "Northmoor")
    alone = {**a_report(conclusion=None, presentedForm=[attached])}
    added = whole("newest-first", conclusion=None, presentedForm=[attached])

    before = documents.encapsulated(said(alone), author, study, version)
    after = documents.encapsulated(said(added), author, study, version)

    assert before.EncapsulatedDocument.startswith(b"%PDF-1.4 theirs")
    assert b"theirs" not in after.EncapsulatedDocument
