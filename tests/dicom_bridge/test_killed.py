"""Who tells peers, and who makes documents, may be killed (SIGKILL) at any moment of it.

The process that does it stops at a table that the test has locked, and is killed there.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_bridge import ingest
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.reports.making import Making
from fhir_server.postgres.database import Database
from tests import build
from tests.dicom_bridge.build import a_series
from tests.dicom_bridge.conftest import BASE, found, take_in, write
from tests.dicom_bridge.dimse.test_availability import Informed, until_none_waits
from tests.dicom_bridge.test_ingest import PERSON, order

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.standard("threats F1")]

PATIENCE_SECONDS = 60.0
LOCKED = """
select count(*) from pg_locks l join pg_class c on c.oid = l.relation
where c.relname = $1 and not l.granted
"""
END = """
select pg_terminate_backend(l.pid) from pg_locks l join pg_class c on c.oid = l.relation
where c.relname = $1 and not l.granted
"""
"""PostgreSQL notices only when it answers that nobody is there: what it does until then would come
after what the test does."""
Child = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def child(bridge: Bridge) -> Iterator[Child]:
    """Begin a duty in a process of its own."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(duty: str) -> "subprocess.Popen[bytes]":
        url, folder = bridge.database.url, str(bridge.blobs.folder)
        line = [sys.executable, "-m", "tests.dicom_bridge.dying", duty, url, folder]
        root = Path(__file__).resolve().parents[2]
        begun.append(subprocess.Popen(line, cwd=root))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def locked(database: Database, table: str) -> AsyncIterator[None]:
    """Let nobody write to a table."""
    async with database.transaction() as gate:
        await gate.run(f"lock table {table} in exclusive mode")
        yield


async def waits_for(database: Database, table: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await database.run(LOCKED, (table,)))[0][0]:
            await asyncio.sleep(0.01)


async def killed_at(bridge: Bridge, child: Child, duty: str, table: str) -> None:
    """Kill whoever does a duty when they come to write to a table."""
    async with locked(bridge.database, table):
        process = child(duty)
        await waits_for(bridge.database, table)
        process.kill()
        await asyncio.to_thread(process.wait)
        await bridge.database.run(END, (table,))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await bridge.database.run(LOCKED, (table,)))[0][0]:
                await asyncio.sleep(0.01)


@pytest.fixture
async def ris(bridge: Bridge) -> AsyncIterator[Informed]:
    made = Informed()
    made.open()
    await peers.add(bridge.database, Peer("RIS", "127.0.0.1", made.port, "lead", informed=True))
    yield made
    made.close()


async def _told(bridge: Bridge, ris: Informed, study: list[Any]) -> Counter[str]:
    """How often which notification was heard, once all has been told; each names all instances."""
    await bridge.database.run("update availability set lease_until = 1")  # it has lapsed
    await until_none_waits(bridge)
    uids = {str(one.SOPInstanceUID) for one in study}
    for _, ds in ris.heard:
        (series,) = ds.ReferencedSeriesSequence
        assert {one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence} == uids
    return Counter(uid for uid, _ in ris.heard)


@pytest.mark.standard("PS3.4 R.3.2")
@pytest.mark.parametrize("table", ["instance", "version", "study", "availability", "unsettled"])
async def test_who_is_killed_while_a_study_changes_leaves_it_to_be_told_with_it(
    bridge: Bridge, ris: Informed, child: Child, table: str
) -> None:
    """Listed and to be told is one thing: before both there is a mark, after both a row."""
    study = a_series(3)
    for ds in study:
        await take_in(bridge, ds)
    bridge.quiet.forget(str(study[0].StudyInstanceUID))

    await killed_at(bridge, child, "settle", table)
    await ingest.settle_leftovers(bridge, older_than_seconds=-3600)

    told = await _told(bridge, ris, study)
    assert len(told) == 1
    assert await bridge.database.run("select from availability") == []
    (listed,) = await found(bridge, "ImagingStudy")
    assert listed["numberOfInstances"] == 3


@pytest.mark.standard("PS3.4 R.3.2")
async def test_who_is_killed_before_a_peer_has_heard_leaves_it_to_another(
    bridge: Bridge, ris: Informed, child: Child
) -> None:
    study = await _settled(bridge)

    await killed_at(bridge, child, "announce", "availability")

    assert ris.heard == []
    told = await _told(bridge, ris, study)
    assert list(told.values()) == [1]


@pytest.mark.standard("PS3.4 R.3.2")
async def test_who_is_killed_while_a_peer_hears_has_it_told_again_as_the_same(
    bridge: Bridge, ris: Informed, child: Child
) -> None:
    """At least once, under one SOP Instance UID: whoever has heard it twice can tell."""
    study = await _settled(bridge)
    processes: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        ris.on_hearing = lambda: None
        for process in processes:
            process.kill()
            process.wait()

    ris.on_hearing = kill
    processes.append(child("announce"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not ris.heard:
            await asyncio.sleep(0.01)

    told = await _told(bridge, ris, study)
    assert list(told.values()) == [2]


@pytest.mark.requirement("R002.1")
@pytest.mark.parametrize(
    "table", ["report_object", "instance", "unsettled", "version", "series", "follower"]
)
async def test_who_is_killed_while_making_the_documents_of_a_report_has_them_made_once(
    bridge: Bridge, child: Child, table: str
) -> None:
    study = await _reported(bridge)

    await killed_at(bridge, child, "make", table)
    await Making(bridge, BASE).work()
    await ingest.settle_leftovers(bridge, older_than_seconds=-3600)

    rows = await bridge.database.run(
        "select r.kind, i.sop_uid is not null from report_object r"
        " left join instance i on i.sop_uid = r.sop_uid order by r.kind"
    )
    assert [tuple(row) for row in rows] == [("pdf", True), ("sr", True)]
    (listed,) = await found(bridge, "ImagingStudy", _id=study["id"])
    assert listed["numberOfInstances"] == 3 + 2
    assert await Making(bridge, BASE).work() == 0


async def _settled(bridge: Bridge) -> list[Any]:
    study = a_series(3)
    for ds in study:
        await take_in(bridge, ds)
    await bridge.quiet.drained()
    return study


async def _reported(bridge: Bridge) -> dict[str, Any]:
    """A study of three images, and its final report."""
    await order(bridge)
    for ds in a_series(3, **PERSON):
        await take_in(bridge, ds)
    await bridge.quiet.drained()
    (study,) = await found(bridge, "ImagingStudy")
    await write(
        bridge,
        build.a_practitioner("dr"),
        build.a_role("radiologist", practitioner="dr", organization="lead"),
        build.a_report("dr1", study=study["id"]),
    )
    return dict(study)
