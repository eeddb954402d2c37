"""Byte ranges: parts of one representation, and whether it is still the one that is known.

A Range field that is malformed, or asks for more than there is sense in, is ignored, as RFC 9110
allows: the whole is then the answer.

References
----------
* RFC 9110 Sections 14.1.2 (byte ranges), 14.2 (Range), 14.6 (multipart/byteranges), 13.1.5
  (If-Range), 13.1.2 (If-None-Match), 8.8.3 (ETag), 15.5.17 (416)
"""

import re
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

from starlette.datastructures import Headers
from starlette.responses import Response

from dicom_bridge.dicomweb import multipart, payload

MOST_RANGES: Final = 16
MOST_FIELD: Final = 512
"""Characters of a Range field."""
_FIELD: Final = re.compile(r"bytes=(.+)", re.IGNORECASE)
_RANGE: Final = re.compile(r"([0-9]{0,15})-([0-9]{0,15})")

Read = Callable[[int, int], AsyncIterator[payload.Octets]]
"""Gives a run of the representation: where it begins, and its length."""


class Span(NamedTuple):
    """Octets of the representation, from 0; the end is not part of it."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many octets."""
        return self.end - self.start


def spans(field: str, length: int) -> list[Span] | None:
    """Read a Range field; None: there is none that counts; empty: none can be satisfied.

    Examples
    --------
    >>> spans("bytes=0-1,-2", 10)
    [Span(start=0, end=2), Span(start=8, end=10)]
    >>> spans("bytes=10-", 10), spans("bytes=5-2", 10)
    ([], None)
    """
    match = _FIELD.fullmatch(field.strip()) if len(field) <= MOST_FIELD else None
    if match is None:
        return None
    found: list[Span] = []
    items = [item.strip() for item in match[1].split(",") if item.strip()]
    for item in items:
        bounds = _RANGE.fullmatch(item)
        if bounds is None or not any(bounds.groups()):
            return None
        low, high = bounds.groups()
        if low and high and int(low) > int(high):
            return None
        start = int(low) if low else max(0, length - int(high))
        end = min(length, int(high) + 1) if low and high else length
        if start < end:
            found.append(Span(start, end))
    if not items or len(items) > MOST_RANGES or sum(one.length for one in found) > length:
        return None
    return found


def answer(asked: Headers, tag: str, type: str, length: int, read: Read) -> Response:
    """Answer a representation, or what is asked for of it.

    Parameters
    ----------
    asked
        The header of the request.
    tag
        Names these very octets; the same as long as they are.
    """
    headers = {"ETag": f'"{tag}"', "Accept-Ranges": "bytes"}
    if _known(asked.get("if-none-match", ""), tag):
        return Response(status_code=304, headers={**payload.PRIVATE, **headers})
    wanted = spans(asked.get("range", ""), length)
    if asked.get("if-range", f'"{tag}"').strip() != f'"{tag}"':
        wanted = None
    if wanted is None:
        return payload.Pieces(read(0, length), length, type, more=headers)
    if not wanted:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{length}"})
    if len(wanted) == 1:
        (one,) = wanted
        headers["Content-Range"] = _content_range(one, length)
        body = read(one.start, one.length)
        return payload.Pieces(body, one.length, type, status=206, more=headers)
    return _several(wanted, type, length, read, headers)


def _several(
    wanted: list[Span], type: str, length: int, read: Read, headers: dict[str, str]
) -> Response:
    boundary = multipart.new_boundary()
    heads = [
        multipart.opening(
            boundary, type, more=f"Content-Range: {_content_range(one, length)}\r\n", first=not at
        )
        for at, one in enumerate(wanted)
    ]
    end = multipart.closing(boundary)

    async def body() -> AsyncIterator[payload.Octets]:
        for head, one in zip(heads, wanted, strict=True):
            yield head
            async for piece in read(one.start, one.length):
                yield piece
        yield end

    total = sum(map(len, heads)) + sum(one.length for one in wanted) + len(end)
    kind = f"multipart/byteranges; boundary={boundary}"
    return payload.Pieces(body(), total, kind, status=206, more=headers)


def _content_range(one: Span, length: int) -> str:
    return f"bytes {one.start}-{one.end - 1}/{length}"


def _known(field: str, tag: str) -> bool:
    """RFC 9110 Section 13.1.2: compared weakly."""
    known = [item.strip().removeprefix("W/") for item in field.split(",")]
    return "*" in known or f'"{tag}"' in known
