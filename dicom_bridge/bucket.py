"""Bucket: what we ask of an object store (S3), and how it sounds when it does not answer.

References
----------
* https://docs.rs/object_store (what obstore speaks, and the variables ``AWS_…`` it reads)
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from resources.errors import Exhausted

ATTEMPTS: Final = 3
GIVE_UP: Final = timedelta(seconds=20)
AT_ONCE: Final = 64 << 20
AWAY: Final = "the store of the pixels does not answer"

Answer = TypeVar("Answer")


class Object(NamedTuple):
    """One object: its name, and when it was written, in seconds since 1970."""

    name: str
    modified: float


class Bucket:
    """A bucket, or what is below a prefix in one. Everything waits: call it in a thread.

    What a method is about and the bucket does not have is a FileNotFoundError; a bucket that
    does not answer, or refuses, is `Exhausted`.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``; address and credentials are in the environment, as ``AWS_…``.
    """

    def __init__(self, url: str) -> None:
        retry: Any = {"max_retries": ATTEMPTS, "retry_timeout": GIVE_UP}
        self._store: Any = from_url(url, retry_config=retry)

    def put(self, name: str, file: Path) -> None:
        """Write an object; when this returns, it is kept."""
        _asked(partial(obstore.put, self._store, name, file))

    def create(self, name: str, file: Path) -> bool:
        """Write an object if there is none of that name; whether it was written.

        One that is too large to be sent at once (`AT_ONCE`) is written whatever is there.
        """
        if file.stat().st_size > AT_ONCE:
            self.put(name, file)
            return True
        try:
            _asked(partial(obstore.put, self._store, name, file, mode="create"))
        except FileExistsError:
            return False
        return True

    def download(self, names: tuple[str, ...], file: Path) -> None:
        """Write the first of these objects that is there to a new file, and that to the disk."""
        pieces = iter(self._found(names))
        with file.open("xb") as written:
            while piece := _asked(partial(next, pieces, None)):
                written.write(piece)
            written.flush()
            os.fsync(written.fileno())

    def modified(self, name: str) -> float | None:
        """When an object was written, in seconds since 1970; None where there is none."""
        found = self._head(name)
        return float(found["last_modified"].timestamp()) if found else None

    def length(self, name: str) -> int | None:
        """Octets of an object; None where there is none."""
        found = self._head(name)
        return int(found["size"]) if found else None

    def listed(self) -> Iterator[Object]:
        """Every object there is."""
        pages = obstore.list(self._store)
        while page := _asked(partial(next, pages, None)):
            for found in page:
                yield Object(found["path"], found["last_modified"].timestamp())

    def rename(self, name: str, other: str) -> None:
        """Copy an object to another name, then remove it."""
        _asked(partial(obstore.rename, self._store, name, other))

    def delete(self, name: str) -> None:
        """Remove an object."""
        _asked(partial(obstore.delete, self._store, name))

    def _head(self, name: str) -> Any:
        with contextlib.suppress(FileNotFoundError):
            return _asked(partial(obstore.head, self._store, name))
        return None

    def _found(self, names: tuple[str, ...]) -> Any:
        *others, last = names
        for name in others:
            with contextlib.suppress(FileNotFoundError):
                return _asked(partial(obstore.get, self._store, name))
        return _asked(partial(obstore.get, self._store, last))


def _asked(ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except AlreadyExistsError as error:
        raise FileExistsError from error
    except BaseError as error:
        raise Exhausted(AWAY) from error
