"""What is tried on an authorisation server: refused, audited, nothing told (threats T6-T8, T22)."""

import asyncio
import base64
import json
import re
from typing import Any

import httpx
import psycopg
import pytest

from fhir_server.postgres.database import Database
from smart_apps import clients
from smart_apps.authorization import attempts
from smart_apps.authorization.routes import routes
from smart_apps.clients import Client
from tests.smart_apps.authorization.browser import (
    REDIRECT,
    App,
    Forms,
    Site,
    authorized,
    follow,
    returned,
    submit,
)
from tests.smart_apps.authorization.conftest import EC, NHS, PASSWORD
from tests.smart_apps.authorization.test_clients import ASSERTION, ask, assertion
from tests.smart_apps.authorization.test_registration import administer

APPLICATIONS = {"/auth/token", "/auth/introspect", "/auth/revoke", "/auth/launch", "/auth/register"}
"""What applications ask without a cookie; everything else below /auth that is posted is a form."""
BEGINS = {"/auth/authorize"}
"""Begins with a client's own form (SMART authorize-post) and does nothing but ask."""


def forms() -> list[str]:
    """Every address that takes a form, from the routes themselves."""

    class Anything:
        def __getattr__(self, name: str) -> Any:
            return Anything()

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return Anything()

        def __str__(self) -> str:
            return "http://x"

    anything: Any = Anything()
    found = {r.path for r in routes(anything, anything, anything) if "POST" in (r.methods or ())}
    return sorted(found - APPLICATIONS - BEGINS)


def spelled(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.standard("threats T6")
@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "HS256"},
        {"alg": ""},
        {"crit": ["exp"]},
        {"crit": ["x"], "x": 1},
        {"crit": []},
        {"b64": False},
        {"x5c": ["MIIB"]},
        {"x5u": "http://127.0.0.1:1/cert"},
        {"jku": "http://127.0.0.1:1/keys"},
        {"jwk": EC.as_dict(private=False)},
        {"zip": "DEF"},
        {"kid": "../../etc/passwd"},
        {"kid": None},
        {"kid": 1},
    ],
    ids=lambda header: str(header)[:24],
)
def test_an_assertion_with_a_forged_header_is_refused(site: Site, header: Any) -> None:
    head, claims, signature = assertion(site).split(".")
    said = {**json.loads(base64.urlsafe_b64decode(head + "===")), **header}

    for made in (f"{spelled(said)}.{claims}.{signature}", f"{spelled(said)}.{claims}."):
        answer = ask(site, made)
        assert (answer.status_code, answer.json()["error"]) in (
            (400, "invalid_client"),
            (401, "invalid_client"),
        )


@pytest.mark.standard("threats T6")
@pytest.mark.parametrize("made", ["", ".", "..", "a.b", "a.b.c.d", "A" * 60_000, "\u00e9.b.c"])
def test_what_is_no_assertion_is_refused(site: Site, made: str) -> None:
    assert ask(site, made).status_code in (400, 401)


