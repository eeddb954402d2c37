"""A subscription ends with the authorisation that it was made under, and with no token alone."""

import asyncio
from dataclasses import replace

import pytest

from fhir_server.access.principal import Principal
from fhir_server.access.withdrawn import WITHDRAW
from fhir_server.context import now
from fhir_server.postgres.database import Database
from subscriptions import withdrawals
from subscriptions.matcher import Matcher
from tests.subscriptions.wanting import (
    BASE,
    housed,
    numbers,
    put,
    somebody,
    subscribed,
    subscription,
)

pytestmark = [pytest.mark.anyio, pytest.mark.standard("RFC 7009")]


def by_app(authorized: str = "a1", token: str = "t1") -> Principal:
    return replace(somebody(), withdrawable=(token, authorized) if authorized else (token,))


async def status(database: Database, id: str) -> str:
    ((found,),) = await database.run("select status from subscription where id = $1", (id,))
    return str(found)


async def test_what_was_authorised_ends_with_the_authorisation(database: Database) -> None:
    store = housed(database)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    asked = subscription("Flag?status=active")
    ended = await subscribed(store, asked, by_app("a1"))
    other = await subscribed(store, asked, by_app("a2"))
    backend = await subscribed(store, asked, by_app("", "t1"))
    hour = now() + 3600 * 1_000_000
    for id in ("a1", "t1"):
        await database.run(WITHDRAW, (id, hour))
    flag = {"resourceType": "Flag", "status": "active", "code": {"text": "x"}}
    await put(store, {**flag, "subject": {"reference": "Patient/p1"}}, somebody())

    await Matcher(database, BASE).catch_up()
    assert [await numbers(database, id) for id in (ended, other, backend)] == [[], [1], [1]]
    assert await withdrawals.stop(database, store) == 1
    assert [await status(database, id) for id in (ended, other, backend)] == [
        "off", "active", "active"
    ]  # fmt: skip
    assert await withdrawals.stop(database, store) == 0


async def test_it_is_heard_of_at_once(database: Database) -> None:
    store = housed(database)
    id = await subscribed(store, subscription("Flag?status=active"), by_app())
    heeding = asyncio.create_task(withdrawals.heed(database, store))
    await asyncio.sleep(0.05)
    await database.run(WITHDRAW, ("a1", now() + 3600 * 1_000_000))

    async with asyncio.timeout(10):
        while await status(database, id) != "off":
            await asyncio.sleep(0.01)
    heeding.cancel()
    await asyncio.gather(heeding, return_exceptions=True)
