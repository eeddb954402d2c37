"""A Subscription is its maker's: nobody else sees where it is sent, nor its headers, anywhere."""

from typing import Any

import httpx
import pytest

from fhir_server.audit.ledger import Ledger
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from subscriptions.matcher import Matcher
from tests.server import Server
from tests.subscriptions.wanting import TOPICS, numbers, put, subscription

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T9")]

Json = dict[str, Any]

SECRET = "Authorization: Bearer 0pen-sesame"


@pytest.fixture
def store(server: Server, database: Database) -> Store:
    return Store(database, Ledger(database), Workflow(server.base).hooks(), server.base)


def made(api: httpx.Client, **members: Any) -> Json:
    asked = subscription("Flag?status=active", **members)
    asked["channel"]["header"] = [SECRET]
    answer = api.post("/Subscription", json=asked, headers={"Prefer": "return=representation"})
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


def others(server: Server) -> dict[str, httpx.Client]:
    """Everybody else of the same organisation, and one of another."""
    return {
        "another client": server.client(subject="Client/other"),
        "a person": server.client("referrer", scope="user/*.cruds", subject="PractitionerRole/a"),
        "an administrator": server.client(
            "administrator", scope="user/*.cruds", subject="PractitionerRole/b"
        ),
        "for a patient": server.client(scope="patient/*.cruds", patient="p1"),
        "another organisation": server.client("application", "other"),
    }


PATHS = [
    "/Subscription/{id}",
    "/Subscription/{id}/_history",
    "/Subscription/{id}/_history/1",
    "/Subscription",
    "/Subscription?_id={id}",
    "/Subscription?status=requested&_elements=channel",
    "/Subscription?_summary=count",
    "/Subscription/_history",
    "/_history",
    "/?_type=Subscription,Flag",
    "/Subscription/{id}/$status",
    "/Subscription/$status",
    "/Subscription/{id}/$events",
    "/Subscription/$meta",
]


@pytest.mark.parametrize("path", PATHS)
async def test_nobody_else_reads_it(server: Server, path: str) -> None:
    maker = server.client()
    id = made(maker)["id"]

    for name, other in others(server).items():
        answer = other.get(path.format(id=id))
        told = answer.text.replace(f"Subscription/{id}", "").replace(f"_id={id}", "")
        assert "sesame" not in told, (name, path)
        assert id not in told or answer.status_code in (403, 404), (name, path)
        if answer.status_code == 200:
            assert answer.json().get("total", 0) == 0, (name, path)
            assert not answer.json().get("entry"), (name, path)
    own = maker.get(path.format(id=id))
    assert own.status_code == 200
    if "/$" not in path and "count" not in path:
        assert SECRET in own.text


async def test_nobody_else_changes_or_resends_it(server: Server) -> None:
    maker = server.client()
    before = made(maker)
    at = f"/Subscription/{before['id']}"

    for name, other in others(server).items():
        off = [{"op": "replace", "path": "/status", "value": "off"}]
        answers = [
            other.put(at, json={**before, "status": "off"}),
            other.patch(at, json=off, headers={"Content-Type": "application/json-patch+json"}),
            other.delete(at),
            other.post(f"{at}/$resend?eventsSinceNumber=1"),
            other.get(f"{at}/$get-ws-binding-token"),
        ]
        assert {each.status_code for each in answers} <= {204, 403, 404}, name  # 204: there is none
        assert "sesame" not in "".join(each.text for each in answers)
    assert maker.get(at).json() == before


async def test_the_maker_reads_what_was_written(server: Server, store: Store) -> None:
    maker = server.client()
    written = made(maker)
    await put(store, {**written, "status": "active"})

    now = maker.get(f"/Subscription/{written['id']}").json()
    assert now["channel"] == written["channel"]
    assert now["status"] == "active"
    assert maker.put(f"/Subscription/{written['id']}", json=now).status_code == 200


async def test_no_header_is_in_the_audit_or_in_an_export_of_another(server: Server) -> None:
    maker = server.client()
    id = made(maker)["id"]
    maker.get(f"/Subscription/{id}")
    auditor = server.client("administrator", scope="user/*.rs", subject="PractitionerRole/b")

    assert "sesame" not in auditor.get("/AuditEvent?_count=100").text
    other = server.client(subject="Client/other")
    started = other.get("/$export?_type=Subscription", headers={"Prefer": "respond-async"})
    assert "sesame" not in started.text
    assert all("sesame" not in one.read_text() for one in server.exports.rglob("*.ndjson"))


@pytest.mark.standard("SMART App Launch 2.2 patient/ scopes")
async def test_a_token_for_one_patient_subscribes_within_it(
    server: Server, store: Store, database: Database
) -> None:
    for patient in ("p1", "p2"):
        json = {"resourceType": "Patient", "id": patient}
        assert server.client().put(f"/Patient/{patient}", json=json).status_code == 201
    app = server.client(scope="patient/*.cruds", patient="p1")
    again = server.client(scope="patient/*.rs", patient="p1")
    elsewhere = server.client(scope="patient/*.rs", patient="p2")
    asked = subscription(f"{TOPICS}/report-final")
    answer = app.post("/Subscription", json=asked)
    assert answer.status_code == 201, answer.text
    assert "DiagnosticReport?patient=Patient/p1" in answer.text
    plain = made(app)
    assert plain["criteria"] == "Flag?status=active&patient=Patient/p1"
    total = "/Subscription?_summary=count"
    assert again.get(total).json()["total"] == 2
    assert elsewhere.get(total).json()["total"] == 0
    assert elsewhere.get(f"/Subscription/{plain['id']}").status_code == 404

    await put(store, {**plain, "status": "active"})
    for patient in ("p2", "p1"):
        flag = {"resourceType": "Flag", "status": "active", "code": {"text": "x"}}
        subject = {"reference": f"Patient/{patient}"}
        assert server.client().post("/Flag", json={**flag, "subject": subject}).status_code == 201
    await Matcher(database, server.base).catch_up()
    assert await numbers(database, plain["id"]) == [1]
    refused = app.post("/Subscription", json=subscription("Flag?patient=Patient/p2"))
    assert refused.status_code == 403
