"""Blobs: kept once, under their digest, and swept only when nobody needs them."""

import hashlib
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicom_bridge.blobs import Blobs
from dicom_bridge.spool import Spool
from fhir_server.access import gate
from fhir_server.access.gate import Permit
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from resources.errors import Exhausted, Forbidden, NotFound
from tests.dicom_bridge.build import an_instance, data_set_of, part10

pytestmark = pytest.mark.anyio


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def spooled(blobs: Blobs, file: bytes) -> Spool:
    spool = blobs.spool()
    spool.write(file)
    return spool


def permit(type_: str) -> Permit:
    context = RequestContext(Principal.system("test"), "read")
    return gate.permit(context, "r", type_, patient=None, organizations=(), related=False)


def files_of(blobs: Blobs) -> list[str]:
    return [path.name for path in blobs.folder.rglob("*") if path.is_file()]


async def test_a_blob_is_named_by_the_digest_of_its_data_set(blobs: Blobs) -> None:
    file = part10(an_instance())

    key = blobs.put(spooled(blobs, file))

    assert key == hashlib.sha256(data_set_of(file)).hexdigest()
    assert (await blobs.path(key, permit("ImagingStudy"))).read_bytes() == file
    assert (await blobs.own(key)).relative_to(blobs.folder).as_posix() == f"{key[:2]}/{key}"


def test_the_same_bytes_are_kept_once(blobs: Blobs) -> None:
    file = part10(an_instance())

    keys = {blobs.put(spooled(blobs, file)) for _ in range(3)}

    assert files_of(blobs) == list(keys)


async def test_pixels_need_the_permission_to_read_their_study(blobs: Blobs) -> None:
    key = blobs.put(spooled(blobs, part10(an_instance())))

    assert (await blobs.path(key, permit("ImagingStudy"))).exists()
    with pytest.raises(Forbidden):
        await blobs.path(key, permit("Patient"))


@pytest.mark.parametrize("key", ["../../etc/passwd", "", "A" * 64, "0" * 63])
async def test_a_name_that_is_no_digest_names_nothing(blobs: Blobs, key: str) -> None:
    with pytest.raises(NotFound):
        await blobs.path(key, permit("ImagingStudy"))


def test_a_full_disk_is_told_at_the_end(blobs: Blobs) -> None:
    spool = spooled(blobs, part10(an_instance()))
    spool.close()
    spool.write(b"more than there is room for")

    with pytest.raises(Exhausted):
        spool.require_whole()


def test_a_folder_that_is_gone_is_no_room(blobs: Blobs) -> None:
    shutil.rmtree(blobs.folder / "spool")

    spool = spooled(blobs, part10(an_instance()))

    with pytest.raises(Exhausted):
        spool.require_whole()


async def test_the_sweep_leaves_what_is_young(blobs: Blobs) -> None:
    old, young = (blobs.put(spooled(blobs, part10(an_instance()))) for _ in range(2))
    abandoned = spooled(blobs, part10(an_instance()))
    for path in (await blobs.own(old), abandoned.path):
        os.utime(path, (time.time() - 7200,) * 2)

    removed = blobs.sweep(iter([old, young]))

    assert removed == 2
    assert files_of(blobs) == [young]
    abandoned.close()


async def test_bytes_that_came_again_are_young(blobs: Blobs) -> None:
    file = part10(an_instance())
    key = blobs.put(spooled(blobs, file))
    os.utime(await blobs.own(key), (time.time() - 7200,) * 2)

    blobs.put(spooled(blobs, file))

    assert blobs.sweep(iter([key])) == 0
    assert blobs.exists(key)


