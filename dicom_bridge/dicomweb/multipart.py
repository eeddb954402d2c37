"""multipart/related, both ways: an incremental reader with limits, and the writer.

The reader is fed whatever the socket brings and answers with events; it holds at most one
chunk and one part's header at a time, so a STOW-RS request of any size passes through it
without being in memory.

References
----------
* RFC 2046 Section 5.1.1 (the grammar of multipart bodies); RFC 2387 (multipart/related)
* PS3.18 Section 8.7.1 (multipart media types) and 10.5.1 (Store Transaction, request)
"""

import re
import secrets
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple

from resources.errors import Invalid, TooLarge

BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,99}[0-9A-Za-z'()+_,./:=?-]")
"""RFC 2046: 1 to 70 characters, not ending with a space; Orthanc sends 73, so a few more do too."""


_PADDING: Final = 128
"""Most white space that may follow a delimiter on its line."""


class Limits(NamedTuple):
    """How much one body may ask of the reader."""

    parts: int = 20_000
    header_bytes: int = 8192
    header_lines: int = 32
    preamble_bytes: int = 65_536


class Begin(NamedTuple):
    """A part begins; field names are lower case."""

    headers: dict[str, str]


class End(NamedTuple):
    """The part is complete: its closing delimiter was seen."""


class _State(Enum):
    PREAMBLE = "before the first delimiter"
    DELIMITER = "just after a delimiter"
    HEADERS = "in the header of a part"
    BODY = "in the body of a part"
    EPILOGUE = "after the closing delimiter"


class Reader:
    r"""Turns the bytes of one multipart body into `Begin`, `bytes` and `End` events.

    Parameters
    ----------
    boundary
        The boundary parameter of the Content-Type.
    limits
        Beyond them the body is refused.

    Examples
    --------
    >>> reader = Reader("x")
    >>> list(reader.feed(b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--"))
    [Begin(headers={'content-type': 'text/plain'}), b'hello', End()]
    >>> reader.close()
    """

    def __init__(self, boundary: str, limits: Limits | None = None) -> None:
        if BOUNDARY.fullmatch(boundary) is None:
            raise Invalid("The boundary of the multipart body is missing or malformed", "boundary")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # The first delimiter may open the body: with this it looks like any other.
        self._buffer = bytearray(b"\r\n")
        self._state = _State.PREAMBLE
        self._limits = limits or Limits()
        self._parts = 0
        self._preamble = 0
        self._opening = False

    def feed(self, chunk: bytes) -> Iterator[Begin | bytes | End]:
        """Take the next bytes of the body; exhaust the iterator before feeding again.

        Raises
        ------
        Invalid
            The body breaks the grammar.
        TooLarge
            More parts, or a larger header, than `Limits` allows.
        """
        self._buffer += chunk
        while True:
            match self._state:
                case _State.PREAMBLE:
                    if not self._skip_preamble():
                        return
                case _State.DELIMITER:
                    if not self._after_delimiter():
                        return
                case _State.HEADERS:
                    headers = self._headers()
                    if headers is None:
                        return
                    yield Begin(headers)
                case _State.BODY:
                    data, ended = self._body()
                    if data:
                        yield data
                    if not ended:
                        return
                    yield End()
                case _State.EPILOGUE:
                    self._buffer.clear()
                    return

    def close(self) -> None:
        """Say that no more comes: the closing delimiter must have been seen."""
        if self._state is not _State.EPILOGUE:
            raise Invalid("The multipart body ends before its closing delimiter")

    def _skip_preamble(self) -> bool:
        at = self._buffer.find(self._delimiter)
        kept = len(self._delimiter) - 1
        skipped = at if at >= 0 else max(0, len(self._buffer) - kept)
        self._preamble += skipped
        if self._preamble > self._limits.preamble_bytes:
            raise Invalid("The multipart body does not begin with its boundary", "boundary")
        if at < 0:
            del self._buffer[:skipped]
            return False
        del self._buffer[: at + len(self._delimiter)]
        self._state = _State.DELIMITER
        return True

    def _after_delimiter(self) -> bool:
        if self._buffer[:2] == b"--":
            if self._parts == 0:
                raise Invalid("The multipart body has no part")
            self._state = _State.EPILOGUE
            return True
        line_end = self._buffer.find(b"\r\n", 0, _PADDING)
        padding = bytes(self._buffer[: line_end if line_end >= 0 else _PADDING])
        unfinished = (b"-", b"\r") if line_end < 0 else ()
        if padding.strip(b" \t") not in (b"", *unfinished) or len(padding) == _PADDING:
            raise Invalid("A boundary of the multipart body is followed by other characters")
        if line_end < 0:
            return False
        self._parts += 1
        if self._parts > self._limits.parts:
            raise TooLarge(f"More than {self._limits.parts} parts in one request")
        # The line end stays: an empty header is then CRLF CRLF like any other.
        del self._buffer[:line_end]
        self._state = _State.HEADERS
        return True

    def _headers(self) -> dict[str, str] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if (end if end >= 0 else len(self._buffer)) > self._limits.header_bytes:
            raise TooLarge(f"The header of a part exceeds {self._limits.header_bytes} bytes")
        if end < 0:
            return None
        headers = parse_headers(bytes(self._buffer[2:end]), self._limits.header_lines)
        # Again the line end stays, so that an empty body's delimiter is found.
        del self._buffer[: end + 2]
        self._state = _State.BODY
        self._opening = True
        return headers

    def _body(self) -> tuple[bytes, bool]:
        skip = 2 if self._opening else 0
        at = self._buffer.find(self._delimiter)
        until = at if at >= 0 else max(skip, len(self._buffer) - len(self._delimiter) + 1)
        if at < 0 and until <= skip:
            return b"", False
        self._opening = False
        data = bytes(memoryview(self._buffer)[min(skip, until) : until])
        if at < 0:
            del self._buffer[:until]
            return data, False
        del self._buffer[: at + len(self._delimiter)]
        self._state = _State.DELIMITER
        return data, True


def parse_headers(block: bytes, lines: int = 32) -> dict[str, str]:
    r"""Read the header fields of a part; names come out in lower case.

    Examples
    --------
    >>> parse_headers(b"Content-Type: application/dicom\r\nContent-Location: x")
    {'content-type': 'application/dicom', 'content-location': 'x'}
    """
    headers: dict[str, str] = {}
    rows = block.split(b"\r\n") if block else []
    if len(rows) > lines:
        raise TooLarge(f"The header of a part has more than {lines} lines")
    for row in rows:
        name, colon, value = row.partition(b":")
        if not colon or not name.strip() or name != name.strip():
            raise Invalid("The header of a part is malformed")
        headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    return headers


def new_boundary() -> str:
    """Make a boundary that no content contains but by a miracle."""
    return secrets.token_hex(16)


def opening(
    boundary: str, content_type: str, location: str = "", *, more: str = "", first: bool = False
) -> bytes:
    """Write the delimiter and header that stand before a part; `more` are further lines of it."""
    line = (f"Content-Location: {location}\r\n" if location else "") + more
    lead = "" if first else "\r\n"
    return f"{lead}--{boundary}\r\nContent-Type: {content_type}\r\n{line}\r\n".encode("latin-1")


def closing(boundary: str) -> bytes:
    """Write the delimiter that ends the body."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")
