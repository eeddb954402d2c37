"""UPS events over DIMSE: who subscribes is called, and told what has happened, in order."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from dicom_bridge.dimse.ups_events import UpsEvents
from fhir_server.context import now
from resources import content
from subscriptions import withdrawals
from subscriptions.matcher import Matcher
from tests.dicom_bridge.conftest import BASE, CT1, Archive, found, write
from tests.dicom_bridge.ups.build import (
    EVENT,
    FILTERED,
    GLOBAL,
    IMPLICIT,
    PUSH,
    Station,
    a_ups,
    done,
    to,
)
from tests.dicom_bridge.ups.fhir import person

pytestmark = pytest.mark.anyio


class Watcher:
    """A peer that hears of steps; it may be told to refuse what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, Dataset]] = []
        self.status = 0x0000
        self._lock = threading.Lock()
        ae = AE("CT3")
        ae.add_supported_context(EVENT, IMPLICIT, scu_role=True, scp_role=True)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._hear)]
        self.server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert self.server is not None
        self.port = int(self.server.server_address[1])

    def _hear(self, event: Any) -> tuple[int, None]:
        with self._lock:
            if self.status == 0x0000:
                uid = str(event.request.AffectedSOPInstanceUID)
                assert event.request.AffectedSOPClassUID == PUSH
                self.heard.append((uid, event.event_type, event.event_information))
        return self.status, None

    def told(self) -> list[tuple[str, int, str]]:
        """What was heard and not asked for yet: UID, event type and state."""
        with self._lock:
            heard, self.heard = self.heard, []
        return [(uid, kind, str(ds.get("ProcedureStepState", ""))) for uid, kind, ds in heard]


@pytest.fixture
async def watcher(bridge: Bridge) -> AsyncIterator[Watcher]:
    made = Watcher()
    await peers.add(bridge.database, CT1._replace(ae="CT3", port=made.port))
    yield made
    assert made.server is not None
    await asyncio.to_thread(made.server.shutdown)


async def tell(archive: Archive) -> None:
    """Match what was written, and tell of it once."""
    await Matcher(archive.bridge.database, BASE).catch_up()
    await UpsEvents(archive.bridge, archive.server.ae).work()


def subscription(ae: str = "CT3", lock: str | None = "FALSE", **keys: str) -> Dataset:
    ds = Dataset()
    ds.ReceivingAE = ae
    if lock is not None:
        ds.DeletionLock = lock
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.standard("PS3.4 CC.2.4.3")
@pytest.mark.requirement("R005.2")
async def test_who_subscribes_to_a_step_is_told_how_it_is_and_what_becomes_of_it(
    archive: Archive, watcher: Watcher
) -> None:
    station, information, progress = Station(archive), Dataset(), Dataset()
    progress.ProcedureStepProgress = "50"
    information.TransactionUID = "1.2.77.1"
    information.ProcedureStepProgressInformationSequence = [progress]
    cancel = Dataset()
    cancel.ReasonForCancellation = "Not needed"
    await station.create(a_ups())
    await station.create(a_ups(), "1.2.9.2")

    assert await station.act(subscription(), 3, "1.2.9.1") == 0x0000
    await tell(archive)
    assert watcher.told() == [("1.2.9.1", 1, "SCHEDULED")]

    await station.move(to("IN PROGRESS"))
    await station.set(information)
    await station.act(cancel, 2, "1.2.9.1", PUSH)
    await station.set(done())
    await station.move(to("COMPLETED"))
    await tell(archive)
    assert watcher.told() == [
        ("1.2.9.1", 1, "IN PROGRESS"),
        ("1.2.9.1", 5, ""),
        ("1.2.9.1", 3, ""),
        ("1.2.9.1", 2, ""),
        ("1.2.9.1", 1, "COMPLETED"),
    ]

    assert await station.act(subscription(lock=None), 4, "1.2.9.1") == 0x0000
    await station.act(cancel, 2, "1.2.9.2", PUSH)
    await tell(archive)
    assert watcher.told() == []


@pytest.mark.standard("PS3.4 CC.2.2.3")
async def test_a_step_canceled_before_it_began_is_told_as_in_progress_on_the_way(
    archive: Archive, watcher: Watcher
) -> None:
    station = Station(archive)
    await station.act(subscription(), 3, GLOBAL)
    await station.create(a_ups())
    await station.act(None, 2, "1.2.9.1", PUSH)

    await tell(archive)

    assert watcher.told() == [
        ("1.2.9.1", 1, "SCHEDULED"),
        ("1.2.9.1", 1, "IN PROGRESS"),
        ("1.2.9.1", 1, "CANCELED"),
    ]


