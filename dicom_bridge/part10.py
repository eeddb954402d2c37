"""Part 10 files that are kept: what one says of itself, and whether it is still what it was.

The name of a file is the digest of its data set; the file meta information has no part in it. So
the same data set may come in files that differ in front of it, and only one of them is kept.

References
----------
* PS3.10 Section 7.1 (DICOM File Meta Information)
"""

import contextlib
import hashlib
from pathlib import Path
from typing import Final

from dicom_bridge.spool import FileMeta, read_meta
from resources.errors import NotDicom

BEGINNING: Final = 1 << 20


def whole(file: Path, key: str) -> FileMeta | None:
    """What a file says that holds the data set of that digest; None of one that does not.

    Nor does one that is not there, or that the disk cannot read.
    """
    with contextlib.suppress(OSError, NotDicom):
        meta = _meta(file)
        if meta is not None and _digest(file, meta.offset) == key:
            return meta
    return None


def is_sound(file: Path, key: str, offset: int, transfer_syntax: str) -> bool:
    """Whether a file holds the data set of that digest, where and how it is said to be read."""
    meta = whole(file, key)
    return meta is not None and (meta.offset, meta.transfer_syntax) == (offset, transfer_syntax)


def digest_of(file: Path) -> str:
    """The name that a file gets; empty for one that has no data set.

    Raises
    ------
    NotDicom
        It does not begin as PS3.10 Section 7.1 says.
    """
    meta = _meta(file)
    return _digest(file, meta.offset) if meta is not None else ""


def _meta(file: Path) -> FileMeta | None:
    with file.open("rb") as head:
        return read_meta(head.read(BEGINNING))


def _digest(path: Path, offset: int) -> str:
    with path.open("rb") as file:
        file.seek(offset)
        return hashlib.file_digest(file, "sha256").hexdigest()
