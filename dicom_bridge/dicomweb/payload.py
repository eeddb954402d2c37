"""Payloads: runs of files and octets as the body of a response, piece by piece.

The length is stated before the first byte, so that a payload is complete or visibly not.

References
----------
* PS3.18 Section 8.6.1.2 (payloads), 8.7.1 (multipart media types); RFC 2387
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dicom_bridge import retrieval
from dicom_bridge.dicomweb import accept, multipart

PRIVATE: Final = {"Cache-Control": "private, no-cache"}

Octets = bytes | bytearray


class Piece(NamedTuple):
    """A part of a response: its media type, and a run of a file."""

    type: str
    location: str
    path: Path
    start: int
    length: int


class Pieces(Response):
    """A response whose body is sent piece by piece, none of them copied together.

    Parameters
    ----------
    body
        The pieces, or where they come from.
    length
        Octets of all of them.
    more
        Further fields of the header.
    """

    def __init__(
        self,
        body: AsyncIterator[Octets] | Sequence[Octets],
        length: int,
        type: str,
        *,
        status: int = 200,
        more: Mapping[str, str] | None = None,
    ) -> None:
        own = {"Content-Length": str(length), "Content-Type": type, **PRIVATE}
        super().__init__(status_code=status, headers={**own, **(more or {})})
        self._pieces = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, and then each piece as the connection takes it."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        if isinstance(self._pieces, Sequence):
            for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        else:
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def related(pieces: Sequence[Piece], type: str) -> Response:
    """Answer runs of files as one multipart/related payload, streamed.

    A piece at the same location as the one before it continues its part.
    """
    boundary = multipart.new_boundary()
    heads: list[bytes] = []
    for at, piece in enumerate(pieces):
        continues = at > 0 and pieces[at - 1].location == piece.location
        heads.append(
            b""
            if continues
            else multipart.opening(boundary, piece.type, piece.location, first=not at)
        )
    end = multipart.closing(boundary)
    length = sum(map(len, heads)) + sum(piece.length for piece in pieces) + len(end)

    async def body() -> AsyncIterator[Octets]:
        for head, piece in zip(heads, pieces, strict=True):
            if head:
                yield head
            async for chunk in retrieval.stream(piece.path, piece.start, piece.length):
                yield chunk
        yield end

    return Pieces(body(), length, _type(boundary, type))


def related_bytes(parts: Sequence[tuple[str, str, Octets]]) -> Response:
    """Answer what is in memory as multipart/related: media type, location and octets of each."""
    boundary = multipart.new_boundary()
    body: list[Octets] = []
    for at, (type, location, content) in enumerate(parts):
        body += [multipart.opening(boundary, type, location, first=not at), content]
    body.append(multipart.closing(boundary))
    plain = parts[0][0].partition(";")[0]
    return Pieces(body, sum(map(len, body)), _type(boundary, plain))


def _type(boundary: str, type: str) -> str:
    return f'{accept.RELATED}; type="{type}"; boundary={boundary}'
