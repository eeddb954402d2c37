"""SMART App Launch 2.2, standalone: a person chooses the visit, study or list for the app."""

from typing import Any

import httpx
import pytest

from tests.smart_apps.authorization.browser import App, Forms, Site, returned, submit
from tests.smart_apps.authorization.conftest import NHS, PASSWORD

pytestmark = pytest.mark.standard("SMART App Launch, launch context")


def asked_for(site: Site, app: App, scope: str) -> tuple[httpx.Client, httpx.Response]:
    """The page after the patient was chosen."""
    browser = site.signed_in.setdefault("one", site.browser())
    page = browser.get("/auth/authorize", params=app.request(scope))
    if "Password" in page.text:
        page = submit(browser, page, login="one", password=PASSWORD)
    page = submit(browser, page, nhs=NHS)
    return browser, submit(browser, page, form=1, patient="p1")


def token(browser: httpx.Client, app: App, page: httpx.Response) -> Any:
    if "act for you" in page.text:
        page = submit(browser, page, decision="allow")
    return app.token(returned(page)["code"]).json()


def offered(page: httpx.Response) -> list[str]:
    return [value for _, value in Forms(page.text).found[0]["buttons"]]


def test_an_app_gets_the_visit_that_was_chosen(site: Site) -> None:
    app = App(site)
    browser, page = asked_for(site, app, "launch/encounter patient/Encounter.rs")

    assert "Which visit?" in page.text
    assert "ambulatory" in page.text
    assert offered(page) == ["visit-mine", "-"]
    given = token(browser, app, submit(browser, page, pick0="visit-mine"))

    assert (given["patient"], given["encounter"]) == ("p1", "visit-mine")


@pytest.mark.standard("SMART Imaging Access, launch/imagingstudy")
def test_an_app_gets_the_study_that_was_chosen_as_an_object(site: Site) -> None:
    app = App(site)
    browser, page = asked_for(site, app, "launch/imagingstudy openid patient/ImagingStudy.rs")

    assert "Head &lt;CT&gt;" in page.text
    assert offered(page) == ["study-mine", "-"]
    given = token(browser, app, submit(browser, page, pick0="study-mine"))

    assert given["fhirContext"] == [{"reference": "ImagingStudy/study-mine"}]
    answer = site.get("ImagingStudy/study-mine", given["access_token"])
    assert answer.status_code == 200


def test_a_list_is_chosen_in_the_role_that_the_scope_names(site: Site) -> None:
    app = App(site)
    browser, page = asked_for(site, app, "launch/patient launch/list?role=agenda user/List.rs")

    assert "Thursday meeting" in page.text
    given = token(browser, app, submit(browser, page, pick0="agenda-mine"))

    assert given["fhirContext"] == [{"reference": "List/agenda-mine", "role": "agenda"}]


def test_several_are_asked_one_after_the_other_and_one_may_go_on_without(site: Site) -> None:
    app = App(site)
    browser, page = asked_for(
        site, app, "launch/encounter launch/imagingstudy launch/diagnosticreport patient/*.rs"
    )

    page = submit(browser, page, pick0="-")
    assert "Which imaging study?" in page.text
    given = token(browser, app, submit(browser, page, pick1="study-mine"))

    assert "encounter" not in given
    assert given["fhirContext"] == [{"reference": "ImagingStudy/study-mine"}]


@pytest.mark.standard("threats T1")
@pytest.mark.parametrize("forged", ["study-not-mine", "nobody", "../p1", "visit-mine"])
def test_what_is_of_another_patient_cannot_be_chosen(site: Site, forged: str) -> None:
    browser, page = asked_for(site, App(site), "launch/imagingstudy patient/ImagingStudy.rs")

    answer = submit(browser, page, pick0=forged)

    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_a_question_needs_the_person(site: Site) -> None:
    asked_for(site, App(site), "launch/encounter patient/Encounter.rs")
    app = App(site)

    answer = site.signed_in["one"].get(
        "/auth/authorize",
        params=app.request("launch/encounter patient/Encounter.rs", prompt="none"),
    )

    assert returned(answer)["error"] == "interaction_required"


@pytest.mark.standard("threats T1")
@pytest.mark.parametrize("chosen", ["study-mine,study-not-mine", "study-not-mine", "study-mine,x"])
def test_a_form_that_was_edited_chooses_nothing_but_one_of_what_is_seen(
    site: Site, chosen: str
) -> None:
    browser, page = asked_for(site, App(site), "launch/imagingstudy patient/ImagingStudy.rs")

    assert submit(browser, page, pick0=chosen).status_code == 400
