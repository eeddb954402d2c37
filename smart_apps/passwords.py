"""Passwords and client secrets: what is kept of them is derived with Argon2id, and only that.

RFC 9106 Section 4 (the second recommended option: 64 MiB, 3 passes, 4 lanes). The parameters
stand in each kept text, so that they can be raised later.
"""

import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

_HASHER: Final = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)


def derive(password: str) -> str:
    """Give the text to keep of a password. Takes a moment, on purpose."""
    return _HASHER.hash(_normal(password))


def matches(password: str, kept: str) -> bool:
    """Say whether this is the password of which `kept` was derived."""
    try:
        return _HASHER.verify(kept, _normal(password))
    except (VerificationError, InvalidHashError):
        return False


def _normal(password: str) -> str:
    """The same whatever keyboard it was typed on (NIST SP 800-63B-4 Section 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
