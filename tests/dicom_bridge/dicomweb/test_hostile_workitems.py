"""Workitems of others, guessed keys, payloads that are bombs: refused, and nobody disturbed."""

import asyncio
import json
from typing import Any

import httpx
import pytest
import websockets

from resources import validate
from subscriptions.matcher import Matcher
from tests.dicom_bridge.conftest import BASE, found
from tests.dicom_bridge.dicomweb.conftest import Service
from tests.dicom_bridge.dicomweb.test_ups import TYPE, UID, make, move, payload, told
from tests.dicom_bridge.ups.build import FILTERED, GLOBAL, a_ups, done, to
from tests.dicom_bridge.ups.conftest import bridge as bridge

__all__ = ["told"]

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T1, T10, F10")]

KEY = "1.2.77.1"


async def everything(client: httpx.AsyncClient, uid: str) -> dict[str, int]:
    """What each transaction on a workitem answers."""
    asked = (
        ("retrieve", "GET", f"/workitems/{uid}", None),
        ("update", "POST", f"/workitems/{uid}", a_ups()),
        ("update as holder", "POST", f"/workitems/{uid}?transaction-uid={KEY}", a_ups()),
        ("take", "PUT", f"/workitems/{uid}/state", to("IN PROGRESS", "1.2.99.1")),
        ("end as holder", "PUT", f"/workitems/{uid}/state", to("CANCELED", KEY)),
        ("ask to cancel", "POST", f"/workitems/{uid}/cancelrequest", a_ups()),
        ("subscribe", "POST", f"/workitems/{uid}/subscribers/SPY?deletionlock=true", None),
        ("unsubscribe", "DELETE", f"/workitems/{uid}/subscribers/SPY", None),
    )
    return {
        name: (
            await client.request(
                method, place, content=payload(ds) if ds is not None else b"", headers=TYPE
            )
        ).status_code
        for name, method, place, ds in asked
    }


@pytest.mark.standard("PS3.18 11.4 to 11.12")
async def test_the_workitems_of_others_are_not_there_on_any_way(
    service: Service, told: str
) -> None:
    client, stranger = service.client(), service.client("other")
    await make(client)
    await move(client, "IN PROGRESS")
    before = (await client.get(f"/workitems/{UID}")).content

    assert set((await everything(stranger, UID)).values()) == {404}
    assert set((await everything(stranger, "1.2.3.4.5")).values()) == {404}
    for query in ("", f"?SOPInstanceUID={UID}", "?PatientID=L77", "?ProcedureStepState=*"):
        assert (await stranger.get(f"/workitems{query}")).status_code == 204
    assert (await make(stranger)).status_code == 409

    assert (await client.get(f"/workitems/{UID}")).content == before


@pytest.mark.standard("PS3.18 11.10, 11.13")
async def test_nobody_hears_of_the_workitems_of_others(service: Service, told: str) -> None:
    client, stranger = service.client(), service.client("other")
    token = {"Authorization": f"Bearer {service.token('other')}"}
    matcher = Matcher(service.bridge.database, BASE)
    assert (await stranger.post(f"/workitems/{GLOBAL}/subscribers/CT1")).status_code >= 400
    for uid in (GLOBAL, f"{FILTERED}"):
        query = "?PatientID=*" if uid == FILTERED else ""
        answer = await stranger.post(f"/workitems/{uid}/subscribers/SPY{query}")
        assert answer.status_code == 201

    async with websockets.connect(f"{told}/SPY", additional_headers=token) as socket:
        await make(client)
        await move(client, "IN PROGRESS")
        await make(stranger, "1.2.9.7")
        await matcher.catch_up()
        heard = json.loads(await asyncio.wait_for(socket.recv(), 60))

    assert heard["00001000"]["Value"] == ["1.2.9.7"]


GUESSES = (
    "", KEY[:-1], KEY + "1", KEY + ".", " ", "*", "1.2.77.?", "0", "1." * 40, "../..", "\0", "٣.٤",
    "1.2.77.1\\1.2.77.2", "%", None, 5, ["1.2.77.1"],
)  # fmt: skip


