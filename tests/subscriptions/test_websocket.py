"""WebSocket: bound with a token, sent what happens, closed when the token ends; on real sockets."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fhir_server.access.principal import Principal
from fhir_server.access.withdrawn import WITHDRAW, Withdrawn
from fhir_server.context import RequestContext, now
from fhir_server.postgres.database import Database
from resources.errors import NotFound
from subscriptions import binding
from subscriptions.channels.websocket import LONGEST, Sockets
from tests.subscriptions.receiving import numbers_of, status_of, until
from tests.subscriptions.test_delivery import TOPIC, World, a_world
from tests.subscriptions.wanting import BACKPORT, BASE, put, somebody, subscription

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.requirement("R010.1"),
    pytest.mark.standard("Subscriptions R5 Backport 1.1.0, Websocket"),
]

Json = dict[str, Any]

MOST = 6


class Served:
    """A world with an http process that has sockets."""

    def __init__(self, world: World, url: str) -> None:
        self.world = world
        self.url = url

    async def subscribed(self, **members: Any) -> str:
        json = subscription(TOPIC, channel="websocket", **members)
        id = (await put(self.world.store, json, somebody())).id
        await self.world.becomes(id, "active")
        return id

    async def token(self, *ids: str, who: Principal | None = None) -> str:
        context = RequestContext(who or somebody(), "operation", instant=now())
        made = await binding.token(self.world.database, self.world.store, context, ids)
        return made.token

    @asynccontextmanager
    async def bound(self, *ids: str) -> AsyncIterator[ClientConnection]:
        async with connect(self.url) as client:
            await client.send(f"bind-with-token {await self.token(*ids)}")
            for _ in ids:
                assert (await heard(client))[0] == "handshake"
            yield client


async def heard(client: ClientConnection) -> tuple[str, list[int], Json]:
    """The next notification: its kind, the numbers told in it, all of it."""
    bundle: Json = json.loads(await asyncio.wait_for(client.recv(), 10))
    return status_of(bundle)["type"], numbers_of(bundle), bundle


async def closed(client: ClientConnection) -> int | None:
    """Wait for the end, and give its code."""
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(10):
            while True:
                await client.recv()
    return client.close_code


@pytest.fixture
async def served(database: Database) -> AsyncIterator[Served]:
    withdrawn = Withdrawn()

    async def allows(origin: str) -> bool:
        return origin == "https://app.example"

    async with a_world(database) as world:
        world.deliver()
        sockets = Sockets(database, world.store, withdrawn, allows, base_url=BASE, most=MOST)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            sockets, ws="websockets-sansio", ws_max_size=LONGEST, lifespan="off", log_config=None
        )
        server = uvicorn.Server(config)
        tasks = [
            asyncio.create_task(server.serve(sockets=[listener])),
            asyncio.create_task(sockets.follow()),
            asyncio.create_task(withdrawn.follow(database.url)),
        ]
        await until(lambda: server.started)
        try:
            yield Served(world, f"ws://127.0.0.1:{listener.getsockname()[1]}/fhir/$subscriptions")
        finally:
            server.should_exit = True
            await tasks[0]
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks[1:], return_exceptions=True)


async def test_who_is_bound_is_shaken_hands_with_and_told_in_order(served: Served) -> None:
    one, other = await served.subscribed(), await served.subscribed()
    async with served.bound(one, other) as client:
        await served.world.fire(1)
        await served.world.fire(2)
        told: dict[str, list[int]] = {one: [], other: []}
        while sum(map(len, told.values())) < 6:
            kind, numbers, bundle = await heard(client)
            assert kind == "event-notification"
            told[status_of(bundle)["subscription"]["reference"].split("/")[-1]] += numbers

    assert told == {one: [1, 2, 3], other: [1, 2, 3]}


async def test_what_happened_before_a_socket_was_bound_is_sent_first(served: Served) -> None:
    id = await served.subscribed()
    await served.world.fire(3)
    async with served.bound(id) as client:
        assert (await heard(client))[1] == [1, 2, 3]
    await served.world.fire(1)
    async with served.bound(id) as client:
        assert (await heard(client))[1] == [4]


async def test_both_spellings_bind(served: Served) -> None:
    id = await served.subscribed()
    async with connect(served.url) as client:
        await client.send(f"bind-with-token: {await served.token(id)}")
        assert (await heard(client))[0] == "handshake"


async def test_an_unknown_token_closes_with_4401(served: Served) -> None:
    async with connect(served.url) as client:
        await client.send("bind-with-token abcdef")
        assert await closed(client) == 4401


async def test_a_token_that_has_ended_closes_with_4401(served: Served) -> None:
    id = await served.subscribed()
    async with served.bound(id) as client:
        await served.world.database.run("update websocket_token set expires = $1", (now() - 1,))
        async with connect(served.url) as late:
            await late.send(f"bind-with-token {await served.token(id)}")
            await heard(late)
        soon = now() + 500_000
        token = await served.token(id)
        await served.world.database.run("update websocket_token set expires = $1", (soon,))
        await client.send(f"bind-with-token {token}")
        assert (await heard(client))[0] == "handshake"
        assert await closed(client) == 4401


async def test_a_socket_is_bound_anew_before_its_token_ends(served: Served) -> None:
    id = await served.subscribed()
    async with connect(served.url) as client:
        first = await served.token(id)
        await served.world.database.run(
            "update websocket_token set expires = $1", (now() + 1_000_000,)
        )
        await client.send(f"bind-with-token {first}")
        await heard(client)
        await client.send(f"bind-with-token {await served.token(id)}")
        await heard(client)
        await asyncio.sleep(1.5)
        await served.world.fire(1)
        assert (await heard(client))[1] == [1]


@pytest.mark.standard("threats T4")
async def test_a_withdrawn_token_closes_its_sockets_within_a_second(served: Served) -> None:
    id = await served.subscribed()
    who = replace(somebody(), withdrawable=("jti-1", "grant-1"))
    async with connect(served.url) as client:
        await client.send(f"bind-with-token {await served.token(id, who=who)}")
        await heard(client)
        await asyncio.sleep(0.2)
        await served.world.database.run(WITHDRAW, ("grant-1", now() + 3_600_000_000))
        async with asyncio.timeout(1.0):
            assert await closed(client) == 4401


async def test_nobody_else_is_given_a_token_for_it(served: Served) -> None:
    id = await served.subscribed()
    other = replace(somebody(), subject="Client/other")
    with pytest.raises(NotFound):
        await served.token(id, who=other)
    with pytest.raises(NotFound):
        await served.token(id, who=somebody("elsewhere"))


@pytest.mark.parametrize(
    ("said", "code"), [("hello", 1008), ("x" * (LONGEST + 1), 1009), (b"\0\1", 1008)]
)
async def test_whatever_else_is_said_closes(served: Served, said: str | bytes, code: int) -> None:
    async with connect(served.url) as client:
        await client.send(said)
        assert await closed(client) == code


@pytest.mark.standard("OWASP WebSocket Security: Origin")
async def test_a_page_of_a_stranger_opens_no_socket(served: Served) -> None:
    async with connect(served.url, additional_headers={"Origin": "https://app.example"}):
        pass
    with pytest.raises(InvalidStatus) as refused:
        async with connect(served.url, additional_headers={"Origin": "https://evil.example"}):
            pass
    assert refused.value.response.status_code == 403


async def test_a_heartbeat_is_sent_to_an_idle_socket(served: Served) -> None:
    json = subscription(TOPIC, channel="websocket")
    extension = [{"url": f"{BACKPORT}/backport-heartbeat-period", "valueUnsignedInt": 1}]
    json["channel"]["extension"] = extension
    id = (await put(served.world.store, json, somebody())).id
    await served.world.becomes(id, "active")
    async with served.bound(id) as client:
        assert (await heard(client))[0] == "heartbeat"


@pytest.mark.standard("threats F8")
async def test_a_socket_that_is_not_read_delays_no_other(served: Served) -> None:
    one, other = await served.subscribed(), await served.subscribed()
    async with served.bound(one) as idle, served.bound(other) as client:
        idle.transport.pause_reading()
        await served.world.fire(40)
        told: list[int] = []
        while len(told) < 40:
            told += (await heard(client))[1]
        idle.transport.resume_reading()

    assert told == list(range(1, 41))


async def test_an_organisation_has_so_many_sockets_and_others_theirs(served: Served) -> None:
    id = await served.subscribed()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MOST):
            await stack.enter_async_context(served.bound(id))
        async with connect(served.url) as client:
            await client.send(f"bind-with-token {await served.token(id)}")
            assert await closed(client) == 1013
            assert client.close_reason is not None
            assert f"{MOST} sockets" in client.close_reason
        other = somebody("other")
        asked = subscription(TOPIC, channel="websocket")
        theirs = (await put(served.world.store, asked, other)).id
        await served.world.becomes(theirs, "active")
        async with connect(served.url) as client:
            await client.send(f"bind-with-token {await served.token(theirs, who=other)}")
            assert (await heard(client))[0] == "handshake"
