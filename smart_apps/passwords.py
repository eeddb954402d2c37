"""Passwords and client secrets: what is kept of them is derived with scrypt, and only that.

RFC 7914 (scrypt). The parameters are those the OWASP Password Storage Cheat Sheet gives for
scrypt: N = 2^17, r = 8, p = 1. They stand in each kept text, so that they can be raised later.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final

N: Final = 2**17
R: Final = 8
P: Final = 1
OCTETS: Final = 32
MEMORY: Final = 256 * 1024 * 1024
"""Most memory one derivation may use, in octets; N and r above need half of it."""


def derive(password: str) -> str:
    """Give the text to keep of a password. Takes about a third of a second, on purpose."""
    salt = secrets.token_bytes(16)
    return "$".join(
        ["scrypt", f"{N},{R},{P}", _text(salt), _text(_scrypt(password, salt, N, R, P))]
    )


def matches(password: str, kept: str) -> bool:
    """Say whether this is the password of which `kept` was derived."""
    try:
        name, parameters, salt, derived = kept.split("$")
        n, r, p = (int(each) for each in parameters.split(","))
    except ValueError:
        return False
    again = _scrypt(password, base64.b64decode(salt), n, r, p)
    return name == "scrypt" and hmac.compare_digest(_text(again), derived)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=MEMORY, dklen=OCTETS)


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
