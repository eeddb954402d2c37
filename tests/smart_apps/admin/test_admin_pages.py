"""The pages of administrators, auditors and clinical safety officers."""

import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from fhir_server.core import Core
from smart_apps.admin import routes
from smart_apps.authorization import registration
from tests.smart_apps.admin.conftest import Office, emergency, send, sign_in
from tests.smart_apps.authorization.browser import Forms

pytestmark = pytest.mark.requirement("R014.4")

SEEN = {
    "/admin": {"boss", "eye", "safe"},
    "/admin/audit": {"boss", "eye", "safe"},
    "/admin/analysis": {"boss", "eye", "safe"},
    "/admin/analysis.csv": {"boss", "eye", "safe"},
    "/admin/acknowledgement": {"eye", "safe"},
    "/admin/acknowledgement/tasks": {"eye", "safe"},
    "/admin/acknowledgement.csv": {"eye", "safe"},
    "/admin/emergencies": {"eye", "safe"},
    "/admin/clients": {"boss"},
    "/admin/register": {"boss"},
    "/admin/requests": {"boss"},
    "/admin/subscriptions": {"boss"},
    "/admin/subscriptions/app": {"boss"},
    "/admin/queue": {"boss"},
    "/admin/clients/app": {"boss"},
}
"""Address -> who is shown it, of those at one organisation."""


