"""Storage commitment: kept before it is answered, told on either association, and true."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicom_bridge import commitments, leases
from dicom_bridge.dimse import peers
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.reporter import Reporter
from fhir_server.context import RequestContext
from tests.dicom_bridge.build import a_series, an_instance
from tests.dicom_bridge.conftest import CT1, Archive
from tests.dicom_bridge.dimse.test_find import hold
from tests.flows.installation import free_port

pytestmark = pytest.mark.anyio

PUSH_MODEL, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
IMPLICIT = "1.2.840.10008.1.2"


class Listener:
    """A storage commitment SCU: what it was told, and on how many associations of others."""

    def __init__(self) -> None:
        self.told: list[tuple[int, Dataset]] = []
        self.calls = 0
        self.heard = threading.Event()
        self.port = free_port()
        self.server: Any = None

    def open(self) -> None:
        ae = AE("CT1")
        ae.add_supported_context(PUSH_MODEL, IMPLICIT)
        self.server = ae.start_server(
            ("127.0.0.1", self.port), block=False,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.keep), (evt.EVT_ESTABLISHED, self.count)],
        )  # fmt: skip

    def keep(self, event: Any) -> tuple[int, None]:
        self.told.append((event.request.EventTypeID, event.event_information))
        self.heard.set()
        return 0x0000, None

    def count(self, event: Any) -> None:
        self.calls += 1


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    if made.server is not None:
        made.server.shutdown()


@pytest.fixture(autouse=True)
async def reporting(archive: Archive, listener: Listener) -> AsyncIterator[None]:
    """The task that the dicom role runs beside the port."""
    ae: Any = archive.server.ae
    await peers.add(archive.bridge.database, Peer("CT1", "127.0.0.1", listener.port, "lead"))
    task = asyncio.ensure_future(ae.reporter.run())
    yield
    task.cancel()


def request(transaction_uid: str, *items: tuple[str, str]) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = []
    for sop_class, sop_uid in items:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
        ds.ReferencedSOPSequence.append(item)
    return ds


def named(*instances: Dataset) -> list[tuple[str, str]]:
    return [(str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in instances]


def ask(
    archive: Archive,
    information: Dataset,
    listener: Listener,
    *,
    stay: bool,
    action: int = 1,
    instance: str = WELL_KNOWN,
) -> int:
    """The status of the request; who stays hears the report on the same association."""
    ae = AE("CT1")
    ae.acse_timeout = ae.dimse_timeout = 10
    ae.add_requested_context(PUSH_MODEL, IMPLICIT)
    association = ae.associate(
        "127.0.0.1", archive.port, ae_title="ISOCENTRE",
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, listener.keep)],
    )  # fmt: skip
    assert association.is_established
    status, _ = association.send_n_action(information, action, PUSH_MODEL, instance)
    if stay:
        listener.heard.wait(10)
    association.release()
    return int(status.Status)


@pytest.mark.standard("PS3.4 J.3.3")
@pytest.mark.parametrize("stay", [True, False])
async def test_what_is_held_is_committed_on_this_association_or_on_another(
    archive: Archive, listener: Listener, stay: bool
) -> None:
    study = a_series(3)
    await hold(archive.bridge, *study)
    listener.open()

    status = await archive.call(
        ask, archive, request("1.2.3.4", *named(*study)), listener, stay=stay
    )
    await archive.call(listener.heard.wait, 10)

    assert status == 0x0000
    ((kind, report),) = listener.told
    assert (kind, report.TransactionUID) == (1, "1.2.3.4")
    committed = [
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for item in report.ReferencedSOPSequence
    ]
    assert committed == named(*study)
    assert "FailedSOPSequence" not in report
    assert listener.calls == (0 if stay else 1)


@pytest.mark.standard("PS3.4 J.3.3")
@pytest.mark.standard("PS3.3 C.14.1.1")
async def test_what_is_not_held_or_is_something_else_or_not_theirs_is_named_as_failed(
    archive: Archive, listener: Listener
) -> None:
    mine, changed, gone = an_instance(), an_instance(), an_instance()
    theirs = an_instance(patient_id="9000000017", patient_name="Zhang^Wei", accession="B1")
    await hold(archive.bridge, mine, changed)
    await archive.call(archive.send, theirs, calling="CT2")
    mr = "1.2.840.10008.5.1.4.1.1.4"
    items = [*named(mine), (mr, str(changed.SOPInstanceUID)), *named(gone), *named(theirs)]

    await archive.call(ask, archive, request("1.2.3.5", *items), listener, stay=True)

    ((kind, report),) = listener.told
    assert kind == 2
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [
        mine.SOPInstanceUID
    ]
    reasons = {
        item.ReferencedSOPInstanceUID: item.FailureReason for item in report.FailedSOPSequence
    }
    assert reasons == {
        changed.SOPInstanceUID: 0x0119, gone.SOPInstanceUID: 0x0112, theirs.SOPInstanceUID: 0x0112,
    }  # fmt: skip


@pytest.mark.standard("PS3.4 J.3.3")
async def test_an_instance_whose_bytes_are_gone_is_not_committed(
    archive: Archive, listener: Listener
) -> None:
    one = an_instance()
    await hold(archive.bridge, one)
    for key in list(archive.bridge.blobs.keys()):
        (await archive.bridge.blobs.own(key)).unlink()

    await archive.call(ask, archive, request("1.2.3.6", *named(one)), listener, stay=True)

    ((kind, report),) = listener.told
    assert kind == 2
    assert report.FailedSOPSequence[0].FailureReason == 0x0112


@pytest.mark.standard("PS3.4 J.3.3.1.3")
async def test_a_peer_that_cannot_be_reached_is_told_when_it_can(
    archive: Archive, listener: Listener
) -> None:
    one = an_instance()
    await hold(archive.bridge, one)
    await archive.call(ask, archive, request("1.2.3.7", *named(one)), listener, stay=False)
    for _ in range(100):
        rows = await archive.bridge.database.run("select attempts, due from commitment")
        if rows and rows[0][0] == 1 and rows[0][1]:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    assert listener.told == []

    listener.open()
    await archive.bridge.database.run("update commitment set due = 0")
    again = Reporter(archive.bridge, archive.server.ae)
    task = asyncio.ensure_future(again.run())
    await archive.call(listener.heard.wait, 10)
    for _ in range(100):
        if not (left := await archive.bridge.database.run("select from commitment")):
            break
        await asyncio.sleep(0.05)
    task.cancel()

    assert [kind for kind, _ in listener.told] == [1]
    assert not left, "a report that was understood is not made again"


@pytest.mark.standard("PS3.4 J.3.2")
async def test_a_request_that_asks_for_nothing_or_twice_or_for_something_else_is_refused(
    archive: Archive, listener: Listener
) -> None:
    one = an_instance()
    await hold(archive.bridge, one)
    listener.open()
    good = request("1.2.3.8", *named(one))

    statuses = [
        await archive.call(ask, archive, information, listener, stay=False, action=action)
        for information, action in (
            (request("1.2.3.9"), 1),
            (request("", *named(one)), 1),
            (request("1.2.3.9", ("1.2", "../../etc")), 1),
            (good, 2),
            (good, 1),
            (good, 1),
        )
    ]

    assert statuses == [0x0115, 0x0115, 0x0115, 0x0123, 0x0000, 0x0131]


@pytest.mark.standard("PS3.7 10.1.4.1.10")
async def test_what_is_asked_of_another_instance_than_the_well_known_one_is_refused(
    archive: Archive, listener: Listener
) -> None:
    one = an_instance()
    await hold(archive.bridge, one)

    status = await archive.call(
        ask, archive, request("1.2.3.8", *named(one)), listener, stay=False, instance="1.2.840.1"
    )

    assert status == 0x0112
    assert await archive.bridge.database.run("select from commitment") == []


@pytest.mark.standard("PS3.4 J.3.3")
async def test_of_several_processes_the_one_the_peer_speaks_to_reports(
    archive: Archive, listener: Listener
) -> None:
    """Who waits on its association hears it there, although the others have looked before."""
    study, database = a_series(3), archive.bridge.database
    await hold(archive.bridge, *study)
    listener.open()
    others = [Reporter(archive.bridge, archive.server.ae) for _ in range(3)]
    running = [asyncio.ensure_future(each.run()) for each in others]

    for number in range(3):
        listener.heard.clear()
        asked = request(f"1.2.3.{number}", *named(study[number]))
        await archive.call(ask, archive, asked, listener, stay=True)
        async with asyncio.timeout(60):
            while await database.run("select from commitment"):
                await asyncio.sleep(0.02)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)

    assert len(listener.told) == 3
    assert listener.calls == 0


async def test_a_first_report_that_its_process_does_not_make_is_made_by_another(
    archive: Archive,
) -> None:
    database, context = archive.bridge.database, RequestContext(CT1.principal, "test")
    due = context.instant + commitments.PATIENCE
    items = [commitments.Item("1.2.840.10008.5.1.4.1.1.2", "1.2.3")]
    await commitments.keep(database, context, "CT9", "1.2.3.4", items, due)
    ours = [("CT9", "1.2.3.4")]

    assert await commitments.next_due(database, due - 1, [], ours) == due
    other = await commitments.next_due(database, due - 1)
    assert other is not None
    assert other > due
    assert await commitments.take(database, due) is None
    assert await commitments.take(database, other) is not None
    assert await commitments.take(database, other, [], ours) is None, "it is taken"


async def test_an_association_that_has_ended_is_not_kept(
    archive: Archive, listener: Listener
) -> None:
    """What another process has reported is forgotten here too."""
    one = an_instance()
    await hold(archive.bridge, one)
    listener.open()
    ae: Any = archive.server.ae
    for number in range(4):
        asked = request(f"1.2.3.{number}", *named(one))
        await archive.call(ask, archive, asked, listener, stay=False)
        await archive.bridge.database.run("delete from commitment")

    assert len(ae.reporter._lines) <= 2


@pytest.mark.standard("threats F11")
async def test_what_a_clock_that_was_ahead_took_is_reported_at_once(archive: Archive) -> None:
    database, context = archive.bridge.database, RequestContext(CT1.principal, "test")
    items = [commitments.Item("1.2.840.10008.5.1.4.1.1.2", "1.2.3")]
    ahead = context.instant + 3600 * leases.SECOND
    await commitments.keep(database, context, "CT9", "1.2.3.4", items, ahead)
    ours = [("CT9", "1.2.3.4")]
    assert await commitments.take(database, ahead, [], ours) is not None

    assert await commitments.take(database, context.instant) is not None


@pytest.mark.standard("IHE BALP")
@pytest.mark.requirement("R014.1")
async def test_that_it_was_asked_for_is_in_the_audit_before_it_is_reported(
    archive: Archive, listener: Listener
) -> None:
    study = a_series(2)
    await hold(archive.bridge, *study)
    listener.open()

    await archive.call(ask, archive, request("1.2.3.9", *named(*study)), listener, stay=False)
    await archive.call(listener.heard.wait, 10)

    rows = await archive.bridge.database.run(
        "select detail, outcome, organization, hits, query from audit"
        " where interaction = 'storage-commitment' order by n"
    )
    assert [tuple(row) for row in rows] == [
        ("asked for", 0, "lead", 2, "TransactionUID=1.2.3.9"),
        ("2 committed, 0 not", 0, "lead", 2, "TransactionUID=1.2.3.9"),
    ]


async def test_what_cannot_be_audited_is_not_accepted(archive: Archive, listener: Listener) -> None:
    await archive.bridge.database.run("alter table audit rename to unknown")

    status = await archive.call(
        ask, archive, request("1.2.3.10", ("1.2.840.10008.5.1.4.1.1.2", "1.2.3")), listener,
        stay=False,
    )  # fmt: skip

    await archive.bridge.database.run("alter table unknown rename to audit")
    assert status != 0x0000
    assert await archive.bridge.database.run("select from commitment") == []


@pytest.mark.standard("PS3.4 J.3.3")
async def test_what_cannot_be_looked_up_keeps_no_other_report_from_being_made(
    archive: Archive, listener: Listener
) -> None:
    lost, one = an_instance(), an_instance()
    await hold(archive.bridge, lost)
    await hold(archive.bridge, one)
    listener.open()
    await archive.bridge.database.run(
        "update instance set blob = repeat('a', 300) where sop_uid = $1",
        (str(lost.SOPInstanceUID),),
    )  # no file has such a name, and the system says so in another way than that there is none
    await archive.call(ask, archive, request("1.2.3.20", *named(lost)), listener, stay=False)
    for _ in range(200):
        rows = await archive.bridge.database.run("select attempts from commitment")
        if rows and rows[0][0] == 1:
            break
        await asyncio.sleep(0.05)

    await archive.call(ask, archive, request("1.2.3.21", *named(one)), listener, stay=False)
    await archive.call(listener.heard.wait, 20)

    assert [str(ds.TransactionUID) for _, ds in listener.told] == ["1.2.3.21"]
    left = await archive.bridge.database.run("select transaction_uid from commitment")
    assert ("1.2.3.20",) in left, "it is looked up again later"
