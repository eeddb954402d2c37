"""Emergency access by way of the sign-in: asked for, used, looked at, ended (threats T3)."""

from typing import Any

import httpx
import psycopg
import pytest

from fhir_server.access.token import Keys, mint
from tests.build import nhs_number
from tests.smart_apps.authorization.browser import App, Forms, Site, follow, returned, submit
from tests.smart_apps.authorization.conftest import NHS, PASSWORD

pytestmark = [pytest.mark.requirement("R014.1"), pytest.mark.standard("threats T3")]

ASKED = {
    "nhs": nhs_number(9_902),
    "born": "1970-01-01",
    "reason": "life",
    "said": "Unconscious in resus, suspected bleed",
}
SCOPE = "launch/patient offline_access user/*.cruds"


def at_the_patient_page(app: App, login: str = "one", scope: str = SCOPE) -> Any:
    browser = app.site.signed_in.setdefault(login, app.site.browser())
    page = follow(browser, browser.get("/auth/authorize", params=app.request(scope)))
    if "Password" in page.text:
        page = submit(browser, page, login=login, password=PASSWORD)
    assert "Which patient" in page.text
    return browser, page


def at_the_emergency_page(app: App) -> Any:
    browser, page = at_the_patient_page(app)
    return browser, submit(browser, page, form=1, emergency="yes")


def opened(site: Site) -> dict[str, Any]:
    """The token response of an emergency access to the patient p2 of another organisation."""
    app = App(site)
    browser, page = at_the_emergency_page(app)
    page = submit(browser, page, 0, **ASKED)
    assert "act for you" in page.text, page.text
    answer = app.token(returned(submit(browser, page, decision="allow"))["code"])
    assert answer.status_code == 200, answer.text
    token: dict[str, Any] = answer.json()
    return token


def officer(site: Site, organization: str, role: str = "auditor") -> httpx.Client:
    token = mint(
        Keys.load(site.settings.data_dir), site.url, subject="PractitionerRole/officer",
        client="app", scope="user/*.cruds", organization=organization, role=role,
    )  # fmt: skip
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
    return httpx.Client(base_url=site.base, headers=headers, timeout=30)


def closing(review: dict[str, Any], status: str, *notes: str) -> dict[str, Any]:
    said = {"note": [{"text": note} for note in notes]} if notes else {}
    return {**review, "status": status, **said}


def put(client: httpx.Client, task: dict[str, Any]) -> int:
    headers = {"If-Match": f'W/"{task["meta"]["versionId"]}"'}
    return client.put(f"/Task/{task['id']}", json=task, headers=headers).status_code


def test_a_clinician_sees_the_one_patient_and_the_response_says_what_a_banner_needs(
    site: Site,
) -> None:
    token = opened(site)

    assert token["patient"] == "p2"
    assert token["emergency"]["reason"]["code"] == "life"
    assert token["need_patient_banner"] is True
    assert 3500 < token["expires_in"] <= 3600
    assert site.get("Patient/p2", token["access_token"]).status_code == 200
    assert site.get("Patient/p1", token["access_token"]).status_code == 404
    found = site.get("Patient?_total=accurate", token["access_token"]).json()
    assert (found["total"], found["entry"][0]["resource"]["id"]) == (1, "p2")


def test_it_is_of_whoever_asked_and_not_of_their_organisation(site: Site) -> None:
    opened(site)

    with officer(site, "lead", "reporter") as colleague:
        assert colleague.get("/Patient/p2").status_code == 404
        assert colleague.get("/Patient?_id=p2&_total=accurate").json()["total"] == 0


def test_nothing_is_written_in_an_emergency(site: Site) -> None:
    token = opened(site)
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    note = {
        "resourceType": "Observation", "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Patient/p2"},
    }  # fmt: skip

    answer = httpx.post(f"{site.base}/Observation", json=note, headers=headers, timeout=30)

    assert answer.status_code == 403


def test_a_refresh_token_does_not_go_beyond_the_hour(site: Site) -> None:
    token = opened(site)
    again = {"grant_type": "refresh_token", "client_id": "app"}
    second = site.post("/auth/token", refresh_token=token["refresh_token"], **again).json()
    assert second["emergency"] == token["emergency"]
    assert second["expires_in"] <= token["expires_in"]

    with psycopg.connect(site.database_url, autocommit=True) as connection:
        connection.execute(
            "update authorized set context = regexp_replace(context, '\"until\": [0-9]+',"
            " '\"until\": 1') where context like '%\"until\"%'"
        )
    ended = site.post("/auth/token", refresh_token=second["refresh_token"], **again)

    assert ended.status_code == 400


