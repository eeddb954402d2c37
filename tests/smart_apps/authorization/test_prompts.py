"""Signing in anew where an application wants it: OpenID Connect Core 1.0 Section 3.1.2.1."""

import base64
import json
from typing import Any

import httpx
import psycopg
import pytest

from fhir_server.context import now
from smart_apps.authorization import secret
from tests.smart_apps.authorization.browser import (
    App,
    Forms,
    Site,
    authorized,
    follow,
    returned,
    submit,
)
from tests.smart_apps.authorization.conftest import PASSWORD
from tests.smart_apps.authorization.test_refresh import refresh

pytestmark = pytest.mark.standard("OpenID Connect Core 3.1.2.1")

SCOPE = "openid user/Patient.rs offline_access"


def asked(browser: httpx.Client, app: App, **wishes: str) -> httpx.Response:
    return browser.get("/auth/authorize", params=app.request(SCOPE, **wishes))


def sign_in(browser: httpx.Client, page: httpx.Response) -> httpx.Response:
    assert "Password" in page.text
    return submit(browser, page, login="one", password=PASSWORD)


def allow(browser: httpx.Client, page: httpx.Response) -> httpx.Response:
    return page if page.is_redirect else submit(browser, page, decision="allow")


@pytest.fixture
def browser(site: Site) -> httpx.Client:
    """A browser in which somebody has signed in and allowed the application before."""
    authorized(App(site), SCOPE, "one", PASSWORD)
    cookie, at, hour = secret.new(), now(), 3_600_000_000
    with psycopg.connect(site.database_url) as connection:
        connection.execute(
            "insert into sign_in (digest, login, practitioner_role, instant, expires)"
            " values (%s, 'one', 'reporter-lead', %s, %s)",
            (secret.digest(cookie), at, at + hour),
        )
    browser = site.browser()
    browser.cookies.set("isocentre_session", cookie, domain="127.0.0.1", path="/auth")
    return browser


def let_go_by(site: Site, browser: httpx.Client, seconds: int) -> None:
    """Let some time go by since the person has signed in."""
    cookie = secret.digest(browser.cookies["isocentre_session"])
    with psycopg.connect(site.database_url) as connection:
        changed = connection.execute(
            "update sign_in set instant = instant - %s where digest = %s",
            (seconds * 1_000_000, cookie),
        )
        assert changed.rowcount == 1


def claims(token: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(token["id_token"].split(".")[1] + "==")
    )
    return said


def test_who_has_signed_in_within_max_age_is_not_asked(site: Site, browser: httpx.Client) -> None:
    let_go_by(site, browser, 1000)

    assert "code" in returned(asked(browser, App(site), max_age="3600"))
    assert "code" in returned(asked(browser, App(site), max_age="3600", prompt="none"))
    assert "code" in returned(asked(browser, App(site)))


@pytest.mark.parametrize(
    "wish", [{"max_age": "900"}, {"max_age": "0"}, {"prompt": "login"},
             {"prompt": "login", "max_age": "86400"}], ids=str
)  # fmt: skip
def test_who_has_not_signs_in_anew_and_once(
    site: Site, browser: httpx.Client, wish: dict[str, str]
) -> None:
    let_go_by(site, browser, 1000)
    app = App(site)

    page = allow(browser, sign_in(browser, asked(browser, app, **wish)))

    token = app.token(returned(page)["code"]).json()
    assert 0 <= claims(token)["iat"] - claims(token)["auth_time"] < 900


@pytest.mark.parametrize("wish", [{"max_age": "0"}, {"prompt": "login"}], ids=str)
def test_even_who_has_just_signed_in_does_so_for_each_request(
    site: Site, browser: httpx.Client, wish: dict[str, str]
) -> None:
    first, second = App(site), App(site)
    page = sign_in(browser, asked(browser, first, **wish))

    assert "Password" in asked(browser, second, **wish).text
    assert "code" in returned(allow(browser, page))
    assert "Password" in asked(browser, first, **wish).text  # which is served


@pytest.mark.parametrize("wish", [{"max_age": "900"}, {"prompt": "login"}], ids=str)
def test_a_wrong_password_does_not_lead_back_to_the_old_session(
    site: Site, browser: httpx.Client, wish: dict[str, str]
) -> None:
    let_go_by(site, browser, 1000)
    page = asked(browser, App(site), **wish)

    page = submit(browser, page, login="one", password="wrong horse")

    assert page.status_code == 401
    assert "Password" in page.text


@pytest.mark.parametrize("address", ["/auth/consent", "/auth/patient", "/auth/role"])
@pytest.mark.parametrize("wish", [{"max_age": "900"}, {"prompt": "login"}], ids=str)
def test_no_step_is_taken_in_the_old_session(
    site: Site, browser: httpx.Client, wish: dict[str, str], address: str
) -> None:
    let_go_by(site, browser, 1000)
    page = asked(browser, App(site), **wish)
    fields = Forms(page.text).found[0]["fields"] | {
        "decision": "allow",
        "practitioner_role": "reporter-lead",
    }

    answer = follow(browser, browser.post(address, data=fields))

    assert answer.status_code == 200
    assert "Password" in answer.text


def test_without_pages_who_would_have_to_sign_in_is_not_let_through(
    site: Site, browser: httpx.Client
) -> None:
    let_go_by(site, browser, 1000)

    back = returned(asked(browser, App(site), max_age="900", prompt="none"))

    assert back["error"] == "login_required"
    assert returned(asked(browser, App(site), max_age="0", prompt="none"))["error"] == (
        "login_required"
    )


def test_without_pages_what_was_not_allowed_yet_is_not(site: Site, browser: httpx.Client) -> None:
    params = App(site).request("openid user/Task.rs", prompt="none")

    assert returned(browser.get("/auth/authorize", params=params))["error"] == "consent_required"


@pytest.mark.parametrize(
    "wish",
    [{"prompt": "none login"}, {"prompt": "none consent"}, {"max_age": "-1"}, {"max_age": "x"},
     {"max_age": "1.5"}, {"max_age": "9" * 30}, {"max_age": "\u0663"}],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(
    site: Site, browser: httpx.Client, wish: dict[str, str]
) -> None:
    answer = asked(browser, App(site), **wish)

    if wish.get("max_age") == "\u0663":  # which no parameter may have
        assert answer.status_code == 400
    else:
        assert returned(answer)["error"] == "invalid_request"


@pytest.mark.standard("OpenID Connect Core 2")
def test_the_id_token_says_when_the_person_has_signed_in(site: Site, browser: httpx.Client) -> None:
    let_go_by(site, browser, 1000)
    app = App(site)
    token = app.token(returned(asked(browser, app, max_age="3600"))["code"]).json()

    said = claims(token)
    assert 1000 <= said["iat"] - said["auth_time"] < 3600
    later = claims(refresh(site, token["refresh_token"]).json())
    assert later["auth_time"] == said["auth_time"]
