"""C-MOVE and the Patient Root model: to whom, of whom, and nothing that one of them may not see."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from dicom_bridge.dimse import peers
from dicom_bridge.dimse.peers import Peer
from tests.dicom_bridge.build import a_series, an_instance, data_set_of, part10
from tests.dicom_bridge.conftest import Archive, found
from tests.dicom_bridge.dimse.test_find import hold, identifier
from tests.flows.installation import free_port

pytestmark = pytest.mark.anyio

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


class Receiver:
    """A storage SCP that keeps what it gets, and from whom the move was asked."""

    def __init__(self, *syntaxes: str) -> None:
        self.port = free_port()
        self.is_open = True
        self.received: dict[str, bytes] = {}
        self.originators: set[tuple[str, int]] = set()
        ae = AE("DEST")
        ae.add_supported_context(CT, list(syntaxes or (EXPLICIT,)))
        self.server: Any = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.keep)]
        )

    def close(self) -> None:
        self.is_open = False
        self.server.shutdown()

    def keep(self, event: Any) -> int:
        request = event.request
        self.received[str(request.AffectedSOPInstanceUID)] = request.DataSet.getvalue()
        ae = str(request.MoveOriginatorApplicationEntityTitle).strip()
        self.originators.add((ae, request.MoveOriginatorMessageID))
        return 0x0000


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    if made.is_open:
        made.close()


async def known(archive: Archive, receiver: Receiver, organization: str = "lead") -> None:
    await peers.add(archive.bridge.database, Peer("DEST", "127.0.0.1", receiver.port, organization))


def move(
    archive: Archive,
    keys: Dataset,
    to: str = "DEST",
    model: str = STUDY_ROOT_MOVE,
    calling: str = "CT1",
    cancel_after: int | None = None,
) -> Dataset:
    """The last response."""
    association = archive.associate((model, IMPLICIT), calling=calling)
    assert association.is_established
    statuses: list[Dataset] = []
    try:
        for status, _ in association.send_c_move(keys, to, model, msg_id=7):
            statuses.append(status)
            if len(statuses) == cancel_after:
                association.send_c_cancel(7, query_model=model)
    finally:
        association.release()
    return statuses[-1]


@pytest.mark.standard("PS3.4 C.4.2.1")
async def test_a_study_is_moved_byte_for_byte_and_says_who_asked(
    archive: Archive, receiver: Receiver
) -> None:
    study = a_series(5)
    await hold(archive.bridge, *study)
    await known(archive, receiver)

    keys = identifier(StudyInstanceUID=study[0].StudyInstanceUID)
    final = await archive.call(move, archive, keys)

    assert final.Status == 0x0000
    assert final.NumberOfCompletedSuboperations == 5
    assert receiver.received == {str(ds.SOPInstanceUID): data_set_of(part10(ds)) for ds in study}
    assert receiver.originators == {("CT1", 7)}


@pytest.mark.standard("PS3.4 C.4.2.1.4.2")
async def test_what_the_receiver_takes_in_no_form_we_have_is_named_as_failed(
    archive: Archive, receiver: Receiver
) -> None:
    one = an_instance()
    other = an_instance(study_uid=str(one.StudyInstanceUID), number=2, transfer_syntax=IMPLICIT)
    await hold(archive.bridge, one, other)
    await known(archive, receiver)

    keys = identifier(StudyInstanceUID=one.StudyInstanceUID)
    final = await archive.call(move, archive, keys)

    assert final.Status == 0xB000
    assert (final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations) == (1, 1)
    assert set(receiver.received) == {str(one.SOPInstanceUID)}


@pytest.mark.standard("PS3.4 C.4.2.1.5")
async def test_a_destination_that_nobody_knows_or_that_is_not_there_is_refused(
    archive: Archive, receiver: Receiver
) -> None:
    one = an_instance()
    await hold(archive.bridge, one)
    keys = identifier(StudyInstanceUID=one.StudyInstanceUID)

    unknown = await archive.call(move, archive, keys, "NOBODY")
    await known(archive, receiver)
    receiver.close()
    absent = await archive.call(move, archive, keys)

    assert (unknown.Status, absent.Status) == (0xA801, 0xA801)


@pytest.mark.requirement("R014.1")
@pytest.mark.standard("threats T4")
async def test_a_peer_cannot_move_what_the_organisation_of_the_receiver_may_not_see(
    archive: Archive, receiver: Receiver
) -> None:
    one = an_instance()
    await hold(archive.bridge, one)
    await known(archive, receiver, "other")
    keys = identifier(StudyInstanceUID=one.StudyInstanceUID)

    theirs = await archive.call(move, archive, keys)
    stranger = await archive.call(move, archive, keys, calling="CT2")

    assert (theirs.Status, stranger.Status) == (0x0000, 0x0000)
    assert receiver.received == {}


@pytest.mark.standard("PS3.4 C.4.2.1.7")
async def test_a_move_ends_when_it_is_cancelled(archive: Archive, receiver: Receiver) -> None:
    study = a_series(60)
    await hold(archive.bridge, *study)
    await known(archive, receiver)

    keys = identifier(StudyInstanceUID=study[0].StudyInstanceUID)
    final = await archive.call(move, archive, keys, cancel_after=1)

    assert final.Status == 0xFE00
    assert final.NumberOfRemainingSuboperations > 0
    assert len(receiver.received) < 60


@pytest.mark.standard("PS3.4 C.6.1.1")
async def test_patient_root_finds_each_patient_once(archive: Archive) -> None:
    first = an_instance(patient_name="Okafor^Ada", patient_id="9000000009")
    again = an_instance(patient_name="Okafor^Ada", patient_id="9000000009")
    another = an_instance(patient_name="Zhang^Wei", patient_id="9000000017")
    await hold(archive.bridge, first, again, another)

    def ask(level: str, **keys: Any) -> list[Dataset]:
        association = archive.associate((PATIENT_ROOT_FIND, IMPLICIT))
        rows = [
            row
            for _, row in association.send_c_find(identifier(level, **keys), PATIENT_ROOT_FIND)
            if row is not None
        ]
        association.release()
        return rows

    patients = await archive.call(ask, "PATIENT", PatientID="", PatientName="")
    named = await archive.call(ask, "PATIENT", PatientID="", PatientName="zhang*")
    studies = await archive.call(ask, "STUDY", PatientID="9000000009", StudyInstanceUID="")
    series = await archive.call(
        ask, "SERIES", PatientID="9000000017", StudyInstanceUID=str(first.StudyInstanceUID),
        SeriesInstanceUID="",
    )  # fmt: skip

    assert sorted(row.PatientID for row in patients) == ["9000000009", "9000000017"]
    assert all("StudyInstanceUID" not in row for row in patients)
    assert [row.PatientID for row in named] == ["9000000017"]
    assert {row.StudyInstanceUID for row in studies} == {
        first.StudyInstanceUID, again.StudyInstanceUID,
    }  # fmt: skip
    assert series == [], "a study of another patient is not below this one"


@pytest.mark.standard("PS3.4 C.6.1.1")
async def test_patient_root_moves_all_of_a_patient_and_nothing_of_another(
    archive: Archive, receiver: Receiver
) -> None:
    mine = [an_instance(patient_id="9000000009"), an_instance(patient_id="9000000009")]
    other = an_instance(patient_id="9000000017")
    await hold(archive.bridge, *mine, other)
    await known(archive, receiver)

    whole = identifier("PATIENT", PatientID="9000000009")
    wrong = identifier(PatientID="9000000009", StudyInstanceUID=other.StudyInstanceUID)
    final = await archive.call(move, archive, whole, model=PATIENT_ROOT_MOVE)
    nothing = await archive.call(move, archive, wrong, model=PATIENT_ROOT_MOVE)

    assert (final.Status, final.NumberOfCompletedSuboperations) == (0x0000, 2)
    assert (nothing.Status, nothing.NumberOfCompletedSuboperations) == (0x0000, 0)
    assert set(receiver.received) == {str(ds.SOPInstanceUID) for ds in mine}


@pytest.mark.requirement("R014.1")
async def test_a_move_stands_in_the_audit_for_who_asked(
    archive: Archive, receiver: Receiver
) -> None:
    one = an_instance()
    await hold(archive.bridge, one)
    await known(archive, receiver)

    keys = identifier(StudyInstanceUID=one.StudyInstanceUID)
    await archive.call(move, archive, keys)

    events = await found(archive.bridge, "AuditEvent", type="110104")
    assert [event["agent"][0]["who"]["display"] for event in events if "CT1" in str(event)]


@pytest.mark.standard("PS3.4 C.4.2")
@pytest.mark.peer
async def test_dcmtk_moves_a_study_to_itself(archive: Archive, dcmtk: str, tmp_path: Path) -> None:
    study = a_series(3)
    await hold(archive.bridge, *study)
    port, moved = free_port(), tmp_path / "moved"
    moved.mkdir()
    await peers.add(archive.bridge.database, Peer("DCMTK", "127.0.0.1", port, "lead"))

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                f"{dcmtk}/movescu", "-v", "-S", "-aet", "CT1", "-aec", "ISOCENTRE", "-aem", "DCMTK",
                "+P", str(port), "-od", str(moved), "-k", "QueryRetrieveLevel=STUDY",
                "-k", f"StudyInstanceUID={study[0].StudyInstanceUID}",
                "127.0.0.1", str(archive.port),
            ],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    done = await archive.call(run)

    assert done.returncode == 0, done.stderr
    received = {str(dcmread(file).SOPInstanceUID) for file in moved.iterdir()}
    assert received == {str(ds.SOPInstanceUID) for ds in study}


@pytest.mark.standard("RFC 896")
async def test_what_we_send_does_not_wait_to_be_joined_with_more(
    archive: Archive, receiver: Receiver
) -> None:
    """Nagle's algorithm would cost 40 ms an instance."""

    def nodelay() -> int:
        ae: Any = archive.server.ae
        association = ae.associate(
            "127.0.0.1", receiver.port, [build_context(CT, EXPLICIT)], ae_title="DEST"
        )
        option = association.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        association.release()
        return int(option)

    assert await archive.call(nodelay)