@pytest.mark.standard("PS3.18 11.6, 11.7")
@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_a_key_that_is_guessed_opens_nothing(service: Service) -> None:
    client = service.client()
    await make(client)
    await move(client, "IN PROGRESS", KEY)

    for guess in GUESSES:
        for ds, method, place in (
            (done(), "POST", f"/workitems/{UID}"),
            (to("COMPLETED"), "PUT", f"/workitems/{UID}/state"),
            (to("CANCELED"), "PUT", f"/workitems/{UID}/state"),
        ):
            said = ds.to_json_dict() | {"00081195": {"vr": "UI", "Value": [guess]}}
            answer = await client.request(method, place, content=json.dumps([said]), headers=TYPE)
            assert answer.status_code in {400, 409}, (guess, method, answer.status_code)

    read = await client.get(f"/workitems/{UID}")
    assert read.json()[0]["00741000"]["Value"] == ["IN PROGRESS"]
    assert KEY not in read.text


def item_of(depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(depth):
        made = {"00404018": {"vr": "SQ", "Value": [made]}}
    return made


def with_(**members: Any) -> bytes:
    ups = a_ups().to_json_dict()
    return json.dumps([ups | {tag.lstrip("_"): value for tag, value in members.items()}]).encode()


REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "two data sets": b"[{},{}]",
    "100,000 brackets": b"[" * 100_000,
    "objects without end": b'[{"00404018":{"vr":"SQ","Value":[' * 5000,
    "sequences 200 deep": with_(**item_of(200)),
    "a million octets in line": with_(_00420011={"vr": "OB", "InlineBinary": "A" * 2_000_000}),
    "a file": with_(_00420011={"vr": "OB", "BulkDataURI": "file:///etc/passwd"}),
    "another machine": with_(_00420011={"vr": "OB", "BulkDataURI": "http://169.254.169.254/"}),
    "another machine in a sequence": with_(
        _00404018={
            "vr": "SQ",
            "Value": [{"00420011": {"vr": "OB", "BulkDataURI": "http://[::1]/"}}],
        }
    ),
    "values that are none": with_(_00741204={"vr": "LO", "Value": {"0": "x"}}),
    "a value of objects": with_(_00741204={"vr": "LO", "Value": [{"a": 1}]}),
    "a VR of a number": with_(_00741204={"vr": 5, "Value": ["x"]}),
    "an item that is none": with_(_00404018={"vr": "SQ", "Value": ["x"]}),
    "a number without end": with_(_00741204={"vr": "IS", "Value": [10**200]}),
    "300,000 items": with_(_00404018={"vr": "SQ", "Value": [{}] * 300_000})[:1_000_000],
    "100,000 values": with_(_00741204={"vr": "IS", "Value": [1] * 100_000}),
    "half a letter": b'[{"00741204":{"vr":"LO","Value":["\\ud800"]}}]',
    "noise": bytes(range(256)),
}
TAKEN: dict[str, bytes] = {
    "an attribute twice": b'[{"00741204":{"vr":"LO","Value":["a"]},' + with_()[2:],
    "a label with a script": with_(_00741204={"vr": "LO", "Value": ["<script>alert(1)</script>"]}),
    "control characters": with_(_00741204={"vr": "LO", "Value": ["\x01\x07\x1b\x7f"]}),
    "a label of 100,000 letters": with_(_00741204={"vr": "LO", "Value": ["x" * 100_000]}),
    "numbers beyond all": with_(_00741004={"vr": "DS", "Value": [1e308]}),
}


@pytest.mark.standard("PS3.18 11.4, F.2")
@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_a_payload_that_is_a_bomb_is_refused_and_spoils_no_worklist(
    service: Service,
) -> None:
    client = service.client()
    await make(client)

    for number, (name, content) in enumerate(REFUSED.items()):
        answer = await client.post(f"/workitems?1.2.7.{number}", content=content, headers=TYPE)
        assert answer.status_code in {400, 409, 413}, (name, answer.status_code)
        changed = await client.post(f"/workitems/{UID}", content=content, headers=TYPE)
        assert changed.status_code in {400, 409, 413}, (name, changed.status_code)
    for number, (name, content) in enumerate(TAKEN.items()):
        answer = await client.post(f"/workitems?1.2.8.{number}", content=content, headers=TYPE)
        assert answer.status_code in {201, 400, 413}, (name, answer.status_code, answer.text)

    listed = await client.get("/workitems")
    assert listed.status_code == 200
    assert [UID] in [one["00080018"]["Value"] for one in listed.json()]
    for task in await found(service.bridge, "Task", _count="100"):
        assert validate.check(task) == []
