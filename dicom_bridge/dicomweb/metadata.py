"""Instances that arrive in pieces: metadata as DICOM JSON, and bulk data beside it.

Out of them the one file is made that the sender would have sent otherwise; it is then taken in like
any other. A BulkDataURI means a part of the same request by its Content-Location: nothing is ever
fetched.

References
----------
* PS3.18 Sections 10.5.1.4 (request payload), 10.5.2 and Table 10.5.2-1 (media types and transfer
  syntaxes of compressed bulk data), Annex F (DICOM JSON Model)
* PS3.5 Annex A.4 (encapsulated pixel data)
"""

import contextlib
import struct
import tempfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import orjson
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.uid import UID

from dicom_bridge.dicomweb import accept
from dicom_bridge.dicomweb.accept import MediaRange
from dicom_bridge.dicomweb.stored import Named
from dicom_bridge.instance import require_uid
from dicom_bridge.pixels import codestream, syntaxes
from dicom_bridge.spool import IMPLEMENTATION_CLASS_UID, NO_ROOM, Spool
from resources.errors import Exhausted, Invalid, Refusal, TooLarge, Unsupported

METADATA_LIMIT: Final = 32 << 20
MOST_BRACKETS: Final = 1_000_000
"""Objects and arrays of the metadata: each takes a hundred times the room of its two octets."""
MOST_INSTANCES: Final = 10_000
MOST_VALUE: Final = 256 << 20
"""Octets of one value that is no pixel data: it is in memory while its instance is written."""
MOST_SHARED: Final = 64 << 20
MOST_TIMES: Final = 4
"""Parts may be shared by instances, as long as that makes no more than so many octets, or so many
times what came."""
CHUNK: Final = 1 << 20
PIXEL_DATA: Final = "7FE00010"
LOSSY: Final = "01"


class Bulk(NamedTuple):
    """A part of bulk data: its media type, and where it lies in the file of all of them."""

    media: MediaRange
    start: int
    length: int