class Labels(HTMLParser):
    """Whether a page can be used by ear: fields have labels, tables captions and headings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: set[str] = set()
        self.labels: set[str] = set()
        self.count = {"table": 0, "caption": 0, "h1": 0, "main": 0, "title": 0, "svg": 0}
        self.named = 0
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.attributes |= set(given)
        if tag in self.count:
            self.count[tag] += 1
        if tag in {"input", "select", "textarea"} and given.get("type") != "hidden":
            self.fields.add(str(given.get("id")))
        if tag == "label":
            self.labels.add(str(given.get("for")))
        if tag == "svg" and given.get("role") == "img" and given.get("aria-label"):
            self.named += 1


def test_every_page_is_in_the_table_of_who_sees_what(office: Office) -> None:
    addresses = {place.address.replace("{id}", "app") for place in routes.PLACES}

    assert addresses == set(SEEN)


@pytest.mark.parametrize("login", ["boss", "eye", "safe"])
def test_each_role_sees_its_pages_and_no_others(office: Office, login: str) -> None:
    browser = office.browser(login)

    for address, who in SEEN.items():
        assert browser.get(address).status_code == (200 if login in who else 403), address
    menu = re.findall(r'<li><a href="([^"]+)"', browser.get("/admin").text)
    assert set(menu) <= {address for address, who in SEEN.items() if login in who}


@pytest.mark.parametrize("login", ["boss", "eye"])
def test_every_page_has_no_script_and_can_be_used_by_ear(office: Office, login: str) -> None:
    browser = office.browser(login)
    pages = [*(address for address, who in SEEN.items() if login in who), "/admin/sign-in"]

    for address in pages:
        answer = browser.get(address)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        read = Labels(answer.text)
        assert "<script" not in answer.text, address
        assert not {each for each in read.attributes if each == "style" or each[:2] == "on"}
        assert read.fields <= read.labels, address
        assert read.count["table"] == read.count["caption"], address
        assert (read.count["h1"], read.count["main"]) == (1, 1), address
        assert read.count["svg"] == read.named, address


@pytest.mark.standard("OWASP ASVS 5.0 V3.5")
def test_no_form_is_taken_that_did_not_come_from_here(office: Office) -> None:
    posts = [
        route.path.replace("{id}", "app") for route in _routes() if "POST" in (route.methods or ())
    ]
    assert len(posts) >= 6

    for login in ("boss", "eye"):
        for address in posts:
            for fields in ({"a": "b"}, {"token": ""}, {"token": "0" * 64}):
                answer = office.browser(login).post(address, data=fields)
                assert answer.status_code == 403, address


def _routes() -> list[Route]:
    nothing: Any = None
    return routes.Admin(nothing, nothing, nothing, "", nothing, secure=True).routes()


def test_who_has_not_signed_in_is_sent_to_sign_in(office: Office) -> None:
    stranger = office.site.browser()

    for address in SEEN:
        for answer in (stranger.get(address), stranger.post(address, data={"do": "remove"})):
            assert answer.status_code in (303, 405)
            assert answer.headers.get("location", "/admin/sign-in") == "/admin/sign-in"


def test_a_wrong_password_is_refused_and_a_cookie_is_kept_close(office: Office) -> None:
    browser = office.site.browser()

    refused = sign_in(browser, "eye", "not it")
    taken = sign_in(browser, "eye")

    assert refused.status_code == 401
    assert "do not belong together" in refused.text
    cookie = taken.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/admin"))
    assert taken.headers["location"] == "/admin"


@pytest.mark.parametrize("login", ["doctor", "gp"])
def test_clinicians_do_not_get_in(office: Office, login: str) -> None:
    browser = office.site.browser()
    sign_in(browser, login)

    answer = browser.get("/admin")

    assert answer.status_code == 403
    assert browser.get("/admin/audit").status_code == 303


def test_who_has_two_roles_says_in_which_they_act(office: Office) -> None:
    browser = office.site.browser()
    sign_in(browser, "both")
    assert browser.get("/admin").headers["location"] == "/admin/role"

    page = browser.get("/admin/role")
    assert "Administrator" in page.text
    assert "Auditor" in page.text
    send(browser, page, {"practitioner_role": "both-auditor"})

    assert browser.get("/admin/emergencies").status_code == 200
    assert browser.get("/admin/clients").status_code == 403
    assert send(browser, page, {"practitioner_role": "eye-auditor"}).status_code == 200
    assert "both, Auditor" in browser.get("/admin").text


def test_signing_out_ends_it(office: Office) -> None:
    browser = office.site.browser()
    sign_in(browser, "eye")
    kept = dict(browser.cookies)

    answer = send(browser, browser.get("/admin"), {}, 0)

    assert "Signed out" in answer.text
    browser.cookies.update(kept)
    assert browser.get("/admin").status_code == 303


@pytest.mark.requirement("R014.1")
def test_every_view_and_every_refusal_is_in_the_ledger(office: Office) -> None:
    before = len(office.ledger("/admin/clients"))

    office.browser("boss").get("/admin/clients")
    office.browser("eye").get("/admin/clients")

    rows = office.ledger("/admin/clients")[before:]
    assert rows == [
        ("PractitionerRole/boss-administrator", 0, None),
        ("PractitionerRole/eye-auditor", 4, "Forbidden role"),
    ]


# --- clients -------------------------------------------------------------------------------------

WEB = {
    "id": "portal", "kind": "secret", "scope": "user/*.rs openid", "launch": "", "jwks": "",
    "redirects": "https://portal.example/cb\nhttps://portal.example/other",
}  # fmt: skip


def secret_of(answer: httpx.Response) -> str:
    (found,) = re.findall(r'id="secret">([^<]+)<', answer.text.replace('class="code" ', ""))
    return str(found)


def knows(office: Office, id: str, secret: str) -> bool:
    """Whether the server takes a client's secret, asked as RFC 7662 has it."""
    answer = httpx.post(
        f"{office.url}/auth/introspect", data={"token": "none"}, auth=(id, secret), timeout=30
    )
    return answer.status_code == 200