@pytest.mark.standard("threats T10")
@pytest.mark.parametrize("address", [*sorted(APPLICATIONS - {"/auth/register"}), "/auth/authorize"])
def test_a_body_that_is_too_long_is_not_read_to_its_end(site: Site, address: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if address == "/auth/launch":
        token = App(site).token(
            authorized(app := App(site), "user/*.rs", "one", PASSWORD)["code"],
            code_verifier=app.verifier,
        )
        headers["Authorization"] = f"Bearer {token.json()['access_token']}"

    answer = httpx.post(f"{site.url}{address}", content=b"a" * 200_000, headers=headers, timeout=30)

    assert answer.status_code in (400, 413)


@pytest.mark.standard("threats T6")
def test_a_token_that_is_too_long_is_only_refused(site: Site) -> None:
    for length in (17_000, 40_000):
        token = "A" * length
        answer = httpx.get(
            f"{site.base}/Patient/p1", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )
        assert answer.status_code in (400, 401, 431)
        assert token[:50] not in answer.text
    assert site.post("/auth/introspect", token="A" * 50_000, client_id="app").json() == {
        "active": False
    }


@pytest.mark.standard("threats T8")
@pytest.mark.parametrize("address", forms())
def test_no_form_does_anything_without_its_token(site: Site, address: str) -> None:
    app, browser = App(site), site.browser()
    browser.get("/auth/authorize", params=app.request("user/Patient.rs"))
    fields = {"request": "client_id=app", "login": "gp", "password": PASSWORD, "decision": "allow"}

    for token in (None, "", "0" * 64, "\u00e9"):
        sent = fields | ({} if token is None else {"token": token})
        answer = browser.post(address, data=sent, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403, (token, answer.text)
        assert "location" not in answer.headers


def test_the_forms_are_known() -> None:
    assert {"/auth/login", "/auth/role", "/auth/patient", "/auth/consent", "/auth/logout"} <= set(
        forms()
    )


@pytest.mark.standard("threats T18")
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1@evil.example", "evil.example:80", "", "a/../b"]
)
def test_a_forged_host_leads_nobody_astray(site: Site, host: str) -> None:
    app = App(site)
    headers = {"Host": host, "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=30) as browser:
        answers = [browser.get("/auth/authorize", params=app.request("user/Patient.rs"))]
        if answers[0].status_code == 200:
            found = Forms(answers[0].text).found[0]
            sent = {**found["fields"], "login": "one", "password": PASSWORD}
            answers.append(browser.post(found["action"], data=sent))
        answers.append(browser.get("/.well-known/openid-configuration"))
        answers.append(browser.get("/auth/logout"))

    for answer in answers:
        assert "evil.example" not in answer.text
        assert "evil.example" not in str(answer.headers)


@pytest.mark.anyio
@pytest.mark.standard("threats T22")
async def test_one_password_tried_on_many_logins_has_to_wait(database: Database) -> None:
    at = 1_800_000_000_000_000
    for number in range(100):
        assert not await attempts.are_too_many(database, f"login{number}", "192.0.2.1", at)
        await attempts.note(database, f"login{number}", "192.0.2.1", at)

    assert await attempts.are_too_many(database, "another", "192.0.2.1", at)
    assert not await attempts.are_too_many(database, "another", "192.0.2.2", at)
    assert not await attempts.are_too_many(database, "another", "192.0.2.1", at + 600_000_001)


@pytest.mark.anyio
@pytest.mark.standard("threats T22")
async def test_one_login_tried_from_many_addresses_has_to_wait(database: Database) -> None:
    at = 1_800_000_000_000_000
    for number in range(10):
        assert not await attempts.are_too_many(database, "r.rad", f"192.0.2.{number}", at)
        await attempts.note(database, "r.rad", f"192.0.2.{number}", at)

    assert await attempts.are_too_many(database, "r.rad", "198.51.100.1", at)


class Recorded:
    """A browser that keeps what it was shown and where it went."""

    def __init__(self, site: Site) -> None:
        self.pages: list[httpx.Response] = []
        self.urls: list[str] = []
        self.browser = site.browser()
        self.browser.event_hooks = {"response": [self._keep]}

    def _keep(self, answer: httpx.Response) -> None:
        answer.read()
        self.urls.append(str(answer.request.url))
        if answer.headers.get("content-type", "").startswith("text/html"):
            self.pages.append(answer)


@pytest.fixture(scope="module")
def tour(site: Site) -> Recorded:
    """Every page of the authorisation server, seen once."""
    seen, app = Recorded(site), App(site)
    scope = "launch/patient launch/encounter user/Patient.rs"
    browser = seen.browser
    page = browser.get("/auth/authorize", params=app.request(scope))
    submit(browser, page, login="one", password="wrong")
    page = submit(browser, page, login="two", password=PASSWORD)
    page = submit(browser, page, practitioner_role="reporter-lead")
    submit(browser, page, form=1, emergency="yes")
    page = submit(browser, page, nhs=NHS)
    page = submit(browser, page, form=1, patient="p1")
    page = submit(browser, page, pick0="visit-mine")
    submit(browser, page, decision="allow")
    browser.get("/auth/authorize", params={"client_id": "nobody"})
    browser.post("/auth/consent", data={"token": "x"})
    submit(browser, browser.get("/auth/logout"))
    browser.get("/")
    return seen


@pytest.mark.standard("OWASP ASVS browser security headers")
def test_every_page_is_guarded_by_its_headers_and_has_nothing_inline(tour: Recorded) -> None:
    titles = {found[1] for page in tour.pages if (found := re.search("<h1>(.*?)</h1>", page.text))}
    assert {
        "Sign in", "Who are you acting as?", "Which patient?", "Emergency access", "Which visit?",
        "May this application act for you?", "Not allowed", "Sign out?", "Signed out",
        "This cannot be authorised",
    } <= titles  # fmt: skip
    for page in tour.pages:
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"<script|\son\w+=|javascript:", page.text, re.IGNORECASE)
        if "/auth/" in str(page.request.url):
            assert "unsafe" not in policy
            assert not re.search(r"<style|\sstyle=", page.text, re.IGNORECASE)
            assert page.headers["cache-control"] == "no-store"
            assert page.headers["referrer-policy"] == "no-referrer"
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["x-frame-options"] == "DENY"


@pytest.mark.standard("threats T20", "ASVS V16.2.5")
def test_no_address_of_our_pages_has_a_token_or_a_datum_of_a_patient(
    site: Site, tour: Recorded
) -> None:
    cookie = tour.browser.cookies.get("isocentre_session") or "no cookie any more"
    for url in tour.urls:
        told = re.sub("(state|code|code_challenge)=[^&]*", "", url)  # made at random by the app
        for secret in (NHS, "p1", "visit-mine", PASSWORD.replace(" ", "+"), cookie):
            assert secret not in told.replace("p1=", ""), url
    with psycopg.connect(site.database_url) as connection:
        kept = str(connection.execute("select a::text from audit as a").fetchall())
    assert PASSWORD not in kept


def test_the_tour_follows_no_link_of_ours_that_has_more(tour: Recorded, site: Site) -> None:
    for page in tour.pages:
        for address in re.findall(r'(?:href|action)="([^"]*)"', page.text):
            assert "?" not in address, address


@pytest.mark.standard("RFC 9700 4.12")
def test_every_answer_to_a_form_that_leads_on_is_a_get(site: Site) -> None:
    app, browser = App(site), site.browser()
    page = follow(browser, browser.get("/auth/authorize", params=app.request("user/Patient.rs")))
    found = Forms(page.text).found[0]

    answer = browser.post(
        found["action"], data={**found["fields"], "login": "one", "password": PASSWORD}
    )

    assert answer.status_code == 303


NUL = "a\0b"


@pytest.mark.standard("threats T10")
def test_a_character_that_the_database_has_not_is_only_refused(site: Site) -> None:
    browser, app = site.browser(), App(site)
    page = browser.get("/auth/authorize", params=app.request("launch/patient user/*.rs"))
    fields = Forms(page.text).found[0]["fields"]
    hint = f"x.{spelled({'aud': NUL})}.x"
    token = App(site)
    code = authorized(token, "user/*.rs", "one", PASSWORD)["code"]
    bearer = {"Authorization": f"Bearer {token.token(code).json()['access_token']}"}
    sent = [
        browser.post("/auth/login", data={**fields, "login": NUL, "password": "x"}),
        browser.post("/auth/role", data={**fields, "practitioner_role": NUL}),
        browser.post("/auth/patient", data={**fields, "patient": NUL}),
        browser.get("/auth/logout", params={"id_token_hint": hint}),
        browser.post("/auth/launch", json={"client": NUL}, headers=bearer),
        ask(site, assertion(site, client=NUL)),
        ask(site, assertion(site, jti=NUL)),
    ]

    assert [answer.status_code for answer in sent] == [400, 400, 400, 200, 400, 400, 400]


@pytest.mark.standard("threats T22")
async def test_attempts_at_the_same_time_are_no_more_than_one_after_the_other(
    database: Database,
) -> None:
    at = 1_900_000_000_000_000

    async def is_looked_at(number: int) -> bool:
        whose = "racer", f"192.0.2.{number}", at + number
        if await attempts.are_too_many(database, *whose):
            return False
        await waited.wait()
        return not await attempts.note(database, *whose)

    waited = asyncio.Event()
    tried = [asyncio.create_task(is_looked_at(number)) for number in range(40)]
    await asyncio.sleep(0.2)
    waited.set()

    assert sum(await asyncio.gather(*tried)) <= 10
    assert not await attempts.note(database, "alone", "198.51.100.7", at)


@pytest.mark.standard("threats T1")
def test_an_app_for_one_patient_does_not_launch_itself_for_another(site: Site) -> None:
    app = App(site)
    granted = authorized(app, "launch/patient patient/*.rs", "one", PASSWORD, NHS)
    headers = {"Authorization": f"Bearer {app.token(granted['code']).json()['access_token']}"}

    def launched(**body: Any) -> int:
        asked = {"client": "app", **body}
        return httpx.post(
            f"{site.url}/auth/launch", json=asked, headers=headers, timeout=30
        ).status_code

    assert launched(patient="p1") == 200
    assert launched(patient="p3") == 400
    assert launched(fhirContext=[{"reference": "Practitioner/dr"}]) == 200


@pytest.mark.standard("SMART App Launch, scopes")
def test_a_person_gives_no_scope_of_a_system(site: Site) -> None:
    keys = json.dumps({"keys": [EC.as_dict(private=False)]})
    both = Client("both", "jwks", "user/*.rs system/*.cruds", "lead", (REDIRECT,), keys)
    administer(site, lambda database: clients.add(database, both))

    app = App(site, "both")
    code = authorized(app, "user/*.rs system/*.cruds", "one", PASSWORD)["code"]
    shown = {"client_assertion": assertion(site, client="both"), "client_assertion_type": ASSERTION}
    assert app.token(code, client_id=None, **shown).json()["scope"] == "user/*.rs"

    back = authorized(App(site, "both"), "system/*.cruds", "one", PASSWORD)
    assert back["error"] == "invalid_scope"


@pytest.mark.standard("OpenID Connect Core 3.1.2.1")
def test_who_is_to_sign_in_and_consent_anew_does_each_once(site: Site) -> None:
    browser, app = site.browser(), App(site)
    page = browser.get("/auth/authorize", params=app.request("user/*.rs", prompt="login consent"))

    page = submit(browser, page, login="one", password=PASSWORD)

    assert "Password" not in page.text
    assert returned(submit(browser, page, decision="allow"))["code"]
