"""Hostile objects and broken links: refused, or answered, and nothing of them stays behind."""

import asyncio
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.dicomweb.conftest import STOW, Service, body
from tests.dicom_bridge.dicomweb.test_stow import held
from tests.dicom_bridge.dicomweb.test_wado import parts

pytestmark = pytest.mark.anyio

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"


def path_of(ds: Dataset) -> str:
    return (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


def packed(syntax: str, frame: bytes, **attributes: Any) -> Dataset:
    ds = an_instance(rows=64, columns=64)
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def native(**attributes: Any) -> Dataset:
    ds = an_instance(rows=64, columns=64)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


HUGE_J2K = (
    b"\xff\x4f\xff\x51" + struct.pack(">HHIIIIIIII", 41, 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0)
    + bytes.fromhex("0001070101") + b"\xff\x52" + bytes(12)
)  # fmt: skip


def hostile() -> dict[str, Dataset]:
    return {
        "JPEG 2000 larger than it says": packed(JPEG_2000, HUGE_J2K),
        "noise as JPEG-LS": packed(JPEG_LS, b"\xff\xd8\xff\xf7" + b"\x01" * 900),
        "RLE of no segments": packed(RLE, bytes(64)),
        "RLE that points behind its end": packed(
            RLE, struct.pack("<16I", 2, 64, 1 << 31, *[0] * 13)
        ),
        "more pixels than memory": packed(RLE, bytes(64), Rows=65535, Columns=65535),
        "no frames": packed(RLE, bytes(64), NumberOfFrames=0),
        "fewer frames than none": packed(RLE, bytes(64), NumberOfFrames=-5),
        "ten million frames": native(NumberOfFrames=10_000_000),
        "more frames than an integer holds": packed(RLE, bytes(64), NumberOfFrames=2**31 - 1),
        "no rows": native(Rows=0),
        "no bits": native(BitsAllocated=0, BitsStored=0),
        "more bits stored than allocated": native(BitsStored=60),
        "a thousand samples a pixel": native(SamplesPerPixel=1000),
        "pixels that are shorter than the image": native(Rows=65),
        "a photometric interpretation that is none": packed(
            JPEG_LS, b"\xff\xd8", PhotometricInterpretation="NO_SUCH_COLOUR"
        ),
    }  # fmt: skip


@pytest.mark.standard("threats T11")
async def test_hostile_pixels_are_kept_refused_and_harm_nobody(service: Service) -> None:
    objects, good = hostile(), an_instance(rows=40, columns=40)
    await service.hold(good, *objects.values())
    client = service.client()
    whole = {"Accept": f"application/dicom; transfer-syntax={JPEG_2000}"}
    frame = {"Accept": f"image/jls; transfer-syntax={JPEG_LS}"}

    for name, ds in objects.items():
        answers = [
            await client.get(path_of(ds), headers={**whole}),
            await client.get(f"{path_of(ds)}/frames/1", headers=frame),
            await client.get(f"{path_of(ds)}/rendered"),
        ]
        kept = await client.get(path_of(ds), headers={"Accept": "application/dicom"})
        statuses = [answer.status_code for answer in answers]
        assert all(status in {200, 404, 406} for status in statuses), (name, statuses)
        assert statuses[0] in {404, 406} or ds.file_meta.TransferSyntaxUID == JPEG_2000, name
        assert kept.status_code == 200, name

    assert (await client.get(path_of(good), headers=whole)).status_code == 200
    assert spool(service) == []


@pytest.mark.standard("threats T11")
async def test_pixels_that_look_like_boundaries_come_and_leave_unharmed(service: Service) -> None:
    ds = an_instance(rows=8, columns=8)
    ds.PixelData = (b"\r\n--b-\r\n--b-0--\r\nContent-Type: text/plain\r\n\r\n--\r\n" * 9)[:128]
    client = service.client()

    stored = await client.post("/studies", content=body(ds), headers=STOW)
    answer = await client.get(f"{path_of(ds)}/frames/1")

    assert stored.status_code == 200
    ((_, pixels),) = parts(answer)
    assert pixels == ds.PixelData


def spool(service: Service) -> list[Path]:
    return list(service.bridge.blobs.left())


async def until(condition: Any) -> None:
    """Wait for something that comes about by itself."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def opened(
    service: Service, head: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = int(service.address.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    await writer.drain()
    return reader, writer


@pytest.mark.standard("threats T11")
async def test_a_link_that_is_cut_anywhere_while_storing_leaves_whole_instances_or_none(
    service: Service,
) -> None:
    instances = [an_instance(rows=32, columns=32) for _ in range(3)]
    whole = body(*instances)
    head = (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Length: {len(whole)}\r\n"
        f"Content-Type: {STOW['Content-Type']}\r\nAuthorization: Bearer {service.token()}\r\n\r\n"
    ).encode()

    for cut in (0, 1, 40, 200, len(whole) // 3, len(whole) // 2, len(whole) - 40, len(whole) - 3):
        _, writer = await opened(service, head + whole[:cut])
        writer.transport.abort()
    await until(lambda: not spool(service))

    client = service.client()
    for ds in instances:
        answer = await client.get(path_of(ds), headers={"Accept": "application/dicom"})
        assert answer.status_code in {200, 404}
        if answer.status_code == 200:
            assert ds.PixelData in answer.content
    assert await held(service) <= 3
    assert (await client.post("/studies", content=whole, headers=STOW)).status_code == 200
    assert await held(service) == 3


@pytest.mark.standard("threats T11")
async def test_a_link_that_is_cut_while_retrieving_leaves_no_file_open(service: Service) -> None:
    ds = an_instance(rows=512, columns=512)
    ds.PixelData = os.urandom(len(ds.PixelData))
    await service.hold(ds)
    asked = {
        "as stored": "application/dicom",
        "transcoded": f"application/dicom; transfer-syntax={JPEG_LS}",
        "in parts": f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_LS}',
    }
    assert (await service.client().get(path_of(ds))).status_code == 200
    for accept in asked.values():
        await service.client().get(path_of(ds), headers={"Accept": accept})
    blobs = str(service.bridge.blobs.folder)

    def open_files() -> list[str]:
        found = []
        for one in Path("/proc/self/fd").iterdir():
            try:
                target = str(one.readlink())
            except FileNotFoundError:
                continue
            if target.startswith(blobs):
                found.append(target)
        return found

    for accept in asked.values():
        head = (
            f"GET /dicom-web{path_of(ds)} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n"
            f"Authorization: Bearer {service.token()}\r\n\r\n"
        ).encode()
        for length in (0, 1, 100, 5000):
            reader, writer = await opened(service, head)
            if length:
                await reader.read(length)
            writer.transport.abort()

    await until(lambda: not open_files() and not spool(service))
    assert (await service.client().get(path_of(ds))).status_code == 200


@pytest.mark.standard("threats T11")
@pytest.mark.parametrize(
    "query", ["limit=-1", "offset=-1", "limit=1e3", "limit=99999999999", "offset=2147483648"]
)
async def test_a_limit_that_is_no_number_of_results_is_refused(
    service: Service, query: str
) -> None:
    assert (await service.client().get(f"/studies?{query}")).status_code == 400
