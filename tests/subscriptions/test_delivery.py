"""Delivery: in order, until it is taken, over real sockets on loopback (threats F2, F8, T9)."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from fhir_server.context import now
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources.content import written_instant
from subscriptions import events
from subscriptions.addresses import Addresses
from subscriptions.channels.resthook import RestHook
from subscriptions.delivery import Delivery
from subscriptions.events import Subscriber
from subscriptions.matcher import Matcher
from tests.subscriptions.receiving import Receiver, Request, receiving, until
from tests.subscriptions.wanting import BACKPORT, BASE, housed, put, somebody, subscription

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R010.1")]

Json = dict[str, Any]
FAST = (0.0, 0.05, 0.05, 0.05)
TOPIC = "https://isocentre.example/fhir/SubscriptionTopic/report-issued"


class World:
    """A store, its matcher, and a worker that delivers."""

    def __init__(self, database: Database, retries: Sequence[float]) -> None:
        self.database = database
        self.store: Store = housed(database)
        self.matcher = Matcher(database, BASE)
        self.retries = retries
        self.tasks: list[asyncio.Task[None]] = []

    def deliver(self, addresses: Addresses | None = None) -> asyncio.Task[None]:
        """Begin another worker."""
        hook = RestHook(addresses or Addresses("127.0.0.0/8"))
        delivery = Delivery(
            self.database, self.store, {"rest-hook": hook}, base_url=BASE, retries=self.retries
        )
        self.tasks.append(asyncio.create_task(delivery.run()))
        return self.tasks[-1]

    async def subscribe(self, endpoint: str, criteria: str = TOPIC, **channel: Any) -> str:
        json = subscription(criteria)
        json["channel"] |= {"endpoint": endpoint, **channel}
        json["channel"] = {name: each for name, each in json["channel"].items() if each}
        return (await put(self.store, json, somebody())).id

    async def active(self, endpoint: str, criteria: str = TOPIC, **channel: Any) -> str:
        id = await self.subscribe(endpoint, criteria, **channel)
        await self.becomes(id, "active")
        return id

    async def becomes(self, id: str, status: str, seconds: float = 10.0) -> Subscriber:
        end = time.monotonic() + seconds
        while (found := await events.subscriber(self.database, id)) is None or (
            found.status != status
        ):
            assert time.monotonic() < end, found
            await asyncio.sleep(0.01)
        return found

    async def fire(self, number: int = 1) -> None:
        """Have so many events happen."""
        for _ in range(number):
            await put(self.store, TASK, somebody())
        await self.matcher.catch_up()

    async def resource(self, id: str) -> Json:
        rows = await self.database.run(
            "select v.body from current c join version v on v.key = c.key where c.id = $1", (id,)
        )
        found: Json = orjson.loads(rows[0][0])
        return found

    async def alerts(self) -> list[str]:
        rows = await self.database.run(
            "select convert_from(v.body, 'utf8') from current c join version v on v.key = c.key"
            " where c.type = 'Task'"
        )
        return [body for (body,) in rows if "subscription-failed" in body]


TASK: Json = {
    "resourceType": "Task",
    "status": "requested",
    "intent": "order",
    "code": {
        "coding": [
            {
                "system": "https://isocentre.example/fhir/CodeSystem/imaging-step",
                "code": "acknowledge",
            }
        ]
    },
    "owner": {"reference": "Organization/lead"},
}


@asynccontextmanager
async def a_world(database: Database, retries: Sequence[float] = FAST) -> AsyncIterator[World]:
    world = World(database, retries)
    lead = {"resourceType": "Organization", "id": "lead", "name": "L"}
    await put(world.store, lead, somebody())
    try:
        yield world
    finally:
        for task in world.tasks:
            task.cancel()
        await asyncio.gather(*world.tasks, return_exceptions=True)


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with a_world(database) as found:
        found.deliver()
        yield found


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


@pytest.mark.standard("Subscriptions R5 Backport 1.1.0, REST-Hook: handshake")
async def test_a_subscription_is_active_when_its_endpoint_has_answered_the_handshake(
    world: World, receiver: Receiver
) -> None:
    id = await world.active(receiver.url, header=["Authorization: Bearer abc", "X-Ours: 1"])

    (shaken,) = receiver.requests
    assert (shaken.method, shaken.path) == ("POST", "/hook")
    assert shaken.headers["Content-Type"] == "application/fhir+json"
    assert shaken.headers["Authorization"] == "Bearer abc"
    assert shaken.headers["X-Ours"] == "1"
    assert shaken.json["type"] == "history"
    assert (shaken.kind, shaken.status["status"]) == ("handshake", "requested")
    assert (await world.resource(id))["status"] == "active"


@pytest.mark.parametrize("status", [400, 404, 500, 302, 401])
async def test_any_other_answer_to_the_handshake_is_an_error_that_can_be_seen(
    world: World, receiver: Receiver, status: int
) -> None:
    receiver.answers = lambda request: status
    id = await world.subscribe(receiver.url)

    await world.becomes(id, "error")
    resource = await world.resource(id)
    assert str(status) in resource["error"]
    assert len(await world.alerts()) == 1
    assert len(receiver.requests) == 1


async def test_events_arrive_in_order_and_once(world: World, receiver: Receiver) -> None:
    await world.active(receiver.url)
    for _ in range(5):
        await world.fire(3)

    await until(lambda: len(receiver.told()) == 15)
    assert receiver.told() == list(range(1, 16))
    assert {each.kind for each in receiver.taken[1:]} == {"event-notification"}


async def test_a_notification_that_is_not_taken_is_sent_again_before_any_later_one(
    world: World, receiver: Receiver
) -> None:
    await world.active(receiver.url)
    failures = [500, 503, 404]
    receiver.answers = lambda request: failures.pop() if failures else 200
    await world.fire(2)
    await until(lambda: len(receiver.told()) >= 2)

    assert receiver.told() == [1, 2]
    assert [each.numbers[0] for each in receiver.requests[1:4]] == [1, 1, 1]


async def test_after_the_last_attempt_it_is_an_error_with_one_task_and_goes_on_counting(
    world: World, receiver: Receiver
) -> None:
    id = await world.active(receiver.url)
    receiver.answers = lambda request: 500
    await world.fire(1)
    found = await world.becomes(id, "error")
    await world.fire(2)

    assert len(receiver.requests) == 1 + len(FAST)
    assert found.last_error == "The endpoint answered 500."
    assert len(await world.alerts()) == 1
    again = await events.subscriber(world.database, id)
    assert again is not None
    assert (again.events, again.delivered) == (3, 0)


@pytest.mark.standard("Subscriptions R5 Backport 1.1.0, Error Handling: the client re-activates")
async def test_the_client_re_activates_and_is_sent_what_it_missed(
    world: World, receiver: Receiver
) -> None:
    id = await world.active(receiver.url)
    receiver.answers = lambda request: 500
    await world.fire(3)
    await world.becomes(id, "error")
    receiver.answers = lambda request: 200
    json = await world.resource(id)
    await put(world.store, {**json, "status": "requested"}, somebody())
    await world.becomes(id, "active")

    await until(lambda: len(receiver.told()) == 3)
    assert receiver.told() == [1, 2, 3]
    assert "error" not in await world.resource(id)


@pytest.mark.parametrize(("status", "becomes"), [(410, "off"), (401, "error"), (403, "error")])
async def test_who_says_that_it_is_over_or_forbidden_is_not_asked_again(
    world: World, receiver: Receiver, status: int, becomes: str
) -> None:
    id = await world.active(receiver.url)
    receiver.answers = lambda request: status
    await world.fire(1)
    await world.becomes(id, becomes)
    await asyncio.sleep(0.2)

    assert len(receiver.requests) == 2
    assert len(await world.alerts()) == 1


@pytest.mark.standard("RFC 9110 10.2.3")
async def test_who_asks_to_come_back_later_is_left_alone_until_then(
    world: World, receiver: Receiver
) -> None:
    await world.active(receiver.url)
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    answers: list[int | bytes] = [200, busy]
    receiver.answers = lambda request: answers.pop()
    await world.fire(1)
    await until(lambda: receiver.told() == [1])

    first, second = receiver.requests[1:]
    assert second.at - first.at >= 1.0


@pytest.mark.standard("threats T9")
async def test_nobody_is_redirected(world: World, receiver: Receiver) -> None:
    async with receiving() as canary:
        await world.active(receiver.url)
        moved = f"HTTP/1.1 307 No\r\nLocation: {canary.url}\r\nContent-Length: 0\r\n\r\n".encode()
        answers: list[int | bytes] = [200, moved]
        receiver.answers = lambda request: answers.pop()
        await world.fire(1)
        await until(lambda: receiver.told() == [1])

    assert canary.connections == 0


@pytest.mark.standard("threats T9")
async def test_a_name_that_leads_elsewhere_a_moment_later_is_not_followed_there(
    database: Database, receiver: Receiver
) -> None:
    async with a_world(database) as world, receiving() as canary:
        asked: list[str] = []

        async def rebinding(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"]

        # Public by its name, loopback by its address: nothing may connect.
        world.deliver(Addresses(resolver=rebinding))
        id = await world.subscribe(f"https://hooks.example:{canary.port}/hook")
        found = await world.becomes(id, "error")

    assert asked == ["hooks.example"]
    assert canary.connections == 0
    assert "address" in str(found.last_error)


async def test_an_answer_of_ten_megabytes_is_not_read(world: World, receiver: Receiver) -> None:
    id = await world.active(receiver.url)
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(10_000_000)
    receiver.answers = lambda request: large
    for number in (1, 2):
        await world.fire(1)
        end = time.monotonic() + 5
        while (found := await events.subscriber(world.database, id)) and found.delivered < number:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)

    assert [each.numbers for each in receiver.requests[1:]] == [[1], [2]]
    assert receiver.connections == 2, "a connection with an unread answer is not used again"


async def test_an_endpoint_that_never_answers_is_left_at_the_timeout(
    world: World, receiver: Receiver
) -> None:
    extension = [{"url": f"{BACKPORT}/backport-timeout", "valueUnsignedInt": 1}]
    id = await world.active(receiver.url, extension=extension)
    stuck = [True]
    receiver.answers = lambda request: None if stuck and stuck.pop() else 200
    await world.fire(1)
    await until(lambda: receiver.told() == [1])

    first, second = receiver.requests[1:]
    assert 0.9 < second.at - first.at < 3
    assert (await world.resource(id))["status"] == "active"


async def test_a_slow_subscriber_delays_nobody(world: World, receiver: Receiver) -> None:
    async with receiving() as slow:
        await world.active(receiver.url)
        for n in range(12):
            await world.active(f"http://127.0.0.1:{slow.port}/hook{n}")
        slow.delay = 3.0
        await world.fire(1)
        await until(lambda: len(slow.requests) >= 12 + 5)
        began = time.monotonic()
        await until(lambda: receiver.told() == [1])

        assert time.monotonic() - began < 1.0


@pytest.mark.standard("Subscriptions R5 Backport 1.1.0, Heartbeat")
async def test_a_heartbeat_is_sent_when_idle_and_counts_nothing(
    world: World, receiver: Receiver
) -> None:
    extension = [{"url": f"{BACKPORT}/backport-heartbeat-period", "valueUnsignedInt": 1}]
    await world.active(receiver.url, extension=extension)
    await until(lambda: len(receiver.taken) >= 3)
    await world.fire(1)
    await until(lambda: receiver.told() == [1])

    shaken, *beats, _ = receiver.taken
    assert {each.kind for each in beats} == {"heartbeat"}
    assert {each.status["events-since-subscription-start"] for each in beats} == {"0"}
    assert beats[1].at - beats[0].at > 0.9
    assert beats[0].at - shaken.at > 0.9


@pytest.mark.standard("FHIR R4 Subscription.channel: rest-hook with a payload")
async def test_plain_criteria_send_the_resource_itself_or_nothing(
    world: World, receiver: Receiver
) -> None:
    await world.active(receiver.url, "Task?status=requested")
    await world.active(receiver.url + "/empty", "Task?status=requested", payload=None)
    await world.fire(1)
    await until(lambda: len(receiver.requests) == 2)

    with_payload = next(each for each in receiver.requests if each.method == "PUT")
    without = next(each for each in receiver.requests if each.method == "POST")
    assert with_payload.path.startswith("/hook/Task/")
    assert with_payload.json["resourceType"] == "Task"
    assert (without.path, without.body) == ("/hook/empty", b"")


async def test_a_subscription_ends_when_it_said_it_would(world: World, receiver: Receiver) -> None:
    json = subscription(TOPIC, end=written_instant(now() + 1_500_000))
    json["channel"]["endpoint"] = receiver.url
    id = (await put(world.store, json, somebody())).id
    await world.becomes(id, "active")

    await world.becomes(id, "off")
    assert await world.alerts() == []


@pytest.mark.standard("threats F8")
async def test_a_subscriber_that_was_down_is_sent_all_that_waited_in_order(
    database: Database, receiver: Receiver
) -> None:
    async with a_world(database, (0.0, *[0.3] * 50)) as world:
        world.deliver()
        id = await world.active(receiver.url)
        receiver.answers = lambda request: 503
        await world.fire(1)
        await waiting(world, id, 2000)
        receiver.answers = lambda request: 200
        await until(lambda: len(receiver.told()) >= 2001, 20)

    assert receiver.told() == list(range(1, 2002))


async def waiting(world: World, id: str, number: int) -> None:
    """Have so many events wait that the matcher need not be tried for it."""
    await world.database.run(
        "insert into subscription_event select subscription, number + n, instant, topic,"
        " interaction, type, id, version, key from subscription_event, generate_series(1, $2) n"
        " where subscription = $1",
        (id, number),
    )
    await world.database.run(
        "update subscription set events = events + $2 where id = $1", (id, number)
    )


async def test_two_workers_at_once_keep_the_order(world: World, receiver: Receiver) -> None:
    world.deliver()
    ids = [await world.active(f"{receiver.url}{n}") for n in range(5)]
    for _ in range(10):
        await world.fire(4)
    await until(lambda: len(receiver.told()) >= 200)

    for n, _ in enumerate(ids):
        mine = [each for each in receiver.taken if each.path == f"/hook{n}"]
        numbers = [number for each in mine[1:] for number in each.numbers]
        assert numbers == list(range(1, 41))


WORKER = """
import asyncio, sys
from fhir_server.postgres.database import Database
from subscriptions.addresses import Addresses
from subscriptions.channels.resthook import RestHook
from subscriptions.delivery import Delivery
from tests.subscriptions.wanting import BASE, housed
async def main():
    database = Database(sys.argv[1])
    hook = RestHook(Addresses("127.0.0.0/8"))
    await Delivery(database, housed(database), {"rest-hook": hook}, base_url=BASE).run()
asyncio.run(main())
"""


@pytest.mark.standard("threats F2")
async def test_a_worker_killed_between_sending_and_noting_sends_again_with_the_same_number(
    database: Database, database_url: str, receiver: Receiver
) -> None:
    async with a_world(database) as world:
        first = worker(database_url)
        try:
            await world.active(receiver.url)
            killed: list[Request] = []

            def kill(request: Request) -> int | None:
                if not killed:
                    killed.append(request)
                    os.kill(first.pid, signal.SIGKILL)
                return 200

            receiver.answers = kill
            await world.fire(2)
            await until(lambda: killed)
            await world.fire(1)
        finally:
            with contextlib.suppress(ProcessLookupError):
                first.kill()
            first.wait()
        second = worker(database_url)
        try:
            await until(lambda: set(receiver.told()) == {1, 2, 3}, 20)
        finally:
            second.kill()
            second.wait()

    told = receiver.told()
    assert told[: len(killed[0].numbers)] == killed[0].numbers
    assert list(dict.fromkeys(told)) == [1, 2, 3]
    assert len(told) > 3, "what was not noted is sent again"


def worker(database_url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, database_url])
