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
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from dicom_bridge.pixels import decoding, rendering
from dicom_bridge.pixels.limits import MEMORY, MOST_FRAMES, REFUSALS, SECONDS
from dicom_bridge.pixels.wanted import Viewport, Wanted, Window
from resources.errors import Refusal, Unsupported


def serve(tasks: BinaryIO, answers: BinaryIO) -> None:
    """Answer tasks until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in tasks:
        _be_quick()
        head, content = _done(orjson.loads(line))
        answers.write(orjson.dumps({**head, "length": len(content)}) + b"\n" + content)
        answers.flush()


def _be_quick() -> None:
    """Let the kernel end us when this task takes too long."""
    limit = int(time.process_time()) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _done(task: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    try:
        return {}, render(task)
    except Refusal as refusal:
        kind = type(refusal).__name__
        named = kind if kind in REFUSALS else Unsupported.__name__
        return {"refusal": named, "reason": refusal.reason, "at": refusal.at}, b""
    except MemoryError:
        return {"refusal": "Unsupported", "reason": "The pixels take too much memory"}, b""
    except Exception as error:  # whatever decoders make of hostile bytes, which are kept
        print(type(error).__name__, file=sys.stderr)
        return {"refusal": "Unsupported", "reason": "The pixels cannot be decoded"}, b""


def render(task: dict[str, Any]) -> bytes:
    """Render the frames that a task names (`crew.Task`)."""
    path = Path(task["path"])
    ds = decoding.description(path)
    count = int(ds.get("NumberOfFrames") or 1)
    wanted = Wanted(
        task["type"],
        task["quality"],
        Window(*task["window"]) if task["window"] else None,
        Viewport(*task["viewport"]) if task["viewport"] else None,
    )
    numbers = task["frames"] or list(range(1, count + 1))
    if wanted.type != "image/gif":
        numbers = numbers[:1] if task["frames"] else [(count + 1) // 2]
    if len(numbers) > MOST_FRAMES:
        raise Unsupported(f"More than {MOST_FRAMES} frames are not shown as one picture")
    frames = [decoding.frame(path, ds, number) for number in numbers]
    return rendering.rendered(frames, ds, numbers[0], wanted)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
