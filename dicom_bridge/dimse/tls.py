"""TLS: what a secure port takes, and how peers are called over it.

Both sides show a certificate, which the file of authorities must lead to. Which peer a certificate
belongs to is said by the list of peers, not by the certificate.

References
----------
* PS3.15 Annex B.12 (BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile)
* RFC 9325 Section 3.1 (TLS 1.2 or later), 4.2 (cipher suites)
"""

import ssl
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography import x509

from resources.errors import Invalid

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""RFC 9325 Section 4.2: forward secrecy and authenticated encryption; TLS 1.3 has its own."""


class Files(NamedTuple):
    """PEM files: our certificate with its chain, its key, and the authorities of our peers."""

    certificate: Path
    key: Path
    authorities: Path


def accepting(files: Files) -> ssl.SSLContext:
    """Make what a port needs: whoever calls must show a certificate of our authorities.

    Raises
    ------
    Invalid
        A file is missing or is not what it should be.
    """
    context = _made(ssl.PROTOCOL_TLS_SERVER, files)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def calling(files: Files) -> ssl.SSLContext:
    """Make what a call needs: the peer must show a certificate of our authorities.

    Its host name is not looked at, as certificates of devices seldom have one: `agrees` says
    whether it is that of the peer.

    Raises
    ------
    Invalid
        As `accepting`.
    """
    context = _made(ssl.PROTOCOL_TLS_CLIENT, files)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def subject_of(certificate: bytes) -> str:
    """Give the subject of a certificate (DER) as text (RFC 4514); empty if it cannot be read."""
    try:
        return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
    except ValueError:
        return ""


def _made(protocol: Any, files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.authorities)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise Invalid(
            "The certificate, key or authorities of the DICOM TLS port cannot be read", at="tls"
        ) from error
    return context