@pytest.mark.standard("PS3.4 Table CC.2.3-3")
async def test_a_global_subscription_is_left_for_one_step_suspended_and_ended(
    archive: Archive, watcher: Watcher
) -> None:
    station = Station(archive)
    assert await station.act(subscription(lock="TRUE"), 3, GLOBAL) == 0x0000
    for number in (1, 2):
        await station.create(a_ups(), f"1.2.9.{number}")
    assert await station.act(subscription(lock=None), 4, "1.2.9.1") == 0x0000
    await tell(archive)
    assert [uid for uid, _, _ in watcher.told()] == ["1.2.9.2"], "one was left before it was told"

    assert await station.act(subscription(lock=None), 5, GLOBAL) == 0x0000
    await station.create(a_ups(), "1.2.9.3")
    for number in (1, 2, 3):
        await station.move(to("IN PROGRESS"), f"1.2.9.{number}")
    await tell(archive)
    assert {uid for uid, _, _ in watcher.told()} == {"1.2.9.2"}

    assert await station.act(subscription(lock=None), 4, GLOBAL) == 0x0000
    await station.move(to("CANCELED"), "1.2.9.2")
    await tell(archive)
    assert watcher.told() == []
    assert await archive.bridge.database.run("select count(*) from subscription") == [(0,)]


@pytest.mark.standard("PS3.4 CC.2.3.1")
async def test_a_filtered_subscription_is_to_what_matches(
    archive: Archive, watcher: Watcher
) -> None:
    station = Station(archive)
    filtered = subscription(ProcedureStepLabel="Register*")
    assert await station.act(filtered, 3, FILTERED) == 0x0000
    await station.create(a_ups())
    await station.create(a_ups(ProcedureStepLabel="Register the images"), "1.2.9.2")

    await tell(archive)

    assert watcher.told() == [("1.2.9.2", 1, "SCHEDULED")]


@pytest.mark.standard("PS3.4 CC.2.3")
async def test_a_subscription_that_could_not_be_served_is_refused(archive: Archive) -> None:
    station = Station(archive)
    await station.create(a_ups())

    said = [
        await station.act(subscription("NOBODY"), 3, "1.2.9.1"),
        await station.act(subscription("CT2"), 3, "1.2.9.1"),
        await station.act(subscription(lock=None), 3, "1.2.9.1"),
        await station.act(subscription(""), 3, "1.2.9.1"),
        await station.act(subscription(), 3, "1.2.9.5"),
        await station.act(subscription(), 3, FILTERED),
        await station.act(subscription(lock=None), 5, "1.2.9.1"),
        await Station(archive, "CT2").act(subscription("CT2"), 3, "1.2.9.1"),
    ]

    assert said == [0xC308, 0xC308, 0x0115, 0x0115, 0xC307, 0x0115, 0xC314, 0xC307]
    assert await archive.bridge.database.run("select count(*) from subscription") == [(0,)]


@pytest.mark.standard("PS3.4 CC.2.4.3")
async def test_a_peer_that_does_not_hear_is_told_later_and_in_order(
    archive: Archive, watcher: Watcher
) -> None:
    station, database = Station(archive), archive.bridge.database
    await station.act(subscription(), 3, GLOBAL)
    await station.create(a_ups())
    watcher.status = 0x0110
    await tell(archive)
    assert await database.run("select attempts, delivered from subscription") == [(1, 0)]
    await station.move(to("IN PROGRESS"))
    await tell(archive)
    assert watcher.told() == [], "it is not called again at once"

    watcher.status = 0x0000
    await database.run("update subscription set lease_until = 0")
    await tell(archive)

    assert [state for _, _, state in watcher.told()] == ["SCHEDULED", "IN PROGRESS", ""]
    assert await database.run("select attempts, events - delivered from subscription") == [(0, 0)]


