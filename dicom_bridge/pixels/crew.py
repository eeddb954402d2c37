"""The crew: child processes that decode pixels, so that hostile ones cannot harm the server.

Children are begun when they are needed, and let go when they have been idle for a while. One that
takes too long, or dies, is replaced; its task is refused, and nobody else's is.
"""

import asyncio
import contextlib
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from dicom_bridge.pixels import tasks
from dicom_bridge.pixels.limits import REFUSALS
from dicom_bridge.pixels.tasks import Frames, Picture, Task, Whole
from resources.errors import Exhausted, Unsupported

SIZE: Final = max(1, (os.cpu_count() or 2) // 2)
"""Children of one process."""
SECONDS: Final = 30.0
"""How long a task may take."""
SECONDS_WHOLE: Final = 120.0
"""How long transcoding a whole instance may take."""
WAITING: Final = 64
"""Tasks that may wait for a child."""
IDLE_SECONDS: Final = 60.0
AT_HAND: Final = 1 << 20
"""Octets of an answer that are read before they are taken."""

_log = logging.getLogger(__name__)


Done = tuple[dict[str, Any], list[bytes]]
"""The head of an answer, and its pieces."""


class Shown(NamedTuple):
    """A picture, and what of a presentation state it does not show."""

    content: bytes
    missing: Sequence[str]


class Crew:
    """Children of this process, of the running loop."""

    def __init__(self, size: int = SIZE) -> None:
        self._places = asyncio.Semaphore(size)
        self._idle: list[Process] = []
        self._waiting = 0
        self._letting_go: asyncio.TimerHandle | None = None

    async def render(self, task: Picture) -> Shown:
        """Let a child render.

        Raises
        ------
        Unsupported
            The pixels cannot be decoded, or not with the memory and time there is.
        Exhausted
            Too many wait already.
        """
        head, (picture,) = await self._done(task)
        return Shown(picture, head["missing"])

    async def frames(self, task: Frames) -> list[bytes]:
        """Let a child give frames in another transfer syntax; it raises as `render` does."""
        return (await self._done(task))[1]

    async def transcode(self, task: Whole) -> None:
        """Let a child write an instance in another transfer syntax; it raises as `render` does."""
        await self._done(task)

    async def _done(self, task: Task) -> Done:
        if self._waiting >= WAITING:
            raise Exhausted("Too many pictures are wanted at once")
        self._waiting += 1
        try:
            async with self._places:
                return await self._by_a_child(task)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Let all go."""
        if self._letting_go is not None:
            self._letting_go.cancel()
        children, self._idle = self._idle, []
        for child in children:
            await _end(child)

    async def _by_a_child(self, task: Task) -> Done:
        child = self._idle.pop() if self._idle else await _begun()
        try:
            async with asyncio.timeout(SECONDS_WHOLE if isinstance(task, Whole) else SECONDS):
                head, pieces = await _answer(child, task)
        except TimeoutError as error:
            await _end(child)
            raise Unsupported("The pixels take too long to decode") from error
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            await _end(child)
            _log.warning("a child that decoded pixels died: %s", child.returncode)
            raise Unsupported("The pixels cannot be decoded") from error
        except BaseException:  # its answer would be taken for that to the next task
            await _end(child)
            raise
        self._idle.append(child)
        self._let_go_later()
        if "refusal" in head:
            raise REFUSALS[head["refusal"]](head["reason"], head.get("at", ""))
        return head, pieces

    def _let_go_later(self) -> None:
        if self._letting_go is not None:
            self._letting_go.cancel()
        loop = asyncio.get_running_loop()
        self._letting_go = loop.call_later(IDLE_SECONDS, self._let_go)

    def _let_go(self) -> None:
        children, self._idle = self._idle, []
        for child in children:
            if child.stdin is not None:
                child.stdin.close()  # it ends by itself


async def _begun() -> Process:
    line = [sys.executable, "-m", "dicom_bridge.pixels.child"]
    return await asyncio.create_subprocess_exec(
        *line, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=AT_HAND
    )


async def _answer(child: Process, task: Task) -> Done:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(tasks.written(task))
    await child.stdin.drain()
    head: dict[str, Any] = orjson.loads(await child.stdout.readuntil(b"\n"))
    return head, [await child.stdout.readexactly(length) for length in head["lengths"]]


async def _end(child: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    await child.wait()
