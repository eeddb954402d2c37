"""Blobs: Part 10 files on disk, named by the digest of their data set.

Nothing that a sender wrote is ever part of a path. A blob never changes, is written once however
often it comes, and is on the disk before `put` returns. An instance row is only written after
that: a blob without a row is harmless and swept, a row without its blob is not. There are 256
folders: few enough that a new file seldom needs a new one, which costs as much as the file.

What `put` waits for is the file and its entry in the spool. That it was then moved to its place
is written by the system within seconds; if the machine loses power before, the file is still in the
spool, and `Blobs` moves it again when it starts. The spool has several folders (lanes), used in
turn: a folder in which nobody else made a file meanwhile has its entries on the disk with the file.

Rows say where in its file a data set begins, so a file takes a place only where there is none that
is whole, and one at a time: whoever moves files there holds their folder.

References
----------
* PS3.10 Section 7 (DICOM File Format)
"""

import contextlib
import itertools
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from dicom_bridge import folders, part10
from dicom_bridge.spool import NO_ROOM, FileMeta, Spool
from fhir_server.access.gate import Permit
from resources.errors import Exhausted, Forbidden, NotDicom, NotFound

GRACE_SECONDS: Final = 3600.0
"""How long a blob may be without a row: its sender may still be waiting for us."""
DAMAGED: Final = "damaged"
KEY: Final = re.compile(r"[0-9a-f]{64}")
LANES: Final = 64
"""More than files are begun while one is written."""
GONE: Final = "the bytes of this instance are not here"

_log = logging.getLogger(__name__)


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
        self._lanes = [self._spool / f"{lane:02x}" for lane in range(LANES)]
        for lane in self._lanes:
            lane.mkdir(parents=True, exist_ok=True)
        folders.sync(self._spool)
        self.recover(_boot_time())

    def spool(self) -> Spool:
        """Begin a file; `put` or `Spool.discard` ends it."""
        number = next(self._names)
        lane = self._lanes[number % LANES]
        return Spool(lane / f"{os.getpid()}-{number}-{time.time_ns():x}")

    def put(self, spool: Spool) -> str:
        """Keep what was spooled, durably, and name it.

        What is there already and whole stays as it is, also where its file meta information is
        another: then `Spool.kept` says what it is. What is there and damaged gives way. Waits for
        the disk: call it in a thread.

        Raises
        ------
        Exhausted
            The disk is full.
        """
        key = spool.digest
        try:
            spool.kept = self._kept(key)
            if spool.kept is None:
                os.fsync(spool.fileno())
                folders.sync(spool.path.parent)
                spool.kept = self._move_in(spool.path, key)
            if spool.kept is None:
                spool.close()
        except OSError as error:
            raise Exhausted(NO_ROOM) from error
        finally:
            spool.discard()
        return key

    async def path(self, key: str, permit: Permit, length: int | None = None) -> Path:
        """Where a blob is, for one who may read the ImagingStudy that lists it.

        Parameters
        ----------
        length
            Of the file, as its row has it; None: whatever it is. The same data set at another
            place in its file makes another length, so what is read is what the row speaks of.

        Raises
        ------
        Forbidden
            The permit is for something else than an ImagingStudy.
        NotFound
            There is no such blob.
        """
        if permit.type != "ImagingStudy":
            raise Forbidden("pixels are covered by the permission to read their ImagingStudy")
        return await self.own(key, length)

    async def paths(self, keys: Sequence[tuple[str, int]], permit: Permit) -> list[Path]:
        """Where blobs of such lengths are, all of them before the first is read; see `path`."""
        return [await self.path(key, permit, length) for key, length in keys]

    async def own(self, key: str, length: int | None = None) -> Path:
        """Where a blob is, for the server's own work on it: indexing and checking.

        Raises
        ------
        NotFound
            There is no such blob.
        """
        if not self.is_at_hand(key, length):
            raise NotFound(GONE)
        return self._place(key)

    def is_at_hand(self, key: str, length: int | None = None) -> bool:
        """Whether a file of that length is at the place of a blob."""
        try:
            size = self._place(key).stat().st_size
        except FileNotFoundError:
            return False
        return length is None or size == length

    async def holds(self, key: str) -> bool:
        """Whether the blob is here; `exists`, for who must not wait."""
        return self.exists(key)

    def exists(self, key: str) -> bool:
        """Whether the blob is here."""
        return self.is_at_hand(key)

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
                    self._move_in(aside, key)
                else:
                    removed += 1
                aside.unlink(missing_ok=True)
        return removed + self._sweep_spool(before)

    def set_aside(self, key: str, offset: int, transfer_syntax: str) -> None:
        """Serve a damaged blob no more; it is kept in the folder `damaged` for who wants to see.

        One that was brought again meanwhile stays, also where its data set begins elsewhere: its
        row is about to say so.
        """
        place = self._place(key)
        with folders.alone(place.parent):
            kept = part10.whole(place, key)
            stays = kept is not None and kept.transfer_syntax == transfer_syntax
            if kept is not None and kept.offset != offset:
                stays &= place.stat().st_mtime > time.time() - GRACE_SECONDS
            if not stays:
                self._set_aside(place)

    def recover(self, before: float) -> int:
        """Move to their place files that were complete when the machine went down; how many.

        Parameters
        ----------
        before
            Seconds since 1970: files changed later belong to a process that lives.
        """
        moved = 0
        for left in self.left():
            with contextlib.suppress(OSError, NotDicom):
                if left.stat().st_mtime < before and (key := part10.digest_of(left)):
                    self._move_in(left, key)
                    folders.sync(self._place(key).parent)
                    left.unlink(missing_ok=True)
                    moved += 1
        return moved

    def is_sound(self, key: str, offset: int, transfer_syntax: str) -> bool:
        """Whether a blob is still what it was: its data set has the digest it is named by.

        The file meta information has no part in the digest; that it leads to the same data set,
        read in the same way, is all that matters of it.
        """
        return part10.is_sound(self._place(key), key, offset, transfer_syntax)

    def _sweep_spool(self, before: float) -> int:
        removed = 0
        for left in self.left():
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime <= before:
                    left.unlink()
                    removed += 1
        return removed

    def left(self) -> Iterator[Path]:
        """Every file that is being written, or was left half by a crash."""
        return (left for left in self._spool.rglob("*") if not left.is_dir())

    def _place(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise NotFound("that is no name of a blob")
        return self.folder / key[:2] / key

    def _kept(self, key: str) -> FileMeta | None:
        """What the file in a place says, which is then young; None if none is there and whole."""
        place = self._place(key)
        with contextlib.suppress(FileNotFoundError):
            os.utime(place)
            return part10.whole(place, key)
        return None

    def _move_in(self, file: Path, key: str) -> FileMeta | None:
        """Move a file to its place; if a whole one is there already, say what that one is."""
        place = self._place(key)
        with folders.alone(place.parent):
            kept = self._kept(key)
            if kept is None:
                self._set_aside(place)
                file.rename(place)
            return kept

    def _set_aside(self, place: Path) -> None:
        if place.exists():
            aside = self.folder / DAMAGED / place.name
            aside.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                place.rename(aside)
                _log.warning("blob %s is damaged and set aside", place.name)


def _boot_time() -> float:
    """When this machine started, in seconds since 1970."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
