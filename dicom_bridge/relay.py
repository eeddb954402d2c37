"""Relay: natural gathering among threads: whoever is first does the work for those who wait.

While one thread answers a batch, others queue; when it is done, the first of them answers the next
batch, which is all that have come. There is no timer and no thread of its own: with nobody else
about, a question is answered where it is asked. `fhir_server.postgres.gathering` is the same on
the event loop.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from resources.errors import Exhausted

PATIENCE_SECONDS: Final = 60.0
"""How long a thread waits for those before it; a peer waits no longer either."""

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Place(Generic[Asked, Answer]):
    """Where a thread waits: for its answer, or for its turn to answer."""

    __slots__ = ("answer", "error", "is_answered", "question", "turn")

    def __init__(self, question: Asked) -> None:
        self.question = question
        self.turn = threading.Lock()
        self.turn.acquire()
        self.is_answered = False
        self.answer: Answer | None = None
        self.error: BaseException | None = None


class Relay(Generic[Asked, Answer]):
    """Questions of many threads, answered a batch at a time by one of them.

    Parameters
    ----------
    answer
        Answers a batch: one answer a question, in order. What it raises is raised to all of them.
    most
        Largest batch.
    """

    def __init__(
        self, answer: Callable[[list[Asked]], Sequence[Answer]], *, most: int = 64
    ) -> None:
        self._answer = answer
        self._most = most
        self._lock = threading.Lock()
        self._waiting: list[_Place[Asked, Answer]] = []
        self._is_led = False

    def ask(self, question: Asked) -> Answer:
        """Wait for the answer, and maybe find it for others too.

        Raises
        ------
        Exhausted
            It took too long.
        """
        place: _Place[Asked, Answer] = _Place(question)
        with self._lock:
            self._waiting.append(place)
            leads, self._is_led = not self._is_led, True
        if not leads and not place.turn.acquire(timeout=PATIENCE_SECONDS):
            self._give_up(place)
        if not place.is_answered:
            self._lead()
        if place.error is not None:
            raise place.error
        return place.answer  # type: ignore[return-value]

    def _lead(self) -> None:
        """Answer all who wait, the caller first among them, and let the next one lead."""
        with self._lock:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            answers = self._answer([place.question for place in batch])
            for place, answer in zip(batch, answers, strict=True):
                place.answer = answer
        except BaseException as error:
            for place in batch:
                place.error = error
        for place in batch:
            place.is_answered = True
        with self._lock:
            self._is_led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].turn.release()
        for place in batch[1:]:
            place.turn.release()

    def _give_up(self, place: "_Place[Asked, Answer]") -> None:
        """Stop waiting, unless the turn came at the last moment."""
        with self._lock:
            if place in self._waiting and place.turn.locked():
                self._waiting.remove(place)
                raise Exhausted("the server is busy")
        place.turn.acquire()
