"""Parameters of an OpenID Connect request that say who is meant, or that we do not support."""

import base64
import json

import httpx
import pytest

from fhir_server.access.token import Keys
from tests.smart_apps.authorization.browser import (
    App,
    Site,
    authorized,
    follow,
    returned,
    submit,
)
from tests.smart_apps.authorization.conftest import PASSWORD

pytestmark = pytest.mark.standard("OpenID Connect Core 3.1.2.1")

SCOPE = "openid user/Patient.rs"


def id_token(site: Site) -> str:
    app = App(site)
    token = app.token(authorized(app, SCOPE, "one", PASSWORD)["code"]).json()
    return str(token["id_token"])


def id_token_of_another(site: Site) -> str:
    claims = {"iss": site.url, "aud": "app", "sub": "Practitioner/another", "exp": 1}
    return Keys.load(site.settings.data_dir).sign(claims, type="JWT")


def asked(site: Site, **wishes: str) -> httpx.Response:
    """Ask in the browser in which a person has signed in before."""
    browser = site.signed_in["one"]
    params = App(site).request(SCOPE, **wishes)
    return follow(browser, browser.get("/auth/authorize", params=params))


def test_who_is_meant_is_let_through_without_a_page(site: Site) -> None:
    hint = id_token(site)

    assert "code" in returned(asked(site, prompt="none", id_token_hint=hint))


@pytest.mark.parametrize("wish", [{"prompt": "none"}, {}], ids=str)
def test_nobody_else_is_taken_for_who_is_meant(site: Site, wish: dict[str, str]) -> None:
    hint, _ = id_token_of_another(site), id_token(site)

    back = returned(asked(site, id_token_hint=hint, **wish))

    assert back["error"] == "login_required"


def test_somebody_else_who_signs_in_for_it_is_not_who_is_meant(site: Site) -> None:
    hint, browser = id_token_of_another(site), site.browser()
    page = browser.get("/auth/authorize", params=App(site).request(SCOPE, id_token_hint=hint))
    assert "Password" in page.text

    assert returned(submit(browser, page, login="one", password=PASSWORD))["error"] == (
        "login_required"
    )


def forged(token: str) -> dict[str, str]:
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    other = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "x"}).encode()).decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    return {
        "another's claims": f"{head}.{other.rstrip('=')}.{signature}",
        "unsigned": f"{none}.{body}.",
        "cut": f"{head}.{body}",
        "nothing": "x",
    }


def test_a_hint_that_is_none_of_our_id_tokens_is_refused(site: Site) -> None:
    hint = id_token(site)
    access = App(site)
    given = access.token(authorized(access, SCOPE, "one", PASSWORD)["code"]).json()

    for wrong in (*forged(hint).values(), given["access_token"]):
        back = returned(asked(site, prompt="none", id_token_hint=wrong))
        assert back["error"] == "invalid_request"


@pytest.mark.standard("OpenID Connect Core 3.1.2.6")
@pytest.mark.parametrize(
    ("name", "error"),
    [("request", "request_not_supported"), ("request_uri", "request_uri_not_supported"),
     ("registration", "registration_not_supported")],
)  # fmt: skip
def test_a_request_in_another_form_is_refused_and_not_taken_for_what_else_it_says(
    site: Site, name: str, error: str
) -> None:
    id_token(site)

    back = returned(asked(site, **{name: "https://app.example/request"}))

    assert back["error"] == error
    assert back["state"]


@pytest.mark.standard("OpenID Connect Discovery 1.0 Section 3")
def test_it_is_told_that_requests_in_another_form_are_not_taken(site: Site) -> None:
    told = httpx.get(f"{site.url}/.well-known/openid-configuration").json()

    assert told["request_uri_parameter_supported"] is False  # which it would be by default
    assert told["request_parameter_supported"] is False
    assert told["claims_parameter_supported"] is False
