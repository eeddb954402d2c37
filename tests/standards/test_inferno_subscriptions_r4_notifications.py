"""The criteria of Inferno's test kit for subscriptions that need a channel, each by its name.

Suite ``subscriptions_r5_backport_r4_server`` of inferno-framework/subscriptions-test-kit 0.12.1;
the ids of its tests begin with ``subscriptions_r4_server_``. The workflow is that of the kit: a
subscription by rest-hook, a handshake, a trigger, notifications, and their conformance.
"""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fhir_server.postgres.database import Database
from resources import validate
from tests.subscriptions.receiving import Receiver, Request, receiving, until
from tests.subscriptions.test_delivery import TOPIC, World, a_world
from tests.subscriptions.wanting import BACKPORT, BASE, put, somebody, subscription

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.standard("Inferno subscriptions_r5_backport_r4_server"),
]

Json = dict[str, Any]
HEADERS = ["Authorization: Bearer inferno", "X-Inferno: yes"]


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with a_world(database) as found:
        found.deliver()
        yield found


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def notified(world: World, receiver: Receiver, level: str = "id-only") -> tuple[str, Request]:
    """Subscribe, trigger, and give the id and the notification of the event."""
    json = subscription(TOPIC, level=level)
    json["channel"] |= {"endpoint": receiver.url, "header": HEADERS}
    id = (await put(world.store, json, somebody())).id
    await world.becomes(id, "active")
    await world.fire(1)
    await until(lambda: any(each.kind == "event-notification" for each in receiver.taken))
    return id, receiver.taken[-1]


def check_bundle(bundle: Json, id: str) -> list[Json]:
    """What every notification must be; gives the entries after the first."""
    assert validate.check(bundle) == []
    assert bundle["type"] == "history"
    first, *others = bundle["entry"]
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", first["fullUrl"])
    assert first["request"] == {"method": "GET", "url": f"{BASE}/Subscription/{id}/$status"}
    assert all("request" in each and "response" in each for each in bundle["entry"])
    status = first["resource"]
    assert f"{BACKPORT}/backport-subscription-status-r4" in status["meta"]["profile"]
    names = [each["name"] for each in status["parameter"]]
    for needed in ("subscription", "status", "type"):
        assert names.count(needed) == 1
    return list(others)


def event(request: Request) -> Json:
    """The parts of the one event of a notification."""
    (found,) = [
        each["part"]
        for each in request.json["entry"][0]["resource"]["parameter"]
        if each["name"] == "notification-event"
    ]
    return {
        part["name"]: next(value for name, value in part.items() if name[:5] == "value")
        for part in found
    }


async def test_subscriptions_r4_server_handshake_conformance(
    world: World, receiver: Receiver
) -> None:
    id, _ = await notified(world, receiver)
    shaken = receiver.requests[0]

    assert check_bundle(shaken.json, id) == []
    assert shaken.status["type"] == "handshake"
    assert shaken.status["status"] == "requested"
    assert shaken.status["topic"] == TOPIC
    assert shaken.headers["Content-Type"].startswith("application/fhir+json")


async def test_subscriptions_r4_server_heartbeat_conformance(
    world: World, receiver: Receiver
) -> None:
    json = subscription(TOPIC)
    period = {"url": f"{BACKPORT}/backport-heartbeat-period", "valueUnsignedInt": 1}
    json["channel"] |= {"endpoint": receiver.url, "extension": [period]}
    id = (await put(world.store, json, somebody())).id
    await until(lambda: len(receiver.taken) >= 2)
    beat = receiver.taken[1]

    assert check_bundle(beat.json, id) == []
    assert beat.status["type"] == "heartbeat"
    assert beat.status["status"] == "active"
    assert beat.status["events-since-subscription-start"] == "0"


async def test_subscriptions_r4_server_notification_delivery(
    world: World, receiver: Receiver
) -> None:
    _, request = await notified(world, receiver)

    assert request.method == "POST"
    assert request.headers["Content-Type"].startswith("application/fhir+json")
    assert request.headers["Authorization"] == "Bearer inferno"
    assert request.headers["X-Inferno"] == "yes"


async def test_subscriptions_r4_server_notification_presence(
    world: World, receiver: Receiver
) -> None:
    _, request = await notified(world, receiver)

    assert [each.kind for each in receiver.taken] == ["handshake", "event-notification"]
    assert request.status["events-since-subscription-start"] == "1"


async def test_subscriptions_r4_server_notification_conformance(
    world: World, receiver: Receiver
) -> None:
    id, request = await notified(world, receiver)
    others = check_bundle(request.json, id)

    told = event(request)
    assert told["event-number"] == "1"
    assert told["focus"]["reference"] in [each["fullUrl"] for each in others]
    assert request.status["subscription"]["reference"].endswith(f"Subscription/{id}")


async def test_subscriptions_r4_server_empty_conformance(world: World, receiver: Receiver) -> None:
    id, request = await notified(world, receiver, "empty")

    assert check_bundle(request.json, id) == []
    assert "focus" not in event(request)
    assert "topic" not in request.status


async def test_subscriptions_r4_server_id_only_conformance(
    world: World, receiver: Receiver
) -> None:
    id, request = await notified(world, receiver, "id-only")
    others = check_bundle(request.json, id)

    assert others
    assert not [each for each in others if "resource" in each]
    assert "focus" in event(request)


async def test_subscriptions_r4_server_full_resource_conformance(
    world: World, receiver: Receiver
) -> None:
    id, request = await notified(world, receiver, "full-resource")
    others = check_bundle(request.json, id)

    focus = event(request)["focus"]["reference"]
    (entry,) = [each for each in others if each["fullUrl"] == focus]
    assert entry["resource"]["resourceType"] == "Task"


async def test_subscriptions_r4_server_creation_response_conformance(
    world: World, receiver: Receiver
) -> None:
    receiver.answers = lambda request: None
    id = await world.subscribe(receiver.url)
    await until(lambda: receiver.requests)

    assert (await world.resource(id))["status"] == "requested", "not before the handshake succeeds"
