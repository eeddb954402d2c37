"""Gathering: what comes while a batch is under way shares the next one."""

import asyncio

import pytest

from fhir_server.postgres.gathering import Gathering
from resources.errors import Exhausted

pytestmark = pytest.mark.anyio


async def test_each_asker_gets_the_answer_to_its_own_question() -> None:
    batches: list[int] = []

    async def double(questions: list[int]) -> list[int | Exception]:
        batches.append(len(questions))
        await asyncio.sleep(0.001)
        return [2 * question for question in questions]

    gathering: Gathering[int, int] = Gathering(double, most=16)
    answers = await asyncio.gather(*(gathering.ask(n) for n in range(100)))

    assert answers == [2 * n for n in range(100)]
    assert sum(batches) == 100
    assert max(batches) == 16


async def test_a_refusal_reaches_its_asker_alone() -> None:
    async def odd_fails(questions: list[int]) -> list[int | Exception]:
        return [ValueError(q) if q % 2 else q for q in questions]

    gathering: Gathering[int, int] = Gathering(odd_fails)
    answers = await asyncio.gather(*(gathering.ask(n) for n in range(4)), return_exceptions=True)

    assert answers[0::2] == [0, 2]
    assert all(isinstance(answer, ValueError) for answer in answers[1::2])


async def test_a_question_that_cannot_be_answered_spoils_no_other() -> None:
    async def poisoned(questions: list[int]) -> list[int | Exception]:
        if 3 in questions:
            raise ValueError("3")
        return list(questions)

    gathering: Gathering[int, int] = Gathering(poisoned)
    answers = await asyncio.gather(*(gathering.ask(n) for n in range(6)), return_exceptions=True)

    assert isinstance(answers.pop(3), ValueError)
    assert answers == [0, 1, 2, 4, 5]


async def test_a_refusal_of_a_whole_batch_is_told_to_all_at_once() -> None:
    batches: list[int] = []

    async def away(questions: list[int]) -> list[int | Exception]:
        batches.append(len(questions))
        raise Exhausted("the database is away")

    gathering: Gathering[int, int] = Gathering(away)
    answers = await asyncio.gather(*(gathering.ask(n) for n in range(5)), return_exceptions=True)

    assert all(isinstance(each, Exhausted) for each in answers)
    assert batches == [5]


async def test_a_failed_batch_is_told_to_all_of_it_and_the_next_one_goes_on() -> None:
    failing = True

    async def answer(questions: list[int]) -> list[int | Exception]:
        if failing:
            raise ZeroDivisionError
        return list(questions)

    gathering: Gathering[int, int] = Gathering(answer)
    first = await asyncio.gather(*(gathering.ask(n) for n in range(3)), return_exceptions=True)
    failing = False

    assert all(isinstance(each, ZeroDivisionError) for each in first)
    assert await gathering.ask(5) == 5


async def test_who_stops_waiting_does_not_stop_the_others() -> None:
    async def slow(questions: list[int]) -> list[int | Exception]:
        await asyncio.sleep(0.01)
        return list(questions)

    gathering: Gathering[int, int] = Gathering(slow)
    first, second = gathering.ask(1), gathering.ask(2)
    first.cancel()

    assert await second == 2
    await gathering.drained()
