"""Threat F6: a link that is cut at whatever octet, either way, leaves nothing half behind.

What was not whole is not said to be whole, all ends that were in use are given back, and asked
again, it comes.
"""

import asyncio
import dataclasses
import gc
import random
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from dicom_bridge.dimse import peers
from dicom_bridge.dimse.association import AcceptedAssociation
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.sending import OutgoingSocket
from dicom_bridge.dimse.transport import BufferedSocket
from dicom_bridge.dimse.upper_layer import UpperLayer
from tests.dicom_bridge.build import a_series, data_set_of, part10
from tests.dicom_bridge.conftest import Archive
from tests.dicom_bridge.dicomweb.conftest import STOW, Service, body
from tests.dicom_bridge.dicomweb.conftest import service as service
from tests.dicom_bridge.dicomweb.test_stow import held
from tests.dicom_bridge.dimse.test_find import hold, identifier
from tests.dicom_bridge.dimse.test_move import Receiver, move
from tests.dicom_bridge.dimse.test_move import receiver as receiver
from tests.dicom_bridge.dimse.test_retrieve import Outcome, get

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats F6")]

OFFSETS = 5
RESET = struct.pack("ii", 1, 0)
SUCCESS = 0x0000
LEAVES_SOCKETS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""pynetdicom's own requestor and acceptor, which are the other side here, close those that were cut
when they are collected."""


class Link(threading.Thread):
    """Passes on what two sides say to each other, until so many octets went one way.

    Parameters
    ----------
    port
        Of the side that is called.
    back
        Octets of the called side are counted, not those of who calls.
    """

    def __init__(self, port: int, octets: int, *, back: bool) -> None:
        super().__init__(daemon=True)
        self.to, self.left, self.back = port, octets, back
        self.was_cut = False
        self.passed = 0
        self.ends = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.ends.getsockname()[1])

    def run(self) -> None:
        while True:
            try:
                caller, _ = self.ends.accept()
            except OSError:
                return
            called = socket.create_connection(("127.0.0.1", self.to), 30)
            try:
                self.pass_on(caller, called)
            except OSError:
                continue
            finally:
                for end in (caller, called):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    end.close()

    def pass_on(self, caller: socket.socket, called: socket.socket) -> None:
        others = {caller: called, called: caller}
        while True:
            for end in select.select(list(others), [], [], 60)[0]:
                said = end.recv(65536)
                if not said:
                    return
                if (end is called) is self.back:
                    self.passed += len(said)
                    if self.passed > self.left:
                        others[end].sendall(said[: len(said) - (self.passed - self.left)])
                        self.was_cut = True
                        return
                others[end].sendall(said)


@contextmanager
def link(port: int, octets: int, *, back: bool = False) -> Iterator[Link]:
    made = Link(port, octets, back=back)
    made.start()
    yield made
    made.ends.shutdown(socket.SHUT_RDWR)
    made.ends.close()
    made.join(30)


def cuts(most: int, *edges: int) -> list[int]:
    """Some offsets, the same ones each time, and those where something begins or ends."""
    chosen = random.Random(most)
    return sorted({*edges, *(chosen.randrange(most) for _ in range(OFFSETS))})


def in_use(archive: Archive) -> bool:
    ours = [t for t in threading.enumerate() if isinstance(t, AcceptedAssociation | UpperLayer)]
    return bool(archive.server.active_associations) or any(thread.is_alive() for thread in ours)


def open_ends() -> list[Any]:
    """Sockets of associations of our side that nobody has closed."""
    gc.collect()
    ends = [one for one in gc.get_objects() if isinstance(one, BufferedSocket | OutgoingSocket)]
    return [one for one in ends if one.socket is not None and one.socket.fileno() >= 0]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def open_files(folder: Path) -> list[str]:
    found = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            target = str(one.readlink())
        except FileNotFoundError:
            continue
        if target.startswith(str(folder)):
            found.append(target)
    return found


def a_study() -> tuple[list[Dataset], Dataset, dict[str, bytes]]:
    """Instances of one study, the keys that ask for them, and what is to come."""
    study = a_series(4, rows=32, columns=32)
    keys = identifier(StudyInstanceUID=study[0].StudyInstanceUID)
    return study, keys, {str(ds.SOPInstanceUID): data_set_of(part10(ds)) for ds in study}


@LEAVES_SOCKETS
@pytest.mark.standard("PS3.4 C.4.3")
@pytest.mark.parametrize("back", [True, False])
async def test_a_link_that_is_cut_in_a_c_get(archive: Archive, back: bool) -> None:
    study, keys, whole = a_study()
    await hold(archive.bridge, *study)

    def ask(through: Link) -> Outcome | None:
        try:
            return get(dataclasses.replace(archive, port=through.port), keys)
        except (AssertionError, RuntimeError):  # there was no association, or it ended
            return None

    for octets in cuts(14_000 if back else 1500, 0, 200, 400):
        with link(archive.port, octets, back=back) as through:
            outcome = await archive.call(ask, through)
        if outcome is not None:
            assert outcome.received.items() <= whole.items()
            is_whole = getattr(outcome.final, "Status", None) == SUCCESS
            assert not is_whole or outcome.received == whole, octets
    await until(lambda: not in_use(archive) and not open_ends())
    again = await archive.call(get, archive, keys)

    assert again.final.Status == SUCCESS
    assert again.received == whole
    assert open_files(archive.bridge.blobs.folder) == []


@LEAVES_SOCKETS
@pytest.mark.standard("PS3.4 C.4.2")
@pytest.mark.parametrize("back", [True, False])
async def test_a_link_that_is_cut_in_a_c_move(
    archive: Archive, receiver: Receiver, back: bool
) -> None:
    study, keys, whole = a_study()
    await hold(archive.bridge, *study)
    database = archive.bridge.database

    for octets in cuts(1200 if back else 14_000, 0, 200, 400):
        receiver.received.clear()
        with link(receiver.port, octets, back=back) as through:
            await peers.add(database, Peer("DEST", "127.0.0.1", through.port, "lead"))
            final = await archive.call(move, archive, keys)
        assert receiver.received.items() <= whole.items()
        done = int(final.get("NumberOfCompletedSuboperations") or 0)
        assert done <= len(receiver.received), octets
        assert final.Status != SUCCESS or receiver.received == whole, octets
        assert through.was_cut or final.Status == SUCCESS
    await until(lambda: not in_use(archive) and not open_ends())
    receiver.received.clear()
    await peers.add(database, Peer("DEST", "127.0.0.1", receiver.port, "lead"))
    final = await archive.call(move, archive, keys)

    assert final.Status == SUCCESS
    assert receiver.received == whole
    assert open_files(archive.bridge.blobs.folder) == []


def spooled(service: Service) -> list[Path]:
    return list(service.bridge.blobs.left())


async def sent(service: Service, through: Link, method: str, path: str, **more: Any) -> Any:
    """The answer to a request on a link; None if there was none, or less than was said."""
    headers = {"Authorization": f"Bearer {service.token()}", **more.pop("headers", {})}
    async with httpx.AsyncClient(timeout=30) as client:
        try:
            place = f"http://127.0.0.1:{through.port}/dicom-web{path}"
            return await client.request(method, place, headers=headers, **more)
        except httpx.HTTPError:
            return None


@pytest.mark.standard("PS3.18 10.5")
@pytest.mark.parametrize("back", [True, False])
async def test_a_link_that_is_cut_while_storing(service: Service, back: bool) -> None:
    port = int(service.address.rpartition(":")[2])
    study, _, _ = a_study()
    content = body(*study)
    stored: set[str] = set()

    for octets in cuts(1500 if back else len(content) + 500, 0, 300, len(content)):
        with link(port, octets, back=back) as through:
            answer = await sent(service, through, "POST", "/studies", content=content, headers=STOW)
        if answer is not None and answer.status_code == 200:
            listed = answer.json()["00081199"]["Value"]
            stored |= {one["00081155"]["Value"][0] for one in listed}
            assert stored == {str(ds.SOPInstanceUID) for ds in study}
    await until(lambda: not spooled(service) and not open_files(service.bridge.blobs.folder))
    await service.bridge.quiet.drained()

    assert len(stored) <= await held(service) <= len(study)
    again = await service.client().post("/studies", content=content, headers=STOW)
    assert again.status_code == 200
    assert await held(service) == len(study)


@pytest.mark.standard("PS3.18 10.4")
@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="application/dicom"',
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.80',
        "application/dicom+json",
    ],
)
async def test_a_link_that_is_cut_while_retrieving(service: Service, accept: str) -> None:
    port = int(service.address.rpartition(":")[2])
    study, _, _ = a_study()
    await service.hold(*study)
    path = f"/studies/{study[0].StudyInstanceUID}" + ("/metadata" if "json" in accept else "")
    asked = {"Accept": accept}
    whole = await service.client().get(path, headers=asked)
    length = len(whole.content)

    for octets in cuts(length + 600, 0, 100, length):
        with link(port, octets, back=True) as through:
            answer = await sent(service, through, "GET", path, headers=asked)
        assert answer is None or len(answer.content) >= length - 100, "half a study looks whole"
    await until(lambda: not spooled(service) and not open_files(service.bridge.blobs.folder))

    assert len((await service.client().get(path, headers=asked)).content) >= length - 100
