"""Questions of many threads that one of them answers."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from dicom_bridge import relay
from dicom_bridge.relay import Relay
from resources.errors import Exhausted


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    """Make calls at the same time; what each returned or raised."""
    found: list[Any] = [None] * len(calls)

    def make(at: int) -> None:
        try:
            found[at] = calls[at]()
        except Exception as error:
            found[at] = error

    threads = [threading.Thread(target=make, args=(at,)) for at in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


def test_everyone_gets_the_answer_to_their_own_question() -> None:
    batches: list[int] = []

    def squares(numbers: list[int]) -> list[int]:
        batches.append(len(numbers))
        time.sleep(0.002)
        return [number * number for number in numbers]

    asked: Relay[int, int] = Relay(squares, most=5)

    def many(first: int) -> list[int]:
        return [asked.ask(number) for number in range(first, first + 20)]

    found = in_threads(*[lambda first=first: many(first) for first in range(0, 200, 20)])

    assert found == [[n * n for n in range(first, first + 20)] for first in range(0, 200, 20)]
    assert sum(batches) == 200
    assert max(batches) <= 5
    assert len(batches) < 200


def test_what_fails_fails_for_all_who_wait_for_it_and_for_nobody_after() -> None:
    failing = threading.Event()
    failing.set()

    def answer(questions: list[int]) -> list[int]:
        if failing.is_set():
            raise Exhausted("no")
        return questions

    asked: Relay[int, int] = Relay(answer)
    first = in_threads(*[lambda: asked.ask(1)] * 4)
    failing.clear()

    assert all(isinstance(one, Exhausted) for one in first)
    assert in_threads(*[lambda: asked.ask(2)] * 4) == [2, 2, 2, 2]


def test_who_waits_too_long_is_told_so_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "PATIENCE_SECONDS", 0.05)
    begun, go = threading.Event(), threading.Event()

    def answer(questions: list[str]) -> list[str]:
        begun.set()
        go.wait(10)
        return questions

    asked: Relay[str, str] = Relay(answer)

    def late() -> str:
        begun.wait(10)
        try:
            return asked.ask("late")
        finally:
            go.set()

    leader, waiting = in_threads(lambda: asked.ask("first"), late)

    assert leader == "first"
    assert isinstance(waiting, Exhausted)
    assert asked.ask("after") == "after"
