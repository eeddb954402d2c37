"""OpenID Connect RP-Initiated Logout: out of the browser, asked first, and sent back only home."""

from typing import Any

import httpx
import psycopg
import pytest

from tests.smart_apps.authorization.browser import (
    REDIRECT,
    App,
    Forms,
    Site,
    returned,
    submit,
)
from tests.smart_apps.authorization.conftest import PASSWORD

pytestmark = pytest.mark.standard("OpenID Connect RP-Initiated Logout 1.0")


def signed_in(site: Site, scope: str = "user/Patient.rs") -> tuple[httpx.Client, dict[str, Any]]:
    app, browser = App(site), site.browser()
    page = browser.get("/auth/authorize", params=app.request(scope))
    page = submit(browser, page, login="one", password=PASSWORD)
    if "act for you" in page.text:
        page = submit(browser, page, decision="allow")
    given: dict[str, Any] = app.token(returned(page)["code"]).json()
    return browser, given


def is_signed_in(site: Site, browser: httpx.Client) -> bool:
    page = browser.get("/auth/authorize", params=App(site).request("user/Patient.rs"))
    return "Password" not in page.text


def test_a_person_signs_out_and_it_is_audited(site: Site) -> None:
    browser, _ = signed_in(site)
    endpoint = httpx.get(f"{site.url}/.well-known/openid-configuration").json()
    page = browser.get(endpoint["end_session_endpoint"])
    assert "signed in as" in page.text
    assert is_signed_in(site, browser)

    done = submit(browser, page)

    assert "Signed out" in done.text
    assert "isocentre_session" not in browser.cookies
    assert not is_signed_in(site, browser)
    with psycopg.connect(site.database_url) as connection:
        rows = connection.execute(
            "select subject, outcome from audit where interaction = 'logout'"
        ).fetchall()
    assert ("PractitionerRole/reporter-lead", 0) in rows


def test_the_session_cannot_be_taken_up_again_with_its_old_cookie(site: Site) -> None:
    browser, _ = signed_in(site)
    cookie = browser.cookies["isocentre_session"]
    submit(browser, browser.get("/auth/logout"))

    thief = site.browser()
    thief.cookies.set("isocentre_session", cookie, domain="127.0.0.1", path="/auth")

    assert not is_signed_in(site, thief)


@pytest.mark.standard("threats T8")
def test_a_link_alone_signs_nobody_out(site: Site) -> None:
    browser, _ = signed_in(site)

    browser.get("/auth/logout", params={"client_id": "app", "post_logout_redirect_uri": REDIRECT})

    assert is_signed_in(site, browser)


def test_an_app_gets_the_browser_back_where_it_has_registered(site: Site) -> None:
    browser, given = signed_in(site, "openid user/Patient.rs")
    page = browser.get(
        "/auth/logout",
        params={
            "id_token_hint": given["id_token"],
            "post_logout_redirect_uri": REDIRECT,
            "state": "s&t",
        },
    )

    assert "127.0.0.1:18999" in page.headers["content-security-policy"]
    assert returned(submit(browser, page)) == {"state": "s&t"}


@pytest.mark.standard("RFC 9700 4.11 open redirector")
@pytest.mark.parametrize(
    "asked",
    [
        {"client_id": "app", "post_logout_redirect_uri": "https://evil.example/"},
        {"client_id": "app", "post_logout_redirect_uri": f"{REDIRECT}/"},
        {"client_id": "nobody", "post_logout_redirect_uri": REDIRECT},
        {"post_logout_redirect_uri": REDIRECT},
        {"id_token_hint": "a.b.c", "post_logout_redirect_uri": REDIRECT},
        {"id_token_hint": "a.W10.c", "post_logout_redirect_uri": REDIRECT},
    ],
    ids=str,
)
def test_nobody_is_sent_elsewhere_after_signing_out(site: Site, asked: dict[str, str]) -> None:
    browser, _ = signed_in(site)

    done = submit(browser, browser.get("/auth/logout", params=asked))
    again = browser.get("/auth/logout", params=asked)

    for answer in (done, again):
        assert answer.status_code == 200
        assert "location" not in answer.headers


@pytest.mark.standard("SMART permission-online")
def test_what_lasts_as_long_as_the_person_is_there_ends_when_they_go(site: Site) -> None:
    browser, online = signed_in(site, "user/Patient.rs online_access")
    other, offline = signed_in(site, "user/Patient.rs offline_access")

    for each in (browser, other):
        page = each.get("/auth/logout")
        assert Forms(page.text).found[0]["action"] == "/auth/logout"
        submit(each, page)

    answers = [
        site.post(
            "/auth/token",
            grant_type="refresh_token",
            client_id="app",
            refresh_token=given["refresh_token"],
        ).status_code
        for given in (online, offline)
    ]
    assert answers == [400, 200]
    assert site.soon_refused("Patient/p1", online["access_token"])
