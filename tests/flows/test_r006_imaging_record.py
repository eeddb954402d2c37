"""R006: the imaging record of a patient, as the list that a clinician looks at."""

import pytest

from resources import codes, elements
from tests.flows.clinic import Clinic, Json


def row(study: Json) -> tuple[str, str, int, str]:
    """Date, procedure, number of images, status: the columns of R006.2."""
    return (
        study["started"],
        elements.words(study["procedureCode"][0]),
        elements.extension_value(study, codes.NUMBER_OF_IMAGES),
        elements.extension_value(study, codes.REPORTING_STATUS_EXTENSION),
    )


@pytest.fixture
def two_examinations(clinic: Clinic) -> Clinic:
    """An older CT that was reported, and a newer one that was not."""
    for number, (started, procedure) in enumerate(
        [("2026-11-01T09:00:00Z", "CT of head"), ("2026-11-20T09:00:00Z", "CT of sinuses")]
    ):
        (request,) = clinic.refer({"code": {"text": procedure}})
        clinic.authorise(request)
        study = clinic.images_arrive(request, images=number + 2, started=started)
        if number == 0:
            clinic.report(request, study)
    return clinic


@pytest.mark.requirement("R006.1")
@pytest.mark.requirement("R006.2")
def test_the_list_shows_date_procedure_images_and_status_newest_first(
    two_examinations: Clinic,
) -> None:
    record = two_examinations.search(
        "reporter", f"ImagingStudy?patient={two_examinations.patient}&_sort=-started"
    )

    assert list(map(row, record)) == [
        ("2026-11-20T09:00:00Z", "CT of sinuses", 3, "unreported"),
        ("2026-11-01T09:00:00Z", "CT of head", 2, "reported"),
    ]


@pytest.mark.requirement("R006.1")
def test_studies_and_their_reports_come_on_one_page(two_examinations: Clinic) -> None:
    page = two_examinations.get(
        "gp",
        f"ImagingStudy?patient={two_examinations.patient}&_sort=-started"
        "&_revinclude=DiagnosticReport:imagingStudy",
    )

    kinds = [one["resource"]["resourceType"] for one in page["entry"]]
    assert kinds == ["ImagingStudy", "ImagingStudy", "DiagnosticReport"]


@pytest.mark.requirement("R006.2")
def test_a_preliminary_report_is_not_yet_a_report(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    draft = clinic.report(request, study, status="preliminary")

    def status() -> object:
        now = clinic.get("reporter", f"ImagingStudy/{study['id']}")
        return elements.extension_value(now, codes.REPORTING_STATUS_EXTENSION)

    assert status() == "preliminary"
    assert clinic.tasks(request, "acknowledge") == []
    clinic.change("reporter", draft, status="final")
    assert status() == "reported"
    assert len(clinic.tasks(request, "acknowledge")) == 1


def test_a_stranger_has_no_record_to_see(two_examinations: Clinic) -> None:
    page = two_examinations.get(
        "reviewer", f"ImagingStudy?patient={two_examinations.patient}&_total=accurate"
    )

    assert page["total"] == 0
    assert page.get("entry", []) == []


@pytest.mark.requirement("R006.1")
def test_studies_that_another_trust_took_are_in_the_same_record(clinic: Clinic) -> None:
    (here,) = clinic.refer()
    clinic.authorise(here)
    ours = clinic.images_arrive(here, started="2026-11-20T09:00:00Z")
    elsewhere = {"performer": [{"reference": "Organization/westvale"}]}
    (there,) = clinic.refer(elsewhere)
    justify = clinic.task(there, "justify", "westvale-practitioner")
    authorised = {"status": "completed", "businessStatus": codes.AUTHORISED.concept}
    clinic.change("westvale-practitioner", justify, **authorised)
    theirs = clinic.images_arrive(there, started="2026-11-10T09:00:00Z")

    for login in ("gp", "reporter", "reviewer"):
        record = clinic.search(login, f"ImagingStudy?patient={clinic.patient}&_sort=-started")
        assert [one["id"] for one in record] == [ours["id"], theirs["id"]], login
