"""Blobs in an object store: what it has is what counts, and nothing is served that it changed."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest
from obstore.store import from_url

from dicom_bridge.bucket import AWAY, Bucket
from dicom_bridge.remote import RemoteBlobs
from resources.errors import Exhausted, NotFound
from tests.dicom_bridge.build import an_instance, data_set_of, part10
from tests.dicom_bridge.seaweed import BUCKET, Seaweed
from tests.dicom_bridge.test_blobs import permit, spooled

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

IMAGING_STUDY = permit("ImagingStudy")


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    made = Seaweed(tmp_path_factory.mktemp("seaweed"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def url(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of its own for each test."""
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def blobs(url: str, tmp_path: Path) -> RemoteBlobs:
    return RemoteBlobs(tmp_path / "blobs", Bucket(url), 10**9)


@pytest.fixture
def elsewhere(url: str, tmp_path: Path) -> RemoteBlobs:
    """The same bucket, seen from another machine."""
    return RemoteBlobs(tmp_path / "elsewhere", Bucket(url), 10**9)


def names(url: str) -> list[str]:
    return sorted(found["path"] for page in obstore.list(from_url(url)) for found in page)


def files(blobs: RemoteBlobs) -> list[Path]:
    return [path for path in blobs.folder.rglob("*") if path.is_file()]


def change_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


async def test_what_one_machine_kept_another_reads_byte_for_byte(
    blobs: RemoteBlobs, elsewhere: RemoteBlobs, url: str
) -> None:
    file = part10(an_instance())

    key = await asyncio.to_thread(blobs.put, spooled(blobs, file))

    assert names(url) == [f"{key[:2]}/{key}"]
    assert (await elsewhere.path(key, IMAGING_STUDY)).read_bytes() == file
    assert await elsewhere.holds(key)
    assert [path.name for path in files(elsewhere)] == [key], "nothing is left in the spool"


async def test_a_blob_that_many_ask_for_is_brought_once(
    blobs: RemoteBlobs, elsewhere: RemoteBlobs
) -> None:
    file = part10(an_instance())
    key = blobs.put(spooled(blobs, file))

    found = await elsewhere.paths([(key, len(file))] * 50, IMAGING_STUDY)

    assert len(set(found)) == 1
    assert next(elsewhere._names) == 1


async def test_a_blob_that_the_bucket_does_not_have_is_not_here(blobs: RemoteBlobs) -> None:
    with pytest.raises(NotFound):
        await blobs.own("0" * 64)
    assert not await blobs.holds("0" * 64)


async def test_what_the_bucket_changed_is_not_served(
    blobs: RemoteBlobs, elsewhere: RemoteBlobs, url: str, tmp_path: Path
) -> None:
    file = part10(an_instance())
    key = blobs.put(spooled(blobs, file))
    changed = bytearray(file)
    changed[-3] ^= 8
    obstore.put(from_url(url), f"{key[:2]}/{key}", bytes(changed))

    with pytest.raises(NotFound):
        await elsewhere.own(key)

    assert files(elsewhere) == []


async def test_a_copy_at_hand_that_has_changed_is_fetched_again_after_a_scrub(
    blobs: RemoteBlobs,
) -> None:
    file = part10(an_instance())
    spool = spooled(blobs, file)
    key, meta = blobs.put(spool), spool.require_whole()
    change_a_bit(await blobs.own(key))

    assert blobs.is_sound(key, meta.offset, meta.transfer_syntax)

    assert (await blobs.own(key)).read_bytes() == file


async def test_a_damaged_object_is_mended_from_what_is_at_hand_and_else_set_aside(
    blobs: RemoteBlobs, elsewhere: RemoteBlobs, url: str
) -> None:
    file = part10(an_instance())
    spool = spooled(blobs, file)
    key, meta = blobs.put(spool), spool.require_whole()
    name = f"{key[:2]}/{key}"

    obstore.put(from_url(url), name, file[:-2] + b"xx")
    assert not elsewhere.is_sound(key, meta.offset, meta.transfer_syntax)
    elsewhere.set_aside(key, meta.offset, meta.transfer_syntax)
    assert names(url) == [f"damaged/{key}"]
    with pytest.raises(NotFound):
        await elsewhere.own(key)

    obstore.put(from_url(url), name, file[:-2] + b"xx")
    blobs.set_aside(key, meta.offset, meta.transfer_syntax)
    assert (await elsewhere.own(key)).read_bytes() == file


