"""The pages: tied to their browser, told in words, and slow to those who guess."""

import re

import httpx
import psycopg
import pytest

from tests.smart_apps.authorization.browser import App, Forms, Site, submit
from tests.smart_apps.authorization.conftest import PASSWORD

SCOPE = "user/Patient.rs"


def sign_in_page(site: Site, browser: httpx.Client) -> httpx.Response:
    return browser.get("/auth/authorize", params=App(site).request(SCOPE))


@pytest.mark.standard("threats T8")
def test_a_form_from_elsewhere_is_refused(site: Site) -> None:
    victim, attacker = site.browser(), site.browser()
    sign_in_page(site, victim)
    stolen = Forms(sign_in_page(site, attacker).text).found[0]

    planted = victim.post(
        "/auth/login", data={**stolen["fields"], "login": "gp", "password": PASSWORD}
    )
    without = site.browser().post("/auth/login", data={**stolen["fields"], "login": "gp"})

    assert planted.status_code == 403
    assert without.status_code == 403
    assert "Not allowed" in planted.text


@pytest.mark.parametrize("step", ["role", "patient", "consent", "logout"])
@pytest.mark.standard("threats T8")
def test_no_step_is_taken_without_the_token_of_the_form(site: Site, step: str) -> None:
    fields = {"request": "client_id=app", "decision": "allow", "token": "0" * 64}

    assert site.browser().post(f"/auth/{step}", data=fields).status_code == 403


@pytest.mark.standard("OWASP ASVS session management")
def test_signing_in_gives_the_browser_a_new_cookie(site: Site) -> None:
    browser = site.browser()
    page = sign_in_page(site, browser)
    before = browser.cookies["isocentre_session"]

    submit(browser, page, login="one", password=PASSWORD)

    assert browser.cookies["isocentre_session"] != before


@pytest.mark.standard("OWASP ASVS browser security headers")
def test_a_page_runs_no_script_and_is_in_no_frame(site: Site) -> None:
    page = sign_in_page(site, site.browser())

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    assert "httponly" in page.headers["set-cookie"].lower()
    assert "samesite=lax" in page.headers["set-cookie"].lower()


@pytest.mark.standard("threats T22")
def test_who_guesses_is_told_to_wait_and_the_right_password_waits_too(site: Site) -> None:
    browser = site.browser()
    page = sign_in_page(site, browser)
    guesses = [submit(browser, page, login="guessed", password=str(n)).text for n in range(11)]

    assert all("do not belong together" in text for text in guesses[:10])
    assert "Wait ten minutes" in guesses[10]
    other = submit(browser, page, login="gp", password=PASSWORD)
    assert "Who" in other.text or "act for you" in other.text


@pytest.mark.requirement("R014.1")
@pytest.mark.standard("threats T20")
def test_signing_in_and_failing_to_are_audited_without_what_was_typed(site: Site) -> None:
    browser = site.browser()
    page = sign_in_page(site, browser)
    submit(browser, page, login="my password by mistake", password="x")
    submit(browser, page, login="one", password="Sesame1234")
    submit(browser, page, login="one", password=PASSWORD)

    with psycopg.connect(site.database_url) as connection:
        rows = connection.execute(
            "select subject, outcome, detail from audit where interaction = 'login'"
            " and detail in ('wrong password', 'signed in') order by instant, n"
        ).fetchall()[-3:]
        everything = str(connection.execute("select a::text from audit as a").fetchall())

    assert rows == [
        ("", 4, "wrong password"),
        ("PractitionerRole/reporter-lead", 4, "wrong password"),
        ("PractitionerRole/reporter-lead", 0, "signed in"),
    ]
    assert "mistake" not in everything
    assert "Sesame" not in everything


def test_what_a_person_types_stands_nowhere_on_a_page_unescaped(site: Site) -> None:
    evil = "<script>alert(1)</script>"

    page = site.browser().get("/auth/authorize", params=App(site).request(SCOPE, nonce=evil))

    assert "<script" not in page.text
    assert page.status_code in (200, 400)


@pytest.mark.standard("WCAG 2.2 3.3.2 labels")
def test_every_field_has_its_label(site: Site) -> None:
    page = sign_in_page(site, site.browser()).text

    fields = set(re.findall(r'<input type="(?:text|password|date)" id="(\w+)"', page))
    assert fields == {"login", "password"}
    assert fields <= set(re.findall(r'<label for="(\w+)"', page))


@pytest.mark.standard("threats T18")
def test_a_forged_host_changes_no_address(site: Site) -> None:
    answer = httpx.get(
        f"{site.base}/.well-known/smart-configuration", headers={"Host": "evil.example"}
    )

    assert "evil.example" not in answer.text


def test_who_signs_out_is_asked_again(site: Site) -> None:
    browser = site.browser()
    page = submit(browser, sign_in_page(site, browser), login="one", password=PASSWORD)
    token = Forms(page.text).found[0]["fields"]["token"] if Forms(page.text).found else ""

    browser.post("/auth/logout", data={"token": token})

    assert "Password" in sign_in_page(site, browser).text
