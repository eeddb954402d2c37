"""Damaged instances are healed by sending them again, whichever way they come."""

from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset

from dicom_bridge import holdings, ingest, layouts, scrub
from dicom_bridge.frames import Even, Layout
from dicom_bridge.holdings import Held
from tests.dicom_bridge.build import an_instance, part10
from tests.dicom_bridge.conftest import CT1, take_in
from tests.dicom_bridge.dicomweb.conftest import Service

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R012.1")]

DICOM = {"Content-Type": "application/dicom"}
OCTETS = {"Accept": "application/octet-stream"}
DAMAGES: dict[str, Callable[[bytes, int], bytes | None]] = {
    "a flipped bit": lambda file, offset: (
        file[: offset + 20] + bytes([file[offset + 20] ^ 1]) + file[offset + 21 :]
    ),
    "cut off in its pixels": lambda file, offset: file[:-40],
    "cut off in its header": lambda file, offset: file[: offset + 60],
    "empty": lambda file, offset: b"",
    "gone": lambda file, offset: None,
}


def path_of(ds: Dataset) -> str:
    return (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


async def held(service: Service, ds: Dataset) -> Held:
    (one,) = await holdings.instances(
        service.bridge.database, ds.StudyInstanceUID, None, ds.SOPInstanceUID
    )
    return one


async def damaged(service: Service, ds: Dataset, damage: str) -> None:
    one = await held(service, ds)
    place = await service.bridge.blobs.own(one.blob)
    changed = DAMAGES[damage](place.read_bytes(), one.dataset_offset)
    if changed is None:
        place.unlink()
    else:
        place.write_bytes(changed)


@pytest.mark.standard("PS3.10 7.1")
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("is_found", [True, False], ids=["found by the scrub", "not found yet"])
async def test_a_good_copy_that_comes_another_way_heals_what_is_damaged(
    service: Service, damage: str, is_found: bool
) -> None:
    """It came by STOW-RS with longer file meta information, and comes again by C-STORE."""
    ds = an_instance(pixel=7)
    pixels = bytes(ds.PixelData)
    again = part10(ds)
    ds.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    client = service.client()
    stored = await client.post("/studies", content=part10(ds), headers=DICOM)
    assert stored.status_code == 200
    assert (await client.get(path_of(ds) + "/frames/1", headers=OCTETS)).content == pixels
    json = (await client.get(path_of(ds) + "/metadata")).json()
    await damaged(service, ds, damage)
    if is_found:
        one = await held(service, ds)
        assert not service.bridge.blobs.is_sound(one.blob, one.dataset_offset, one.transfer_syntax)
        service.bridge.blobs.set_aside(one.blob, one.dataset_offset, one.transfer_syntax)
        assert (await client.get(path_of(ds) + "/frames/1", headers=OCTETS)).status_code == 404

    del ds.file_meta.SourceApplicationEntityTitle
    received = await take_in(service.bridge, ds, CT1)

    assert received.already
    await ingest.settle(service.bridge, ds.StudyInstanceUID)
    one = await held(service, ds)
    assert one.length == len(again)
    assert service.bridge.blobs.is_sound(one.blob, one.dataset_offset, one.transfer_syntax)
    assert layouts.unpacked(one.layout, one.blob, one.length) is not None
    assert (await client.get(path_of(ds) + "/frames/1", headers=OCTETS)).content == pixels
    assert (await client.get(path_of(ds), headers={"Accept": "application/dicom"})).content == again
    assert (await client.get(path_of(ds) + "/metadata")).json() == json
    assert await service.bridge.database.run("SELECT 1 FROM unsettled") == []


async def test_what_was_made_of_damaged_bytes_is_made_again(service: Service) -> None:
    """The bit was flipped before the study was settled, and the same file comes again."""
    ds = an_instance(description="CT Head")
    one = (await take_in(service.bridge, ds)).instance
    place = await service.bridge.blobs.own(one.digest)
    place.write_bytes(place.read_bytes().replace(b"CT Head", b"CT Heat"))
    await ingest.settle(service.bridge, ds.StudyInstanceUID)

    await take_in(service.bridge, ds)

    await service.bridge.quiet.drained()
    (json,) = (await service.client().get(path_of(ds) + "/metadata")).json()
    assert json["00081030"]["Value"] == ["CT Head"]


async def test_what_is_whole_and_comes_again_changes_nothing(service: Service) -> None:
    ds = an_instance()
    await service.hold(ds)
    rows = "SELECT i.*, i.xmin::text FROM instance i"
    before = await service.bridge.database.run(rows)
    ds.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"

    received = await take_in(service.bridge, ds)

    assert (received.already, received.mended) == (True, False)
    assert await service.bridge.database.run(rows) == before


async def test_a_corrected_object_stays_and_what_it_was_made_of_is_healed(
    service: Service,
) -> None:
    """What came and what is given out of it are two blobs; a sender has the first."""
    ds = an_instance()
    await service.hold(ds)
    one = await held(service, ds)
    database = service.bridge.database
    await database.run(
        "INSERT INTO original (sop_uid, study_uid, patient_id, issuer, organization, blob,"
        " dataset_offset, size, header, corrected)"
        " SELECT sop_uid, study_uid, patient_id, issuer, organization, blob, dataset_offset, size,"
        " header, 0 FROM instance"
    )
    await database.run("UPDATE instance SET blob = $1", ("ab" * 32,))
    (await service.bridge.blobs.own(one.blob)).unlink()
    ds.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"

    assert (await take_in(service.bridge, ds)).already

    ((offset,),) = await database.run("SELECT dataset_offset FROM original")
    assert service.bridge.blobs.is_sound(one.blob, offset, one.transfer_syntax)
    assert (await held(service, ds)).dataset_offset == one.dataset_offset


async def test_a_damaged_conflict_is_healed_too(service: Service) -> None:
    ds = an_instance(pixel=1)
    await service.hold(ds)
    other = an_instance(
        pixel=2,
        study_uid=ds.StudyInstanceUID,
        series_uid=ds.SeriesInstanceUID,
        sop_uid=ds.SOPInstanceUID,
    )
    client = service.client()
    assert (await client.post("/studies", content=part10(other), headers=DICOM)).status_code == 409
    conflicts = "SELECT blob, dataset_offset, transfer_syntax FROM instance_conflict"
    ((blob, *_),) = await service.bridge.database.run(conflicts)
    (await service.bridge.blobs.own(blob)).unlink()
    other.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"

    assert (await client.post("/studies", content=part10(other), headers=DICOM)).status_code == 409

    ((blob, offset, syntax),) = await service.bridge.database.run(conflicts)
    assert service.bridge.blobs.is_sound(blob, offset, syntax)


async def test_a_scrub_does_not_take_what_was_healed_a_moment_ago_for_damaged(
    service: Service,
) -> None:
    """The file is there before its row says so."""
    ds = an_instance()
    await service.hold(ds)
    one = await held(service, ds)
    (await service.bridge.blobs.own(one.blob)).unlink()
    ds.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    spool = service.bridge.blobs.spool()
    spool.write(part10(ds))
    healed = ingest.keep(service.bridge.blobs, spool)

    minutes = range(24 * 60 + 1)
    assert sum([await scrub.scrub(service.bridge, minute, 1) for minute in minutes]) == 0

    assert await service.bridge.blobs.own(healed.digest)


@pytest.mark.standard("PS3.18 8.5")
@pytest.mark.parametrize("frame", ["frames/1", "frames/2", "frames/1,2"])
@pytest.mark.parametrize("at_hand", [1 << 20, 0], ids=["read before", "read as it is sent"])
async def test_a_layout_kept_of_pixels_that_are_cut_off_is_no_error_of_the_server(
    service: Service, frame: str, at_hand: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layouts were once kept as the length of the pixel data said, whatever of it was there."""
    monkeypatch.setattr("dicom_bridge.dicomweb.wado.AT_HAND", at_hand)
    ds = an_instance(rows=8, columns=8, frames=2)
    file = part10(ds)[:-100]
    client = service.client()
    assert (await client.post("/studies", content=file, headers=DICOM)).status_code == 200
    one = await held(service, ds)
    start = len(file) + 100 - len(ds.PixelData)
    kept = layouts.packed(Layout(Even(start, 128, 2), 2), one.blob)
    await service.bridge.database.run("UPDATE instance SET layout = $1", (kept,))

    answer = await client.get(f"{path_of(ds)}/{frame}")

    assert answer.status_code == 406
