"""Signing in at a provider that somebody else wrote (npm ``oidc-provider``), as a relying party."""

import re
import socket
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

from resources.errors import Forbidden
from smart_apps.authorization import upstream
from tests.smart_apps.authorization.browser import App, Forms, Site, follow, returned, submit
from tests.smart_apps.authorization.conftest import serving

CLIENTS = Path(__file__).parents[2] / "clients"


@pytest.fixture(scope="module")
def elsewhere(
    cluster: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A site whose people may sign in at another provider, which runs."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {
        "oidc_issuer": f"http://127.0.0.1:{port}",
        "oidc_client_id": "isocentre",
        "oidc_client_secret": "not-a-real-secret",
        "oidc_name": "Care Identity",
    }
    folder = tmp_path_factory.mktemp("elsewhere")
    with serving(cluster, template, folder, "elsewhere", **settings) as site:
        command = ["node", "provider.mjs", str(port), f"{site.url}/auth/upstream/callback"]
        with subprocess.Popen(
            command, cwd=CLIENTS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as provider:
            assert provider.stdout is not None
            for line in provider.stdout:
                if "listening" in line:
                    break
            yield site
            provider.terminate()


def signed_in_there(browser: httpx.Client, page: httpx.Response, login: str) -> httpx.Response:
    """Go to the other provider, sign in and agree, and come back."""
    form = Forms(page.text).found[1]
    assert form["action"] == "/auth/upstream"
    answer = browser.post(form["action"], data=form["fields"])
    for _ in range(20):
        if answer.is_redirect:
            target = urljoin(str(answer.request.url), answer.headers["location"])
            if target.startswith("http://127.0.0.1:18999/"):
                return answer
            answer = browser.get(target)
        elif "Sign-in" in answer.text or "/interaction/" in answer.text:
            action = unescape(re.findall(r'<form[^>]*action="([^"]+)"', answer.text)[0])
            fields = Forms(answer.text).found[0]["fields"] | {"login": login, "password": "any"}
            answer = browser.post(urljoin(str(answer.request.url), action), data=fields)
        else:
            return answer
    raise AssertionError("going round in circles")


def sign_in_page(site: Site, app: App, browser: httpx.Client) -> httpx.Response:
    return follow(browser, browser.get("/auth/authorize", params=app.request("user/Patient.rs")))


@pytest.mark.standard("OpenID Connect Core 3.1")
def test_who_signs_in_elsewhere_acts_here_in_their_role(elsewhere: Site) -> None:
    app, browser = App(elsewhere), elsewhere.browser()
    page = sign_in_page(elsewhere, app, browser)
    assert "Sign in with Care Identity" in page.text

    page = signed_in_there(browser, page, "one")
    back = returned(submit(browser, page, decision="allow"))

    token = app.token(back["code"]).json()["access_token"]
    assert elsewhere.get("Patient/p1", token).status_code == 200
    assert elsewhere.get("Patient/p2", token).status_code == 404


def test_somebody_the_provider_knows_and_we_do_not_gets_nothing(elsewhere: Site) -> None:
    browser = elsewhere.browser()
    page = sign_in_page(elsewhere, App(elsewhere), browser)

    answer = signed_in_there(browser, page, "stranger")

    assert answer.status_code == 403
    assert "Nobody is known here" in answer.text


@pytest.mark.standard("RFC 9700 4.7 CSRF", "threats T8")
def test_an_answer_of_the_provider_is_good_in_the_browser_that_asked_and_once(
    elsewhere: Site,
) -> None:
    browser, attacker = elsewhere.browser(), elsewhere.browser()
    page = sign_in_page(elsewhere, App(elsewhere), browser)
    sign_in_page(elsewhere, App(elsewhere), attacker)
    form = Forms(page.text).found[1]
    begun = browser.post(form["action"], data=form["fields"])
    state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
    answer = {"state": state, "code": "made-up"}

    planted = attacker.get("/auth/upstream/callback", params=answer)
    again = browser.get("/auth/upstream/callback", params=answer)
    nothing = browser.get("/auth/upstream/callback", params={"state": "x", "code": "y"})

    assert (planted.status_code, again.status_code, nothing.status_code) == (403, 403, 403)


def test_without_another_provider_there_is_no_way_to_one(site: Site) -> None:
    browser = site.browser()
    page = sign_in_page(site, App(site), browser)
    (form,) = Forms(page.text).found

    assert browser.post("/auth/upstream", data=form["fields"]).status_code == 403
    assert browser.get("/auth/upstream/callback").status_code == 403


@pytest.mark.standard("OpenID Connect Core 3.1.2.1")
def test_who_is_to_sign_in_anew_does_so_elsewhere_too(elsewhere: Site) -> None:
    browser = elsewhere.browser()
    page = signed_in_there(browser, sign_in_page(elsewhere, App(elsewhere), browser), "one")
    assert returned(page if page.is_redirect else submit(browser, page, decision="allow"))["code"]

    for wish, told in (
        ({"prompt": "login"}, {"prompt": ["login"], "max_age": ["0"]}),
        ({"max_age": "0"}, {"max_age": ["0"]}),
    ):
        asked = App(elsewhere).request("user/Patient.rs", **wish)
        page = follow(browser, browser.get("/auth/authorize", params=asked))
        assert "Sign in with Care Identity" in page.text
        form = Forms(page.text).found[1]
        begun = browser.post(form["action"], data=form["fields"])
        sent = parse_qs(urlsplit(begun.headers["location"]).query)
        assert {name: sent[name] for name in told} == told

        back = signed_in_there(browser, page, "one")

        assert returned(back)["code"]


@pytest.mark.standard("OpenID Connect Core 3.1.3.7")
@pytest.mark.parametrize(
    ("at", "most", "good"),
    [(None, None, True), (1000, None, True), (None, 0, False), (None, 3600, False),
     (999_990, 0, True), (999_000, 0, False), (998_000, 3600, True), (900_000, 3600, False),
     ("1000000", 0, False), (float("nan"), 0, False), (True, 3600, False)],
)  # fmt: skip
def test_when_the_provider_saw_the_person_is_looked_at(at: object, most: int, good: bool) -> None:
    said = {} if at is None else {"auth_time": at}
    begun = 1_000_000 * 1_000_000

    if good:
        proved = upstream._proved(said, most, begun)
        assert proved == (None if at is None else int(str(at)) * 1_000_000)
    else:
        with pytest.raises(Forbidden):
            upstream._proved(said, most, begun)
