"""DIMSE over TLS: who shows which certificate, and who is called over it."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom import dcmwrite
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from dicom_bridge import tls
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers, reactor, scp
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.portal import Portal
from resources.errors import Invalid, Unprocessable
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import Archive, found, plain
from tests.dicom_bridge.dimse.test_find import hold, identifier
from tests.dicom_bridge.dimse.test_move import move
from tests.flows.installation import free_port

pytestmark = pytest.mark.anyio

VERIFICATION = "1.2.840.10008.1.1"


class Identity:
    """A key and a certificate, signed by an authority or by itself."""

    def __init__(
        self,
        folder: Path,
        name: str,
        authority: "Identity | None" = None,
        file: str = "",
        days: int = 1,
    ) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.secret = key = ec.generate_private_key(ec.SECP256R1())
        signer = authority or self
        now = datetime.datetime.now(datetime.UTC)
        here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        names = [here] if name == "server" else [x509.DNSName("elsewhere.example")]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=min(-1, days - 1)))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(authority is None, None), critical=True)
            .sign(signer.secret, hashes.SHA256())
        )
        self.fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        self.path, self.key = folder / f"{file or name}.pem", folder / f"{file or name}.key"
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    folder = tmp_path_factory.mktemp("tls")
    made = {name: Identity(folder, name) for name in ("authority", "stranger")}
    for name in ("server", "ct", "mr"):
        made[name] = Identity(folder, name, made["authority"])
    made["ct renewed"] = Identity(folder, "ct", made["authority"], "renewed")
    return made


@pytest.fixture
def files(identities: dict[str, Identity]) -> tls.Files:
    server = identities["server"]
    return tls.Files(server.path, server.key, identities["authority"].path)


@pytest.fixture
async def port(bridge: Bridge, files: tls.Files) -> AsyncIterator[int]:
    """A port that speaks TLS."""
    portal = Portal(asyncio.get_running_loop())
    server = scp.listen(bridge, portal, "127.0.0.1", 0, secured=tls.accepting(files))
    yield int(server.server_address[1])
    await asyncio.to_thread(reactor.stop, server)


@pytest.fixture
def ct(identities: dict[str, Identity]) -> Peer:
    """CT1 as a peer whose certificate is known."""
    return Peer("CT1", "127.0.0.1", 104, "lead", identities["ct"].fingerprint)


def associate(
    port: int, shown: Identity | None, calling: str = "CT1", called: str = "ISOCENTRE"
) -> Association:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if shown is not None:
        context.load_cert_chain(shown.path, shown.key)
    ae = reactor.ApplicationEntity(calling)  # closes its sockets, as pynetdicom may not
    ae.acse_timeout = ae.dimse_timeout = 10
    ae.add_requested_context(*plain(an_instance()))
    return ae.associate("127.0.0.1", port, ae_title=called, tls_args=(context, "localhost"))


async def is_admitted(
    port: int, shown: Identity | None, calling: str = "CT1", called: str = "ISOCENTRE"
) -> bool:
    association = await asyncio.to_thread(associate, port, shown, calling, called)
    admitted = bool(association.is_established)
    if admitted:
        await asyncio.to_thread(association.release)
    return admitted


@pytest.mark.standard("PS3.15 B.12")
async def test_the_peer_that_shows_its_certificate_stores(
    bridge: Bridge, port: int, identities: dict[str, Identity], ct: Peer
) -> None:
    await peers.add(bridge.database, ct)
    association = await asyncio.to_thread(associate, port, identities["ct"])

    status = await asyncio.to_thread(association.send_c_store, an_instance(rows=512, columns=512))

    assert status.Status == 0x0000
    await asyncio.to_thread(association.release)


@pytest.mark.parametrize("shown", ["stranger", None])
async def test_who_shows_no_certificate_of_our_authorities_does_not_get_as_far_as_to_ask(
    bridge: Bridge, port: int, identities: dict[str, Identity], shown: str | None
) -> None:
    assert not await is_admitted(port, identities[shown] if shown else None)
    assert await is_admitted(port, identities["ct"])


@pytest.mark.standard("threats T16")
async def test_fifty_wrong_pairs_are_refused_and_audited(
    bridge: Bridge, port: int, identities: dict[str, Identity]
) -> None:
    """Every AE title with every certificate but its own, and with a wrong called title."""
    owners = {f"AE{number}": ("ct", "mr", "server")[number % 3] for number in range(17)}
    for ae, name in owners.items():
        known = identities[name].fingerprint if name != "mr" else None
        subject = "CN=mr" if name == "mr" else None
        await peers.add(bridge.database, Peer(ae, "127.0.0.1", 104, "lead", known, subject))
    wrong = [
        (ae, shown, "ISOCENTRE")
        for ae, own in owners.items()
        for shown in ("ct", "mr", "server")
        if shown != own
    ]
    wrong += [(ae, own, "OTHER") for ae, own in owners.items()]
    before = len(await found(bridge, "AuditEvent", outcome="4"))

    admitted = [await is_admitted(port, identities[shown], ae, to) for ae, shown, to in wrong]

    assert len(wrong) >= 50
    assert not any(admitted)
    assert len(await found(bridge, "AuditEvent", outcome="4", _count="500")) == before + len(wrong)
    for ae, own in owners.items():
        assert await is_admitted(port, identities[own], ae)


async def test_a_renewed_certificate_of_the_same_subject_is_the_peers(
    bridge: Bridge, port: int, identities: dict[str, Identity]
) -> None:
    await peers.add(bridge.database, Peer("CT1", "127.0.0.1", 104, "lead", subject="CN=ct"))

    assert await is_admitted(port, identities["ct"])
    assert await is_admitted(port, identities["ct renewed"])
    assert not await is_admitted(port, identities["mr"])


async def test_a_peer_without_a_certificate_of_its_own_does_not_show_anothers(
    bridge: Bridge, port: int, identities: dict[str, Identity], ct: Peer
) -> None:
    await peers.add(bridge.database, ct)

    assert await is_admitted(port, identities["mr"], "CT2")
    assert not await is_admitted(port, identities["ct"], "CT2")


async def test_a_peer_that_must_come_over_tls_does_not_come_without(
    bridge: Bridge, archive: Archive, port: int, identities: dict[str, Identity]
) -> None:
    await peers.add(bridge.database, Peer("CT1", "127.0.0.1", 104, "lead", tls=True))

    association = await archive.call(archive.associate)

    assert association.is_rejected
    assert await is_admitted(port, identities["ct"])


@pytest.mark.standard("RFC 9325 4.2")
async def test_what_has_no_authenticated_encryption_is_not_spoken(
    bridge: Bridge, port: int, identities: dict[str, Identity]
) -> None:
    def shake(ciphers: str) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
        context.load_cert_chain(identities["ct"].path, identities["ct"].key)
        plainly = socket.create_connection(("127.0.0.1", port), 10)
        with plainly, context.wrap_socket(plainly) as secured:
            return str(secured.version())

    assert await asyncio.to_thread(shake, "ECDHE-ECDSA-AES128-GCM-SHA256") == "TLSv1.2"
    with pytest.raises(ssl.SSLError):
        await asyncio.to_thread(shake, "ECDHE-ECDSA-AES128-SHA")


async def test_a_silent_connection_does_not_hold_up_the_port(
    bridge: Bridge, port: int, identities: dict[str, Identity]
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)

    assert await is_admitted(port, identities["ct"])

    writer.close()
    await writer.wait_closed()


@contextmanager
def answering(identity: Identity, received: list[str] | None = None) -> Iterator[int]:
    """A peer that takes calls over TLS, and what it receives."""

    def store(event: Any) -> int:
        if received is not None:
            received.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.path, identity.key)
    ae = AE("CT1")
    ae.add_supported_context(VERIFICATION)
    ae.add_supported_context(*plain(an_instance()))
    ae.require_called_aet = False
    server: Any = ae.start_server(
        ("127.0.0.1", free_port()), block=False, ssl_context=context,
        evt_handlers=[(evt.EVT_C_ECHO, lambda event: 0x0000), (evt.EVT_C_STORE, store)],
    )  # fmt: skip
    yield int(server.server_address[1])
    server.shutdown()


@pytest.mark.parametrize(
    ("answers", "known", "is_met"),
    [
        ("ct", {"certificate": "ct"}, True),
        ("mr", {"certificate": "ct"}, False),
        ("ct", {"subject": "CN=ct"}, True),
        ("mr", {"subject": "CN=ct"}, False),
        ("stranger", {"subject": "CN=stranger"}, False),
        ("server", {"tls": True}, True),
        ("ct", {"tls": True}, False),
    ],
)
async def test_a_peer_is_called_over_tls_and_nobody_else_answers_for_it(
    files: tls.Files,
    identities: dict[str, Identity],
    answers: str,
    known: dict[str, Any],
    is_met: bool,
) -> None:
    """One that is known by nothing must have the name of its host in its certificate."""
    if "certificate" in known:
        known = {"certificate": identities[known["certificate"]].fingerprint}
    ae = reactor.ApplicationEntity("ISOCENTRE")
    ae.files = files

    def call(port: int) -> bool:
        peer = Peer("CT1", "127.0.0.1", port, "lead", **known)
        association = ae.call(peer, [build_context(VERIFICATION)])
        if not association.is_established:
            return False
        status = association.send_c_echo().Status
        association.release()
        return bool(status == 0x0000)

    with answering(identities[answers]) as port:
        assert await asyncio.to_thread(call, port) is is_met


@pytest.mark.standard("PS3.4 C.4.2")
@pytest.mark.parametrize(("answers", "arrives"), [("ct", True), ("mr", False)])
async def test_a_study_is_moved_over_tls_to_the_peer_alone(
    bridge: Bridge, files: tls.Files, identities: dict[str, Identity], answers: str, arrives: bool
) -> None:
    bridge.tls = files
    one = an_instance()
    await hold(bridge, one)
    portal = Portal(asyncio.get_running_loop())
    server = scp.listen(bridge, portal, "127.0.0.1", 0)
    archive = Archive(bridge, server, int(server.server_address[1]))
    received: list[str] = []
    with answering(identities[answers], received) as port:
        known = identities["ct"].fingerprint
        await peers.add(bridge.database, Peer("CT9", "127.0.0.1", port, "lead", known))
        keys = identifier(StudyInstanceUID=one.StudyInstanceUID)
        final = await asyncio.to_thread(move, archive, keys, "CT9", calling="CT1")

    assert received == ([str(one.SOPInstanceUID)] if arrives else [])
    assert (final.Status == 0x0000) is arrives
    await asyncio.to_thread(reactor.stop, server)


@pytest.mark.standard("threats T17")
async def test_what_is_no_tls_leaves_nothing_behind_on_the_port(
    bridge: Bridge, port: int, identities: dict[str, Identity]
) -> None:
    def threads() -> int:
        names = [thread.name for thread in threading.enumerate() if thread.is_alive()]
        return sum(not name.startswith("asyncio_") for name in names)

    def shout() -> None:
        for number in range(100):
            with socket.create_connection(("127.0.0.1", port), 10) as line:
                line.sendall(
                    (b"", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x02\x00", bytes(64))[number % 4]
                )

    assert await is_admitted(port, identities["ct"])
    before = threads()
    await asyncio.to_thread(shout)

    assert await is_admitted(port, identities["ct"])
    async with asyncio.timeout(60):
        while threads() > before:
            await asyncio.sleep(0.05)


def test_without_a_certificate_of_our_own_nobody_is_called_over_tls() -> None:
    ae = reactor.ApplicationEntity("ISOCENTRE")

    with pytest.raises(Unprocessable):
        ae.call(Peer("CT1", "127.0.0.1", 104, "lead", tls=True), [build_context(VERIFICATION)])


def test_files_that_are_none_are_refused(files: tls.Files, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")

    for wrong in (
        files._replace(certificate=tmp_path / "missing.pem"),
        files._replace(key=nonsense),
        files._replace(authorities=nonsense),
    ):
        with pytest.raises(Invalid):
            tls.accepting(wrong)


@pytest.mark.peer
@pytest.mark.standard("PS3.15 B.12")
async def test_dcmtk_echoes_and_stores_over_tls_with_its_own_certificate_only(
    bridge: Bridge,
    port: int,
    identities: dict[str, Identity],
    ct: Peer,
    dcmtk: str,
    tmp_path: Path,
) -> None:
    await peers.add(bridge.database, ct)
    file = tmp_path / "one.dcm"
    dcmwrite(file, an_instance(), enforce_file_format=True)

    def ran(program: str, shown: str | None, *more: str) -> int:
        secured = ["+tla", "-ic"]
        if shown:
            one, authority = identities[shown], str(identities["authority"].path)
            secured = ["+tls", str(one.key), str(one.path), "+cf", authority]
        command = [
            f"{dcmtk}/{program}", *secured, "-aet", "CT1", "-aec", "ISOCENTRE",
            "127.0.0.1", str(port), *more,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode

    assert await asyncio.to_thread(ran, "echoscu", "ct") == 0
    assert await asyncio.to_thread(ran, "storescu", "ct", str(file)) == 0
    for wrong in ("mr", "stranger", None):
        assert await asyncio.to_thread(ran, "echoscu", wrong) != 0
        assert await asyncio.to_thread(ran, "storescu", wrong, str(file)) != 0