@pytest.mark.standard("PS3.7 10.1.1.1.8")
async def test_what_a_peer_does_not_understand_keeps_it_from_hearing_of_nothing_else(
    archive: Archive, watcher: Watcher
) -> None:
    station, database = Station(archive), archive.bridge.database
    await station.act(subscription(), 3, GLOBAL)
    await station.create(a_ups())
    watcher.status = 0x0113  # "no such event type"
    await tell(archive)
    assert await database.run("select attempts, events - delivered from subscription") == [(0, 0)]

    watcher.status = 0x0000
    await station.move(to("IN PROGRESS"))
    await tell(archive)

    assert [state for _, _, state in watcher.told()] == ["IN PROGRESS", ""]


@pytest.mark.standard("threats T1")
async def test_the_steps_of_others_are_never_told(archive: Archive, watcher: Watcher) -> None:
    await Station(archive).act(subscription(), 3, GLOBAL)
    await Station(archive, "CT2").create(a_ups(PatientID="T1"), "1.2.9.7")

    await tell(archive)

    assert watcher.told() == []


@pytest.mark.standard("threats T17")
async def test_a_peer_that_takes_its_time_is_told_the_rest_under_another_lease(
    archive: Archive, watcher: Watcher
) -> None:
    """Nothing is begun under a lease that might end before the peer has answered."""
    station, database = Station(archive), archive.bridge.database
    await station.act(subscription(), 3, GLOBAL)
    for number in range(3):
        await station.create(a_ups(), f"1.2.9.{number}")
    await Matcher(database, BASE).catch_up()

    slow = UpsEvents(archive.bridge, archive.server.ae, begin_seconds=0.0)
    counts = []
    for _ in range(3):
        await slow.work(most=1)
        counts.append(len(watcher.heard))

    assert counts == [1, 2, 3]
    assert [uid for uid, _, _ in watcher.told()] == ["1.2.9.0", "1.2.9.1", "1.2.9.2"]
    rows = await database.run("select attempts, delivered = events, lease_until from subscription")
    assert rows == [(0, True, None)]


HOUR = 3600 * 1_000_000


@pytest.mark.standard("threats F11")
@pytest.mark.parametrize(
    ("holder", "attempts", "until", "is_told"),
    [
        ("dead", 0, 60_000_000, False),
        ("dead", 0, HOUR, True),
        ("dead", 5, HOUR, True),
        ("", 1, HOUR, True),
        ("", 5, HOUR // 2, False),
        ("", 5, 2 * HOUR, True),
    ],
)
async def test_a_lease_or_a_wait_that_no_clock_but_one_ahead_can_have_set_holds_nothing(
    archive: Archive, watcher: Watcher, holder: str, attempts: int, until: int, is_told: bool
) -> None:
    station = Station(archive)
    await station.act(subscription(), 3, GLOBAL)
    await station.create(a_ups())
    await archive.bridge.database.run(
        "update subscription set holder = $1, attempts = $2, lease_until = $3",
        (holder, attempts, now() + until),
    )

    await tell(archive)

    assert bool(watcher.told()) is is_told


@pytest.mark.requirement("R004.1")
async def test_what_is_done_to_a_task_in_fhir_is_told_as_well(
    archive: Archive, watcher: Watcher
) -> None:
    station = Station(archive)
    await station.act(subscription(), 3, GLOBAL)
    await station.create(a_ups())
    (task,) = await found(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.1")
    async with archive.bridge.store.begin(person("radiographer")) as work:
        claimed = {**task, "status": "in-progress"}
        claimed["owner"] = {"reference": "Organization/lead", "display": "Somebody"}
        await work.update("Task", task["id"], content.made(claimed), if_match=1)

    await tell(archive)

    assert watcher.told() == [
        ("1.2.9.1", 1, "SCHEDULED"),
        ("1.2.9.1", 1, "IN PROGRESS"),
        ("1.2.9.1", 5, ""),
    ]


@pytest.mark.standard("threats T4")
async def test_whose_organisation_takes_part_no_more_is_told_nothing_more(
    archive: Archive, watcher: Watcher
) -> None:
    station, bridge = Station(archive), archive.bridge
    await station.act(subscription(), 3, GLOBAL)
    (lead,) = await found(bridge, "Organization", _id="lead")
    await write(bridge, {**lead, "active": False})
    await withdrawals.stop(bridge.database, bridge.store)
    await station.create(a_ups())
    await tell(archive)
    assert watcher.told() == []

    await write(bridge, lead)
    await station.act(subscription(), 3, GLOBAL)
    await station.create(a_ups(), "1.2.9.2")
    await tell(archive)
    assert watcher.told() == [("1.2.9.2", 1, "SCHEDULED")]
