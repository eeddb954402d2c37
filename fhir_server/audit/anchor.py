"""Anchors: the head of the chain of seals, signed, kept in a file and given to whoever asks.

A chain shows that its links fit; it does not show that the whole of it was not written anew. A
head that somebody else has kept does. Heads are signed, so that whoever keeps one can show where
it is from, and they name no patient: every organisation may fetch and keep them.

References
----------
* RFC 7515 (JWS), RFC 7519: each head is a compact JWT, one a line
* docs/adr/0012: what a chain shows, and what it does not
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError

from fhir_server.access.token import ALGORITHM, Keys
from fhir_server.audit.seal import Seal
from resources.errors import Invalid

TYPE: Final = "audit-head+jwt"
"""No access token has this type, and no head gives access."""


def path(data_dir: Path) -> Path:
    """Where the heads are kept."""
    return data_dir / "audit" / "heads.jwt"


def add(data_dir: Path, keys: Keys, issuer: str, head: Seal, instant: int) -> None:
    """Keep a head: signed, at the end of the file, on disk when this returns.

    Parameters
    ----------
    instant
        When it was sealed, in microseconds since 1970 UTC.
    """
    claims = {
        "iss": issuer,
        "iat": instant // 1_000_000,
        "number": head.number,
        "log": head.log,
        "xid": head.xid,
        "n": head.n,
        "rows": head.rows,
        "digest": head.digest.hex(),
    }
    file = path(data_dir)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as heads:
        heads.truncate(heads.read().rfind(b"\n") + 1)  # a line that a crash cut short
        heads.seek(0, os.SEEK_END)
        heads.write(f"{keys.sign(claims, TYPE)}\n".encode())
        heads.flush()
        os.fsync(heads.fileno())


def kept(file: Path) -> Iterator[str]:
    """Give the heads in a file, the oldest first; a line that was cut short is none."""
    if not file.exists():
        return
    with file.open() as lines:
        for line in lines:
            if line.endswith("\n") and line.strip():
                yield line.strip()


def read(heads: Iterable[str], keys: Keys) -> Iterator[Seal]:
    """Read heads that we have signed.

    Raises
    ------
    Invalid
        One is none of ours, or was changed.
    """
    for number, head in enumerate(heads, 1):
        try:
            header = jws.extract_compact(head.encode()).headers()
            key = keys.ever(header.get("kid"))
            if key is None or header.get("typ") != TYPE:
                raise ValueError(TYPE)
            yield _seal(jwt.decode(head, key, algorithms=[ALGORITHM]).claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Invalid(f"head {number} is not one that this server signed") from error


def _seal(claims: dict[str, Any]) -> Seal:
    numbers = {name: int(claims[name]) for name in ("number", "log", "xid", "n", "rows")}
    return Seal(**numbers, digest=bytes.fromhex(claims["digest"]))