@pytest.mark.standard("RFC 6749 2")
def test_a_client_is_registered_given_a_new_secret_and_removed(office: Office) -> None:
    browser = office.browser("boss")

    made = send(browser, browser.get("/admin/register"), WEB)
    first = secret_of(made)
    assert knows(office, "portal", first)
    assert "portal" in browser.get("/admin/clients").text
    page = browser.get("/admin/clients/portal")
    assert first not in page.text

    rotated = send(browser, page, {"do": "rotate"}, -3)
    second = secret_of(rotated)
    assert not knows(office, "portal", first)
    assert knows(office, "portal", second)

    changed = send(browser, page, {**WEB, "scope": "user/Task.rs", "do": "change"}, 1)
    assert changed.status_code == 200
    assert "secret" not in changed.text
    assert "user/Task.rs" in browser.get("/admin/clients/portal").text
    assert knows(office, "portal", second)

    assert send(browser, page, {"do": "disable"}, -2).status_code == 200
    assert not knows(office, "portal", second)
    assert "secret, disabled" in browser.get("/admin/clients").text
    assert send(browser, page, {"do": "disable"}, -2).status_code == 400
    assert "It is disabled since" in browser.get("/admin/clients/portal").text
    assert send(browser, page, {"do": "enable"}, -2).status_code == 200
    assert knows(office, "portal", second)

    unsure = send(browser, page, {"do": "remove"})
    assert unsure.status_code == 400
    removed = send(browser, page, {"do": "remove", "sure": "yes"})
    assert removed.headers["location"] == "/admin/clients"
    assert not knows(office, "portal", second)
    assert browser.get("/admin/clients/portal").status_code == 404
    done = [detail for _, _, detail in office.ledger("client portal")]
    assert done == [
        "client registered",
        "client secret changed",
        "client changed",
        "client disabled",
        "client enabled",
        "client removed",
    ]


def test_an_administrator_has_to_do_with_the_clients_of_their_organisation(office: Office) -> None:
    far, near = office.browser("far"), office.browser("boss")

    assert "other-app" in far.get("/admin/clients").text
    assert "other-app" not in near.get("/admin/clients").text
    assert near.get("/admin/clients/other-app").status_code == 404
    page = near.get("/admin/clients/app")
    token = Forms(page.text).found[-1]["fields"]["token"]
    for do in ("rotate", "remove", "change"):
        fields = {"token": token, "do": do, "sure": "yes", "scope": "system/*.cruds"}
        assert near.post("/admin/clients/other-app", data=fields).status_code == 404
    taken = send(near, near.get("/admin/register"), {**WEB, "id": "other-app"})
    assert taken.status_code == 400
    assert "other-app" in far.get("/admin/clients").text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "two words"), ("scope", "everything"), ("redirects", "http://elsewhere.example/cb"),
        ("redirects", "<script>alert(1)</script>"), ("launch", "javascript:alert(1)//#"),
    ],
)  # fmt: skip
def test_what_the_standards_do_not_allow_is_not_registered(
    office: Office, field: str, value: str
) -> None:
    browser = office.browser("boss")

    answer = send(browser, browser.get("/admin/register"), {**WEB, "id": "x", field: value})

    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert "<script" not in answer.text
    assert browser.get("/admin/clients/x").status_code == 404


@pytest.mark.standard("RFC 7591 3")
def test_an_application_that_asks_is_approved_for_less_or_refused(office: Office) -> None:
    browser = office.browser("boss")

    def asks(name: str) -> str:
        wanted = {
            "client_name": name,
            "redirect_uris": ["https://viewer.example/cb"],
            "scope": "user/*.rs openid",
        }
        told = office.run(lambda core: registration.register(core.database, wanted))
        return str(told["client_id"])

    first, second = asks("A <b>viewer</b>"), asks("Another")
    page = browser.get("/admin/requests")
    assert "A &lt;b&gt;viewer&lt;/b&gt;" in page.text
    token = {"token": Forms(page.text).found[-1]["fields"]["token"]}

    def decide(**fields: str) -> httpx.Response:
        return browser.post("/admin/requests", data={**token, **fields})

    more = decide(id=first, do="approve", scope="user/*.cruds")
    assert more.status_code == 400
    less = decide(id=first, do="approve", scope="user/Task.rs")
    assert less.status_code == 303
    assert decide(id=second, do="refuse").status_code == 303
    assert decide(id=second, do="approve", scope="user/*.rs").status_code == 400

    assert "user/Task.rs" in browser.get(f"/admin/clients/{first}").text
    assert browser.get(f"/admin/clients/{second}").status_code == 404
    assert "No application asks" in browser.get("/admin/requests").text


# --- the queue -----------------------------------------------------------------------------------


