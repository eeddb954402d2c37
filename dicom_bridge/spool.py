"""Spool: a Part 10 file on its way in, hashed as it comes.

The file meta information ends where the first element outside group 0002 begins; from there on
every byte is the data set and goes into the digest, whatever the file meta information said. The
same object by C-STORE and by STOW-RS therefore has one digest.

References
----------
* PS3.10 Section 7.1 (DICOM File Meta Information)
* PS3.10 Section 7.1: a preamble may be anything, a program too; one that is no TIFF is zeroed
"""

import hashlib
import os
import struct
from pathlib import Path
from typing import Final, NamedTuple

from resources.errors import Exhausted, NotDicom, Refusal

PREAMBLE: Final = 128
TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The only preambles that mean something (PS3.10 Section 7.1: dual personality files)."""
NO_ROOM: Final = "there is no room to store the instance"
BEGINNING: Final = 1 << 15
MOST_META: Final = 1 << 20
CREATED: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
LONG_VR: Final = frozenset({b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT", b"OD", b"OL", b"UC", b"UR"})
IMPLEMENTATION_CLASS_UID: Final = "1.2.826.0.1.3680043.10.1618.1"


class FileMeta(NamedTuple):
    """What the file meta information says."""

    sop_class: str
    sop_uid: str
    transfer_syntax: str
    offset: int
    """Where the data set begins, in bytes from the start of the file."""


class Spool:
    """One file being written; not yet durable, not yet a DICOM instance.

    Bytes go in through `write`. What goes wrong is kept, not raised, so that a sender can be heard
    to the end and then told, by `require_whole`.

    Parameters
    ----------
    path
        A name that nobody else uses. The file is made when there is a data set to write: what is
        nothing costs no file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        """Bytes of the data set so far."""
        self.problem: Refusal | None = None
        """Why it will be refused: the disk is full, or it does not begin as PS3.10 says."""
        self.meta: FileMeta | None = None
        self.beginning = bytearray()
        """The data set's first `BEGINNING` bytes: where its header nearly always ends."""
        self.announced: tuple[str, str] | None = None
        """SOP Class and Instance UID that the sender named beside the bytes, if it did."""
        self.kept: FileMeta | None = None
        """That of the file which is kept instead, where the same data set was there already."""
        self._head: bytearray | None = bytearray()
        self._until = 0
        self._unwritten = b""
        self._hash = hashlib.sha256()
        self._descriptor = -1

    def begin(self, sop_class: str, sop_uid: str, transfer_syntax: str, meta: bytes) -> None:
        """Begin with file meta information that was made for a data set that comes without.

        Parameters
        ----------
        sop_class, sop_uid
            What the sender says that it is.
        meta
            What `made_meta` makes of the same.
        """
        self.announced = (sop_class, sop_uid)
        self.meta = FileMeta(sop_class, sop_uid, transfer_syntax, len(meta))
        self._head, self._unwritten = None, meta

    @property
    def digest(self) -> str:
        """SHA-256 of the data set, hexadecimal."""
        return self._hash.hexdigest()

    def write(self, fragment: bytes | bytearray | memoryview) -> int:
        """Take the next bytes of the file; how many were taken."""
        if self.problem is not None:
            return len(fragment)
        if self._head is None:
            self._hash.update(fragment)
            if self.size < BEGINNING:
                self.beginning += fragment[: BEGINNING - self.size]
            self.size += len(fragment)
            self._to_disk(fragment)
        else:
            self._head += fragment
            if len(self._head) >= self._until:
                self._find_data_set()
        return len(fragment)

    def fileno(self) -> int:
        """The open descriptor; -1 before the data set begins, and once closed."""
        return self._descriptor

    def close(self) -> None:
        """Let go of the descriptor; the file stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Close and remove the file, wherever it stands. May be called twice."""
        if self._descriptor >= 0:
            self.close()
            self.path.unlink(missing_ok=True)

    def require_whole(self) -> FileMeta:
        """The file meta information, once all bytes are written and on the disk.

        Raises
        ------
        Exhausted
            The disk would not take it.
        NotDicom
            No data set came.
        """
        if self._head and self.problem is None:
            self._find_data_set()
        if self.problem is not None:
            raise self.problem
        if self.meta is None or self.size == 0:
            raise NotDicom("the file ends before its data set")
        return self.meta

    def _find_data_set(self) -> None:
        head = bytes(self._head or b"")
        try:
            self.meta = read_meta(head)
        except NotDicom as refusal:
            self.problem = refusal
        if self.meta is None:
            # Read again when there is twice as much: else a sender of octets makes it endless.
            self._until = 2 * len(head)
            return
        self._head = None
        offset = self.meta.offset
        preamble = head[:PREAMBLE] if head.startswith(TIFF) else bytes(PREAMBLE)
        self._to_disk(preamble + head[PREAMBLE:offset])
        self.write(memoryview(head)[offset:])

    def _to_disk(self, fragment: bytes | bytearray | memoryview) -> None:
        view = memoryview(fragment)
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self.path, CREATED, 0o640)
            if self._unwritten:
                head, self._unwritten = self._unwritten, b""
                written = os.writev(self._descriptor, (head, view)) - len(head)
                if written < 0:
                    raise OSError
                view = view[written:]
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            self.problem = Exhausted(NO_ROOM)


def read_meta(head: bytes) -> FileMeta | None:
    """Read the file meta information; None while more bytes are needed.

    Raises
    ------
    NotDicom
        No prefix, no transfer syntax, or no end within a megabyte.
    """
    if len(head) >= PREAMBLE + 4 and head[PREAMBLE : PREAMBLE + 4] != b"DICM":
        raise NotDicom("no DICM prefix after the preamble")
    found: dict[int, str] = {}
    at = PREAMBLE + 4
    while at + 12 <= len(head):
        group, element, vr, length = struct.unpack_from("<HH2sH", head, at)
        if group != 2:
            return _meta(found, at)
        value = at + 8
        if vr in LONG_VR:
            length = struct.unpack_from("<L", head, value)[0]
            value += 4
        if element in (0x0002, 0x0003, 0x0010):
            found[element] = _uid(head[value : value + length])
        at = value + length
        if at > MOST_META:
            raise NotDicom("the file meta information is too long")
    return None


def made_meta(sop_class: str, sop_uid: str, transfer_syntax: str) -> bytes:
    """Preamble and file meta information for a data set that came without (PS3.10 Table 7.1-1)."""
    elements = b"\x02\x00\x01\x00OB\0\0\x02\0\0\0\0\x01" + b"".join(
        _ui(element, uid)
        for element, uid in (
            (0x0002, sop_class),
            (0x0003, sop_uid),
            (0x0010, transfer_syntax),
            (0x0012, IMPLEMENTATION_CLASS_UID),
        )
    )
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements))
    return bytes(PREAMBLE) + b"DICM" + length + elements


def _meta(found: dict[int, str], offset: int) -> FileMeta:
    if not found.get(0x0010):
        raise NotDicom("no Transfer Syntax UID", at="TransferSyntaxUID")
    return FileMeta(found.get(0x0002, ""), found.get(0x0003, ""), found[0x0010], offset)


def _ui(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value


def _uid(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")
