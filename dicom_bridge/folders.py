"""Folders: what the folders of blobs are asked for beside their files: to be durable, and a turn.

References
----------
* open(2), fsync(2), flock(2) of the Linux manual
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def sync(folder: Path) -> None:
    """Make the entries of a folder durable."""
    descriptor = os.open(folder, FLAGS)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only one, of all threads and processes, until the block ends.

    The folder is made if it is not there. A file system that locks no folders (NFS) is used
    without.
    """
    try:
        descriptor = os.open(folder, FLAGS)
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, FLAGS)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
