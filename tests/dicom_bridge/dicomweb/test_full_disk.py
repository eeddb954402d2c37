"""A disk that takes no more: what comes is refused whole, what is there is read, and it passes."""

import contextlib
import json
import resource
from collections.abc import Iterator

import pytest

from tests.dicom_bridge.build import an_instance, part10
from tests.dicom_bridge.dicomweb.conftest import STOW, Service, body
from tests.dicom_bridge.dicomweb.test_hostile import path_of, spool
from tests.dicom_bridge.dicomweb.test_hostile_objects import described
from tests.dicom_bridge.dicomweb.test_stow import held

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats F4")]

ROOM = 64 << 10
PIECES = {**STOW, "Content-Type": 'multipart/related; type="application/dicom+json"; boundary=b'}


@contextlib.contextmanager
def no_room(octets: int = ROOM) -> Iterator[None]:
    """No file of this process grows beyond so many octets; the system says EFBIG, not ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def in_pieces(octets: int) -> bytes:
    """A DICOM JSON instance with so many octets of pixels beside it."""
    pixels = {"_7FE00010": {"vr": "OW", "BulkDataURI": "u"}}
    metadata = json.dumps([described(**pixels)]).encode()
    return (
        b"--b\r\nContent-Type: application/dicom+json\r\n\r\n" + metadata + b"\r\n--b\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Location: u\r\n\r\n"
        + bytes(octets) + b"\r\n--b--"
    )  # fmt: skip


@pytest.mark.standard("PS3.18 10.5.3")
async def test_what_a_full_disk_does_not_take_is_refused_whole(service: Service) -> None:
    client = service.client()
    small, large = an_instance(rows=8, columns=8), an_instance(rows=400, columns=400)
    assert (await client.post("/studies", content=body(small), headers=STOW)).status_code == 200
    single = {**STOW, "Content-Type": "application/dicom"}
    asked = {
        "parts": (body(large), STOW),
        "one": (part10(large), single),
        "pieces": (in_pieces(ROOM * 3), PIECES),
        "pieces that fit and make an instance that does not": (in_pieces(ROOM - 100), PIECES),
    }
    with no_room():
        for name, (content, headers) in asked.items():
            answer = await client.post("/studies", content=content, headers=headers)
            assert answer.status_code in {409, 503, 507}, (name, answer.status_code)
            if answer.status_code == 409:
                (failed,) = answer.json()["00081198"]["Value"]
                assert failed["00081197"]["Value"] == [0xA700], name
            assert spool(service) == [], name
        again = await client.get(path_of(small), headers={"Accept": "application/dicom"})
        assert again.status_code == 200
        assert (await client.get(f"{path_of(small)}/metadata")).status_code == 200
        assert (await client.get(f"{path_of(small)}/rendered")).status_code == 200

    assert await held(service) == 1
    for content, headers in asked.values():
        if content is not asked["parts"][0]:
            answer = await client.post("/studies", content=content, headers=headers)
            assert answer.status_code == 200
    assert await held(service) == 4
