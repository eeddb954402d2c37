"""SMART App Launch 2.2, standalone launch, as Inferno's suite asks for it."""

from urllib.parse import urlencode

import httpx
import psycopg
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.smart_apps.authorization.browser import App, Forms, Site, authorized, returned, submit
from tests.smart_apps.authorization.conftest import NHS, PASSWORD


@pytest.mark.standard("SMART smart_token_exchange_stu2_2")
def test_a_person_signs_in_chooses_a_patient_and_the_app_reads_it(site: Site) -> None:
    app = App(site)

    back = authorized(
        app, "launch/patient openid fhirUser patient/Patient.rs", "one", PASSWORD, NHS
    )
    assert back["state"] == app.state
    answer = app.token(back["code"])

    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    token = answer.json()
    assert token["token_type"] == "Bearer"
    assert token["patient"] == "p1"
    assert token["need_patient_banner"] is True
    assert set(token["scope"].split()) == {
        "launch/patient", "openid", "fhirUser", "patient/Patient.rs",
    }  # fmt: skip
    assert site.get("Patient/p1", token["access_token"]).status_code == 200
    assert site.get("Patient/p2", token["access_token"]).status_code == 404
    keys = KeySet.import_key_set(httpx.get(f"{site.url}/auth/jwks").json())
    claims = jwt.decode(token["id_token"], keys, algorithms=["RS256"]).claims
    assert claims["iss"] == site.url
    assert claims["aud"] == "app"
    assert claims["fhirUser"] == f"{site.base}/Practitioner/dr"
    assert site.get("Practitioner/dr", token["access_token"]).status_code in (200, 403, 404)


@pytest.mark.standard("SMART App Launch scopes")
def test_somebody_with_several_roles_says_in_which_one_they_act(site: Site) -> None:
    app, browser = App(site), site.browser()
    page = browser.get(f"/auth/authorize?{urlencode(app.request('user/Patient.rs'))}")

    page = submit(browser, page, login="two", password=PASSWORD)
    buttons = Forms(page.text).found[0]["buttons"]
    assert {value for _, value in buttons} == {"reporter-lead", "referrer-other"}
    page = submit(browser, page, practitioner_role="referrer-other")
    answer = submit(browser, page, decision="allow")

    code = httpx.URL(answer.headers["location"]).params["code"]
    token = app.token(code).json()["access_token"]
    assert site.get("Patient/p2", token).status_code == 200
    assert site.get("Patient/p1", token).status_code == 404


def role_form(page: httpx.Response) -> int:
    """Which form of the page leads to another role."""
    (found,) = (
        n for n, form in enumerate(Forms(page.text).found) if form["action"] == "/auth/role"
    )
    return found


def decided(app: App, browser: httpx.Client, page: httpx.Response) -> str:
    answer = submit(browser, page, decision="allow")
    return str(app.token(returned(answer)["code"]).json()["access_token"])


@pytest.mark.requirement("R002.2")
def test_they_act_in_another_role_without_signing_out(site: Site) -> None:
    app, browser = App(site), site.browser()
    address = f"/auth/authorize?{urlencode(app.request('user/Patient.rs'))}"
    page = submit(browser, browser.get(address), login="two", password=PASSWORD)
    page = submit(browser, page, practitioner_role="referrer-other")
    assert site.get("Patient/p1", decided(app, browser, page)).status_code == 404

    again = App(site)
    page = browser.get(f"/auth/authorize?{urlencode(again.request('user/Patient.rs'))}")
    assert "Referrer" in page.text  # asked, although it was allowed before
    page = submit(browser, page, role_form(page), another="yes")
    assert {value for _, value in Forms(page.text).found[0]["buttons"]} == {
        "reporter-lead", "referrer-other",
    }  # fmt: skip
    page = submit(browser, page, practitioner_role="reporter-lead")

    assert "Reporting clinician" in page.text
    assert site.get("Patient/p1", decided(again, browser, page)).status_code == 200


@pytest.mark.requirement("R002.2")
def test_the_choice_of_a_role_is_in_the_audit(site: Site) -> None:
    browser = site.browser()
    page = browser.get(f"/auth/authorize?{urlencode(App(site).request('user/Patient.rs'))}")
    page = submit(browser, page, login="two", password=PASSWORD)

    submit(browser, page, practitioner_role="reporter-lead")

    with psycopg.connect(site.database_url) as connection:
        rows = connection.execute(
            "select subject, organization, role from audit where detail = 'acts in this role'"
        ).fetchall()
    assert ("PractitionerRole/reporter-lead", "lead", "reporter") in rows


@pytest.mark.standard("OpenID Connect Core 1.0 Section 3.1.2.1")
def test_an_app_may_ask_for_the_role_to_be_selected(site: Site) -> None:
    app, browser = App(site), site.browser()
    wanted = app.request("user/Patient.rs", prompt="select_account")
    page = browser.get("/auth/authorize", params=wanted)
    page = submit(browser, page, login="two", password=PASSWORD)
    page = submit(browser, page, practitioner_role="referrer-other")
    decided(app, browser, page)

    again = App(site)
    wanted = again.request("user/Patient.rs", prompt="select_account")
    page = browser.get("/auth/authorize", params=wanted)
    assert "Who are you acting as?" in page.text
    page = submit(browser, page, practitioner_role="reporter-lead")

    assert site.get("Patient/p1", decided(again, browser, page)).status_code == 200


@pytest.mark.standard("OWASP ASVS 5.0")
def test_what_was_allowed_in_one_role_is_not_given_in_another(site: Site) -> None:
    """Two tabs: the role is changed in the one, and allowed in the other."""
    app, browser = App(site), site.browser()
    address = f"/auth/authorize?{urlencode(app.request('user/Patient.rs'))}"
    page = submit(browser, browser.get(address), login="two", password=PASSWORD)
    first = submit(browser, page, practitioner_role="referrer-other")
    second = submit(browser, first, role_form(first), another="yes")
    submit(browser, second, practitioner_role="reporter-lead")

    answer = submit(browser, first, decision="allow")

    assert answer.status_code == 200
    assert "another role now" in answer.text
    assert site.get("Patient/p1", decided(app, browser, answer)).status_code == 200


@pytest.mark.standard("OWASP ASVS 5.0")
def test_nobody_changes_the_role_of_another_browser_or_to_one_that_is_not_theirs(
    site: Site,
) -> None:
    app, browser = App(site), site.browser()
    address = f"/auth/authorize?{urlencode(app.request('user/Patient.rs'))}"
    page = submit(browser, browser.get(address), login="two", password=PASSWORD)
    page = submit(browser, page, practitioner_role="referrer-other")
    form = Forms(page.text).found[role_form(page)]

    forged = {**form["fields"], "token": "00", "another": "yes"}
    assert browser.post("/auth/role", data=forged).status_code == 403
    for wrong in ("gp", "admin", "", "reporter-other"):
        fields = {**form["fields"], "practitioner_role": wrong}
        assert browser.post("/auth/role", data=fields).status_code == 303
        assert "Referrer" in browser.get(address).text


def test_who_has_one_role_is_offered_no_other(site: Site) -> None:
    browser = site.browser()
    page = browser.get(f"/auth/authorize?{urlencode(App(site).request('user/Patient.rs'))}")

    page = submit(browser, page, login="one", password=PASSWORD)

    assert "Act in another role" not in page.text
