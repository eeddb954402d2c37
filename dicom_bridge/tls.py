"""TLS: what a secure DICOM port takes, and how peers are called over it.

Both sides show a certificate that the authorities vouch for. Which peer it belongs to is said by
the list of peers, not by the certificate.

References
----------
* PS3.15 Annex B.12 (BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile)
* RFC 9325 Section 3.1 (TLS 1.2 or later), 4.2 (cipher suites)
"""

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _prepare(context, files)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class Calling(ssl.SSLContext):
    """What a call needs; `expects` says whether a certificate (DER) is that of whom we call."""

    expects: Callable[[bytes], bool] | None = None


class _CallingSocket(ssl.SSLSocket):
    """Ends a call before the first word where somebody else answers it."""

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        expects = getattr(self.context, "expects", None)
        if expects is not None and not expects(self.getpeercert(True) or b""):
            raise ssl.SSLError("the certificate is another's")


def calling(files: Files, expects: Callable[[bytes], bool] | None) -> ssl.SSLContext:
    """Make what a call needs: the peer must show a certificate of our authorities.

    Parameters
    ----------
    expects
        Whether a certificate is the peer's; None: it must be in the name of the host, which those
        of devices seldom are (RFC 9525).

    Raises
    ------
    Invalid
        As `accepting`.
    """
    context = Calling(ssl.PROTOCOL_TLS_CLIENT)
    _prepare(context, files)
    context.expects = expects
    context.sslsocket_class = _CallingSocket
    context.check_hostname = expects is None
    return context


def subject_of(certificate: bytes) -> str:
    """Give the subject of a certificate (DER) as text (RFC 4514); empty if it cannot be read."""
    try:
        return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
    except ValueError:
        return ""


def spelled(subject: str) -> str:
    """Spell a subject as `subject_of` does.

    Raises
    ------
    Invalid
        It is none.

    Examples
    --------
    >>> spelled("CN=CT1,O=Example")
    'CN=CT1,O=Example'
    """
    try:
        return x509.Name.from_rfc4514_string(subject).rfc4514_string()
    except ValueError as error:
        raise Invalid("that is no subject of a certificate (RFC 4514)", at="subject") from error


def fingerprint_of(certificate: bytes) -> str:
    """Give the SHA-256 fingerprint of a certificate (DER), hexadecimal."""
    return hashlib.sha256(certificate).hexdigest()


def _prepare(context: ssl.SSLContext, files: Files) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.authorities)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise Invalid(
            "The certificate, key or authorities of the DICOM TLS port cannot be read", at="tls"
        ) from error