async def test_an_orphan_is_moved_aside_still_served_and_removed_a_grace_later(
    blobs: RemoteBlobs, elsewhere: RemoteBlobs, url: str
) -> None:
    key = blobs.put(spooled(blobs, part10(an_instance())))

    assert list(blobs.keys(3600)) == []
    assert blobs.sweep(iter([key]), 3600) == 0, "it is young"
    assert list(blobs.keys(-60)) == [key]
    assert blobs.sweep(iter([key]), -60) == 0
    assert names(url) == [f"swept/{key}"]
    assert await elsewhere.own(key), "somebody may have come to need it"

    assert blobs.sweep(iter(blobs.keys(-60)), -60) == 1
    assert names(url) == []


async def test_bytes_that_come_again_while_they_are_swept_are_kept(
    blobs: RemoteBlobs, url: str
) -> None:
    file = part10(an_instance())
    key = blobs.put(spooled(blobs, file))
    blobs.sweep(iter([key]), -60)

    blobs.put(spooled(blobs, file))
    blobs.sweep(iter([key]), 3600)

    assert f"{key[:2]}/{key}" in names(url)


async def test_the_same_data_set_with_other_meta_information_replaces_nothing(
    blobs: RemoteBlobs, elsewhere: RemoteBlobs
) -> None:
    """A row says where in the object the data set begins, and for good."""
    ds = an_instance()
    file = part10(ds)
    key = blobs.put(spooled(blobs, file))
    ds.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"

    assert elsewhere.put(spooled(elsewhere, part10(ds))) == key

    blobs._place(key).unlink()
    assert (await blobs.path(key, IMAGING_STUDY)).read_bytes() == file
    assert (await elsewhere.path(key, IMAGING_STUDY)).read_bytes() == file


async def test_two_files_of_one_data_set_that_come_in_the_same_instant_are_told_of_one_place(
    blobs: RemoteBlobs, elsewhere: RemoteBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = an_instance()
    files = [part10(ds)]
    ds.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    files.append(part10(ds))
    both = threading.Barrier(2)

    def put(of: RemoteBlobs, file: bytes) -> tuple[str, int]:
        bring = of._bring
        monkeypatch.setattr(of, "_bring", lambda *asked: (both.wait(30), bring(*asked))[1])
        spool = spooled(of, file)
        key = of.put(spool)
        meta = spool.kept or spool.require_whole()
        return key, meta.offset

    with ThreadPoolExecutor(2) as pool:
        told = set(pool.map(put, (blobs, elsewhere), files))

    ((key, offset),) = told
    for one in (blobs, elsewhere):
        one._place(key).unlink(missing_ok=True)
        assert (await one.own(key)).read_bytes()[offset:] == data_set_of(files[0])


async def test_a_damaged_object_gives_way_to_one_that_is_whole(
    blobs: RemoteBlobs, elsewhere: RemoteBlobs, url: str
) -> None:
    file = part10(an_instance())
    key = blobs.put(spooled(blobs, file))
    obstore.put(from_url(url), f"{key[:2]}/{key}", file[:-30])

    assert elsewhere.put(spooled(elsewhere, file)) == key

    blobs._place(key).unlink()
    assert (await blobs.own(key, len(file))).read_bytes() == file


async def test_what_is_at_hand_is_brought_again_where_the_row_speaks_of_another_file(
    blobs: RemoteBlobs, elsewhere: RemoteBlobs, url: str
) -> None:
    """The object was damaged and came again from another sender, by way of another machine."""
    ds = an_instance()
    key = blobs.put(spooled(blobs, part10(ds)))
    obstore.delete(from_url(url), f"{key[:2]}/{key}")
    ds.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    other = part10(ds)
    elsewhere.put(spooled(elsewhere, other))

    assert (await blobs.own(key, len(other))).read_bytes() == other


async def test_what_was_not_read_for_long_makes_room(url: str, tmp_path: Path) -> None:
    blobs = RemoteBlobs(tmp_path / "small", Bucket(url), 0)
    old, young = (blobs.put(spooled(blobs, part10(an_instance()))) for _ in range(2))
    long_ago = time.time() - 2 * 3600
    os.utime(blobs.folder / old[:2] / old, (long_ago, long_ago))

    blobs.sweep(iter(()))

    assert [path.name for path in files(blobs)] == [young]
    assert await blobs.own(old), "it is brought again"


async def test_a_store_that_is_away_says_so_and_keeps_nothing(
    blobs: RemoteBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    away = RemoteBlobs(tmp_path / "away", Bucket(f"s3://{BUCKET}/away"), 0)

    with pytest.raises(Exhausted, match=AWAY):
        away.put(spooled(away, part10(an_instance())))
    with pytest.raises(Exhausted, match=AWAY):
        await away.own("0" * 64)

    assert files(away) == []


def test_the_test_data_is_what_it_says() -> None:
    file = part10(an_instance())
    assert file.endswith(data_set_of(file))
