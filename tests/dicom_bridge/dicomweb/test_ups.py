"""UPS-RS over a real socket: workitems made, found, taken, done, called off, and told of."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.routing import Mount

from dicom_bridge.bridge import Bridge
from dicom_bridge.dicomweb import ups_subscribers
from fhir_server.access.token import TokenChecker, mint
from resources import codes
from subscriptions.matcher import Matcher
from tests.dicom_bridge.conftest import BASE, found
from tests.dicom_bridge.dicomweb.conftest import Service
from tests.dicom_bridge.ups.build import FILTERED, GLOBAL, a_ups, done, post_process, to
from tests.dicom_bridge.ups.conftest import bridge as bridge

pytestmark = pytest.mark.anyio

TYPE = {"Content-Type": "application/dicom+json"}
UID = "1.2.9.1"


def payload(ds: Any) -> str:
    return json.dumps([ds.to_json_dict()])


async def make(client: httpx.AsyncClient, uid: str = UID, **changes: Any) -> httpx.Response:
    return await client.post(f"/workitems?{uid}", content=payload(a_ups(**changes)), headers=TYPE)


async def move(
    client: httpx.AsyncClient, state: str, transaction_uid: str | None = "1.2.77.1", uid: str = UID
) -> httpx.Response:
    content = payload(to(state, transaction_uid))
    return await client.put(f"/workitems/{uid}/state", content=content, headers=TYPE)


async def update(client: httpx.AsyncClient, ds: Any, query: str = "") -> httpx.Response:
    return await client.post(f"/workitems/{UID}{query}", content=payload(ds), headers=TYPE)


@pytest.mark.standard("PS3.18 11.4")
@pytest.mark.requirement("R005.2")
async def test_a_workitem_is_made_at_its_address_and_read_there(service: Service) -> None:
    client = service.client()

    made = await make(client)
    again = await make(client)
    read = await client.get(f"/workitems/{UID}", headers={"Accept": "application/dicom+json"})

    assert made.status_code == 201
    assert made.headers["location"] == f"{service.base}/workitems/{UID}"
    assert again.status_code == 409
    assert read.status_code == 200
    assert read.headers["content-type"] == "application/dicom+json"
    (item,) = read.json()
    assert item["00080018"]["Value"] == [UID]
    assert item["00741000"]["Value"] == ["SCHEDULED"]
    assert item["00100010"]["Value"] == [{"Alphabetic": "Rowe^Wanda"}]
    assert "00081195" not in item
    (task,) = await found(service.bridge, "Task", identifier=f"urn:dicom:uid|urn:oid:{UID}")
    assert task["meta"]["source"] == f"{codes.CLIENT}/test"


@pytest.mark.standard("PS3.18 11.4.1.2")
async def test_a_workitem_without_a_uid_is_given_one_and_a_label_that_is_missing_is_told_of(
    service: Service,
) -> None:
    client = service.client()
    made = await client.post("/workitems", content=payload(a_ups(WorklistLabel="")), headers=TYPE)

    assert made.status_code == 201
    assert "created with modifications" in made.headers["warning"]
    assert (await client.get(made.headers["location"])).status_code == 200


@pytest.mark.standard("PS3.18 11.7")
async def test_a_workitem_is_taken_done_and_ended(service: Service) -> None:
    client = service.client()
    await make(client)

    said = [
        await move(client, "COMPLETED"),
        await move(client, "IN PROGRESS", None),
        await move(client, "IN PROGRESS"),
        await move(client, "IN PROGRESS", "1.2.77.2"),
        await move(client, "COMPLETED", "1.2.77.2"),
        await move(client, "COMPLETED"),
        await update(client, done("1.2.77.2")),
        await update(client, done("")),
        await update(client, done(""), "?transaction-uid=1.2.77.1"),
        await move(client, "COMPLETED"),
        await move(client, "COMPLETED"),
        await move(client, "CANCELED"),
        await update(client, done()),
    ]

    assert [one.status_code for one in said] == [
        409, 409, 200, 409, 409, 409, 409, 409, 200, 200, 200, 409, 409,
    ]  # fmt: skip
    assert "The Transaction UID is missing." in said[1].headers["warning"]
    assert "The Transaction UID is incorrect." in said[4].headers["warning"]
    assert "already in the requested state of COMPLETED" in said[10].headers["warning"]


@pytest.mark.standard("PS3.18 11.8")
async def test_a_cancellation_is_accepted_and_is_done_at_once_only_before_the_work(
    service: Service,
) -> None:
    client = service.client()
    await make(client)
    await make(client, "1.2.9.2")
    await move(client, "IN PROGRESS", uid="1.2.9.2")

    first = await client.post(f"/workitems/{UID}/cancelrequest")
    again = await client.post(f"/workitems/{UID}/cancelrequest")
    under_way = await client.post("/workitems/1.2.9.2/cancelrequest")
    nowhere = await client.post("/workitems/1.2.9.9/cancelrequest")

    assert [one.status_code for one in (first, again, under_way, nowhere)] == [202, 202, 202, 404]
    assert "already in the requested state of CANCELED" in again.headers["warning"]
    states = {
        item["00080018"]["Value"][0]: item["00741000"]["Value"][0]
        for item in (await client.get("/workitems")).json()
    }
    assert states == {UID: "CANCELED", "1.2.9.2": "IN PROGRESS"}


@pytest.mark.standard("PS3.18 11.9")
async def test_workitems_are_searched(service: Service) -> None:
    client = service.client()
    nothing = await client.get("/workitems")
    await make(client)
    await make(client, "1.2.9.2", ProcedureStepLabel="Register")
    await post_process(service.bridge)

    async def uids(query: str) -> list[str]:
        answer = await client.get(f"/workitems?{query}")
        assert answer.status_code in (200, 204), answer.text
        return [one["00080018"]["Value"][0] for one in answer.json()] if answer.content else []

    assert nothing.status_code == 204
    assert len(await uids("")) == 3
    assert await uids("ProcedureStepLabel=Reg*") == ["1.2.9.2"]
    assert await uids("00741204=Register&ProcedureStepState=SCHEDULED") == ["1.2.9.2"]
    assert await uids("PatientID=L77&offset=1&limit=5") == ["1.2.9.2"]
    assert await uids("SOPInstanceUID=1.2.9.1,1.2.9.2&limit=1") == [UID]
    assert await uids("ScheduledWorkitemCodeSequence.CodeValue=110005") == []
    assert await uids("ProcedureStepState=COMPLETED") == []
    more = await client.get("/workitems?limit=1")
    assert "additional results" in more.headers["warning"]


BAD: list[tuple[str, str, bytes, dict[str, str], int]] = [
    ("POST", "/workitems", b"{", TYPE, 400),
    ("POST", "/workitems", b"[]", TYPE, 400),
    ("POST", "/workitems", b"[{}]", TYPE, 400),
    ("POST", "/workitems", b'{"00741000": {"vr": "CS", "Value": "x"}}', TYPE, 400),
    ("POST", "/workitems", b'{"00741000": {"vr": "ZZ", "Value": ["x"]}}', TYPE, 400),
    ("POST", "/workitems", b'{"7FE00010": {"vr": "OW", "BulkDataURI": "http://x"}}', TYPE, 400),
    ("POST", "/workitems", b'{"00081195": ' * 3000 + b"1" + b"}" * 3000, TYPE, 400),
    ("POST", "/workitems", b'{"00400260": {"vr": "SQ", "Value": [' * 90, TYPE, 400),
    ("POST", "/workitems", b"<x/>", {"Content-Type": "application/dicom+xml"}, 415),
    ("POST", "/workitems", b" " * (1 << 20) + b"{}", TYPE, 413),
    ("POST", "/workitems?AffectedSOPInstanceUID=x", payload(a_ups()).encode(), TYPE, 400),
    ("POST", "/workitems?1.2.8.1", payload(a_ups(ProcedureStepLabel="a\0b")).encode(), TYPE, 201),
    ("POST", "/workitems?1.2.8.2", payload(a_ups(PatientID="a\0b")).encode(), TYPE, 201),
    (
        "POST",
        "/workitems?1.2.8.3",
        b'{"00741202": {"vr": "OB", "InlineBinary": "AAAA"}}',
        TYPE,
        400,
    ),
    ("GET", "/workitems?InstanceNumber=x", b"", {}, 400),
    ("GET", "/workitems?Rows=x", b"", {}, 204),
    ("GET", "/workitems/x", b"", {}, 400),
    ("GET", "/workitems/1.2.3", b"", {}, 404),
    ("GET", "/workitems/2.25.5", b"", {}, 404),
    ("GET", f"/workitems/2.25.{1 << 200}", b"", {}, 400),
    ("GET", "/workitems", b"", {"Accept": "application/dicom+xml"}, 406),
    ("GET", "/workitems?limit=-1", b"", {}, 400),
    ("GET", "/workitems?PatientName=%00", b"", {}, 400),
    ("GET", "/workitems?PatientName.PatientID=1", b"", {}, 400),
    ("GET", "/workitems?ScheduledProcedureStepStartDateTime=soon", b"", {}, 400),
    ("GET", "/subscribers/READER", b"", {}, 426),
    ("POST", f"/workitems/{GLOBAL}/subscribers/{'x' * 17}", b"", {}, 400),
    ("POST", f"/workitems/{GLOBAL}/subscribers/CT2", b"", {}, 404),
    ("POST", f"/workitems/{GLOBAL}/subscribers/READER?deletionlock=maybe", b"", {}, 400),
    ("POST", f"/workitems/{FILTERED}/subscribers/READER", b"", {}, 400),
    ("POST", f"/workitems/{FILTERED}/subscribers/READER?NoSuch=1", b"", {}, 400),
    ("POST", "/workitems/1.2.3/subscribers/READER", b"", {}, 404),
    ("POST", "/workitems/1.2.3/subscribers/READER/suspend", b"", {}, 400),
    ("DELETE", "/workitems/1.2.3/subscribers/READER", b"", {}, 404),
    ("DELETE", f"/workitems/{UID}", b"", {}, 405),
]


@pytest.mark.standard("PS3.18 8.5 status codes")
async def test_what_cannot_be_done_is_refused_and_never_a_fault(service: Service) -> None:
    client = service.client()
    for method, address, content, headers, status in BAD:
        answer = await client.request(method, address, content=content, headers=headers)

        assert answer.status_code == status, (method, address, content[:60], answer.text)


@pytest.mark.standard("threats T11")
async def test_an_attribute_of_another_kind_is_refused_and_spoils_no_worklist(
    service: Service,
) -> None:
    client = service.client()
    await make(client)
    for number, (tag, shape) in enumerate(
        (
            ("00741202", {"vr": "OB", "InlineBinary": "AAAA"}),
            ("00741202", {"vr": "PN", "Value": [{"Alphabetic": "a^b"}]}),
            ("00404018", {"vr": "LO", "Value": ["x"]}),
            ("0040A370", {"vr": "DT", "Value": ["00010101-9999"]}),
        )
    ):
        item = a_ups().to_json_dict() | {tag: shape}
        answer = await client.post(
            f"/workitems?1.2.7.{number}", content=json.dumps(item), headers=TYPE
        )
        assert answer.status_code == 400, answer.text

    listed = await client.get("/workitems")
    assert [one["00080018"]["Value"] for one in listed.json()] == [[UID]]


@pytest.mark.standard("threats T1")
async def test_without_scope_or_relation_there_is_no_workitem(service: Service) -> None:
    await make(service.client())
    reader = service.client(scope="system/Task.rs")
    stranger = service.client("other")
    nobody = httpx.AsyncClient(base_url=service.base)

    async def statuses(client: httpx.AsyncClient) -> list[int]:
        return [
            (await client.get(f"/workitems/{UID}")).status_code,
            (await move(client, "IN PROGRESS")).status_code,
            (await make(client, "1.2.9.5")).status_code,
            (await client.post(f"/workitems/{UID}/subscribers/READER")).status_code,
        ]

    assert await statuses(reader) == [200, 403, 403, 201]
    assert await statuses(stranger) == [404, 404, 201, 404]
    assert await statuses(nobody) == [401] * 4
    await nobody.aclose()


@pytest.fixture
async def told(bridge: Bridge, service: Service) -> AsyncIterator[str]:
    """The address of the notifications of a service, on a port of its own."""
    checker = TokenChecker(service.keys, service.address)
    app = Starlette(routes=[Mount("/subscribers", ups_subscribers.Notifications(bridge, checker))])
    config = uvicorn.Config(
        app, port=0, log_level="warning", lifespan="off", ws="websockets-sansio"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"ws://127.0.0.1:{port}/subscribers"
    server.should_exit = True
    await serving


@pytest.mark.standard("PS3.18 11.10 to 11.13")
async def test_who_subscribes_to_all_is_told_over_a_websocket(service: Service, told: str) -> None:
    client = service.client()
    token = {"Authorization": f"Bearer {service.token()}"}
    other = mint(
        service.keys, service.address, subject="Client/other", client="other",
        scope="system/*.cruds", organization="lead", role="application",
    )  # fmt: skip
    others = {"Authorization": f"Bearer {other}"}
    matcher = Matcher(service.bridge.database, BASE)
    answer = await client.post(f"/workitems/{GLOBAL}/subscribers/READER?deletionlock=false")
    assert answer.status_code == 201
    where = answer.headers["content-location"]
    assert where == f"{service.base.replace('http', 'ws')}/subscribers/READER"
    with pytest.raises(websockets.exceptions.InvalidStatus):
        await websockets.connect(f"{told}/READER")  # without a token

    async with websockets.connect(f"{told}/READER", additional_headers=token) as socket:
        await make(client)
        await move(client, "IN PROGRESS")
        await client.post(f"/workitems/{UID}/cancelrequest")
        await matcher.catch_up()
        heard = [json.loads(await asyncio.wait_for(socket.recv(), 30)) for _ in range(4)]

        await client.delete(f"/workitems/{GLOBAL}/subscribers/READER")
        await move(client, "CANCELED")
        await client.post(f"/workitems/{GLOBAL}/subscribers/READER")
        await make(client, "1.2.9.2")
        await matcher.catch_up()
        last = json.loads(await asyncio.wait_for(socket.recv(), 30))

    await client.post(f"/workitems/{GLOBAL}/subscribers/READER")
    async with websockets.connect(f"{told}/READER", additional_headers=others) as socket:
        await make(client, "1.2.9.3")
        await matcher.catch_up()
        also = httpx.AsyncClient(base_url=service.base, headers=others)
        assert (await also.post(f"/workitems/{GLOBAL}/subscribers/READER")).status_code == 201
        await also.aclose()
        await make(client, "1.2.9.4")
        await matcher.catch_up()
        theirs = json.loads(await asyncio.wait_for(socket.recv(), 30))
    assert theirs["00001000"]["Value"] == ["1.2.9.4"], "a title is whose made it up"

    assert [one["00001002"]["Value"] for one in heard] == [[1], [1], [5], [2]]
    assert {one["00001000"]["Value"][0] for one in heard} == {UID}
    assert [one["00741000"]["Value"][0] for one in heard[:2]] == ["SCHEDULED", "IN PROGRESS"]
    assert heard[3]["00741236"]["Value"] == ["test"]
    assert last["00001000"]["Value"] == ["1.2.9.2"]
