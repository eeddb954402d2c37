"""Values that whoever holds them may act by: made at random, kept as their digest alone.

RFC 6819 Section 5.1.4.1.3 (no cleartext storage of credentials), 5.1.4.2.2 (high entropy).
"""

import hashlib
import secrets
from typing import Final

OCTETS: Final = 32


def new() -> str:
    """Make one, of 256 bits, as it may stand in a URL or a cookie."""
    return secrets.token_urlsafe(OCTETS)


def digest(value: str) -> bytes:
    """Give what is kept of it. It has too many bits to be guessed, so plain SHA-256 is enough."""
    return hashlib.sha256(value.encode()).digest()
