"""Rest-hook over TLS: to the address that was checked, with the certificate of the name."""

import asyncio
import ssl
from pathlib import Path

import pytest

from subscriptions.addresses import Addresses
from subscriptions.channels.outcome import Message
from subscriptions.channels.resthook import RestHook
from tests.subscriptions.receiving import Receiver, certified
from tests.subscriptions.test_email import a_subscriber

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T9")]


@pytest.mark.parametrize(
    ("host", "verdict"), [("hooks.example", "sent"), ("other.example", "later")]
)
async def test_the_certificate_must_be_that_of_the_name(
    tmp_path: Path, host: str, verdict: str
) -> None:
    serving, certificate = certified(tmp_path, "hooks.example")
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]

    async def resolve(name: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    addresses = Addresses("hooks.example,other.example", resolver=resolve)
    hook = RestHook(addresses, trust=ssl.create_default_context(cafile=str(certificate)))
    wanting = a_subscriber(channel="rest-hook", endpoint=f"https://{host}:{port}/hook")
    outcome = await hook.send(wanting, Message(b"{}", "application/fhir+json"))
    await hook.close()
    server.close()
    await asyncio.sleep(0.05)

    assert outcome.verdict == verdict
    assert [each.headers["Host"] for each in receiver.requests] == (
        [f"{host}:{port}"] if verdict == "sent" else []
    )
