"""SMART App Launch 2.2, EHR launch: an app opened in the context of a patient and their images."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.smart_apps.authorization.browser import App, Site, authorized, follow, returned, submit
from tests.smart_apps.authorization.conftest import PASSWORD


def worklist_token(site: Site, login: str = "one") -> str:
    """The token of the application that launches others."""
    app = App(site)
    code = authorized(app, "user/*.rs", login, PASSWORD)["code"]
    token: str = app.token(code).json()["access_token"]
    return token


def launch(site: Site, token: str, **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    asked = {"client": "app", **body}
    return httpx.post(f"{site.url}/auth/launch", json=asked, headers=headers, timeout=30)


@pytest.mark.standard("SMART smart_ehr_launch_stu2_2")
def test_an_app_is_launched_in_the_context_that_is_open(site: Site) -> None:
    study = {"reference": "Patient/p1", "role": "https://isocentre.example/role/subject"}
    opened = launch(
        site, worklist_token(site), patient="p1", fhirContext=[study], intent="reconcile"
    )
    assert opened.status_code == 200, opened.text
    query = parse_qs(urlsplit(opened.json()["url"]).query)
    assert query["iss"] == [site.base]

    app = App(site)
    back = authorized(
        app, "launch openid patient/Patient.rs", "one", PASSWORD, launch=query["launch"][0]
    )
    token = app.token(back["code"]).json()

    assert token["patient"] == "p1"
    assert token["fhirContext"] == [study]
    assert token["intent"] == "reconcile"
    assert site.get("Patient/p1", token["access_token"]).status_code == 200


@pytest.mark.standard("SMART App Launch, launch context", "threats T1")
@pytest.mark.parametrize(
    "body",
    [
        {"patient": "p2"},
        {"patient": "nobody"},
        {"patient": "../p1"},
        {"patient": ["p1"]},
        {"fhirContext": [{"reference": "Patient/p2", "role": "x"}]},
        {"fhirContext": [{"reference": "http://evil.example/Patient/p1", "role": "x"}]},
        {"fhirContext": [{"reference": "Patient/p1"}]},
        {"fhirContext": "Patient/p1"},
        {"fhirContext": ["Patient/p1"]},
        {"scope": "system/*.cruds"},
        {"client": "backend", "patient": "p1"},
        {"client": "nobody", "patient": "p1"},
    ],
    ids=str,
)
def test_a_context_that_the_launcher_may_not_see_or_that_is_none_is_refused(
    site: Site, body: dict[str, Any]
) -> None:
    answer = launch(site, worklist_token(site), **body)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_nobody_launches_without_a_token(site: Site) -> None:
    assert launch(site, "nonsense", patient="p1").status_code == 401


@pytest.mark.standard("threats T1")
def test_a_launch_is_for_who_opened_it(site: Site) -> None:
    handle = launch(site, worklist_token(site), patient="p1").json()["launch"]

    back = authorized(App(site), "launch patient/Patient.rs", "gp", PASSWORD, launch=handle)

    assert back["error"] == "access_denied"


def test_a_launch_that_is_none_is_refused(site: Site) -> None:
    back = authorized(App(site), "launch patient/Patient.rs", "one", PASSWORD, launch="made-up")

    assert back["error"] == "invalid_request"


def test_a_role_chosen_in_the_launching_app_is_the_role_in_the_launched_one(site: Site) -> None:
    app, browser = App(site), site.browser()
    page = browser.get("/auth/authorize", params=app.request("user/*.rs"))
    page = submit(browser, page, login="two", password=PASSWORD)
    page = submit(browser, page, practitioner_role="referrer-other")
    code = returned(submit(browser, page, decision="allow"))["code"]
    handle = launch(site, app.token(code).json()["access_token"], patient="p2").json()["launch"]

    again = App(site)
    asked = again.request("launch patient/Patient.rs", launch=handle)
    page = follow(browser, browser.get("/auth/authorize", params=asked))
    back = returned(submit(browser, page, decision="allow"))

    token = again.token(back["code"]).json()
    assert site.get("Patient/p2", token["access_token"]).status_code == 200
