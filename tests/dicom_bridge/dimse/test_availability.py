"""Instance Availability Notification: peers that ask for it are told of each study."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicom_bridge import availability, ingest, leases
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers, scu
from dicom_bridge.dimse.announcer import Announcer
from dicom_bridge.dimse.peers import Peer
from fhir_server.context import now
from tests.dicom_bridge.build import a_series
from tests.dicom_bridge.conftest import take_in
from tests.flows.installation import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.standard("PS3.4 R.3.2")]

NOTIFICATION = "1.2.840.10008.5.1.4.33"
PATIENCE_SECONDS = 60.0


class Informed:
    """A peer that is told: what it heard, under which UIDs."""

    def __init__(self, status: int = 0x0000) -> None:
        self.port, self.status = free_port(), status
        self.heard: list[tuple[str, Dataset]] = []
        self.on_hearing: Callable[[], None] = lambda: None
        self.server: Any = None

    def open(self) -> None:
        ae = AE("RIS")
        ae.add_supported_context(NOTIFICATION)
        self.server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_N_CREATE, self.hear)]
        )

    def close(self) -> None:
        if self.server is not None:
            self.server.shutdown()

    def hear(self, event: Any) -> tuple[int, None]:
        self.on_hearing()
        self.heard.append((str(event.request.AffectedSOPInstanceUID), event.attribute_list))
        return self.status, None


@pytest.fixture
def ris() -> Iterator[Informed]:
    made = Informed()
    yield made
    made.close()


async def settled(bridge: Bridge, study: list[Dataset]) -> str:
    for ds in study:
        await take_in(bridge, ds)
    uid = str(study[0].StudyInstanceUID)
    await ingest.settle(bridge, uid)
    return uid


async def inform(bridge: Bridge, ris: Informed, organization: str = "lead", **more: bool) -> None:
    peer = Peer("RIS", "127.0.0.1", ris.port, organization, **{"informed": True, **more})  # type: ignore[arg-type]
    await peers.add(bridge.database, peer)


async def until(bridge: Bridge, holds: Callable[[], Awaitable[bool]], processes: int = 1) -> None:
    """Announce until something holds."""
    announcing = [
        asyncio.ensure_future(Announcer(bridge, scu.entity(bridge)).run()) for _ in range(processes)
    ]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await holds():
                await asyncio.sleep(0.05)
    finally:
        for each in announcing:
            each.cancel()
        await asyncio.gather(*announcing, return_exceptions=True)


async def waiting(bridge: Bridge) -> list[Any]:
    rows = await bridge.database.run("SELECT study_uid, attempts, lease_until FROM availability")
    return list(rows)


async def until_none_waits(bridge: Bridge, processes: int = 1) -> None:
    """Announce until nothing is left to tell."""

    async def none_waits() -> bool:
        return not await waiting(bridge)

    await until(bridge, none_waits, processes)


async def until_tried(bridge: Bridge) -> None:
    """Announce until a peer was called in vain."""

    async def is_tried() -> bool:
        ((_, attempts, lease_until),) = await waiting(bridge)
        return bool(attempts and lease_until is None)

    await until(bridge, is_tried)


async def test_a_peer_is_told_which_instances_are_available_and_from_whom(
    bridge: Bridge, ris: Informed
) -> None:
    ris.open()
    await inform(bridge, ris)
    study = a_series(3)

    uid = await settled(bridge, study)
    await until_none_waits(bridge)

    ((_, ds),) = ris.heard
    assert ds.StudyInstanceUID == uid
    assert len(ds.ReferencedPerformedProcedureStepSequence) == 0
    (series,) = ds.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == study[0].SeriesInstanceUID
    told = series.ReferencedSOPSequence
    assert {one.ReferencedSOPInstanceUID for one in told} == {one.SOPInstanceUID for one in study}
    assert {one.ReferencedSOPClassUID for one in told} == {study[0].SOPClassUID}
    assert {one.InstanceAvailability for one in told} == {"ONLINE"}
    assert {one.RetrieveAETitle for one in told} == {"ISOCENTRE"}


async def test_nobody_is_told_who_did_not_ask_for_it(bridge: Bridge, ris: Informed) -> None:
    await inform(bridge, ris, informed=False)

    await settled(bridge, a_series(1))

    assert await waiting(bridge) == []


@pytest.mark.standard("threats T1")
async def test_nobody_is_told_of_what_they_may_not_see(bridge: Bridge, ris: Informed) -> None:
    ris.open()
    await inform(bridge, ris, organization="other")

    await settled(bridge, a_series(1))
    await until_none_waits(bridge)

    assert ris.heard == []


async def test_who_cannot_be_reached_is_told_later_by_whichever_process(
    bridge: Bridge, ris: Informed
) -> None:
    """The row stays through the end of whoever tried: the next one needs nothing of it."""
    await inform(bridge, ris)
    uid = await settled(bridge, a_series(2))
    await until_tried(bridge)
    ((study_uid, attempts, _),) = await waiting(bridge)
    assert (study_uid, attempts) == (uid, 1)

    ris.open()
    await bridge.database.run("UPDATE availability SET due = 0")
    await until_none_waits(bridge)

    assert [str(ds.StudyInstanceUID) for _, ds in ris.heard] == [uid]


async def test_a_failure_is_tried_again_under_the_same_uid(bridge: Bridge) -> None:
    ris = Informed(status=0x0110)
    ris.open()
    await inform(bridge, ris)
    await settled(bridge, a_series(1))
    await until_tried(bridge)

    ris.status = 0x0111  # "duplicate SOP Instance": it has been told after all
    await bridge.database.run("UPDATE availability SET due = 0")
    await until_none_waits(bridge)
    ris.close()

    assert len({uid for uid, _ in ris.heard}) == 1
    assert len(ris.heard) == 2


async def test_several_processes_tell_once(bridge: Bridge, ris: Informed) -> None:
    ris.open()
    await inform(bridge, ris)
    studies = {await settled(bridge, a_series(1)) for _ in range(4)}

    await until_none_waits(bridge, processes=3)

    assert {str(ds.StudyInstanceUID) for _, ds in ris.heard} == studies
    assert len(ris.heard) == 4


async def test_what_arrives_while_a_study_is_told_of_is_told_too(
    bridge: Bridge, ris: Informed
) -> None:
    ris.open()
    await inform(bridge, ris)
    study = a_series(3)
    loop = asyncio.get_running_loop()

    def more() -> None:
        ris.on_hearing = lambda: None
        asyncio.run_coroutine_threadsafe(settled(bridge, study), loop).result(PATIENCE_SECONDS)

    ris.on_hearing = more
    await settled(bridge, study[:1])
    await until_none_waits(bridge)

    counts = [len(ds.ReferencedSeriesSequence[0].ReferencedSOPSequence) for _, ds in ris.heard]
    assert counts == [1, 3]
    assert len({uid for uid, _ in ris.heard}) == 2


HOUR = 3600 * leases.SECOND


@pytest.mark.standard("threats F11")
async def test_what_a_clock_that_was_ahead_took_or_put_off_is_told_at_once(
    bridge: Bridge, ris: Informed
) -> None:
    """The one who took it has died; the time until its lease ends, or until it tries, is no time
    that anybody who takes it now could mean."""
    database = bridge.database
    await inform(bridge, ris)
    await settled(bridge, a_series(1))
    instant = now()
    ahead = instant + HOUR
    taken = await availability.take(database, ahead)
    assert taken is not None

    taken = await availability.take(database, instant)
    assert taken is not None
    assert await availability.take(database, instant + 1) is None, "it is taken"
    assert await availability.next_due(database, instant + 1) == instant + availability.LEASE
    assert await availability.again(database, taken, ahead)
    assert await availability.take(database, instant + 2) is not None

    await database.run(
        "UPDATE availability SET due = $1, attempts = 0, lease_until = NULL", (ahead,)
    )
    assert await availability.take(database, instant) is not None


async def test_who_was_too_slow_takes_the_lease_of_nobody_else(
    bridge: Bridge, ris: Informed
) -> None:
    database, instant = bridge.database, now()
    await inform(bridge, ris)
    await settled(bridge, a_series(1))
    slow = await availability.take(database, now())
    assert slow is not None
    later = slow.lease_until + 1
    assert await availability.take(database, later) is not None

    await availability.again(database, slow, instant)

    assert await availability.take(database, later + 1) is None


async def test_who_is_never_reached_is_given_up(bridge: Bridge, ris: Informed) -> None:
    await inform(bridge, ris)
    await settled(bridge, a_series(1))
    database = bridge.database

    for _ in range(len(leases.AGAIN_SECONDS)):
        taken = await availability.take(database, 1 << 60)
        assert taken is not None
        assert await availability.again(database, taken, 0)
    taken = await availability.take(database, 1 << 60)

    assert taken is not None
    assert not await availability.again(database, taken, 0)
    assert await waiting(bridge) == []


@pytest.mark.standard("threats T17")
async def test_a_peer_that_never_answers_keeps_nobody_else_from_hearing(
    bridge: Bridge, ris: Informed
) -> None:
    """It has one call at a time, however much there is to tell it."""
    ris.open()
    await inform(bridge, ris)
    over, asked = threading.Event(), [0, 0]

    def hang() -> None:
        asked[0] += 1
        asked[1] = max(asked)
        over.wait(PATIENCE_SECONDS)
        asked[0] -= 1

    silent = Informed()
    silent.on_hearing = hang
    silent.open()
    await peers.add(
        bridge.database, Peer("ANOTHER", "127.0.0.1", silent.port, "lead", informed=True)
    )
    studies = {await settled(bridge, a_series(1)) for _ in range(6)}

    async def all_is_told() -> bool:
        told = {str(ds.StudyInstanceUID) for _, ds in ris.heard}
        return told == studies and asked[1] > 0

    await until(bridge, all_is_told)
    over.set()
    silent.close()

    assert asked[1] == 1
    assert {row[0] for row in await waiting(bridge)} == studies, "it is told when it answers"
