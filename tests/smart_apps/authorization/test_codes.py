"""RFC 6749, RFC 7636, RFC 9700: what an authorisation code needs, and what befalls a stolen one."""

from urllib.parse import urlencode

import httpx
import pytest

from tests.smart_apps.authorization.browser import (
    REDIRECT,
    App,
    Site,
    authorized,
    returned,
    submit,
)
from tests.smart_apps.authorization.conftest import PASSWORD

SCOPE = "openid user/Patient.rs offline_access"


@pytest.mark.standard("RFC 6749 4.1.2", "RFC 9700 2.1.1")
def test_a_code_is_good_once_and_its_second_use_ends_what_the_first_one_gave(site: Site) -> None:
    app = App(site)
    code = authorized(app, SCOPE, "one", PASSWORD)["code"]
    first = app.token(code).json()
    assert site.get("Patient/p1", first["access_token"]).status_code == 200

    again = app.token(code)

    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    refreshed = site.post(
        "/auth/token",
        grant_type="refresh_token",
        client_id="app",
        refresh_token=first["refresh_token"],
    )
    assert (refreshed.status_code, refreshed.json()["error"]) == (400, "invalid_grant")
    assert site.soon_refused("Patient/p1", first["access_token"])


@pytest.mark.standard("RFC 7636 4.6")
@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "x" * 43},
        {"code_verifier": None},
        {"redirect_uri": f"{REDIRECT}/"},
        {"redirect_uri": None},
        {"client_id": "other-app"},
        {"client_id": None},
    ],
    ids=str,
)
def test_a_code_is_worth_nothing_to_who_did_not_ask_for_it(
    site: Site, changes: dict[str, str | None]
) -> None:
    app = App(site)
    code = authorized(app, SCOPE, "one", PASSWORD)["code"]

    answer = app.token(code, **changes)

    assert answer.status_code in (400, 401)
    assert answer.json()["error"] in {"invalid_grant", "invalid_request", "invalid_client"}
    assert "access_token" not in answer.text


@pytest.mark.standard("SMART App Launch, Obtain authorization code")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"aud": "http://elsewhere.example/fhir"}, "invalid_request"),
        ({"aud": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "patient/Task.sr"}, "invalid_scope"),
        ({"scope": "system/Patient.rs"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
    ],
    ids=str,
)
def test_a_request_that_cannot_be_granted_goes_back_to_the_client(
    site: Site, changes: dict[str, str | None], error: str
) -> None:
    app = App(site)

    answer = httpx.get(
        f"{site.url}/auth/authorize", params=app.request(changes.pop("scope", SCOPE), **changes)
    )

    back = returned(answer)
    assert (back["error"], back["state"]) == (error, app.state)
    assert "code" not in back


@pytest.mark.standard("RFC 9700 4.11 open redirector")
@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "http://127.0.0.1:18999/cb/"},
        {"redirect_uri": "http://127.0.0.1:18999/cb?x=1"},
        {"redirect_uri": "http://127.0.0.1:18999@evil.example/cb"},
        {"redirect_uri": "https://evil.example/cb"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "http://127.0.0.1:18999/cb\\@evil.example"},
        {"redirect_uri": None},
        {"client_id": "nobody"},
        {"client_id": "backend"},
    ],
    ids=str,
)
def test_nobody_is_sent_to_an_address_that_is_not_registered(
    site: Site, changes: dict[str, str | None]
) -> None:
    asked = App(site).request(SCOPE, **changes)

    answer = httpx.get(f"{site.url}/auth/authorize", params=asked)

    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.standard("RFC 6749 3.1")
def test_a_parameter_given_twice_is_refused(site: Site) -> None:
    asked = [*App(site).request(SCOPE).items(), ("client_id", "other-app")]

    answer = httpx.get(f"{site.url}/auth/authorize?{urlencode(asked)}")

    assert answer.status_code == 400


@pytest.mark.standard("SMART authorize-post")
def test_a_client_may_ask_by_post(site: Site) -> None:
    app, browser = App(site), site.browser()

    page = browser.post("/auth/authorize", data=app.request("user/Patient.r"))
    page = submit(browser, page, login="one", password=PASSWORD)
    back = returned(submit(browser, page, decision="allow"))

    assert app.token(back["code"]).status_code == 200


def test_who_does_not_allow_it_is_sent_back_without_a_code(site: Site) -> None:
    app, browser = App(site), site.browser()
    page = browser.get("/auth/authorize", params=app.request("user/Observation.rs"))
    page = submit(browser, page, login="one", password=PASSWORD)

    back = returned(submit(browser, page, decision="deny"))

    assert back == {"error": "access_denied", "state": app.state, **_described(back)}


@pytest.mark.standard("OpenID Connect Core 3.1.2.1")
def test_a_request_without_pages_is_refused_where_one_is_needed(site: Site) -> None:
    app = App(site)

    answer = httpx.get(f"{site.url}/auth/authorize", params=app.request(SCOPE, prompt="none"))

    assert returned(answer)["error"] == "login_required"


def test_consent_is_remembered_for_the_same_scopes_and_no_others(site: Site) -> None:
    app, browser = App(site), site.browser()
    page = browser.get("/auth/authorize", params=app.request("user/List.rs"))
    page = submit(browser, page, login="one", password=PASSWORD)
    submit(browser, page, decision="allow")

    same = browser.get("/auth/authorize", params=App(site).request("user/List.rs"))
    more = browser.get("/auth/authorize", params=App(site).request("user/List.cruds"))

    assert "code" in returned(same)
    assert "May this application act for you?" in more.text


@pytest.mark.standard("RFC 6749 3.3")
def test_what_the_client_is_not_registered_for_is_not_granted(site: Site) -> None:
    app = App(site)

    code = authorized(app, "user/Patient.rs system/*.cruds user/Task.read", "one", PASSWORD)["code"]

    assert app.token(code).json()["scope"] == "user/Patient.rs user/Task.read"


def _described(back: dict[str, str]) -> dict[str, str]:
    return {name: back[name] for name in ("error_description",) if name in back}
