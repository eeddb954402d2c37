"""What the administrator of an organisation sees of its subscriptions, and does about them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse
from fhir_server.audit import ledger
from fhir_server.audit.ledger import Entry, Ledger
from fhir_server.context import RequestContext, now
from fhir_server.postgres.database import Database
from resources.errors import Conflict, Invalid, NotFound, Refusal
from subscriptions import oversight, sweeping
from tests.subscriptions.receiving import Receiver, receiving, until
from tests.subscriptions.test_delivery import FAST, World, a_world
from tests.subscriptions.wanting import put, somebody

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R010.1")]

BOSS = Principal("PractitionerRole/boss", "lead", "administrator", parse("user/*.cruds"))


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with a_world(database) as found:
        yield found


@pytest.fixture
async def hook(world: World) -> AsyncIterator[Receiver]:
    """A receiver, and a worker that sends to it."""
    world.deliver()
    async with receiving() as found:
        yield found


def note(what: str) -> Entry:
    return ledger.entry(RequestContext(BOSS, "operation"), type="Subscription", detail=what)


async def activate(world: World, id: str, place: str = "lead") -> None:
    await oversight.activate(world.database, world.store, place, id, note("anew"))


async def stop(world: World, id: str, place: str = "lead") -> None:
    await oversight.stop(world.database, world.store, place, id, note("stopped"))


async def resend(world: World, id: str, number: int, place: str = "lead") -> int:
    found = Ledger(world.database)
    return await oversight.resend(world.database, found, place, id, number, note("again"))


async def in_ledger(world: World, what: str) -> list[str]:
    rows = await world.database.run("select subject from audit where detail = $1", (what,))
    return [subject for (subject,) in rows]


async def test_what_failed_is_seen_and_asked_for_anew_as_who_made_it(
    world: World, hook: Receiver
) -> None:
    id = await world.active(hook.url)
    hook.answers = lambda request: 500
    await world.fire(3)
    failed = await world.becomes(id, "error")

    seen = await oversight.one(world.database, "lead", id)
    assert (seen.waiting, seen.attempts, "500" in seen.last_error) == (3, len(FAST), True)
    assert seen.oldest is not None
    hook.answers = lambda request: 200
    await activate(world, id)
    healed = await world.becomes(id, "active")
    await until(lambda: hook.told() == [1, 2, 3])

    assert healed.attempts == 0
    assert healed.principal_text == failed.principal_text == somebody().written
    assert await in_ledger(world, "anew") == ["PractitionerRole/boss"]
    assert (await world.resource(id)).get("error") is None


async def test_what_still_fails_is_in_error_again(world: World, hook: Receiver) -> None:
    hook.answers = lambda request: 401
    id = await world.subscribe(hook.url)
    await world.becomes(id, "error")
    tried = len(hook.requests)

    await activate(world, id)
    await until(lambda: len(hook.requests) > tried)
    await world.becomes(id, "error")

    assert len(await world.alerts()) == 2


async def test_another_organisation_neither_sees_nor_does_anything(
    world: World, hook: Receiver
) -> None:
    hook.answers = lambda request: 401
    id = await world.subscribe(hook.url)
    await world.becomes(id, "error")

    assert await oversight.seen(world.database, "other") == []
    assert await oversight.seen(world.database, "") == []
    for place in ("other", ""):
        with pytest.raises(NotFound):
            await oversight.one(world.database, place, id)
        with pytest.raises(NotFound):
            await activate(world, id, place)
        with pytest.raises(NotFound):
            await stop(world, id, place)
        with pytest.raises(NotFound):
            await resend(world, id, 1, place)

    assert (await world.resource(id))["status"] == "error"
    assert [one.id for one in await oversight.seen(world.database, "lead")] == [id]


async def test_no_secret_and_no_patient_is_seen(world: World) -> None:
    criteria = "Task?status=ready&patient=Patient/winter&code:text=sesame"
    endpoint = "https://hooks.example:8443/sesame?key=sesame"
    id = await world.subscribe(endpoint, criteria, header=["Authorization: Bearer sesame"])

    seen = await oversight.one(world.database, "lead", id)

    assert seen.about == "Task?status=ready&patient=…&code:text=…"
    assert (seen.host, seen.maker, seen.client) == ("hooks.example:8443", "Client/test", "test")
    assert "sesame" not in str(seen)
    assert "winter" not in str(seen)


@pytest.mark.parametrize("status", ["off", "active", "requested"])
async def test_only_what_is_in_error_is_asked_for_anew(world: World, status: str) -> None:
    id = await world.subscribe("https://hooks.example/hook")
    json = await world.resource(id)
    await put(world.store, {**json, "status": status}, somebody() if status == "off" else SYSTEM)

    with pytest.raises(Conflict):
        await activate(world, id)

    assert (await world.resource(id))["status"] == status
    assert await in_ledger(world, "anew") == []


async def test_what_is_stopped_is_sent_nothing_more_and_says_why(
    world: World, hook: Receiver
) -> None:
    id = await world.active(hook.url)
    await stop(world, id)
    await world.fire()
    found = await world.becomes(id, "off")

    assert hook.told() == []
    assert found.events == 0
    assert (await world.resource(id))["error"] == oversight.STOPPED
    assert await in_ledger(world, "stopped") == ["PractitionerRole/boss"]
    with pytest.raises(Conflict):
        await stop(world, id)


async def test_events_are_sent_again_from_a_number_with_the_numbers_they_had(
    world: World, hook: Receiver
) -> None:
    id = await world.active(hook.url)
    await world.fire(4)
    await until(lambda: hook.told() == [1, 2, 3, 4])

    assert await resend(world, id, 3) == 2
    await until(lambda: hook.told() == [1, 2, 3, 4, 3, 4])

    for number in (0, 5):
        with pytest.raises(Invalid):
            await resend(world, id, number)
    assert await in_ledger(world, "again") == ["PractitionerRole/boss"]


async def test_what_is_not_kept_any_more_is_not_asked_for_for_ever(
    world: World, hook: Receiver
) -> None:
    id = await world.active(hook.url)
    await world.fire(2)
    await until(lambda: hook.told() == [1, 2])
    await delivered(world, id, 2)
    await sweeping.sweep(world.database, now() + 2 * sweeping.KEEP_MICROSECONDS)

    assert await resend(world, id, 1) == 0

    await world.fire()
    await until(lambda: hook.told() == [1, 2, 3])


async def delivered(world: World, id: str, number: int) -> None:
    """Wait until it is noted, too, that so much was taken."""
    async with asyncio.timeout(20):
        while (await oversight.one(world.database, "lead", id)).waiting:
            await asyncio.sleep(0.01)
    assert (await oversight.one(world.database, "lead", id)).events == number


@pytest.mark.parametrize("what", ["delete", "off"])
async def test_whoever_made_it_is_not_overridden(world: World, what: str) -> None:
    """An administrator and the maker act at the same time: what the maker has ended stays ended."""
    ended = 0
    for _ in range(12):
        id = await world.subscribe("https://hooks.example/hook")
        await put(world.store, {**await world.resource(id), "status": "error"})
        json = await world.resource(id)

        done = await asyncio.gather(
            activate(world, id), end(world, json, what), return_exceptions=True
        )

        assert all(each is None or isinstance(each, Refusal) for each in done), done
        rows = await world.database.run("select status from subscription where id = $1", (id,))
        if done[1] is None:
            ended += 1
            assert rows == ([] if what == "delete" else [("off",)])
        else:
            assert rows == [("requested",)]
    assert ended > 0


async def end(world: World, json: dict[str, Any], what: str) -> None:
    if what == "off":
        await put(world.store, {**json, "status": "off"}, somebody())
        return
    async with world.store.begin(RequestContext(somebody(), "delete")) as work:
        await work.delete("Subscription", json["id"])


async def test_one_of_two_administrators_is_told_that_it_was_changed(world: World) -> None:
    id = await world.subscribe("https://hooks.example/hook")
    await put(world.store, {**await world.resource(id), "status": "error"})

    done = await asyncio.gather(*(activate(world, id) for _ in range(4)), return_exceptions=True)

    assert [each for each in done if each is None] == [None]
    assert all(each is None or isinstance(each, Conflict) for each in done)
    assert await in_ledger(world, "anew") == ["PractitionerRole/boss"]


SYSTEM = Principal.system("test")