@pytest.mark.standard("PS3.10 7.1")
def test_two_files_of_one_data_set_that_come_in_the_same_instant_are_told_of_one_place(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is later is told where the data set begins in the file that was there first."""
    ds = an_instance()
    longer = an_instance(sop_uid=ds.SOPInstanceUID, study_uid=ds.StudyInstanceUID)
    longer.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    files = [part10(ds), part10(longer)]
    assert data_set_of(files[0]) == data_set_of(files[1])
    both = threading.Barrier(2)
    move_in = blobs._move_in
    monkeypatch.setattr(blobs, "_move_in", lambda *asked: (both.wait(30), move_in(*asked))[1])

    def put(file: bytes) -> tuple[str, int]:
        spool = spooled(blobs, file)
        key = blobs.put(spool)
        meta = spool.kept or spool.require_whole()
        return key, meta.offset

    with ThreadPoolExecutor(2) as pool:
        told = set(pool.map(put, files))

    ((key, offset),) = told
    assert (blobs.folder / key[:2] / key).read_bytes()[offset:] == data_set_of(files[0])
    assert files_of(blobs) == [key]


@pytest.mark.requirement("R012.1")
@pytest.mark.parametrize("damage", [slice(0, -3), slice(0, 100), slice(0, 0)])
async def test_a_damaged_blob_gives_way_to_one_that_is_whole(blobs: Blobs, damage: slice) -> None:
    file = part10(an_instance())
    key = blobs.put(spooled(blobs, file))
    place = await blobs.own(key)
    place.write_bytes(file[damage])

    spool = spooled(blobs, file)
    assert blobs.put(spool) == key

    assert spool.kept is None
    assert place.read_bytes() == file
    assert (blobs.folder / "damaged" / key).read_bytes() == file[damage]


async def test_what_was_brought_again_is_not_set_aside_where_its_row_does_not_say_so_yet(
    blobs: Blobs,
) -> None:
    spool = spooled(blobs, part10(an_instance()))
    meta = spool.require_whole()
    key = blobs.put(spool)

    blobs.set_aside(key, meta.offset - 20, meta.transfer_syntax)
    assert blobs.exists(key)

    os.utime(await blobs.own(key), (time.time() - 7200,) * 2)
    blobs.set_aside(key, meta.offset, meta.transfer_syntax)
    assert blobs.exists(key)
    blobs.set_aside(key, meta.offset - 20, meta.transfer_syntax)
    assert not blobs.exists(key)


async def test_a_file_of_another_length_than_its_row_says_is_not_what_it_speaks_of(
    blobs: Blobs,
) -> None:
    file = part10(an_instance())
    key = blobs.put(spooled(blobs, file))

    assert await blobs.path(key, permit("ImagingStudy"), len(file))
    with pytest.raises(NotFound):
        await blobs.path(key, permit("ImagingStudy"), len(file) - 2)


async def test_a_changed_blob_is_not_sound(blobs: Blobs) -> None:
    spool = spooled(blobs, part10(an_instance()))
    meta = spool.require_whole()
    key = blobs.put(spool)
    assert blobs.is_sound(key, meta.offset, meta.transfer_syntax)

    with (await blobs.own(key)).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")

    assert not blobs.is_sound(key, meta.offset, meta.transfer_syntax)
    blobs.set_aside(key, meta.offset, meta.transfer_syntax)
    with pytest.raises(NotFound):
        await blobs.own(key)


@pytest.mark.requirement("R014.1")
async def test_a_file_that_was_not_yet_in_its_place_when_power_failed_is_recovered(
    blobs: Blobs,
) -> None:
    file = part10(an_instance())
    lost, half = spooled(blobs, file), spooled(blobs, file)
    for spool in (lost, half):
        spool.close()
    os.truncate(half.path, 200)
    for spool in (lost, half):
        os.utime(spool.path, (1, 1))

    again = Blobs(blobs.folder)

    key = hashlib.sha256(data_set_of(file)).hexdigest()
    assert (await again.own(key)).read_bytes() == file
    assert not lost.path.exists()
    assert again.sweep(iter(())) == 1, "what was never complete is swept"


def test_a_file_of_a_living_process_is_left_alone(blobs: Blobs) -> None:
    spool = spooled(blobs, part10(an_instance()))

    Blobs(blobs.folder)

    assert spool.path.exists()
    spool.discard()
