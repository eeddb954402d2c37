"""Peers: remote AEs that may call us, where they are, and for whom they act.

An AE title is a name, not a proof. Plain DIMSE is therefore taken from the addresses that the
settings allow (loopback only unless said otherwise), and a peer whose certificate is known, by
fingerprint or by subject, must show it, from wherever it calls.

References
----------
* PS3.8 Section 7.1.1 (A-ASSOCIATE: calling and called AE titles)
* PS3.15 Annex B.12 (TLS secure transport connection profile)
"""

import ipaddress
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from dicom_bridge import tls
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse
from fhir_server.context import now
from fhir_server.postgres.database import Database, Texts, Transaction
from resources.errors import Invalid, NotFound

SCOPES: Final = parse("system/*.cruds")

COLUMNS: Final = (
    "ae, host, port, organization, certificate, subject, tls, informed, destination, dicomweb"
)
FIND: Final = f"SELECT {COLUMNS} FROM peer WHERE ae = $1"
ALL: Final = f"SELECT {COLUMNS} FROM peer ORDER BY ae"
DESTINATIONS: Final = f"""
SELECT DISTINCT ON (organization) {COLUMNS} FROM peer
WHERE destination AND organization = ANY($1::text[]) ORDER BY organization, ae
"""
SHOWN: Final = "SELECT ae FROM peer WHERE certificate = $1 AND ae <> $2 LIMIT 1"
ADD: Final = f"""
INSERT INTO peer ({COLUMNS}, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (ae) DO UPDATE SET host = excluded.host, port = excluded.port,
    organization = excluded.organization, certificate = excluded.certificate,
    subject = excluded.subject, tls = excluded.tls, informed = excluded.informed,
    destination = excluded.destination, dicomweb = excluded.dicomweb
"""
REMOVE: Final = "DELETE FROM peer WHERE ae = $1 RETURNING ae"
MOST_AE_TITLE: Final = 16


class Peer(NamedTuple):
    """A remote AE: its title, its address, the Organization (id) that it acts for.

    Parameters
    ----------
    certificate, subject
        SHA-256 fingerprint, and subject, of the certificate it must show; None: not looked at.
    tls
        It comes over TLS or not at all, and is called over TLS.
    informed
        It is told which instances are available.
    destination
        It is the PACS of its organisation: studies are sent to it before they are needed.
    dicomweb
        Address of its DICOMweb services; None: it is sent to by C-STORE.
    """

    ae: str
    host: str
    port: int
    organization: str
    certificate: str | None = None
    subject: str | None = None
    tls: bool = False
    informed: bool = False
    destination: bool = False
    dicomweb: str | None = None

    @property
    def is_secure(self) -> bool:
        """Whether it is met over TLS only."""
        return self.tls or self.certificate is not None or self.subject is not None

    def shows(self, certificate: bytes) -> bool:
        """Whether a certificate (DER) is one that it may show."""
        agrees = self.certificate in (None, tls.fingerprint_of(certificate))
        return agrees and self.subject in (None, tls.subject_of(certificate))

    @property
    def principal(self) -> Principal:
        """Who the peer is to the gate and to the audit."""
        return Principal(
            subject=f"Peer/{self.ae}", organization=self.organization, role="device", scopes=SCOPES
        )


async def find(database: Database, ae: str) -> Peer | None:
    """The peer of that AE title; None: we do not know it."""
    rows = await database.run(FIND, (ae.strip(),))
    return Peer(*rows[0]) if rows else None


async def is_of_another(database: Database, peer: Peer, fingerprint: str) -> bool:
    """Whether a certificate is known as that of another peer."""
    return bool(await database.run(SHOWN, (fingerprint, peer.ae)))


async def every(database: Database) -> list[Peer]:
    """All peers, by AE title."""
    return [Peer(*row) for row in await database.run(ALL)]


async def destinations(database: Database, organizations: Sequence[str]) -> list[Peer]:
    """Give the PACS of each of some organisations that has one: the first, by AE title."""
    return [Peer(*row) for row in await database.run(DESTINATIONS, (Texts(organizations),))]


async def add(database: Database | Transaction, peer: Peer) -> None:
    """Allow a peer, or change what is known of it.

    Raises
    ------
    Invalid
        The title is no AE title (PS3.5 Section 6.2, AE), the port no port or the subject none; or
        its DICOMweb services would be spoken to in the clear on another machine.
    """
    require_ae_title(peer.ae)
    if not 0 < peer.port < 1 << 16:
        raise Invalid("a port is a number from 1 to 65535", at="port")
    if peer.dicomweb is not None:
        peer = peer._replace(dicomweb=require_address(peer.dicomweb))
    if peer.subject is not None:
        peer = peer._replace(subject=tls.spelled(peer.subject))
    await database.run(ADD, (*peer, now()))


async def remove(database: Database | Transaction, ae: str) -> None:
    """Forget a peer.

    Raises
    ------
    NotFound
        There is none of that AE title.
    """
    if not await database.run(REMOVE, (ae.strip(),)):
        raise NotFound("no peer is called that")


def require_ae_title(ae: str) -> str:
    """Refuse what is no AE title: 1 to 16 printable ASCII characters, no backslash.

    Examples
    --------
    >>> require_ae_title("CT1")
    'CT1'
    >>> require_ae_title("")
    Traceback (most recent call last):
    resources.errors.Invalid: that is not an AE title
    """
    is_title = ae.isascii() and ae.isprintable() and "\\" not in ae and ae.strip() == ae
    if not is_title or not 0 < len(ae) <= MOST_AE_TITLE:
        raise Invalid("that is not an AE title", at="AETitle")
    return ae


def require_address(address: str) -> str:
    """Refuse what is no address of DICOMweb services; give it without a slash at its end.

    Examples
    --------
    >>> require_address("https://pacs.example/dicom-web/")
    'https://pacs.example/dicom-web'
    >>> require_address("http://pacs.example/dicom-web")
    Traceback (most recent call last):
    resources.errors.Invalid: DICOMweb on another machine is spoken to over https
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid("that is no address of DICOMweb services", at="dicomweb")
    if parts.username or parts.query or parts.fragment:
        raise Invalid("the address has a user, a query or a fragment", at="dicomweb")
    if parts.scheme == "http" and parts.hostname != "localhost" and not is_near(parts.hostname):
        raise Invalid("DICOMweb on another machine is spoken to over https", at="dicomweb")
    return address.rstrip("/")


def is_near(address: str) -> bool:
    """Whether an address is this machine's own.

    Examples
    --------
    >>> is_near("127.0.0.1"), is_near("192.0.2.1")
    (True, False)
    """
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
