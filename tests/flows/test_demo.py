"""``make demo ARGS=--once``: the primary pathway on a whole server, read back to the end."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from demo.hearing import Line
from demo.story import UnexpectedError


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.requirement("W1")
def test_the_demonstration_plays_to_its_end_on_real_images(tmp_path: Path) -> None:
    http = free_address()
    place = ["--data-dir", str(tmp_path), "--dicom", free_address()]

    played = subprocess.run(
        [sys.executable, "-m", "demo", "--once", *place],
        env=os.environ | {"ISOCENTRE_HTTP": http},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert played.returncode == 0, played.stdout + played.stderr
    *priors, study = json.loads((tmp_path / "demo.json").read_text())["studies"]
    assert study["instances"] > 0
    assert study["report"]
    assert {prior["patient"] for prior in priors} == {"brook", "quist"}
    assert "26 of 26 done and read back" in played.stdout
    assert f"http://{http}/admin" in played.stdout
    told = re.search(r"event 1: told (\d+) ms after the report was sent", played.stdout)
    assert told is not None


@asynccontextmanager
async def a_server_that(*says: str, closes: bool) -> AsyncIterator[str]:
    """A WebSocket of somebody's that says this when it is bound, then closes or is silent."""

    async def serve_one(connection: ServerConnection) -> None:
        assert await connection.recv() == "bind-with-token abc"
        for one in says:
            await connection.send(one)
        if closes:
            await connection.close(4401)
        await connection.wait_closed()

    async with serve(serve_one, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def notification(kind: str, *events: tuple[int, str]) -> str:
    told = [
        {
            "name": "notification-event",
            "part": [
                {"name": "event-number", "valueString": str(number)},
                {"name": "focus", "valueReference": {"reference": f"http://x.test/fhir/{focus}"}},
            ],
        }
        for number, focus in events
    ]
    parameters = [{"name": "type", "valueCode": kind}, *told]
    return json.dumps({"entry": [{"resource": {"parameter": parameters}}]})


@pytest.mark.anyio
@pytest.mark.requirement("R010.1")
async def test_what_the_referrer_is_told_is_what_the_server_sends() -> None:
    says = notification("handshake"), notification("event-notification", (1, "Task/a"))
    async with a_server_that(*says, closes=False) as url, Line(url, "abc", 5) as line:
        told = await line.told()

    assert (told.number, told.focus) == (1, "Task/a")


@pytest.mark.anyio
@pytest.mark.requirement("R010.1")
async def test_a_play_in_which_nothing_is_heard_stops_and_says_so() -> None:
    says = notification("handshake")
    async with a_server_that(says, closes=False) as url, Line(url, "abc", 0.2) as line:
        with pytest.raises(UnexpectedError, match=r"no notification within 0\.2 s"):
            await line.told()
    async with a_server_that(closes=False) as url:
        with pytest.raises(UnexpectedError, match=r"no handshake within 0\.2 s"):
            await Line(url, "abc", 0.2).__aenter__()


@pytest.mark.anyio
@pytest.mark.requirement("R010.1")
async def test_a_socket_that_is_closed_stops_the_play_and_its_code_is_told() -> None:
    says = notification("handshake")
    async with a_server_that(says, closes=True) as url, Line(url, "abc", 5) as line:
        with pytest.raises(UnexpectedError, match="closed with 4401"):
            await line.told()


@pytest.mark.anyio
async def test_a_server_without_a_socket_stops_the_play() -> None:
    with pytest.raises(UnexpectedError, match="no WebSocket"):
        await Line(f"ws://{free_address()}", "abc", 5).__aenter__()
