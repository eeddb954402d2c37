"""The child process: takes one task after the other from its standard input, and answers each.

A task is a line of JSON, an answer a line of JSON and as many octets as it says. The child has only
so much memory, and each task so much processor time: what takes more ends it, not the server.

References
----------
* PS3.18 Section 10.4.1.1.3 (rendered resources); threats T11, bombs
"""

import resource
import sys
import time
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

import orjson

from dicom_bridge.pixels import (
    decoding,
    native,
    presentation,
    rendering,
    rewriting,
    tasks,
    transcoding,
)
from dicom_bridge.pixels.limits import (
    MEMORY,
    MOST_FRAMES,
    OCTETS_WHOLE,
    REFUSALS,
    SECONDS,
    SECONDS_WHOLE,
)
from dicom_bridge.pixels.rendering import Rendered
from dicom_bridge.pixels.tasks import Frames, Picture, Task, Whole
from dicom_bridge.pixels.wanted import Described, Viewport, Wanted, Window
from resources.errors import Exhausted, Refusal, Unsupported

AT_ONCE: Final = 1 << 20
"""Octets of an answer that are put together before they are written."""


def serve(lines: BinaryIO, answers: BinaryIO) -> None:
    """Answer tasks until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OCTETS_WHOLE, OCTETS_WHOLE))
    for line in lines:
        task = tasks.read(line)
        _be_quick(SECONDS_WHOLE if isinstance(task, Whole) else SECONDS)
        head, pieces = _done(task)
        lengths = head["lengths"] = [len(piece) for piece in pieces]
        pieces.insert(0, orjson.dumps(head) + b"\n")
        if sum(lengths) <= AT_ONCE:  # so that the parent wakes up once
            pieces = [b"".join(pieces)]
        answers.writelines(pieces)
        answers.flush()


def _be_quick(seconds: int) -> None:
    """Let the kernel end us when this task takes too long."""
    limit = int(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _done(task: Task) -> tuple[dict[str, Any], list[bytes]]:
    try:
        return _answer(task)
    except Refusal as refusal:
        kind = type(refusal).__name__
        named = kind if kind in REFUSALS else Unsupported.__name__
        return {"refusal": named, "reason": refusal.reason, "at": refusal.at}, []
    except MemoryError:
        return {"refusal": "Unsupported", "reason": "The pixels take too much memory"}, []
    except Exception as error:  # whatever decoders make of hostile bytes, which are kept
        print(type(error).__name__, file=sys.stderr)
        return {"refusal": "Unsupported", "reason": "The pixels cannot be decoded"}, []


def _answer(task: Task) -> tuple[dict[str, Any], list[bytes]]:
    match task:
        case Picture():
            picture = render(task)
            return {"missing": list(picture.missing)}, [picture.content]
        case Frames():
            numbers = list(task.frames)
            return {}, transcoding.frame_list(task.path, task.offset, numbers, task.syntax)
        case Whole():
            _write_whole(task)
            return {}, []


def _write_whole(task: Whole) -> None:
    try:
        rewriting.whole(task.path, task.offset, task.syntax, task.into)
    except OSError as error:
        if error.errno is None:  # pydicom's, of what it cannot read
            raise
        raise Exhausted("There is no room to transcode the instance") from error


def render(task: Picture) -> Rendered:
    """Render the frames that a task names."""
    ds: Described = native.read(task.path) or decoding.description(task.path)
    count = int(ds.get("NumberOfFrames") or 1)
    wanted = Wanted(
        task.type,
        task.quality,
        Window(*task.window) if task.window else None,
        Viewport(*task.viewport) if task.viewport else None,
    )
    numbers: Sequence[int] = task.frames or range(1, count + 1)
    if wanted.type != "image/gif":
        numbers = numbers[:1] if task.frames else [(count + 1) // 2]
    if len(numbers) > MOST_FRAMES:
        raise Unsupported(f"More than {MOST_FRAMES} frames are not shown as one picture")
    frames = [decoding.frame(task.path, ds, number) for number in numbers]
    states = [
        presentation.read(task.presentation, str(ds.get("SOPInstanceUID", "")), number)
        for number in numbers
        if task.presentation is not None
    ]
    return rendering.rendered(frames, ds, numbers[0], wanted, states)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