def test_both_organisations_are_asked_to_look_at_it_and_an_auditor_closes_it_with_a_note(
    site: Site,
) -> None:
    review = opened(site)["emergency"]["review"]

    for organization in ("lead", "other"):
        with officer(site, organization) as auditor:
            listed = auditor.get("/Task?code=review-emergency-access&status=requested").json()
            assert review in {f"Task/{one['resource']['id']}" for one in listed["entry"]}
            task = auditor.get(f"/{review}").json()
    assert task["owner"] == {"reference": "Organization/other"}
    assert task["reasonCode"]["text"] == ASKED["said"]
    with officer(site, "other", "referrer") as referrer:
        assert put(referrer, closing(task, "completed", "Mine")) == 403
    with officer(site, "other") as auditor:
        assert put(auditor, closing(task, "completed")) == 422
        assert put(auditor, closing(task, "completed", "Seen with the team; right.")) == 200
        after = auditor.get("/Task?code=review-emergency-access&status=requested").json()
        assert review not in {f"Task/{one['resource']['id']}" for one in after.get("entry", ())}


def test_a_review_gives_nobody_sight_of_the_patient(site: Site) -> None:
    opened(site)

    with psycopg.connect(site.database_url) as connection:
        query = "select count(*) from relation where organization = 'lead' and patient = 'p2'"
        assert connection.execute(query).fetchone() == (0,)


def test_a_rejected_access_ends_at_once(site: Site) -> None:
    token = opened(site)
    review = token["emergency"]["review"]
    assert site.get("Patient/p2", token["access_token"]).status_code == 200

    with officer(site, "other") as auditor:
        task = auditor.get(f"/{review}").json()
        assert put(auditor, closing(task, "rejected", "No reason to look.")) == 200

    assert site.soon_refused("Patient/p2", token["access_token"])
    again = {"grant_type": "refresh_token", "client_id": "app"}
    refused = site.post("/auth/token", refresh_token=token["refresh_token"], **again)
    assert refused.status_code == 400


def test_what_is_done_in_an_emergency_says_so_in_the_audit(site: Site) -> None:
    token = opened(site)
    site.get("Patient/p2", token["access_token"])

    with officer(site, "other") as auditor:
        found = auditor.get("/AuditEvent?patient=Patient/p2&_count=100").json()

    events = [one["resource"] for one in found["entry"]]
    emergencies = [one for one in events if "BTG" in str(one.get("purposeOfEvent"))]
    assert {one["subtype"][0]["code"] for one in emergencies} >= {"read"}
    for event in emergencies:
        codes = {coding["code"] for coding in event["purposeOfEvent"][0]["coding"]}
        assert codes == {"ETREAT", "BTG", "life"}
        assert event["agent"][2]["purposeOfUse"] == event["purposeOfEvent"]
        assert event["agent"][2]["role"][0]["text"] == "reporter"


@pytest.mark.parametrize(
    "changed",
    [
        {"nhs": ""}, {"born": ""}, {"born": "1970-01-02"}, {"nhs": NHS, "born": "1999-09-09"},
        {"reason": ""}, {"reason": "curiosity"}, {"said": "why not"}, {"said": "        .        "},
        {"said": "x" * 501},
    ],
)  # fmt: skip
def test_who_and_why_are_asked_again_until_both_are_told(
    site: Site, changed: dict[str, str]
) -> None:
    browser, page = at_the_emergency_page(App(site))

    again = submit(browser, page, 0, **{**ASKED, **changed})

    assert again.status_code == 400
    assert 'role="alert"' in again.text
    assert "Testcase" not in again.text
    opened(site)  # what is right is not refused for what was wrong before


def test_the_decision_looks_at_everything_again(site: Site) -> None:
    browser, page = at_the_emergency_page(App(site))
    page = submit(browser, page, 0, **ASKED)

    forged = submit(browser, page, decision="allow", reason="", patient="p2")

    assert forged.status_code == 400


def test_who_tries_names_too_often_has_to_wait(site: Site) -> None:
    browser, page = at_the_emergency_page(App(site))
    for _ in range(10):
        submit(browser, page, 0, **{**ASKED, "born": "1971-01-01"})

    refused = submit(browser, page, 0, **ASKED)

    assert refused.status_code == 400
    assert "too often" in refused.text
    with psycopg.connect(site.database_url, autocommit=True) as connection:
        connection.execute("delete from attempt")


def test_a_role_that_treats_nobody_is_offered_none(site: Site) -> None:
    page_shown = Forms(at_the_patient_page(App(site))[1].text).found
    assert ("emergency", "yes") in page_shown[-1]["buttons"]
    with psycopg.connect(site.database_url, autocommit=True) as connection:
        connection.execute("update login_role set role = 'coordinator' where login = 'one'")
    try:
        browser, page = at_the_patient_page(App(site))
        assert all("emergency" not in dict(f["buttons"]) for f in Forms(page.text).found)
        forced = submit(browser, page, 0, **ASKED, emergency="yes")
        assert "act for you" not in forced.text
    finally:
        with psycopg.connect(site.database_url, autocommit=True) as connection:
            connection.execute("update login_role set role = 'reporter' where login = 'one'")
