"""When a study is settled: at the last sender's end, or after a moment of quiet."""

import asyncio

import pytest

from dicom_bridge.quiet import Quiet

pytestmark = pytest.mark.anyio


class Settled(list[str]):
    async def settle(self, study_uid: str) -> None:
        self.append(study_uid)


async def test_a_study_is_settled_once_it_has_been_quiet() -> None:
    quiet, settled = Quiet(seconds=0.05), Settled()
    for _ in range(10):
        quiet.arrived("1.2", settled.settle)
        await asyncio.sleep(0.01)
    assert settled == []

    await asyncio.sleep(0.1)

    assert settled == ["1.2"]


async def test_the_last_sender_need_not_wait_for_quiet() -> None:
    quiet, settled = Quiet(seconds=60), Settled()
    for _ in range(2):
        quiet.sending("1.2")
        quiet.arrived("1.2", settled.settle)

    quiet.done("1.2", settled.settle)
    await asyncio.sleep(0.01)
    assert settled == []
    quiet.done("1.2", settled.settle)
    await asyncio.sleep(0.01)

    assert settled == ["1.2"]


async def test_stopping_settles_what_waits() -> None:
    quiet, settled = Quiet(seconds=60), Settled()
    quiet.arrived("1.2", settled.settle)
    quiet.arrived("1.3", settled.settle)

    await quiet.drained()

    assert sorted(settled) == ["1.2", "1.3"]
