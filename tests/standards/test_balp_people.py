"""What people decide, open, sign and are told of is audited as IHE BALP and DICOM want it.

Each event is asked for its person, role, organisation, purpose, patient, object and version.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from demo import data
from resources import codes
from tests.smart_apps.authorization import browser as browsers
from tests.smart_apps.authorization.browser import REDIRECT, App, Forms, Site
from tests.standards.balp import Case, Json, Told, Ward, World, entities, fits, found, told
from tests.subscriptions.wanting import subscription

pytestmark = [pytest.mark.slow, pytest.mark.requirement("R014.1"), pytest.mark.standard("IHE BALP")]

NORTHMOOR, HARBOUR, WESTVALE = (f"Organization/{id}" for id in ("northmoor", "harbour", "westvale"))
SIGNED_OUT = Case("signed out", lambda world: None, "110114", "110123", "E")
OPENED = Case("emergency", lambda world: None, "110114", "110122", "E", of="pd")
READ = Case("read", lambda world: None, "rest", "read", "R", "0", "PatientRead", "pd")
SEARCHED = Case("search", lambda world: None, "rest", "search-type", "E", "0", "PatientQuery", "pq")
CREATED = Case("create", lambda world: None, "rest", "create", "C", "0", "PatientCreate", "pd")
UPDATED = Case("update", lambda world: None, "rest", "update", "U", "0", "PatientUpdate", "pd")
OPERATION = Case("operation", lambda world: None, "rest", "operation", "E")
NOTIFIED = Case("notification", lambda world: None, "110106", None, "R", "0", None, "pd")
CONFIGURED = Case("configuration", lambda world: None, "110113", "110129", "E")
EXPORTED = Case("export", lambda world: None, "110106", None, "R", "0", None, "pd")


@pytest.fixture
def site(world: World) -> Iterator[Site]:
    site = Site(world.installation.address, None, "")  # type: ignore[arg-type]
    yield site
    site.close()


@pytest.fixture(scope="module")
def ward(world: World) -> Ward:
    return Ward(world)


def versioned(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}/_history/{resource['meta']['versionId']}"


def signed_in(site: Site, login: str, **request: str) -> tuple[App, httpx.Client, httpx.Response]:
    app, browser = App(site, "demo-app"), site.browser()
    scope = request.pop("scope", "user/*.rs")
    page = browsers.follow(
        browser, browser.get("/auth/authorize", params=app.request(scope, **request))
    )
    return app, browser, browsers.submit(browser, page, login=login, password=data.PASSWORD)


def test_balp_of_a_consent_that_denies_and_of_one_that_is_taken_back(
    world: World, ward: Ward
) -> None:
    before = world.last()
    made = ward.post("gp", {
        "resourceType": "Consent", "status": "active",
        "scope": codes.concept(codes.Coding(codes.CONSENT_SCOPE, "patient-privacy")),
        "category": [{"text": "privacy"}], "patient": {"reference": ward.patient},
        "policyRule": {"text": "house"},
        "provision": {"type": "deny", "actor": [
            {"role": {"text": "x"}, "reference": {"reference": WESTVALE}}]},
    })  # fmt: skip
    ended = ward.change("gp", made, status="inactive")

    events = world.since(before)

    who = ("PractitionerRole/gp", "referrer", HARBOUR, "TREAT", ward.patient)
    assert Told(*who, versioned(made)) in map(told, found(events, CREATED))
    assert Told(*who, versioned(ended)) in map(told, found(events, UPDATED))


def test_balp_of_an_emergency_access_that_is_opened_used_and_closed(
    world: World, site: Site, ward: Ward
) -> None:
    brook = data.PATIENTS[1]
    before = world.last()
    app, browser, page = signed_in(site, "reviewer", scope="launch/patient user/*.rs")
    page = browsers.submit(browser, page, form=1, emergency="yes")
    page = browsers.submit(browser, page, 0, nhs=brook.nhs_number, born=brook.born,
                           reason="life", said="Unconscious in resus, suspected bleed")  # fmt: skip
    assert "act for you" in page.text, page.text
    page = browsers.submit(browser, page, decision="allow")
    token = app.token(browsers.returned(page)["code"]).json()
    headers = {"authorization": f"Bearer {token['access_token']}"}
    read = httpx.get(f"{world.base}/Patient/{brook.id}", headers=headers)
    searched = httpx.get(f"{world.base}/Task?patient={brook.id}", headers=headers)
    assert (read.status_code, searched.status_code) == (200, 200)
    review = ward.get("auditor", token["emergency"]["review"])
    note = [{"text": "Seen with the team; right."}]
    closed = ward.change("auditor", review, status="completed", note=note)

    events = world.since(before)

    who = ("PractitionerRole/reviewer", "reviewer", WESTVALE, "ETREAT BTG life",
           f"Patient/{brook.id}")  # fmt: skip
    first = versioned({**review, "meta": {"versionId": "1"}})
    assert Told(*who, first) in map(told, found(events, OPENED))
    assert Told(*who, versioned(read.json())) in map(told, found(events, READ))
    assert Told(*who, "") in map(told, found(events, SEARCHED))
    auditor = ("PractitionerRole/auditor", "auditor", NORTHMOOR, "HCOMPL", f"Patient/{brook.id}")
    assert Told(*auditor, versioned(closed)) in map(told, found(events, UPDATED))


def test_balp_of_who_signs_out_of_the_applications(world: World, site: Site) -> None:
    _, browser, page = signed_in(site, "reporter")
    if "act for you" in page.text:
        page = browsers.submit(browser, page, decision="allow")
    assert browsers.returned(page)["code"]
    before = world.last()
    browsers.submit(browser, browser.get("/auth/logout"))

    (event,) = found(world.since(before), SIGNED_OUT)

    assert told(event) == Told("PractitionerRole/reporter", "reporter", NORTHMOOR, "TREAT", "", "")


def test_balp_of_what_an_administrator_looks_at_and_of_signing_out_there(
    world: World, site: Site
) -> None:
    browser = site.browser()
    page = browser.get("/admin/sign-in")
    form = Forms(page.text).found[-1]
    signing = {**form["fields"], "login": "admin", "password": data.PASSWORD}
    assert browser.post(form["action"], data=signing).status_code == 303
    before = world.last()
    page = browser.get("/admin/analysis")
    assert page.status_code == 200
    out = next(one for one in Forms(page.text).found if one["action"] == "/admin/sign-out")
    assert browser.post(out["action"], data=out["fields"]).status_code == 200

    events = world.since(before)

    who = ("PractitionerRole/admin", "administrator", NORTHMOOR, "PATADMIN", "", "")
    looked = [event for event in events if entities(event, "2", "24")]
    assert looked
    assert Told(*who) in map(told, looked)
    assert [told(event) for event in found(events, SIGNED_OUT)] == [Told(*who)]


def test_balp_of_an_application_that_asks_to_be_registered_and_is_approved(world: World) -> None:
    before = world.last()
    wanted = {
        "client_name": "A viewer", "redirect_uris": [REDIRECT], "scope": "openid user/*.rs",
        "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"],
    }  # fmt: skip
    smart = world.http.get("/fhir/.well-known/smart-configuration").json()
    asked = httpx.post(smart["registration_endpoint"], json=wanted, timeout=30)
    assert asked.status_code == 201, asked.text
    id = asked.json()["client_id"]
    world.installation.command("client", "approve", "--id", id, "--organization", "ZZ901")

    events = world.since(before)

    assert [one for one in events if id in one.get("outcomeDesc", "") and one["outcome"] == "0"]
    (approved,) = [one for one in found(events, CONFIGURED) if id in one["outcomeDesc"]]
    assert told(approved).role == "system"


def test_balp_of_a_signing_key_that_is_made(world: World) -> None:
    before = world.last()
    world.installation.command("keys", "roll")

    events = found(world.since(before), CONFIGURED)

    assert [told(event)[1::2] for event in events] == [("system", "HSYSADMIN", "")]
    assert "signing key" in events[0]["outcomeDesc"]


def test_balp_of_acknowledging_a_report_and_of_asking_for_its_evidence(
    world: World, ward: Ward
) -> None:
    request, _, report = ward.reported()
    (task,) = ward.tasks(request, "acknowledge", "gp")
    before = world.last()
    named = {"name": "task", "valueReference": {"reference": f"Task/{task['id']}"}}
    body = {"resourceType": "Parameters", "parameter": [named]}
    answer = ward.as_("gp").post("Task/$acknowledge", content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    done = ward.get("gp", f"Task/{task['id']}")
    ward.get("safety", f"DiagnosticReport/{report['id']}/$evidence")

    events = world.since(before)

    gp = ("PractitionerRole/gp", "referrer", HARBOUR, "TREAT", ward.patient)
    safety = ("PractitionerRole/safety", "safety-officer", NORTHMOOR, "PATSFTY", ward.patient)
    written = [told(one) for one in found(events, UPDATED)]
    assert any(one[:5] == gp and one.object.startswith(f"Task/{done['id']}/") for one in written)
    asked = [told(one) for one in found(events, OPERATION)]
    assert [one for one in asked if one.person == gp[0]]
    assert Told(*safety, f"DiagnosticReport/{report['id']}") in asked


class Hook(BaseHTTPRequestHandler):
    """Takes what it is sent."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


