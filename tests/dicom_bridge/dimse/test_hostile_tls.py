"""Whoever attacks the secure port gets no association, and holds up nobody who has one."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable

import pytest

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from dicom_bridge.dimse.peers import Peer
from tests.dicom_bridge.dimse.test_tls import Identity, files, identities, is_admitted, port
from tests.flows.wire import ASSOCIATE_AC, SECONDS, Line, association

__all__ = ["files", "identities", "port"]

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T16, T17")]


@pytest.fixture(scope="session")
def false(
    identities: dict[str, Identity], tmp_path_factory: pytest.TempPathFactory
) -> list[Identity]:
    """Who says to be `ct` and is not: expired, signed by itself, by others who call themselves
    our authority, and by a certificate that may sign nothing."""
    folder = tmp_path_factory.mktemp("false")
    authority = identities["authority"]
    (folder / "a").mkdir()
    false_authority = Identity(folder / "a", "authority")
    return [
        Identity(folder, "ct", authority, "expired", days=-1),
        Identity(folder, "ct", file="own"),
        Identity(folder, "ct", false_authority, "forged"),
        Identity(folder, "ct", identities["mr"], "delegated"),
    ]


@pytest.mark.standard("PS3.15 B.12")
async def test_no_false_certificate_is_taken_for_the_peers(
    bridge: Bridge, port: int, identities: dict[str, Identity], false: list[Identity]
) -> None:
    """The peer is known by its subject, which all of them have."""
    await peers.add(bridge.database, Peer("CT1", "127.0.0.1", 104, "lead", subject="CN=ct"))

    for one in false:
        assert not await is_admitted(port, one), one.path.name
    assert await is_admitted(port, identities["ct"])


def shaking(one: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(one.path, one.key)
    return context


@pytest.mark.standard("RFC 9325 3.1.1")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_versions_of_tls_before_1_2_are_not_spoken(
    port: int, identities: dict[str, Identity], version: ssl.TLSVersion
) -> None:
    def shake() -> None:
        context = shaking(identities["ct"])
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with socket.create_connection(("127.0.0.1", port), SECONDS) as plainly:
            context.wrap_socket(plainly).close()

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.to_thread(shake)
    assert await is_admitted(port, identities["ct"])


async def test_nothing_is_said_without_tls_on_the_secure_port(
    port: int, identities: dict[str, Identity]
) -> None:
    def say() -> int:
        with Line(port, association()) as line:
            return line.hear()[0]

    assert await asyncio.to_thread(say) != ASSOCIATE_AC
    assert await is_admitted(port, identities["ct"])


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_nobody_shakes_hands_again(port: int, identities: dict[str, Identity]) -> None:
    """TLS 1.2 renegotiation by the client costs the server more than who asks for it."""

    def renegotiate() -> str:
        one = identities["ct"]
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2",
             "-cert", str(one.path), "-key", str(one.key)],
            input=b"R\n", capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        return (done.stdout + done.stderr).decode("latin-1")

    said = await asyncio.to_thread(renegotiate)

    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said
    assert await is_admitted(port, identities["ct"])


def hello(identities: dict[str, Identity]) -> bytes:
    """The first message of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = shaking(identities["ct"]).wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def threads() -> int:
    names = [thread.name for thread in threading.enumerate() if thread.is_alive()]
    return sum(not name.startswith("asyncio_") for name in names)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def test_two_hundred_handshakes_that_do_not_end_hold_up_nobody(
    port: int, identities: dict[str, Identity]
) -> None:
    assert await is_admitted(port, identities["ct"])
    whole, before = hello(identities), threads()
    held: list[Line] = []

    def call() -> None:
        held.extend(Line(port, whole[: (1, 20, len(whole))[n % 3]]) for n in range(200))

    await asyncio.to_thread(call)
    assert await is_admitted(port, identities["ct"])
    for line in held:
        line.connection.close()

    await until(lambda: threads() <= before)
    assert await is_admitted(port, identities["ct"])


async def test_who_shakes_hands_and_asks_for_nothing_is_hung_up_on(
    port: int, identities: dict[str, Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_bridge.dimse.transport.REQUEST_SECONDS", 0.2)
    before = threads()

    def wait() -> bytes:
        plainly = socket.create_connection(("127.0.0.1", port), 60)
        with shaking(identities["ct"]).wrap_socket(plainly) as secured:
            secured.sendall(association()[:20])
            try:
                for _ in range(1200):
                    secured.sendall(b"\0")
                    threading.Event().wait(0.05)
            except OSError:
                return b"hung up"
            return b"served"

    assert await asyncio.to_thread(wait) == b"hung up"
    await until(lambda: threads() <= before)


async def test_a_link_that_is_cut_within_tls_leaves_nothing_behind(
    port: int, identities: dict[str, Identity]
) -> None:
    assert await is_admitted(port, identities["ct"])
    before = threads()

    def cut() -> None:
        whole = association()
        for length in (0, 1, 6, 74, len(whole) - 1, len(whole)):
            plainly = socket.create_connection(("127.0.0.1", port), SECONDS)
            with shaking(identities["ct"]).wrap_socket(plainly) as secured:
                secured.sendall(whole[:length])
                socket.socket(fileno=secured.detach()).close()

    await asyncio.to_thread(cut)

    await until(lambda: threads() <= before)
    assert await is_admitted(port, identities["ct"])
