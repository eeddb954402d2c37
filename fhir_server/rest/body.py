"""Read a request body, counting octets while they arrive and while they are inflated.

What a Content-Length promises is believed only where it is too much; a compressed body may
inflate to the same limit as any other, and not by more than `MAX_RATIO` (a decompression bomb).
RFC 9110 Section 8.4 (Content-Encoding), Section 15.5.14 (413).
"""

import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from starlette.requests import ClientDisconnect

from fhir_server.rest.negotiate import UnsupportedMedia
from resources.errors import TooLarge, Unreadable

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

MAX_RATIO: Final = 100
"""Octets that one compressed octet may become; JSON text compresses to a tenth or so."""


async def read(headers: Mapping[str, str], receive: Receive, limit: int) -> bytes:
    """Read the whole body, inflated.

    Parameters
    ----------
    limit
        Octets, before and after inflating.

    Raises
    ------
    TooLarge
        The body has more octets than `limit`, or inflates too far.
    UnsupportedMedia
        A Content-Encoding other than gzip.
    Unreadable
        The gzip stream is broken or ends early.
    ClientDisconnect
        The asker went away: there is nobody to answer.
    """
    promised = headers.get("content-length", "")
    if promised.isdecimal() and len(promised) < 20 and int(promised) > limit:
        raise _too_large(limit)
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"identity", "gzip", "x-gzip"}:
        raise UnsupportedMedia("The only Content-Encoding understood is gzip.")

    raw = await _collect(receive, limit)

    return raw if coding == "identity" else inflate(raw, limit)


async def _collect(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def inflate(raw: bytes, limit: int) -> bytes:
    """Inflate one gzip member, no further than `limit` and `MAX_RATIO` allow.

    Examples
    --------
    >>> import gzip
    >>> inflate(gzip.compress(b"{}"), 100)
    b'{}'
    """
    most = min(limit, max(len(raw) * MAX_RATIO, 1024))
    stream = zlib.decompressobj(wbits=31)
    try:
        text = stream.decompress(raw, most + 1)
    except zlib.error:
        raise Unreadable("The body is not gzip as its Content-Encoding says.") from None
    if len(text) > most:
        raise _too_large(limit)
    if not stream.eof or stream.unused_data:
        raise Unreadable("The gzip body does not end where it should.")
    return text


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"A request body may have {limit} octets.")
