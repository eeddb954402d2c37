"""One holder, whichever protocol they use, and one state, whichever way it is looked at."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.ups import keeping
from fhir_server.context import RequestContext
from resources import content
from resources.errors import Refusal
from tests import build
from tests.dicom_bridge.conftest import CT1, Archive, found, write
from tests.dicom_bridge.dicomweb.conftest import Service
from tests.dicom_bridge.dicomweb.conftest import service as service
from tests.dicom_bridge.ups.build import Station, done, post_process, to
from tests.dicom_bridge.ups.fhir import person

pytestmark = pytest.mark.anyio

TYPE = {"Content-Type": "application/dicom+json"}
STATES = {
    "ready": "SCHEDULED", "in-progress": "IN PROGRESS", "completed": "COMPLETED",
    "failed": "CANCELED", "rejected": "CANCELED", "cancelled": "CANCELED",
}  # fmt: skip
PEOPLE = ("radiographer", "assistant")


class Worker:
    """Somebody who takes a step, sets something of it, and ends it; each says if it was done."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def take(self) -> bool:
        raise NotImplementedError

    async def set(self) -> bool:
        raise NotImplementedError

    async def end(self, state: str) -> bool:
        raise NotImplementedError


class ByDimse(Worker):
    def __init__(self, archive: Archive, name: str, uid: str) -> None:
        super().__init__(name)
        self._station, self._uid = Station(archive, name), uid
        self._transaction = f"1.2.77.{name[-1]}"

    async def take(self) -> bool:
        return await self._station.move(to("IN PROGRESS", self._transaction), self._uid) == 0

    async def set(self) -> bool:
        return await self._station.set(done(self._transaction), self._uid) == 0

    async def end(self, state: str) -> bool:
        return await self._station.move(to(state, self._transaction), self._uid) == 0


class ByWeb(Worker):
    def __init__(self, client: httpx.AsyncClient, uid: str) -> None:
        super().__init__("test")
        self._client, self._at = client, f"/workitems/{uid}"

    async def take(self) -> bool:
        return await self.end("IN PROGRESS")

    async def set(self) -> bool:
        return await self._say("POST", "", done("1.2.78"))

    async def end(self, state: str) -> bool:
        return await self._say("PUT", "/state", to(state, "1.2.78"))

    async def _say(self, method: str, at: str, ds: Dataset) -> bool:
        body = json.dumps([ds.to_json_dict()])
        answer = await self._client.request(method, self._at + at, content=body, headers=TYPE)
        assert answer.status_code in (200, 403, 409), answer.text
        return answer.status_code == 200 and "warning" not in answer.headers


class ByFhir(Worker):
    """A person; they read a Task and write the next version of what they have read."""

    def __init__(self, bridge: Bridge, name: str, id: str) -> None:
        super().__init__(name)
        self._bridge, self._id = bridge, id

    async def take(self) -> bool:
        return await self._write(
            status="in-progress", owner={"reference": f"PractitionerRole/{self.name}"}
        )

    async def release(self) -> bool:
        return await self._write(status="ready", owner={"reference": "Organization/lead"})

    async def end(self, state: str) -> bool:
        status = {"COMPLETED": "completed", "CANCELED": "failed"}[state]
        return await self._write(status=status)

    async def _write(self, **members: Any) -> bool:
        who = person(self.name)
        try:
            stored = await self._bridge.store.read(who, "Task", self._id)
            async with self._bridge.store.begin(who) as work:
                after = content.made({**stored.json, **members})
                await work.update("Task", self._id, after, if_match=stored.version)
        except Refusal:
            return False
        return True


POST_PROCESS = "110001"


async def begin(archive: Archive, service: Service, id: str) -> tuple[str, list[Any]]:
    """A step of the house that is to be done, and everybody who might."""
    bridge = archive.bridge
    await write(bridge, build.a_practitioner("dr"), build.a_role("assistant"))
    await post_process(bridge, id)
    (row,) = [
        ds
        for ds in await Station(archive).find(
            ProcedureStepState="SCHEDULED", ScheduledWorkitemCodeSequence=[]
        )
        if ds.ScheduledWorkitemCodeSequence[0].CodeValue == POST_PROCESS
    ]
    uid = str(row.SOPInstanceUID)
    client = service.client()
    return uid, [
        ByDimse(archive, "CT1", uid),
        ByDimse(archive, "CT3", uid),
        ByWeb(client, uid),
        *(ByFhir(bridge, name, id) for name in PEOPLE),
    ]


async def states(archive: Archive, service: Service, uid: str, id: str) -> set[str]:
    """The state of a step by each way of looking at it."""
    (task,) = await found(archive.bridge, "Task", _id=id)
    _, ds = await Station(archive).get(uid)
    assert ds is not None
    (item,) = (await service.client().get(f"/workitems/{uid}")).json()
    (row,) = await Station(archive).find(SOPInstanceUID=uid)
    return {
        STATES[task["status"]],
        ds.ProcedureStepState,
        item["00741000"]["Value"][0],
        row.ProcedureStepState,
    }


