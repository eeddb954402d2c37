"""SMART App Launch 2.2, standalone launch, as Inferno's suite asks for it."""

from urllib.parse import urlencode

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.smart_apps.authorization.browser import App, Forms, Site, authorized, submit
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
