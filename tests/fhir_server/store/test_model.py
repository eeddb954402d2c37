"""The store against a model: whatever is written, refused or raced, both tell the same story."""

import asyncio
import random
from contextlib import suppress

import pytest

from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.store.history import Cut
from fhir_server.store.store import Store
from resources import content
from resources.errors import Gone, NotFound, Stale

pytestmark = pytest.mark.anyio

IDS = ("a", "b", "c")
Model = dict[str, list[str | None]]
"""Each id with the text of its versions; None is a deletion."""


def context(interaction: str) -> RequestContext:
    return RequestContext(Principal.system("test"), interaction)


@pytest.mark.parametrize("seed", range(6))
async def test_a_random_history_is_told_as_it_was(
    store: Store, database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    model: Model = {id: [] for id in IDS}
    for step in range(60):
        await _step(store, model, chance, f"{seed}.{step}")

    for id, versions in model.items():
        await _agrees(store, id, versions)
    held = sum(len(versions) for versions in model.values())
    for table in ("version", "change"):
        assert await database.run(f"select count(*) from {table}") == [(held,)]
    leftover = "select count(*) from string_term where key not in (select key from current)"
    assert await database.run(leftover) == [(0,)]


async def _step(store: Store, model: Model, chance: random.Random, text: str) -> None:
    """One unit of work of one to three changes; sometimes it fails at the end."""
    staged = {id: list(versions) for id, versions in model.items()}
    fails = chance.random() < 0.2
    try:
        async with store.begin(context("update")) as work:
            for id in chance.sample(IDS, chance.randint(1, 3)):
                versions = staged[id]
                if chance.random() < 0.2 and versions and versions[-1] is not None:
                    await work.delete("Patient", id)
                    versions.append(None)
                else:
                    right = chance.random() < 0.8 or not versions
                    named = len(versions) if right else len(versions) + 1
                    made = content.made({"resourceType": "Patient", "name": [{"text": text}]})
                    await work.update("Patient", id, made, named or None)
                    versions.append(text)
            if fails:
                raise ZeroDivisionError
    except (Stale, ZeroDivisionError):
        return
    model |= staged


async def _agrees(store: Store, id: str, versions: list[str | None]) -> None:
    for number, text in enumerate(versions, 1):
        try:
            stored = await store.vread(context("vread"), "Patient", id, number)
        except Gone:
            assert text is None
        else:
            assert stored.json["name"] == [{"text": text}]
            assert stored.json["meta"]["versionId"] == str(number)
    try:
        newest = await store.read(context("read"), "Patient", id)
    except Gone:
        assert versions[-1] is None
    except NotFound:
        assert versions == []
    else:
        assert newest.version == len(versions)
    if versions:
        page = await store.history(context("history-instance"), "Patient", id, Cut(1000))
        assert [each.version for each in page.matches] == list(range(len(versions), 0, -1))
        assert page.total == len(versions)


@pytest.mark.standard("FHIR http concurrency")
async def test_racing_writers_give_no_version_twice_and_lose_none(
    store: Store, database: Database
) -> None:
    async with store.begin(context("update")) as work:
        for id in IDS:
            await work.update("Patient", id, content.made({"resourceType": "Patient"}))
    won: list[tuple[str, int]] = []

    async def write(chance: random.Random) -> None:
        for _ in range(20):
            with suppress(Stale):
                async with store.begin(context("update")) as work:
                    written = []
                    for id in chance.sample(IDS, chance.randint(1, 3)):
                        made = content.made({"resourceType": "Patient", "active": True})
                        written.append(await work.update("Patient", id, made))
                won.extend((each.id, each.version) for each in written)

    await asyncio.gather(*(write(random.Random(n)) for n in range(8)))

    assert len(won) == len(set(won)) > 30
    rows = await database.run("select id, version from version where version > 1")
    assert sorted(rows) == sorted(won)
    newest = await database.run("select id, version from current order by id")
    assert newest == [(id, max(v for other, v in [(id, 1), *won] if other == id)) for id in IDS]
