"""A subscription ends with the authorisation that it was made under, and with no token alone."""

import asyncio
from dataclasses import replace

import pytest

from fhir_server.access.principal import Principal
from fhir_server.access.withdrawn import WITHDRAW
from fhir_server.context import RequestContext, now
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources.agreement import AFFILIATION_CODE, SHARES
from smart_apps import clients, registry, users
from smart_apps.clients import Client
from smart_apps.users import User
from subscriptions import withdrawals
from subscriptions.matcher import Matcher
from tests.subscriptions.wanting import (
    BASE,
    SYSTEM,
    housed,
    numbers,
    put,
    somebody,
    subscribed,
    subscription,
)

pytestmark = [pytest.mark.anyio, pytest.mark.standard("RFC 7009")]


def by_app(authorized: str = "a1", token: str = "t1") -> Principal:
    return replace(somebody(), withdrawable=(token,), authorized=authorized)


@pytest.fixture(autouse=True)
async def client(database: Database) -> None:
    await registered(database)


async def registered(database: Database, scope: str = "system/*.cruds") -> None:
    await clients.add(database, Client("test", "public", scope, "lead"))


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


async def person(database: Database) -> None:
    await users.add(database, User("ann", "x", "ann", "lead", "referrer"))
    await clients.add(database, Client("app", "public", "user/*.cruds", "lead"))


ANN = replace(
    somebody(role="referrer", scope="user/*.cruds"), subject="PractitionerRole/ann", client="app"
)
LEAD = {"resourceType": "Organization", "id": "lead", "name": "Lead"}
ROLE = {
    "resourceType": "PractitionerRole",
    "id": "ann",
    "organization": {"reference": "Organization/lead"},
}
AGREEMENT = {
    "resourceType": "OrganizationAffiliation",
    "id": "works",
    "organization": {"reference": "Organization/other"},
    "participatingOrganization": {"reference": "Organization/lead"},
}


async def remove_client(database: Database, store: Store) -> None:
    await registry.remove(database, "test")


async def change_client(database: Database, store: Store) -> None:
    await registry.change(database, Client("test", "public", "system/Flag.rs", "lead"))


async def disable_client(database: Database, store: Store) -> None:
    await registry.disable(database, "test")


async def disable_app(database: Database, store: Store) -> None:
    await registry.disable(database, "app")


async def remove_person(database: Database, store: Store) -> None:
    await users.remove(database, "ann", "ann")


async def end_role(database: Database, store: Store) -> None:
    await put(store, ROLE | {"active": False})


async def end_organization(database: Database, store: Store) -> None:
    await put(store, LEAD | {"active": False})


async def end_agreement(database: Database, store: Store) -> None:
    await put(store, AGREEMENT | {"active": False})


async def pass_agreement(database: Database, store: Store) -> None:
    await put(store, AGREEMENT | {"period": {"start": "2020", "end": "2021-06"}})


ENDINGS = {
    "a client that is removed": (remove_client, {"client"}, "not registered"),
    "a client that is disabled": (disable_client, {"client"}, "disabled"),
    "an app that is disabled": (disable_app, {"person"}, "disabled"),
    "a client that may do less": (change_client, {"client"}, "registered for less"),
    "a person who is removed": (remove_person, {"person"}, "does not act"),
    "a role that is ended": (end_role, {"person"}, "does not act"),
    "an organisation that is ended": (end_organization, {"client", "person"}, "part no more"),
    "the last agreement": (end_agreement, {"client", "person"}, "agreement"),
    "the time of the last agreement": (pass_agreement, {"client", "person"}, "agreement"),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_what_is_asked_for_ends_with_who_asked(database: Database, name: str) -> None:
    end, ended, reason = ENDINGS[name]
    store = housed(database)
    await person(database)
    for json in (LEAD, LEAD | {"id": "other"}, AGREEMENT, ROLE):
        await put(store, json)
    asked = subscription("Flag?status=active")
    made = {"client": await subscribed(store, asked, somebody()),
            "person": await subscribed(store, asked, ANN)}  # fmt: skip
    assert await withdrawals.stop(database, store) == 0
    heeding = asyncio.create_task(withdrawals.heed(database, store))
    await asyncio.sleep(0.05)

    await end(database, store)
    async with asyncio.timeout(10):
        while {who for who, id in made.items() if await status(database, id) == "off"} != ended:
            await asyncio.sleep(0.01)
    heeding.cancel()
    await asyncio.gather(heeding, return_exceptions=True)
    for who in ended:
        now = await store.read(RequestContext(SYSTEM, "read"), "Subscription", made[who])
        assert reason in now.json["error"]


SHARING = AGREEMENT | {
    "id": "shares",
    "code": [{"coding": [{"system": AFFILIATION_CODE, "code": SHARES}]}],
}


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("giver", ["lead", "other"])
async def test_what_is_asked_for_does_not_end_with_sharing(
    database: Database, giver: str, deleted: bool
) -> None:
    """Neither of who shared nor of who was shared with: each goes on to see what is its own."""
    store = housed(database)
    await person(database)
    taker = "other" if giver == "lead" else "lead"
    said = SHARING | {
        "organization": {"reference": f"Organization/{giver}"},
        "participatingOrganization": {"reference": f"Organization/{taker}"},
    }
    for json in (LEAD, LEAD | {"id": "other"}, ROLE, said):
        await put(store, json)
    id = await subscribed(store, subscription("Flag?status=active"), somebody())

    if deleted:
        async with store.begin(RequestContext(SYSTEM, "delete")) as work:
            await work.delete("OrganizationAffiliation", "shares")
    else:
        await put(store, said | {"active": False})

    assert await withdrawals.stop(database, store) == 0
    assert await status(database, id) == "active"