def becomes_active(ward: Ward, id: str) -> None:
    deadline = time.monotonic() + 60
    while (now := ward.get("coordinator", f"Subscription/{id}"))["status"] != "active":
        assert now["status"] == "requested", now.get("error")
        assert time.monotonic() < deadline
        time.sleep(0.1)


ENDPOINTS: dict[str, Json] = {
    "rest-hook": {}, "websocket": {},
    "email": {"endpoint": "mailto:duty@ward.example", "payload": "text/plain"},
}  # fmt: skip


@pytest.mark.parametrize("channel", ENDPOINTS)
def test_balp_of_a_notification_on_each_channel(
    world: World, ward: Ward, hook: str, channel: str
) -> None:
    wanted = subscription(
        "https://isocentre.example/fhir/SubscriptionTopic/report-final",
        f"DiagnosticReport?patient={ward.patient}", channel=channel,
    )  # fmt: skip
    wanted["channel"] |= {"endpoint": hook} if channel == "rest-hook" else ENDPOINTS[channel]
    made = ward.post("coordinator", wanted)
    with ExitStack() as stack:
        if channel == "websocket":
            given = ward.get("coordinator", f"Subscription/{made['id']}/$get-ws-binding-token")
            token = {one["name"]: one for one in given["parameter"]}
            socket = stack.enter_context(connect(token["websocket-url"]["valueUrl"]))
            socket.send(f"bind-with-token {token['token']['valueString']}")
        becomes_active(ward, made["id"])
        before = world.last()
        _, _, report = ward.reported()
        deadline, events = time.monotonic() + 60, list[Json]()
        while not events:
            assert time.monotonic() < deadline
            events = [one for one in world.since(before) if about(one, made["id"])]
            time.sleep(0.1)
    ward.as_("coordinator").delete(f"Subscription/{made['id']}")

    who = ("PractitionerRole/coordinator", "coordinator", NORTHMOOR, "COC", ward.patient)
    assert Told(*who, versioned(report)) in map(told, found(events, NOTIFIED))


