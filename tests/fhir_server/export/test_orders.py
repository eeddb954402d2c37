"""Orders of exports: taken with their job, done by the worker as soon as they are."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from fhir_server import jobs
from fhir_server.access import scopes
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.export import orders
from fhir_server.export.exports import Exports
from fhir_server.export.files import Folder, Lines
from fhir_server.jobs import Duty
from fhir_server.postgres.database import Database
from resources.errors import NotFound

pytestmark = pytest.mark.anyio

ASKER = Principal("Client/x", "lead", "application", scopes.parse("system/*.rs"), None, "x")


def context() -> RequestContext:
    return RequestContext(ASKER, "export")


async def test_the_worker_does_an_order_as_soon_as_it_is_taken(
    database: Database, tmp_path: Path
) -> None:
    exports = Exports(database, tmp_path, "https://fhir.example/fhir")
    done, began = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        count = await exports.work()
        began.set()
        if count:
            done.set()
        return count

    duties = [Duty(orders.DUTY, "0 0 1 1 *", work)]  # once a year, unless it is asked for
    app = jobs.application(database.url, duties)
    worker = asyncio.create_task(jobs.work(app, duties, lambda: None))
    try:
        await asyncio.wait_for(began.wait(), 10)
        id = await exports.take(context(), "https://fhir.example/fhir/$export", ["Patient"])
        await asyncio.wait_for(done.wait(), 10)
    finally:
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
    assert (await exports.find(context(), id)).state == "complete"


async def test_an_order_keeps_who_asked_for_it(database: Database) -> None:
    id = await orders.take(database, context(), "a", ["Patient"], patients=["p"], since=7)
    order = await orders.find(database, context(), id)
    assert order.context.principal == ASKER
    assert (order.types, order.patients, order.since) == (["Patient"], ["p"], 7)


async def test_an_order_that_fails_is_told_as_failed_and_leaves_no_file(
    database: Database, tmp_path: Path
) -> None:
    exports = Exports(database, tmp_path, "https://fhir.example/fhir")
    id = await exports.take(context(), "a", ["Patient"])
    (tmp_path / id).write_text("in the way of the folder")
    assert await exports.work() == 1
    assert (await exports.find(context(), id)).state == "failed"


async def test_files_of_no_order_are_swept_away(database: Database, tmp_path: Path) -> None:
    exports = Exports(database, tmp_path, "https://fhir.example/fhir")
    kept = await exports.take(context(), "a", ["Patient"])
    await exports.work()
    lost = Folder(tmp_path, "a" * 36)
    lost.begin()
    await exports.work()
    assert [path.name for path in tmp_path.iterdir()] == [kept]


def test_a_long_file_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, "0" * 36)
    folder.begin()
    monkeypatch.setattr("fhir_server.export.files.LONGEST", 20)
    lines = Lines(folder, "Flag")
    lines.add([b'{"id":"a"}', b'{\n"id":"b"}', b'{"id":"c"}'])
    assert lines.counts == {"Flag.1.ndjson": 1, "Flag.2.ndjson": 1, "Flag.3.ndjson": 1}
    assert folder.read("Flag.2.ndjson") == b'{"id":"b"}\n'
    assert lines.have({"b", "z"}) == {"b"}


@pytest.mark.parametrize("name", ["../x", "Flag.1.ndjson/..", "flag.1.ndjson", "Flag.ndjson", ""])
def test_only_names_of_our_own_are_read(tmp_path: Path, name: str) -> None:
    folder = Folder(tmp_path, "0" * 36)
    folder.begin()
    with pytest.raises(NotFound):
        folder.read(name)
    with pytest.raises(NotFound):
        Folder(tmp_path, "../" + "0" * 33)
