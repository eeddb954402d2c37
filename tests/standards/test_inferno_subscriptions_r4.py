"""The criteria of Inferno's test kit for subscriptions that need no channel, each by its name.

Suite ``subscriptions_r5_backport_r4_server`` of inferno-framework/subscriptions-test-kit 0.12.1;
the ids of its tests begin with ``subscriptions_r4_server_``. What is sent by a channel is tested
with the channels.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import httpx
import pytest

from fhir_server.audit.ledger import Ledger
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from resources import validate
from subscriptions import events, notifications
from subscriptions.events import Event, Subscriber
from subscriptions.matcher import Matcher
from tests.server import Server
from tests.subscriptions.wanting import BACKPORT, TOPICS, put, subscription

pytestmark = pytest.mark.standard("Inferno subscriptions_r5_backport_r4_server")

Json = dict[str, Any]
T = TypeVar("T")

TOPIC = f"{TOPICS}/report-final"
PROFILE = f"{BACKPORT}/backport-subscription"
STATUS = f"{BACKPORT}/backport-subscription-status-r4"
NOTIFICATION = f"{BACKPORT}/backport-subscription-notification-r4"
TOPIC_CANONICAL = f"{BACKPORT}/capabilitystatement-subscriptiontopic-canonical"


def asked(**channel: Any) -> Json:
    """The Subscription that the kit would be given; it changes one element at a time."""
    json = subscription(TOPIC, "DiagnosticReport?patient=Patient/p1")
    json["meta"] = {"profile": [PROFILE]}
    json["channel"] |= channel
    return json


class World:
    """A server where a report has fired, and what a channel would send of it."""

    def __init__(self, server: Server, database_url: str) -> None:
        self.api = server.client()
        self.base = server.base
        self._runner = asyncio.Runner()
        self._database = Database(database_url, size=3)
        self.do(self._database.open())
        hooks = Workflow(server.base).hooks()
        self.store = Store(self._database, Ledger(self._database), hooks, server.base)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def close(self) -> None:
        self.do(self._database.close())
        self._runner.close()

    def created(self, json: Json) -> Json:
        answer = self.api.post("/Subscription", json=json)
        assert answer.status_code == 201, answer.text
        made: Json = answer.json()
        return made

    def fired(self, level: str) -> Json:
        """Subscribe, let a report become final, and make the notification that is sent."""
        json = subscription(TOPIC, "DiagnosticReport?patient=Patient/p1", level=level)
        made = self.created(json)
        self.do(put(self.store, {**made, "status": "active"}))
        self.api.put("/Patient/p1", json={"resourceType": "Patient", "id": "p1"})
        answer = self.api.post("/DiagnosticReport", json=REPORT)
        assert answer.status_code == 201, answer.text
        self.do(Matcher(self._database, self.base).catch_up())
        subscriber, happened = self.do(self.happened(made["id"]))
        return self.sent(subscriber, "event-notification", happened)

    def sent(self, subscriber: Subscriber, kind: str, happened: list[Event]) -> Json:
        return self.do(
            notifications.notification(self.store, subscriber, kind, happened, base_url=self.base)
        )

    async def happened(self, id: str) -> tuple[Subscriber, list[Event]]:
        subscriber = await events.subscriber(self._database, id)
        assert subscriber is not None
        return subscriber, await events.after(self._database, id, 0, 10)


REPORT: Json = {
    "resourceType": "DiagnosticReport",
    "status": "final",
    "code": {"text": "CT head"},
    "subject": {"reference": "Patient/p1"},
}


@pytest.fixture
def world(server: Server, database_url: str) -> Iterator[World]:
    world = World(server, database_url)
    yield world
    world.close()


@pytest.fixture
def api(shared_server: Server) -> httpx.Client:
    return shared_server.client()


def parameter(resource: Json, name: str) -> Any:
    found = [each for each in resource["parameter"] if each["name"] == name]
    assert len(found) == 1, name
    return next(value for key, value in found[0].items() if key.startswith("value"))


def notification_events(bundle: Json) -> list[dict[str, Any]]:
    return [
        {
            part["name"]: next(value for key, value in part.items() if key.startswith("value"))
            for part in each["part"]
        }
        for each in bundle["entry"][0]["resource"]["parameter"]
        if each["name"] == "notification-event"
    ]


def conformant(bundle: Json, kind: str) -> None:
    """What the kit asks of every notification: notification_conformance_verification."""
    assert validate.check(bundle) == []
    assert bundle["meta"]["profile"] == [NOTIFICATION]
    assert bundle["type"] == "history"
    first = bundle["entry"][0]
    assert first["fullUrl"] == f"urn:uuid:{first['resource']['id']}"
    assert first["request"]["url"].endswith("/$status")
    assert all(each["request"] and each["response"] for each in bundle["entry"])
    assert first["resource"]["resourceType"] == "Parameters"
    assert first["resource"]["meta"]["profile"] == [STATUS]
    assert parameter(first["resource"], "type") == kind


# --- workflow -------------------------------------------------------------------------------------


def test_subscription_conformance(api: httpx.Client) -> None:
    answer = api.post("/Subscription", json=asked())

    made = answer.json()
    assert validate.check(made) == []
    for member in ("criteria", "_criteria", "reason", "channel"):
        assert made[member] == asked()[member]
    assert made["meta"]["profile"] == [PROFILE]


def test_creation_response_conformance(api: httpx.Client) -> None:
    answer = api.post("/Subscription", json=asked() | {"status": "active"})

    assert answer.status_code == 201
    made = answer.json()
    assert (made["resourceType"], made["channel"]["type"]) == ("Subscription", "rest-hook")
    assert made["status"] == "requested"


# --- coverage: capability statement ---------------------------------------------------------------


@pytest.fixture
def declared(api: httpx.Client) -> Json:
    statement: Json = api.get("/metadata").json()
    return statement


def of_subscription(statement: Json) -> Json:
    (server,) = (each for each in statement["rest"] if each["mode"] == "server")
    (found,) = (each for each in server["resource"] if each["type"] == "Subscription")
    return dict(found)


def test_cs_conformance(declared: Json) -> None:
    found = of_subscription(declared)

    assert found["supportedProfile"] == [PROFILE]
    assert (
        "http://hl7.org/fhir/uv/subscriptions-backport/CapabilityStatement/"
        "backport-subscription-server-r4" in declared["instantiates"]
    )
    assert {"status", "events"} <= {each["name"] for each in found["operation"]}
    assert {"url", "status"} <= {each["name"] for each in found["searchParam"]}


def test_topic_discovery(declared: Json) -> None:
    found = of_subscription(declared)["extension"]

    assert {each["url"] for each in found} == {TOPIC_CANONICAL}
    assert len({each["valueCanonical"] for each in found}) == 13
    assert TOPIC in {each["valueCanonical"] for each in found}


# --- coverage: event notifications ----------------------------------------------------------------


def test_empty_conformance(world: World) -> None:
    bundle = world.fired("empty")

    conformant(bundle, "event-notification")
    assert len(bundle["entry"]) == 1
    assert [set(each) for each in notification_events(bundle)] == [{"event-number", "timestamp"}]
    assert "topic" not in {each["name"] for each in bundle["entry"][0]["resource"]["parameter"]}


def test_id_only_conformance(world: World) -> None:
    bundle = world.fired("id-only")

    conformant(bundle, "event-notification")
    (event,) = notification_events(bundle)
    assert "/DiagnosticReport/" in event["focus"]["reference"]
    (entry,) = bundle["entry"][1:]
    assert entry["fullUrl"] == event["focus"]["reference"]
    assert "resource" not in entry


def test_full_resource_conformance(world: World) -> None:
    bundle = world.fired("full-resource")

    conformant(bundle, "event-notification")
    assert parameter(bundle["entry"][0]["resource"], "topic") == TOPIC
    (event,) = notification_events(bundle)
    entry = bundle["entry"][1]
    assert entry["fullUrl"] == event["focus"]["reference"]
    assert entry["resource"]["resourceType"] == "DiagnosticReport"
    assert entry["request"] == {"method": "POST", "url": "DiagnosticReport"}


# --- coverage: handshake, heartbeat, status ------------------------------------------------------


def test_handshake_conformance(world: World) -> None:
    made = world.created(asked())
    subscriber, _ = world.do(world.happened(made["id"]))
    bundle = world.sent(subscriber, "handshake", [])

    conformant(bundle, "handshake")
    assert parameter(bundle["entry"][0]["resource"], "status") == "requested"
    assert len(bundle["entry"]) == 1


def test_heartbeat_conformance(world: World) -> None:
    made = world.created(asked())
    world.do(put(world.store, {**made, "status": "active"}))
    subscriber, _ = world.do(world.happened(made["id"]))
    bundle = world.sent(subscriber, "heartbeat", [])

    conformant(bundle, "heartbeat")
    resource = bundle["entry"][0]["resource"]
    assert parameter(resource, "status") == "active"
    assert parameter(resource, "events-since-subscription-start") == "0"


def test_status_invocation(api: httpx.Client) -> None:
    made = api.post("/Subscription", json=asked()).json()
    bundle = api.get(f"/Subscription/{made['id']}/$status").json()

    assert validate.check(bundle) == []
    assert bundle["type"] == "searchset"
    (entry,) = bundle["entry"]
    assert entry["resource"]["meta"]["profile"] == [STATUS]
    about = parameter(entry["resource"], "subscription")
    assert about["reference"].rpartition("/")[2] == made["id"]
    assert parameter(entry["resource"], "status") == "requested"


# --- coverage: rejection -------------------------------------------------------------------------


def rejected(api: httpx.Client, json: Json) -> None:
    """Refused, and said what with: the kit would also take an altered Subscription."""
    answer = api.post("/Subscription", json=json)

    assert answer.status_code in (400, 422), answer.text
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["expression"][0].startswith("Subscription.")


def test_reject_subscription_cross_version_extension(api: httpx.Client) -> None:
    url = "http://hl7.org/fhir/5.0/subscriptions-backport/StructureDefinition/backport-filter-criteria"
    extension = {"url": url, "valueString": "Encounter?patient=Patient/123"}
    rejected(api, asked() | {"_criteria": {"extension": [extension]}})


def test_reject_subscription_topic(api: httpx.Client) -> None:
    rejected(api, asked() | {"criteria": "http://fhirserver.org/topics/patient-admission"})


def test_reject_subscription_filter(api: httpx.Client) -> None:
    extension = {
        "url": f"{BACKPORT}/backport-filter-criteria",
        "valueString": "DiagnosticReport?conclusion=x",
    }
    rejected(api, asked() | {"_criteria": {"extension": [extension]}})


def test_reject_subscription_channel_type(api: httpx.Client) -> None:
    rejected(api, asked(type="message"))


def test_reject_subscription_channel_endpoint(api: httpx.Client) -> None:
    for endpoint in ("http://hooks.example/", "ftp://hooks.example/", "https://127.0.0.1/x", "x"):
        rejected(api, asked(endpoint=endpoint))


def test_reject_subscription_payload_type(api: httpx.Client) -> None:
    rejected(api, asked(payload="application/fhir+xml"))


def test_reject_subscription_channel_payload_combo(api: httpx.Client) -> None:
    rejected(api, asked(type="email", endpoint="mailto:a@mail.example"))
