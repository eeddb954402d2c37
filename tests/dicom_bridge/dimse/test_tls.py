"""DIMSE over TLS: a peer whose certificate is known must show it."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pynetdicom import AE
from pynetdicom.association import Association

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers, reactor, scp
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.portal import Portal
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import plain

pytestmark = pytest.mark.anyio


class Identity:
    """A key and a certificate that signs itself."""

    def __init__(self, folder: Path, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        self.fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    folder = tmp_path_factory.mktemp("tls")
    return {name: Identity(folder, name) for name in ("server", "ct", "stranger")}


@pytest.fixture
async def port(bridge: Bridge, identities: dict[str, Identity]) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identities["server"].path)
    context.verify_mode = ssl.CERT_OPTIONAL
    for name in ("ct", "stranger"):
        context.load_verify_locations(identities[name].path)
    known = identities["ct"].fingerprint
    await peers.add(bridge.database, Peer("CT1", "127.0.0.1", 104, "lead", known))
    portal = Portal(asyncio.get_running_loop())
    server = scp.listen(bridge, portal, "127.0.0.1", 0, secured=context)
    yield int(server.server_address[1])
    await asyncio.to_thread(reactor.stop, server)


def associate(port: int, shown: Identity | None) -> Association:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if shown is not None:
        context.load_cert_chain(shown.path)
    ae = AE("CT1")
    ae.add_requested_context(*plain(an_instance()))
    return ae.associate("127.0.0.1", port, ae_title="ISOCENTRE", tls_args=(context, "localhost"))


@pytest.mark.standard("PS3.15 B.9")
async def test_the_peer_that_shows_its_certificate_stores(
    port: int, identities: dict[str, Identity]
) -> None:
    association = await asyncio.to_thread(associate, port, identities["ct"])

    status = await asyncio.to_thread(association.send_c_store, an_instance(rows=512, columns=512))

    assert status.Status == 0x0000
    await asyncio.to_thread(association.release)


@pytest.mark.parametrize("shown", ["stranger", None])
async def test_who_cannot_show_it_is_rejected(
    port: int, identities: dict[str, Identity], shown: str | None
) -> None:
    identity = identities[shown] if shown else None

    association = await asyncio.to_thread(associate, port, identity)

    assert association.is_rejected


async def test_a_silent_connection_does_not_hold_up_the_port(
    port: int, identities: dict[str, Identity]
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)

    association = await asyncio.to_thread(associate, port, identities["ct"])

    assert association.is_established
    await asyncio.to_thread(association.release)
    writer.close()
    await writer.wait_closed()
