"""The files of an export: a folder an order, a file a type, and another where one gets long.

References
----------
* HL7 Bulk Data Access 2.0, "Bulk Data Output File Request"; ndjson: one JSON object to a line
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from resources.errors import NotFound

LONGEST: Final = 32 * 1024 * 1024
"""Octets after which a file is ended and another begun."""

_NAME: Final = re.compile(r"[A-Z][A-Za-z]{1,63}\.[0-9]{1,6}\.ndjson")
_ID: Final = re.compile(r"[0-9a-f-]{36}")


class Folder:
    """Where the files of one order are.

    Parameters
    ----------
    root
        The folder of all orders.
    """

    def __init__(self, root: Path, id: str) -> None:
        if not _ID.fullmatch(id):
            raise NotFound("There is no such export.")
        self.path = root / id

    @classmethod
    def all(cls, root: Path) -> "list[Folder]":
        """Give the folders of all orders, be they known or not."""
        return [cls(root, path.name) for path in root.glob("*") if _ID.fullmatch(path.name)]

    @property
    def id(self) -> str:
        """The order's id."""
        return self.path.name

    def begin(self) -> None:
        """Make it anew: what an attempt that died has left is of no use."""
        self.remove()
        self.path.mkdir(parents=True, mode=0o700)

    def remove(self) -> None:
        """Delete it, if it is there."""
        shutil.rmtree(self.path, ignore_errors=True)

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises
        ------
        NotFound
            There is none of this name.
        """
        if not _NAME.fullmatch(name):
            raise NotFound("There is no such file.")
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            raise NotFound("There is no such file.") from None


class Lines:
    """The lines of one type, in as many files as it takes; `counts` says how many each has."""

    def __init__(self, folder: Folder, type: str) -> None:
        self.counts: dict[str, int] = {}
        self._folder = folder
        self._type = type
        self._room = 0
        self._name = ""

    def add(self, texts: Iterable[bytes]) -> None:
        """Write resources as lines. JSON as stored may have line ends between its members."""
        for text in texts:
            line = (
                b"".join(text.splitlines()) + b"\n"
                if b"\n" in text or b"\r" in text
                else (text + b"\n")
            )
            if self._room < len(line):
                self._name = f"{self._type}.{len(self.counts) + 1}.ndjson"
                self._room = LONGEST
                self.counts[self._name] = 0
            with (self._folder.path / self._name).open("ab") as file:
                file.write(line)
            self._room -= len(line)
            self.counts[self._name] += 1

    def have(self, ids: set[str]) -> set[str]:
        """Say which of these ids have been written."""
        return {id for id in self._ids() if id in ids} if ids else set()

    def _ids(self) -> Iterator[str]:
        for name in self.counts:
            with (self._folder.path / name).open("rb") as file:
                for line in file:
                    yield _identified.decode(line).id


class _Identified(msgspec.Struct):
    id: str


_identified: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(_Identified)
