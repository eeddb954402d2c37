"""What a child that decodes pixels is asked for: a line of JSON each.

References
----------
* PS3.18 Sections 8.3.5 (rendered resources) and 8.7.3.5.2 (transfer syntax parameter)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson


class Picture(NamedTuple):
    """Frames (empty: all) of a file as a picture."""

    path: Path
    frames: Sequence[int]
    type: str
    quality: int
    window: Sequence[Any] | None
    viewport: Sequence[Any] | None
    presentation: Path | None = None
    """A presentation state that says how to show them."""


class Frames(NamedTuple):
    """Frames of a file, each in another transfer syntax."""

    path: Path
    offset: int
    """Where its data set begins, in bytes."""
    frames: Sequence[int]
    syntax: str


class Whole(NamedTuple):
    """A file in another transfer syntax, written to a new file."""

    path: Path
    offset: int
    syntax: str
    into: Path


Task = Picture | Frames | Whole

KINDS: Final[Mapping[str, type[Task]]] = {kind.__name__: kind for kind in (Picture, Frames, Whole)}

PATHS: Final = frozenset({"path", "into", "presentation"})


def written(task: Task) -> bytes:
    """Write a task as a child reads it."""
    members = {name: _plain(value) for name, value in task._asdict().items()}
    return orjson.dumps({"kind": type(task).__name__, **members}) + b"\n"


def read(line: bytes) -> Task:
    """Read a task.

    Examples
    --------
    >>> read(written(Frames(Path("a"), 9, [1], "1.2.840.10008.1.2.1"))).frames
    [1]
    """
    members = orjson.loads(line)
    kind = KINDS[members.pop("kind")]
    return kind(**{name: _path(name, value) for name, value in members.items()})


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _path(name: str, value: Any) -> Any:
    return Path(value) if value and name in PATHS else value