class Pieces:
    """What has come of a request.

    Parameters
    ----------
    folder
        Where bulk data waits until the request is complete, in a file without a name.

    Raises
    ------
    Exhausted
        The disk is full.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 `close` does
        except OSError as error:
            raise Exhausted(NO_ROOM) from error
        self._metadata = bytearray()
        self._parts: dict[str, Bulk] = {}
        self._open: tuple[str, MediaRange, int] | None = None
        self._at = 0
        self._used = 0

    def begin(self, media: MediaRange, location: str) -> None:
        """Take the head of the next part: the first one is the metadata.

        Raises
        ------
        Invalid
            It is neither metadata, nor bulk data with a location of its own.
        """
        if media.type == accept.DICOM_JSON and not self._metadata and not self._parts:
            self._open = None
        elif not location or location in self._parts:
            raise Invalid("A part of bulk data has no Content-Location of its own")
        else:
            self._open = (location, media, self._at)

    def write(self, chunk: bytes) -> None:
        """Take the next octets of the part.

        Raises
        ------
        TooLarge
            The metadata is longer than we read.
        Exhausted
            The disk is full.
        """
        if self._open is None:
            self._metadata += chunk
            if len(self._metadata) > METADATA_LIMIT:
                raise TooLarge(f"The metadata may have {METADATA_LIMIT} octets")
            return
        try:
            self._file.write(chunk)
        except OSError as error:
            raise Exhausted(NO_ROOM) from error
        self._at += len(chunk)

    def end(self) -> None:
        """Take the part as complete."""
        if self._open is not None:
            location, media, start = self._open
            self._parts[location] = Bulk(media, start, self._at - start)

    def close(self) -> None:
        """Let the bulk data go, also what a full disk has not taken of it."""
        with contextlib.suppress(OSError):
            self._file.close()

    def objects(self) -> list[Mapping[str, Any]]:
        """Read the metadata.

        Raises
        ------
        Invalid
            It is no array of DICOM JSON objects.
        TooLarge
            It has more objects than we read.
        """
        if self._metadata.count(b"{") + self._metadata.count(b"[") > MOST_BRACKETS:
            raise TooLarge(f"The metadata may have {MOST_BRACKETS} objects and arrays")
        try:
            found = orjson.loads(self._metadata)
        except orjson.JSONDecodeError as error:
            raise Invalid("The metadata is no JSON") from error
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise Invalid("The metadata is no array of DICOM JSON objects")
        if len(found) > MOST_INSTANCES:
            raise TooLarge(f"More than {MOST_INSTANCES} instances in one request")
        return found

    def compose(self, json: Mapping[str, Any], spool: Spool) -> None:
        """Write the file of one instance.

        Raises
        ------
        Invalid
            A value is none, or a BulkDataURI refers to no part.
        Unsupported
            The bulk data is of a media type that is not taken.
        """
        with _as_invalid():
            plain = {tag: element for tag, element in json.items() if not tag.startswith("0002")}
            pixels = plain.get(PIXEL_DATA, {})
            bulk = self._part(pixels["BulkDataURI"]) if "BulkDataURI" in pixels else None
            if bulk is not None:
                del plain[PIXEL_DATA]
            ds = Dataset.from_json(plain, lambda tag, vr, uri: self._value(uri))
            syntax = self._syntax(ds, bulk)
            for content in self._written(ds, syntax, bulk, str(pixels.get("vr", "OW"))):
                spool.write(content)

    def _part(self, uri: Any) -> Bulk:
        bulk = self._parts.get(uri) if isinstance(uri, str) else None
        if bulk is None:
            raise Invalid("A BulkDataURI refers to no part of the request", "BulkDataURI")
        self._used += bulk.length
        if self._used > max(MOST_SHARED, MOST_TIMES * self._at):
            raise TooLarge("The parts are referred to more often than makes sense", "BulkDataURI")
        return bulk

    def _value(self, uri: Any) -> bytes:
        bulk = self._part(uri)
        if bulk.length > MOST_VALUE:
            raise TooLarge(f"A value that is no pixel data may have {MOST_VALUE} octets")
        return b"".join(self._read(bulk))

    def _read(self, bulk: Bulk) -> Iterator[bytes]:
        self._file.seek(bulk.start)
        left = bulk.length
        while left > 0:
            piece = self._file.read(min(left, CHUNK))
            left -= len(piece)
            yield piece

    def _syntax(self, ds: Dataset, bulk: Bulk | None) -> str:
        """Say which transfer syntax the file has; describe compressed pixels if nobody did."""
        if bulk is None or bulk.media.type == accept.OCTETS:
            named = bulk.media.syntax if bulk is not None else ""
            if named not in {"", syntaxes.EXPLICIT_LITTLE}:
                raise Unsupported("Octets are uncompressed, little endian", "TransferSyntaxUID")
            return syntaxes.EXPLICIT_LITTLE
        syntax = bulk.media.syntax or accept.DEFAULT_SYNTAX.get(bulk.media.type, "")
        if accept.FRAME_TYPES.get(syntax) != bulk.media.type:
            raise Unsupported("Bulk data of this media type is not taken", "TransferSyntaxUID")
        if bulk.media.type.startswith("image/") and int(ds.get("NumberOfFrames") or 1) > 1:
            raise Unsupported("Compressed frames cannot be told apart; send whole instances")
        if "Rows" not in ds or "PhotometricInterpretation" not in ds:
            head = b"".join(self._read(bulk._replace(length=min(bulk.length, CHUNK))))
            codestream.describe(ds, codestream.read(head, syntax))
        if syntax in syntaxes.LOSSY_JPEG:
            ds.LossyImageCompression = LOSSY
        return syntax

    def _written(self, ds: Dataset, syntax: str, bulk: Bulk | None, vr: str) -> Iterator[bytes]:
        split = int(PIXEL_DATA, 16)
        head, tail = ds[: split + 1], ds[split + 1 :]
        head.file_meta = FileMetaDataset()
        head.file_meta.TransferSyntaxUID = UID(syntax)
        head.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
        if not _is_ascii(ds):
            head.SpecificCharacterSet = "ISO_IR 192"
        out = BytesIO()
        dcmwrite(out, head, implicit_vr=False, little_endian=True, enforce_file_format=True)
        yield out.getvalue()
        if bulk is not None:
            yield from self._pixel_element(syntax, bulk, vr)
        if tail:
            out = BytesIO()
            to = DicomFileLike(out)
            to.is_implicit_VR, to.is_little_endian = False, True
            write_dataset(to, tail)
            yield out.getvalue()

    def _pixel_element(self, syntax: str, bulk: Bulk, vr: str) -> Iterator[bytes]:
        padding = b"\0" * (bulk.length % 2)
        if syntax == syntaxes.EXPLICIT_LITTLE:
            kind = vr.encode("ascii") if vr in {"OB", "OW"} else b"OW"
            length = bulk.length + len(padding)
            yield struct.pack("<HH2sHI", 0x7FE0, 0x0010, kind, 0, length)
            yield from self._read(bulk)
            yield padding
            return
        yield struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
        yield struct.pack("<HHI", 0xFFFE, 0xE000, 0)
        yield struct.pack("<HHI", 0xFFFE, 0xE000, bulk.length + len(padding))
        yield from self._read(bulk)
        yield padding + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def named(json: Mapping[str, Any]) -> Named:
    """Say what an instance says it is, as far as that can be told."""
    sop_class, sop_uid = (_uid(json.get(tag)) for tag in ("00080016", "00080018"))
    return Named(sop_class, sop_uid)


def _uid(element: Any) -> str:
    values = element.get("Value") if isinstance(element, dict) else None
    uid = values[0] if isinstance(values, list) and values else ""
    try:
        return require_uid(uid, "UID")
    except Invalid:
        return ""


@contextlib.contextmanager
def _as_invalid() -> Iterator[None]:
    """Whatever a parser makes of hostile text is the sender's mistake; nothing of it is told."""
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise Exhausted(NO_ROOM) from error
        raise Invalid("The metadata is no DICOM JSON object") from error


def _is_ascii(ds: Dataset) -> bool:
    return all(
        str(element.value).isascii()
        for element in ds.iterall()
        if element.VR not in {"SQ", "OB", "OW"}
    )
