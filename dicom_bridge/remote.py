"""Remote: blobs in an object store (S3), and in the folder what of them is at hand.

Everything reads files: a frame is a range of one, a retrieval sends one. So the folder is a cache
of whole blobs, brought there when somebody asks and forgotten when nobody has for long; a viewer's
second frame is then as fast as on a local disk. What counts is in the bucket: `put` returns when
it has the object, and what comes back from it is held against its digest before it is served.

An object that no row speaks of is moved aside, where it is still found, and removed a grace later:
a sender that brings the same bytes at that moment loses nothing.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from dicom_bridge import part10
from dicom_bridge.blobs import DAMAGED, GONE, GRACE_SECONDS, KEY, Blobs
from dicom_bridge.bucket import AWAY, Bucket
from dicom_bridge.spool import FileMeta, Spool
from fhir_server.access.gate import Permit
from resources.errors import Exhausted, NotFound

SWEPT: Final = "swept"
"""Prefix of what no row speaks of; read like the rest until it is removed."""
AT_A_TIME: Final = 8
"""Objects brought at the same moment by one process."""


class RemoteBlobs(Blobs):
    """Blobs of a bucket.

    Parameters
    ----------
    folder
        Where what is at hand is kept; a folder of this machine.
    room_bytes
        How much stays at hand. What was read within the last hour does, whatever its size.
    """

    def __init__(self, folder: Path, bucket: Bucket, room_bytes: int) -> None:
        self._bucket = bucket
        self._room_bytes = room_bytes
        self._pool = ThreadPoolExecutor(AT_A_TIME, "blobs")
        self._under_way: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        super().__init__(folder)

    def put(self, spool: Spool) -> str:
        """Keep what was spooled in the bucket, and at hand; see `Blobs.put`."""
        key = spool.digest
        try:
            spool.kept = self._kept(key)
            if spool.kept is None:
                os.fsync(spool.fileno())
                spool.kept = self._bring(spool.path, key)
            if spool.kept is None:
                spool.path.replace(self._room(key))
                spool.close()
        except OSError as error:
            raise Exhausted(AWAY) from error
        finally:
            spool.discard()
        return key

    async def paths(self, keys: Sequence[tuple[str, int]], permit: Permit) -> list[Path]:
        """Where blobs are, once all are at hand."""
        asked = [self.path(key, permit, length) for key, length in keys]
        return list(await asyncio.gather(*asked))

    async def own(self, key: str, length: int | None = None) -> Path:
        """Where a blob is, once it is at hand: what is at hand may be older than the row."""
        if not self.is_at_hand(key, length):
            await self._fetched(key)
        return await super().own(key, length)

    async def _fetched(self, key: str) -> None:
        with self._lock:
            under_way = self._under_way.get(key)
            if under_way is None:
                under_way = self._under_way[key] = self._pool.submit(self._fetch, key)
        await asyncio.shield(asyncio.wrap_future(under_way))

    async def holds(self, key: str) -> bool:
        """Whether the bucket has the blob."""
        return await asyncio.wrap_future(self._pool.submit(self.exists, key))

    def exists(self, key: str) -> bool:
        """Whether the bucket has the blob; asks it, and waits."""
        return any(self._bucket.modified(name) is not None for name in _names(key))

    def keys(self, older_than_seconds: float = 0.0) -> Iterator[str]:
        """Every blob that nobody brought for so long."""
        before = time.time() - older_than_seconds
        for name, modified in self._bucket.listed():
            key = name.rpartition("/")[2]
            if KEY.fullmatch(key) and name in _names(key) and modified <= before:
                yield key

    def sweep(self, orphans: Iterator[str], grace_seconds: float = GRACE_SECONDS) -> int:
        """Move blobs aside that have no row, remove those moved before; how many are gone.

        What was not read for long is forgotten from the folder besides.
        """
        before = time.time() - grace_seconds
        removed = 0
        for key in dict.fromkeys(orphans):
            name, aside = _names(key)
            with contextlib.suppress(FileNotFoundError):
                if (self._bucket.modified(aside) or before + 1) <= before:
                    self._bucket.delete(aside)
                    removed += 1
                if (self._bucket.modified(name) or before + 1) <= before:
                    self._bucket.rename(name, aside)
                    self._place(key).unlink(missing_ok=True)
        self._make_room()
        return removed + self._sweep_spool(before)

    def set_aside(self, key: str, offset: int, transfer_syntax: str) -> None:
        """Serve a damaged object no more, unless what is at hand is whole and takes its place."""
        held = self._place(key)
        is_whole = part10.is_sound(held, key, offset, transfer_syntax)
        young = (self._bucket.modified(_name(key)) or 0) > time.time() - GRACE_SECONDS
        if young and (kept := self._brought(key)) and kept.transfer_syntax == transfer_syntax:
            return  # it was brought again meanwhile
        for name in _names(key):
            with contextlib.suppress(FileNotFoundError):
                self._bucket.rename(name, f"{DAMAGED}/{key}")
        if is_whole:
            self._bucket.create(_name(key), held)
        else:
            held.unlink(missing_ok=True)

    def is_sound(self, key: str, offset: int, transfer_syntax: str) -> bool:
        """Whether the object in the bucket is still what it was.

        What is at hand of it is looked at too, and forgotten if it is not.
        """
        brought, held = self._spooled_name(key), self._place(key)
        if held.exists() and not part10.is_sound(held, key, offset, transfer_syntax):
            held.unlink(missing_ok=True)
        try:
            self._bucket.download(_names(key), brought)
            return part10.is_sound(brought, key, offset, transfer_syntax)
        except FileNotFoundError:
            return False
        finally:
            brought.unlink(missing_ok=True)

    def recover(self, before: float) -> int:
        """Nothing was promised for what is still spooled: the bucket did not have it."""
        return 0

    def _kept(self, key: str) -> FileMeta | None:
        """What the object says that the bucket has, which is then young; None if it is not whole.

        It is at hand afterwards; what is at hand and as long is not brought again.
        """
        length, place = self._bucket.length(_name(key)), self._place(key)
        if length is None:
            return None
        kept = part10.whole(place, key) if self.is_at_hand(key, length) else None
        kept = kept or self._brought(key)
        if kept is not None:
            self._bucket.put(_name(key), place)
        return kept

    def _bring(self, file: Path, key: str) -> FileMeta | None:
        """Give the bucket an object; if it has got a whole one meanwhile, say what that one is."""
        if self._bucket.create(_name(key), file):
            return None
        kept = self._kept(key)
        if kept is None:
            self._bucket.put(_name(key), file)  # in the place of one that is damaged
        return kept

    def _brought(self, key: str) -> FileMeta | None:
        """Bring an object to its place, and say what it says; None if none is there and whole."""
        brought = self._spooled_name(key)
        try:
            self._bucket.download(_names(key), brought)
            kept = part10.whole(brought, key)
            if kept is not None:
                brought.replace(self._room(key))
            return kept
        except FileNotFoundError:
            return None
        finally:
            brought.unlink(missing_ok=True)

    def _fetch(self, key: str) -> None:
        """Bring a blob, for all who wait for it."""
        try:
            if self._brought(key) is None:
                raise NotFound(GONE)
        except OSError as error:
            raise Exhausted(AWAY) from error
        finally:
            with self._lock:
                del self._under_way[key]

    def _spooled_name(self, key: str) -> Path:
        return self._spool / f"{os.getpid()}-{next(self._names)}-{key}"

    def _room(self, key: str) -> Path:
        """The place of a blob, whose folder is made if this is its first."""
        place = self._place(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _make_room(self) -> None:
        """Forget what was longest not read, until the rest has room."""
        held = []
        for place in self.folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                status = place.stat()
                held.append((max(status.st_atime, status.st_mtime), status.st_size, place))
        too_much = sum(size for _, size, _ in held) - self._room_bytes
        lately = time.time() - GRACE_SECONDS
        for read, size, place in sorted(held):
            if too_much <= 0 or read > lately:
                break
            place.unlink(missing_ok=True)
            too_much -= size


def _name(key: str) -> str:
    return f"{key[:2]}/{key}"


def _names(key: str) -> tuple[str, str]:
    return _name(key), f"{SWEPT}/{key}"
