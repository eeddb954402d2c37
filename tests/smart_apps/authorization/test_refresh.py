"""RFC 6749 Section 6 and RFC 9700 Section 4.14: refresh tokens that rotate, and fall together."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.smart_apps.authorization.browser import App, Site, authorized
from tests.smart_apps.authorization.conftest import PASSWORD

SCOPE = "openid fhirUser user/Patient.rs user/Task.rs offline_access"


def granted(site: Site, scope: str = SCOPE) -> dict[str, Any]:
    app = App(site)
    token: dict[str, Any] = app.token(authorized(app, scope, "one", PASSWORD)["code"]).json()
    return token


def refresh(site: Site, token: str, **fields: str) -> httpx.Response:
    asked = {"grant_type": "refresh_token", "client_id": "app", "refresh_token": token, **fields}
    return site.post("/auth/token", **asked)


@pytest.mark.standard("SMART smart_token_refresh_stu2")
def test_a_refresh_token_gives_a_new_one_and_an_access_token(site: Site) -> None:
    first = granted(site)

    second = refresh(site, first["refresh_token"])

    assert second.status_code == 200, second.text
    assert second.json()["refresh_token"] != first["refresh_token"]
    assert second.json()["scope"] == first["scope"]
    assert site.get("Patient/p1", second.json()["access_token"]).status_code == 200
    assert refresh(site, second.json()["refresh_token"]).status_code == 200


@pytest.mark.standard("RFC 9700 4.14.2")
def test_a_refresh_token_used_twice_ends_the_whole_family(site: Site) -> None:
    first = granted(site)
    second = refresh(site, first["refresh_token"]).json()

    assert refresh(site, first["refresh_token"]).json()["error"] == "invalid_grant"
    assert refresh(site, second["refresh_token"]).json()["error"] == "invalid_grant"
    assert site.soon_refused("Patient/p1", second["access_token"])


def test_of_many_who_use_one_refresh_token_at_once_at_most_one_gets_through(site: Site) -> None:
    token = granted(site)["refresh_token"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refresh(site, token).status_code, range(8)))

    assert sorted(answers)[1:] == [400] * 7


@pytest.mark.standard("RFC 6749 6")
def test_a_refresh_may_ask_for_less_and_never_for_more(site: Site) -> None:
    less = refresh(site, granted(site)["refresh_token"], scope="user/Task.rs")
    more = refresh(site, granted(site)["refresh_token"], scope="user/Task.cruds")

    assert less.json()["scope"] == "user/Task.rs"
    assert site.get("Patient/p1", less.json()["access_token"]).status_code == 403
    assert more.json()["error"] == "invalid_scope"


def test_there_is_no_refresh_token_unless_it_is_asked_for(site: Site) -> None:
    assert "refresh_token" not in granted(site, "user/Patient.rs")


def test_a_refresh_token_of_another_client_is_worth_nothing(site: Site) -> None:
    token = granted(site)["refresh_token"]

    assert refresh(site, token, client_id="other-app").json()["error"] == "invalid_grant"
    assert refresh(site, token).status_code == 200


@pytest.mark.standard("RFC 7009 2.1")
def test_giving_a_refresh_token_back_ends_its_access_tokens_too(site: Site) -> None:
    token = granted(site)

    answer = site.post("/auth/revoke", client_id="app", token=token["refresh_token"])

    assert answer.status_code == 200
    assert refresh(site, token["refresh_token"]).json()["error"] == "invalid_grant"
    assert site.soon_refused("Patient/p1", token["access_token"])


@pytest.mark.standard("RFC 7009 2.1")
def test_giving_an_access_token_back_ends_it_alone(site: Site) -> None:
    token = granted(site)

    site.post("/auth/revoke", client_id="app", token=token["access_token"])

    assert site.soon_refused("Patient/p1", token["access_token"])
    assert refresh(site, token["refresh_token"]).status_code == 200


@pytest.mark.standard("RFC 7009 2.1")
def test_nobody_gives_back_the_token_of_another_client(site: Site) -> None:
    token = granted(site)

    site.post("/auth/revoke", client_id="other-app", token=token["refresh_token"])

    assert refresh(site, token["refresh_token"]).status_code == 200