def about(event: Json, subscription: str) -> bool:
    """Whether it is of a notification of a subscription."""
    (request,) = [one for one in event["entity"] if one["type"]["code"] == "XrequestId"]
    return fits(event, NOTIFIED) and request["what"]["identifier"]["value"] == subscription


def test_balp_of_an_export_names_each_patient_who_is_in_it_and_its_end(world: World) -> None:
    before = world.last()
    headers = {"prefer": "respond-async", "accept": "application/fhir+json"}
    ordered = world.ask("GET", "/fhir/Patient/$export?_type=Patient", 202, login="admin",
                        headers=headers).headers["content-location"]  # fmt: skip
    path, deadline = ordered.removeprefix(world.installation.address), time.monotonic() + 60
    asker = {"authorization": f"Bearer {world.token('admin')}"}
    while (answer := world.http.get(path, headers=asker)).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (file,) = answer.json()["output"]
    text = world.ask("GET", file["url"].removeprefix(world.installation.address), 200,
                     login="admin").text  # fmt: skip
    world.ask("DELETE", path, 202, login="admin")

    events = world.since(before)

    exported = {f"Patient/{json.loads(line)['id']}" for line in text.splitlines()}
    named = {told(one).patient for one in found(events, EXPORTED)} - {""}
    assert exported
    assert named == exported
    id = path.rpartition("/")[2]
    assert [one for one in events if one.get("outcomeDesc") == f"export {id} is no longer wanted"]