@pytest.mark.standard("PS3.4 CC.2.1")
@pytest.mark.requirement("R005.2")
@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 20))]
)
async def test_whatever_is_done_by_whom_one_holds_a_step_and_all_see_the_same(
    archive: Archive, service: Service, seed: int
) -> None:
    chance, id = random.Random(seed), f"t{seed}"
    uid, workers = await begin(archive, service, id)
    devices = [one for one in workers if not isinstance(one, ByFhir)]
    state, holder = "SCHEDULED", None
    for _ in range(10):
        who = chance.choice(workers)
        acts: list[tuple[str, Callable[[], Awaitable[bool]]]] = [("take", who.take)] * 2
        acts.append(("CANCELED", partial(who.end, "CANCELED")))
        if isinstance(who, ByFhir):
            acts += [("release", who.release)] * 2
        else:
            acts += [("set", who.set)] * 2
        what, act = chance.choice(acts)
        was_done = await act()

        is_open = state in ("SCHEDULED", "IN PROGRESS")
        by_person = holder in PEOPLE
        if isinstance(who, ByFhir):
            # People of one organisation hand their work to each other; nobody takes a station's.
            free = state == "SCHEDULED" or by_person
            may = is_open and free
        elif what == "take":
            may = state == "SCHEDULED"
        else:
            may = state == "IN PROGRESS" and holder == who.name
        if what == "set" and state == "SCHEDULED":
            may = False
        assert was_done == may, (what, who.name, state, holder)
        if was_done and what == "take":
            state, holder = "IN PROGRESS", who.name
        elif was_done and what == "release":
            state, holder = "SCHEDULED", None
        elif was_done and what == "CANCELED":
            state, holder = "CANCELED", None

        assert await states(archive, service, uid, id) == {state}
        heeded = [one.name for one in devices if await one.set()]
        assert heeded == [one.name for one in devices if one.name == holder]
        if state == "CANCELED":
            return


@pytest.mark.standard("PS3.4 CC.2.1")
@pytest.mark.requirement("R005.1")
async def test_of_those_who_take_a_step_at_the_same_moment_one_has_it(
    archive: Archive, service: Service
) -> None:
    for round_ in range(2):
        id = f"t{round_}"
        uid, workers = await begin(archive, service, id)

        took = await asyncio.gather(*(who.take() for who in workers))

        (task,) = await found(archive.bridge, "Task", _id=id)
        holders = [who for who, got in zip(workers, took, strict=True) if got]
        last = task["owner"]["reference"]
        if not any(isinstance(who, ByFhir) for who in holders):
            assert len(holders) == 1, [who.name for who in holders]
            assert last.startswith("Device/")
        else:  # people of one organisation may hand it to each other, and to nobody else
            assert all(isinstance(who, ByFhir) for who in holders)
            assert last in {f"PractitionerRole/{who.name}" for who in holders}
        assert await states(archive, service, uid, id) == {"IN PROGRESS"}


@pytest.mark.requirement("R005.2")
async def test_a_key_opens_nothing_once_the_step_was_given_back_and_taken_by_another(
    archive: Archive, service: Service
) -> None:
    uid, workers = await begin(archive, service, "t9")
    station, _, _, radiographer, _ = workers
    assert await station.take()
    (task,) = await found(archive.bridge, "Task", _id="t9")
    # The server itself gives it back, as an operator would who knows that the station is dead.
    for status in ("ready", "in-progress"):
        (task,) = await found(archive.bridge, "Task", _id="t9")
        await write(archive.bridge, {**task, "status": status})

    assert not await station.set(), "it is in progress again, but not by this key"
    assert not await station.end("CANCELED")
    (task,) = await found(archive.bridge, "Task", _id="t9")
    await write(archive.bridge, {**task, "status": "ready", "owner": {
        "reference": "Organization/lead"}})  # fmt: skip
    assert await radiographer.take()
    assert not await station.set()
    assert await states(archive, service, uid, "t9") == {"IN PROGRESS"}


@pytest.mark.requirement("R005.2")
async def test_what_was_looked_at_before_somebody_else_took_a_step_takes_it_from_nobody(
    archive: Archive, service: Service
) -> None:
    uid, workers = await begin(archive, service, "t9")
    first, second, *_ = workers
    assert await first.take()
    context = RequestContext(CT1.principal, "update", "127.0.0.1")
    async with archive.bridge.store.begin(context) as work:  # as a performed step that has ended
        _, kept = await keeping.find(work, uid)
        (task,) = await found(archive.bridge, "Task", _id="t9")
        given_back = {"status": "ready", "owner": {"reference": "Organization/lead"}}
        await write(archive.bridge, {**task, **given_back})
        assert await second.take()
        keeping.put(work, kept)

    assert not await first.set()
    assert await second.set()
    assert await second.end("COMPLETED")
