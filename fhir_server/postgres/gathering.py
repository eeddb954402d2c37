"""Natural gathering: while one statement is under way, what arrives waits and shares the next.

There is no timer. With nobody else about, a request goes out at once; under load the batches
grow by themselves to what the database takes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from resources.errors import Refusal

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Gathering(Generic[Asked, Answer]):
    """Many single questions, answered a batch at a time.

    Parameters
    ----------
    answer
        Answers a batch: one answer a question, in order. An answer that is an exception is
        raised to its asker. A refusal raised by `answer` itself (the database is away) is raised
        to all of them; after any other exception each is asked alone, so that a question that
        cannot be answered spoils no other.
    lanes
        Batches under way at the same time.
    most
        Largest batch.
    """

    def __init__(
        self,
        answer: Callable[[list[Asked]], Awaitable[list[Answer | Exception]]],
        *,
        lanes: int = 1,
        most: int = 64,
    ) -> None:
        self._answer = answer
        self._lanes = lanes
        self._most = most
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._called = False

    def ask(self, question: Asked) -> "asyncio.Future[Answer]":
        """Join the next batch. Whoever stops waiting does not stop the others."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        self._call()
        return future

    async def drained(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _call(self) -> None:
        if self._waiting and not self._called and len(self._under_way) < self._lanes:
            self._called = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._called = False
        batch = self._waiting[: self._most]
        del self._waiting[: self._most]
        task = asyncio.get_running_loop().create_task(self._flush(batch))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        self._call()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._call()

    async def _flush(self, batch: list[tuple[Asked, "asyncio.Future[Answer]"]]) -> None:
        answers = await self._answered([question for question, _ in batch])
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def _answered(self, questions: list[Asked]) -> list[Answer | Exception]:
        try:
            return await self._answer(questions)
        except Refusal as refusal:
            return [refusal] * len(questions)
        except Exception as error:  # it belongs to whoever asked what cannot be answered
            if len(questions) == 1:
                return [error]
            return [(await self._answered([question]))[0] for question in questions]
