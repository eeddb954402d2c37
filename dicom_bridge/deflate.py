"""Deflate: a deflated data set that is inflated only as far as somebody reads.

A few kilobytes may inflate to gigabytes. Whoever wants the header of a data set gets that, whatever
follows; and nobody gets more than `MOST_INFLATED`.

References
----------
* PS3.5 Section A.5 (DICOM Deflated Little Endian Transfer Syntax); RFC 1951
"""

import io
import os
import zlib
from typing import BinaryIO, Final

from resources.errors import NotDicom

MOST_INFLATED: Final = 64 << 20
"""Octets; what comes later is not there for the reader."""
CHUNK: Final = 1 << 16
MEANT_AT_ONCE: Final = 1 << 20
"""Octets made at a time, so that a length that lies asks for no memory."""


class Inflated(io.RawIOBase):
    """What a deflate stream inflates to; seekable within what was read, and a little beyond.

    Parameters
    ----------
    file
        Positioned where the stream begins; read as far as needed, not closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._held = bytearray()
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read up to so many octets; fewer only at the end.

        Raises
        ------
        NotDicom
            That is no deflate stream.
        """
        end = MOST_INFLATED if size < 0 else min(self._at + size, MOST_INFLATED)
        self._inflate(end)
        part = bytes(memoryview(self._held)[self._at : end])
        self._at += len(part)
        return part

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; a place beyond the end reads as nothing."""
        if whence == os.SEEK_END:
            self._inflate(MOST_INFLATED)
            offset += len(self._held)
        elif whence == os.SEEK_CUR:
            offset += self._at
        self._at = max(0, offset)
        return self._at

    def tell(self) -> int:
        """Where the next octet is read, from the start of the data set."""
        return self._at

    def _inflate(self, end: int) -> None:
        try:
            while len(self._held) < end and not self._stream.eof:
                given = self._stream.unconsumed_tail or self._file.read(CHUNK)
                most = min(end - len(self._held), MEANT_AT_ONCE)
                made = self._stream.decompress(given, most)
                if not made and not given:
                    return
                self._held += made
        except zlib.error as error:
            raise NotDicom("the deflated data set cannot be read") from error
