"""What we ask of peers: of an archive on pynetdicom, of DCMTK's and of Orthanc."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from dicom_bridge import ingest
from dicom_bridge.dimse import peers, scu
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.scu import Caller, Outcome
from fhir_server.access.principal import Principal
from resources.errors import Exhausted, Invalid, NotFound
from tests.dicom_bridge.build import a_series, an_instance, part10
from tests.dicom_bridge.conftest import Archive, found
from tests.dicom_bridge.dimse.test_find import hold
from tests.dicom_bridge.orthanc import answers, running, studies
from tests.flows.installation import free_port

pytestmark = pytest.mark.anyio

WHO = Principal.system("test")
VERIFICATION, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2"
FIND, MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"
EXPLICIT = "1.2.840.10008.1.2.1"


@contextmanager
def remote(archive: Archive, *study: Dataset, status: int = 0x0000) -> Iterator[Peer]:
    """An archive that holds a study, and moves it to where it is told; `status` to a C-STORE."""
    port = free_port()
    kept: list[str] = []

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        answer = Dataset()
        answer.QueryRetrieveLevel = "STUDY"
        answer.StudyInstanceUID = study[0].StudyInstanceUID
        yield 0xFF00, answer

    def move(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", archive.port, {"contexts": [build_context(CT, EXPLICIT)]}
        wanted = [ds for ds in study if ds.StudyInstanceUID == event.identifier.StudyInstanceUID]
        yield len(wanted)
        for ds in wanted:
            yield 0xFF00, ds

    def store(event: Any) -> int:
        kept.append(str(event.request.AffectedSOPInstanceUID))
        return status

    ae = AE("REMOTE")
    ae.require_called_aet = True
    for sop_class in (VERIFICATION, FIND, MOVE):
        ae.add_supported_context(sop_class)
    ae.add_supported_context(CT, EXPLICIT)
    handlers: list[Any] = [
        (evt.EVT_C_ECHO, lambda event: 0x0000), (evt.EVT_C_FIND, find),
        (evt.EVT_C_MOVE, move), (evt.EVT_C_STORE, store),
    ]  # fmt: skip
    server: Any = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    yield Peer("REMOTE", "127.0.0.1", port, "lead")
    server.shutdown()


@pytest.mark.standard("PS3.4 A.4")
async def test_a_peer_that_is_there_answers_an_echo(archive: Archive) -> None:
    caller = Caller(archive.bridge)
    with remote(archive) as peer:
        await caller.echo(peer)
        with pytest.raises(Exhausted, match="rejects"):
            await caller.echo(peer._replace(ae="OTHER"))
    with pytest.raises(Exhausted, match="cannot be reached"):
        await caller.echo(peer)


@pytest.mark.standard("PS3.4 C.4.1, C.4.2")
async def test_a_study_of_another_archive_is_found_and_comes_through_the_one_ingest(
    archive: Archive,
) -> None:
    study = a_series(3)
    caller = Caller(archive.bridge)
    with remote(archive, *study) as peer:
        await peers.add(archive.bridge.database, peer)
        keys = scu.keys_of(["StudyInstanceUID", "PatientID=*"])

        (answer,) = await caller.find(WHO, peer, keys)
        outcome = await caller.retrieve(WHO, peer, str(answer.StudyInstanceUID))

    assert outcome == Outcome(3, 0)
    assert outcome.is_whole
    await ingest.settle(archive.bridge, str(study[0].StudyInstanceUID))
    (made,) = await found(archive.bridge, "ImagingStudy")
    assert made["numberOfInstances"] == 3
    moved = await found(archive.bridge, "AuditEvent", type="110112")
    assert "REMOTE" in json.dumps(moved)


async def test_a_retrieval_that_lacks_something_does_not_look_whole(archive: Archive) -> None:
    study = a_series(2)
    with remote(archive, *study) as peer:  # it is no peer of ours: its instances are not taken
        outcome = await Caller(archive.bridge).retrieve(WHO, peer, study[0].StudyInstanceUID)

    assert not outcome.is_whole
    assert outcome.completed == 0


async def test_a_study_that_the_peer_does_not_hold_does_not_look_whole(archive: Archive) -> None:
    with remote(archive, *a_series(1)) as peer:
        outcome = await Caller(archive.bridge).retrieve(WHO, peer, "1.2.3")

    assert not outcome.is_whole


@pytest.mark.standard("PS3.4 B.2.3")
@pytest.mark.parametrize(("status", "whole"), [(0x0000, True), (0xB000, True), (0xA700, False)])
async def test_a_study_is_sent(archive: Archive, status: int, whole: bool) -> None:
    study = a_series(3)
    await hold(archive.bridge, *study)
    with remote(archive, status=status) as peer:
        outcome = await Caller(archive.bridge).send(peer, study[0].StudyInstanceUID)

    assert outcome.is_whole is whole
    assert outcome.completed == (3 if whole else 0)


async def test_what_a_peer_takes_in_no_form_that_we_have_has_failed(archive: Archive) -> None:
    one = an_instance("MR")
    await hold(archive.bridge, one)
    with remote(archive) as peer, pytest.raises(Exhausted):
        await Caller(archive.bridge).send(peer, one.StudyInstanceUID)


@pytest.mark.standard("threats T1")
async def test_nothing_is_sent_that_the_peer_may_not_read(archive: Archive) -> None:
    one = an_instance()
    await hold(archive.bridge, one)
    with remote(archive) as peer:
        stranger = peer._replace(organization="other")
        with pytest.raises(NotFound):
            await Caller(archive.bridge).send(stranger, one.StudyInstanceUID)


@pytest.mark.parametrize("pair", ["NoSuchThing=1", "=1", "is_little_endian=1", "walk"])
def test_a_key_that_is_no_attribute_is_refused(pair: str) -> None:
    with pytest.raises(Invalid):
        scu.keys_of([pair])


@pytest.fixture
def dcmqrscp(archive: Archive, dcmtk: str, tmp_path: Path) -> Iterator[Peer]:
    """DCMTK's archive, which knows us as `ISOCENTRE` at our port."""
    port, folder = free_port(), tmp_path / "qr"
    folder.mkdir()
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nours = (ISOCENTRE, 127.0.0.1, {archive.port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQR {folder} RW (200, 1024mb) ANY\nAETable END\n"
    )
    process = subprocess.Popen(
        [f"{dcmtk}/dcmqrscp", "-c", str(config)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert answers(port)
    yield Peer("DCMQR", "127.0.0.1", port, "lead")
    process.terminate()
    process.wait(10)


@pytest.mark.peer
@pytest.mark.standard("PS3.4 C.4")
async def test_dcmtks_archive_is_asked_takes_a_study_and_gives_one_back(
    archive: Archive, dcmqrscp: Peer, dcmtk: str, tmp_path: Path
) -> None:
    ours, theirs = a_series(3), a_series(4)
    await hold(archive.bridge, *ours)
    await peers.add(archive.bridge.database, dcmqrscp)
    for number, ds in enumerate(theirs):
        dcmwrite(tmp_path / f"{number}.dcm", ds, enforce_file_format=True)
    command = [
        f"{dcmtk}/storescu", "-aec", "DCMQR", "127.0.0.1", str(dcmqrscp.port),
        *(str(tmp_path / f"{number}.dcm") for number in range(len(theirs))),
    ]  # fmt: skip
    await archive.call(subprocess.run, command, check=True, timeout=60, capture_output=True)
    caller = Caller(archive.bridge)

    await caller.echo(dcmqrscp)
    sent = await caller.send(dcmqrscp, ours[0].StudyInstanceUID)
    held = await caller.find(WHO, dcmqrscp, scu.keys_of(["StudyInstanceUID"]))
    retrieved = await caller.retrieve(WHO, dcmqrscp, theirs[0].StudyInstanceUID)

    assert sent == Outcome(3, 0)
    both = {str(ours[0].StudyInstanceUID), str(theirs[0].StudyInstanceUID)}
    assert {str(ds.StudyInstanceUID) for ds in held} == both
    assert retrieved == Outcome(4, 0)
    uid = str(theirs[0].StudyInstanceUID)
    await ingest.settle(archive.bridge, uid)
    (made,) = await found(archive.bridge, "ImagingStudy", identifier=f"urn:dicom:uid|urn:oid:{uid}")
    assert made["numberOfInstances"] == 4


@pytest.fixture
def orthanc(archive: Archive, tmp_path: Path) -> Iterator[tuple[Peer, str]]:
    """Orthanc, which knows us as `ISOCENTRE`; its peer, and its own address."""
    ours = {"ours": ["ISOCENTRE", "127.0.0.1", archive.port]}
    with running(tmp_path, DicomModalities=ours) as (port, address):
        yield Peer("ORTHANC", "127.0.0.1", port, "lead"), address


@pytest.mark.peer
@pytest.mark.standard("PS3.4 B, C.4")
async def test_orthanc_receives_and_sends_is_asked_and_asks(
    archive: Archive, orthanc: tuple[Peer, str]
) -> None:
    peer, address = orthanc
    ours, theirs = a_series(3), a_series(4)
    await hold(archive.bridge, *ours)
    await peers.add(archive.bridge.database, peer)
    caller = Caller(archive.bridge)
    async with httpx.AsyncClient(base_url=address, timeout=60) as web:
        for ds in theirs:
            answer = await web.post("/instances", content=part10(ds))
            assert answer.status_code == 200

        await caller.echo(peer)
        assert await caller.send(peer, ours[0].StudyInstanceUID) == Outcome(3, 0)
        held = await caller.find(WHO, peer, scu.keys_of(["StudyInstanceUID"]))
        assert len(held) == 2
        assert await caller.retrieve(WHO, peer, theirs[0].StudyInstanceUID) == Outcome(4, 0)

        assert (await web.post("/modalities/ours/echo", content="{}")).status_code == 200
        query = {"Level": "Study", "Query": {"StudyInstanceUID": str(ours[0].StudyInstanceUID)}}
        asked = (await web.post("/modalities/ours/query", json=query)).json()
        assert len((await web.get(f"/queries/{asked['ID']}/answers")).json()) == 1
        stored = await web.post("/modalities/ours/store", json=await studies(web, theirs))
        assert stored.json()["FailedInstancesCount"] == 0