@pytest.mark.requirement("R010.1")
def test_an_organisation_sees_how_late_its_subscriptions_are_and_no_other_sees_it(
    office: Office,
) -> None:
    secret = "https://hooks.example/<script>sesame"

    async def late(core: Core) -> None:
        sql = """
            insert into subscription (id, version, status, topic, type, criteria, channel, endpoint,
              headers, payload_type, content, timeout, max_count, principal, organization, events,
              delivered, attempts, last_error, started, since_log, since_xid)
            values ('late', 1, 'error', '', 'Task', '[]', 'rest-hook', $1, '{}', '', 'empty', 60,
              100, '', 'lead', 7, 2, 0, $1, 1, 1, 1)"""
        await core.database.run(sql, (secret,))

    office.run(late)

    near, far = (office.browser(each).get("/admin/queue").text for each in ("boss", "far"))

    row = r'<th scope="row">error</th><td class="number">1</td><td class="number">5</td>'
    assert row in near
    assert row not in far
    assert "sesame" not in near + far
    office.run(lambda core: core.database.run("delete from subscription where id = 'late'"))


# --- audit, analysis, emergency accesses ---------------------------------------------------------


def test_the_audit_is_searched_by_a_form_and_never_by_the_address(office: Office) -> None:
    token = office.browser("eye")
    page = token.get("/admin/audit")
    form = Forms(page.text).found[-1]

    assert form["action"] == "/admin/audit"
    found = send(token, page, {"person": "boss-administrator", "action": "E"})
    assert found.status_code == 200
    assert "boss" not in str(found.url)
    query = "AuditEvent?agent=PractitionerRole/boss-administrator&action=E&_count=50"
    assert office.ledger(query) == [("PractitionerRole/eye-auditor", 0, None)]
    nothing = send(token, page, {"person": "nobody-at-all"})
    assert "nothing" in nothing.text
    wrong = send(token, page, {"from": "yesterday"})
    assert wrong.status_code == 400


def test_the_audit_goes_on_page_by_page(office: Office) -> None:
    browser = office.browser("safe")
    for _ in range(60):
        browser.get("/admin/emergencies")

    first = browser.get("/admin/audit")
    second = send(browser, first, {})

    rows = [re.findall(r'class="when">([^<]+)<', page.text) for page in (first, second)]
    assert len(rows[0]) == 50
    assert rows[1]
    assert rows[1][0] <= rows[0][-1]


def test_the_audit_of_another_organisation_is_not_shown(office: Office) -> None:
    office.browser("far").get("/admin/clients")

    page = office.browser("eye").get("/admin/audit")
    found = send(office.browser("eye"), page, {"person": "far-administrator"})

    assert "nothing" in found.text


def test_an_emergency_access_is_listed_until_an_auditor_closes_it(office: Office) -> None:
    id = office.run(emergency)
    eye, safe = office.browser("eye"), office.browser("safe")
    page = eye.get("/admin/emergencies")
    assert "Unconscious &amp; &lt;alone&gt; on arrival" in page.text
    assert "An auditor closes it" in safe.get("/admin/emergencies").text
    assert "Emergency accesses to be looked at: 1" in eye.get("/admin").text

    without = send(eye, page, {"id": id, "status": "completed", "note": ""})
    assert without.status_code == 400
    token = Forms(safe.get("/admin").text).found[0]["fields"]["token"]
    tried = safe.post(
        "/admin/emergencies", data={"token": token, "id": id, "status": "completed", "note": "x"}
    )
    assert tried.status_code == 400
    closed = send(eye, page, {"id": id, "status": "completed", "note": "It was right."})

    assert closed.status_code == 303
    assert "nothing to be looked at" in eye.get("/admin/emergencies").text

    async def task(core: Core) -> Any:
        sql = "select convert_from(body, 'UTF8')::jsonb from version where id = $1 and version = 2"
        return await core.database.run(sql, (id,))

    ((found,),) = office.run(task)
    assert '"completed"' in str(found).replace("'", '"')


def test_the_analysis_counts_and_draws(office: Office) -> None:
    office.run(emergency)
    browser = office.browser("eye")

    page = browser.get("/admin/analysis")
    table = browser.get("/admin/analysis.csv")
    past = browser.get("/admin/analysis?from=2020-01-01&to=2020-01-31")
    wrong = browser.get("/admin/analysis?from=soon")

    assert page.text.count("<svg") == 2
    assert "Emergency accesses opened" in page.text
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.startswith("measure,start,end,organization,organization-name,count")
    assert past.status_code == 200
    assert wrong.status_code == 400
