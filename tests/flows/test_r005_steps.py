"""The unified worklist of a served installation: pushed, told of, taken and ended (R005.2)."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import websockets
from pynetdicom import AE, evt

from tests.dicom_bridge.ups.build import (
    EVENT,
    GLOBAL,
    IMPLICIT,
    PULL,
    PUSH,
    WATCH,
    a_ups,
    done,
    to,
)  # fmt: skip
from tests.flows.installation import Installation, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.requirement("R005.2")]

UID = "1.2.9.1"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, int]]:
    """A server with the demonstration's organisations, and a peer of one of them that listens."""
    installation, port = Installation(tmp_path_factory.mktemp("steps")), free_port()
    installation.start()
    installation.command("demo", "load")
    ods = installation.sql(
        "select t from client as c join current as o on o.type = 'Organization' "
        "and o.id = c.organization, unnest(o.terms) as t "
        "where t like 'O.identifier=%ods-organization-code|%' limit 1"
    )[0][0].rpartition("|")[2]
    installation.command(
        "peer", "add", "--ae", "STATION", "--host", "127.0.0.1", "--port", str(port),
        "--organization", ods,
    )  # fmt: skip
    try:
        yield installation, port
    finally:
        installation.stop()


async def test_a_peer_and_a_program_are_told_of_what_each_other_does(
    served: tuple[Installation, int],
) -> None:
    installation, port = served
    heard: list[tuple[int, str]] = []
    enough = threading.Event()

    def hear(event: Any) -> tuple[int, None]:
        heard.append((event.event_type, str(event.event_information.get("ProcedureStepState"))))
        if heard[-1] == (1, "COMPLETED"):
            enough.set()
        return 0x0000, None

    ours = AE("STATION")
    ours.add_supported_context(EVENT, IMPLICIT, scu_role=True, scp_role=True)
    listening = ours.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)]
    )

    def say(under: str, what: str, *arguments: Any, **more: Any) -> int:
        ae = AE("STATION")
        ae.add_requested_context(under, IMPLICIT)
        association = ae.associate("127.0.0.1", installation.dicom, ae_title="ISOCENTRE")
        assert association.is_established
        status, _ = getattr(association, what)(*arguments, **more)
        association.release()
        return int(status.Status)

    subscription = a_ups()
    subscription.clear()
    subscription.ReceivingAE, subscription.DeletionLock = "STATION", "FALSE"
    under_watch = {"meta_uid": WATCH}
    assert await asyncio.to_thread(
        say, WATCH, "send_n_action", subscription, 3, PUSH, GLOBAL, **under_watch
    ) == 0  # fmt: skip
    organization = installation.sql("select organization from peer where ae = 'STATION'")[0][0]
    client = installation.sql(f"select id from client where organization = '{organization}'")[0][0]
    token = installation.token(client, "system/*.cruds")
    web = httpx.AsyncClient(base_url=f"{installation.address}/dicom-web", headers=token)
    assert (await web.post(f"/workitems/{GLOBAL}/subscribers/READER")).status_code == 201
    address = f"ws://127.0.0.1:{installation.http}/dicom-web/subscribers/READER"

    async with websockets.connect(address, additional_headers=token) as socket:
        body = json.dumps([a_ups().to_json_dict()])
        headers = {"Content-Type": "application/dicom+json"}
        made = await web.post(f"/workitems?{UID}", content=body, headers=headers)
        assert made.status_code == 201
        for what, *arguments in (
            ("send_n_action", to("IN PROGRESS"), 1, PUSH, UID),
            ("send_n_set", done(), PUSH, UID),
            ("send_n_action", to("COMPLETED"), 1, PUSH, UID),
        ):
            assert await asyncio.to_thread(say, PULL, what, *arguments, meta_uid=PULL) == 0
        messages = [json.loads(await asyncio.wait_for(socket.recv(), 60)) for _ in range(4)]

    assert await asyncio.to_thread(enough.wait, 60)
    assert listening is not None
    await asyncio.to_thread(listening.shutdown)
    await web.aclose()
    kinds = [(1, "SCHEDULED"), (1, "IN PROGRESS"), (5, "None"), (1, "COMPLETED")]
    assert heard == kinds
    assert [one["00001002"]["Value"][0] for one in messages] == [kind for kind, _ in kinds]
