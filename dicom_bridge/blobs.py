"""Blobs: Part 10 files on disk, named by the digest of their data set.

Nothing that a sender wrote is ever part of a path. A blob never changes, is written once however
often it comes, and is on the disk before `put` returns. An instance row is only written after
that: a blob without a row is harmless and swept, a row without its blob is not. There are 256
folders: few enough that a new file seldom needs a new one, which costs as much as the file.

What `put` waits for is the file and its entry in the spool folder, the same folder for all. That
it was then moved to its place is written by the system within seconds; if the machine loses power
before, the file is still in the spool, and `Blobs` moves it again when it starts.

References
----------
* PS3.10 Section 7 (DICOM File Format)
"""

import contextlib
import hashlib
import itertools
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from dicom_bridge.relay import Relay
from dicom_bridge.spool import NO_ROOM, FileMeta, Spool, read_meta
from fhir_server.access.gate import Permit
from resources.errors import Exhausted, Forbidden, NotDicom, NotFound

GRACE_SECONDS: Final = 3600.0
"""How long a blob may be without a row: its sender may still be waiting for us."""
DAMAGED: Final = "damaged"
KEY: Final = re.compile(r"[0-9a-f]{64}")
CHUNK: Final = 1 << 20


class Blobs:
    """The place where blobs are.

    Parameters
    ----------
    folder
        ``DATA_DIR/blobs``; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spool = folder / "spool"
        self._names = itertools.count()
        self._spool.mkdir(parents=True, exist_ok=True)
        self._entries: Relay[None, None] = Relay(self._sync_entries)
        self.recover(_boot_time())

    def spool(self) -> Spool:
        """Begin a file; `put` or `Spool.discard` ends it."""
        return Spool(self._spool / f"{os.getpid()}-{next(self._names)}-{time.time_ns():x}")

    def put(self, spool: Spool) -> str:
        """Keep what was spooled, durably, and name it.

        What is there already stays as it is, also where its file meta information is another:
        then `Spool.kept` says what it is. Waits for the disk: call it in a thread.

        Raises
        ------
        Exhausted
            The disk is full.
        """
        key = spool.digest
        place = self._place(key)
        try:
            if self._touched(place):
                spool.kept = meta_of(place)
            if spool.kept is None:
                os.fsync(spool.fileno())
                self._entries.ask(None)
                move(spool.path, place)
                spool.close()
        except OSError as error:
            raise Exhausted(NO_ROOM) from error
        finally:
            spool.discard()
        return key

    async def path(self, key: str, permit: Permit) -> Path:
        """Where a blob is, for one who may read the ImagingStudy that lists it.

        Raises
        ------
        Forbidden
            The permit is for something else than an ImagingStudy.
        NotFound
            There is no such blob.
        """
        if permit.type != "ImagingStudy":
            raise Forbidden("pixels are covered by the permission to read their ImagingStudy")
        return await self.own(key)

    async def paths(self, keys: Sequence[str], permit: Permit) -> list[Path]:
        """Where blobs are, all of them before the first is read; see `path`."""
        return [await self.path(key, permit) for key in keys]

    async def own(self, key: str) -> Path:
        """Where a blob is, for the server's own work on it: indexing and checking.

        Raises
        ------
        NotFound
            There is no such blob.
        """
        place = self._place(key)
        if not place.exists():
            raise NotFound("the bytes of this instance are not here")
        return place

    async def holds(self, key: str) -> bool:
        """Whether the blob is here; `exists`, for who must not wait."""
        return self.exists(key)

    def exists(self, key: str) -> bool:
        """Whether the blob is here."""
        return self._place(key).exists()

    def keys(self, older_than_seconds: float = 0.0) -> Iterator[str]:
        """Every blob that nobody touched for so long."""
        before = time.time() - older_than_seconds
        for place in self.folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                if place.stat().st_mtime <= before:
                    yield place.name

    def sweep(self, orphans: Iterator[str], grace_seconds: float = GRACE_SECONDS) -> int:
        """Remove blobs that have no row, and files that were never finished; how many.

        A sender may bring the same bytes again at this moment: `put` touches a blob before it
        relies on it. So a blob is moved away first, looked at, and put back if it is young.
        """
        before = time.time() - grace_seconds
        removed = 0
        for key in orphans:
            place, aside = self._place(key), self._spool / f"sweep-{key}"
            with contextlib.suppress(FileNotFoundError):
                place.rename(aside)
                if aside.stat().st_mtime > before:
                    aside.rename(place)
                else:
                    aside.unlink()
                    removed += 1
        return removed + self._sweep_spool(before)

    def set_aside(self, key: str) -> None:
        """Serve a damaged blob no more; it is kept in the folder `damaged` for who wants to see."""
        aside = self.folder / DAMAGED / key
        aside.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self._place(key).rename(aside)

    def recover(self, before: float) -> int:
        """Move to their place files that were complete when the machine went down; how many.

        Parameters
        ----------
        before
            Seconds since 1970: files changed later belong to a process that lives.
        """
        moved = 0
        for left in self._spool.iterdir():
            with contextlib.suppress(OSError, NotDicom):
                if left.stat().st_mtime < before and (key := digest_of(left)):
                    move(left, self._place(key))
                    _fsync_folder(self._place(key).parent)
                    moved += 1
        return moved

    def is_sound(self, key: str, offset: int, transfer_syntax: str) -> bool:
        """Whether a blob is still what it was: its data set has the digest it is named by.

        The file meta information has no part in the digest; that it leads to the same data set,
        read in the same way, is all that matters of it.
        """
        return is_sound(self._place(key), key, offset, transfer_syntax)

    def _sweep_spool(self, before: float) -> int:
        removed = 0
        for left in self._spool.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime <= before:
                    left.unlink()
                    removed += 1
        return removed

    def _sync_entries(self, waiting: list[None]) -> list[None]:
        """Make the entries of the spool folder durable, for all who wait for theirs."""
        _fsync_folder(self._spool)
        return waiting

    def _place(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise NotFound("that is no name of a blob")
        return self.folder / key[:2] / key

    @staticmethod
    def _touched(place: Path) -> bool:
        try:
            os.utime(place)
        except FileNotFoundError:
            return False
        return True


def move(file: Path, place: Path) -> None:
    """Move a file to its place, whose folder is made if this is its first."""
    try:
        file.rename(place)
    except FileNotFoundError:
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)


def meta_of(file: Path) -> FileMeta | None:
    """What the file meta information says; None of a file that is not there, or is none."""
    with contextlib.suppress(FileNotFoundError, NotDicom):
        return _meta(file)
    return None


def digest_of(file: Path) -> str:
    """The name that a file gets; empty for one that has no data set.

    Raises
    ------
    NotDicom
        It does not begin as PS3.10 Section 7.1 says.
    """
    meta = _meta(file)
    return _digest(file, meta.offset) if meta is not None else ""


def is_sound(file: Path, key: str, offset: int, transfer_syntax: str) -> bool:
    """Whether a file holds the data set of that digest, where and how it is said to be read."""
    try:
        meta = _meta(file)
        if meta is None or (meta.offset, meta.transfer_syntax) != (offset, transfer_syntax):
            return False
        return _digest(file, offset) == key
    except (OSError, NotDicom):
        return False


def _meta(file: Path) -> FileMeta | None:
    with file.open("rb") as head:
        return read_meta(head.read(CHUNK))


def _digest(path: Path, offset: int) -> str:
    with path.open("rb") as file:
        file.seek(offset)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _boot_time() -> float:
    """When this machine started, in seconds since 1970."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
