"""Rewriting: a whole instance in another transfer syntax.

Only what the transfer syntax says changes: how the pixels are encoded, and the attributes that
describe that. Frame after frame is decoded and encoded, so that a long recording takes no more
memory than a short one. Runs in a child process.

References
----------
* PS3.5 Sections 7.1 and 7.2 (data elements, group length), 8 and Annex A (pixel data)
* PS3.18 Section 10.4.3 (Retrieve Transaction, response)
"""

import shutil
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

import numpy
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filereader import read_dataset
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.uid import UID

from dicom_bridge import frames
from dicom_bridge.frames import Layout
from dicom_bridge.pixels import syntaxes
from dicom_bridge.pixels.transcoding import (
    PIXEL_DATA,
    Properties,
    Source,
    content_of,
    opened,
)
from resources.errors import Unsupported

MOST_OCTETS: Final = (1 << 32) - 2
"""PS3.5 Section 7.1.1: a value of even length that 32 bits can say."""
ENCAPSULATION: Final = (0x7FE00001, 0x7FE00002, 0x7FE00003)
"""Extended Offset Table, its lengths, and the total length: true of the stored encoding only."""
SIGNED: Final = (0x4FFE0001, 0xFFFAFFFA, 0xFFFCFFFC)
"""MAC parameters and digital signatures, which would no longer hold, and trailing padding."""
WORDS: Final[Mapping[str, str]] = {"OW": "u2", "OL": "u4", "OF": "u4", "OD": "u8", "OV": "u8"}


def whole(path: Path, offset: int, syntax: str, into: Path) -> None:
    """Write an instance in another transfer syntax.

    One without pixels comes in Explicit VR Little Endian if the syntax compresses pixels.

    Raises
    ------
    Unsupported
        Its pixels cannot be decoded, or not be put into the transfer syntax without loss.
    """
    source = opened(path, offset)
    with source.stream, into.open("r+b") as out:
        ds = source.ds
        for tag in (*ENCAPSULATION, *SIGNED):
            if tag in ds:
                del ds[tag]
        if source.syntax == syntaxes.EXPLICIT_BIG:
            _to_little_endian(ds)
        if source.where is None:
            wanted = syntax if syntax in syntaxes.LITTLE else syntaxes.EXPLICIT_LITTLE
            _write_head(out, ds, wanted)
        elif syntax in syntaxes.LITTLE and source.syntax in syntaxes.NATIVE:
            _copy_native(out, source, syntax)
        else:
            _encode_all(out, source, source.where, syntax)


def _encode_all(out: BinaryIO, source: Source, where: Layout, syntax: str) -> None:
    """Write the instance with all its frames; they wait in a file until their lengths are known."""
    lengths: list[int] = []
    known = Properties("", 0)
    with tempfile.TemporaryFile(dir=Path(out.name).parent) as waiting:
        for number in range(1, where.number + 1):
            content, known = content_of(source, where, number, syntax)
            waiting.write(content)
            lengths.append(len(content))
        total = sum(lengths)
        native = syntax in syntaxes.LITTLE
        if total + 8 * len(lengths) > MOST_OCTETS:
            raise Unsupported("The pixels of this instance are too many for this transfer syntax")
        ds = source.ds
        ds.PhotometricInterpretation = known.photometric
        if int(ds.get("SamplesPerPixel") or 1) > 1:
            ds.PlanarConfiguration = known.planar
        _write_head(out, ds, syntax)
        waiting.seek(0)
        if native:
            out.write(_pixel_head(syntax, "OB" if int(ds.BitsAllocated) == 8 else "OW", total))
            shutil.copyfileobj(waiting, out)
            out.write(b"\0" * (total % 2))
        else:
            _encapsulate(out, waiting, lengths)
    _write_tail(out, source, syntax, _end(source, where))


def _encapsulate(out: BinaryIO, waiting: BinaryIO, lengths: list[int]) -> None:
    """Write frames of one fragment each, with their offsets (PS3.5 Annex A.4)."""
    out.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF))
    starts = [0]
    for length in lengths[:-1]:
        starts.append(starts[-1] + length + 8)
    out.write(struct.pack(f"<HHI{len(starts)}I", 0xFFFE, 0xE000, 4 * len(starts), *starts))
    for length in lengths:
        out.write(struct.pack("<HHI", 0xFFFE, 0xE000, length) + waiting.read(length))
    out.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))


def _copy_native(out: BinaryIO, source: Source, syntax: str) -> None:
    """Write native pixels as they are, but for the order of octets."""
    stream = source.stream
    run = frames.pixel_run(stream, source.offset, source.syntax)
    vr = source.vr
    word = numpy.dtype(">" + WORDS[vr]) if vr in WORDS else numpy.dtype("u1")
    swapped = source.syntax == syntaxes.EXPLICIT_BIG and word.itemsize > 1
    if swapped and int(source.ds.get("BitsAllocated") or 0) > 8 * word.itemsize:
        raise Unsupported("Pixels of this size cannot be transcoded", "BitsAllocated")
    _write_head(out, source.ds, syntax)
    out.write(_pixel_head(syntax, vr, run.length, source.tag))
    stream.seek(run.start)
    left = run.length
    while left > 0:
        piece = stream.read(min(left, 1 << 20))
        if not piece:
            raise Unsupported("The pixel data of this instance is cut off", "PixelData")
        left -= len(piece)
        out.write(numpy.frombuffer(piece, word).byteswap().tobytes() if swapped else piece)
    _write_tail(out, source, syntax, run.start + run.length)


def _pixel_head(syntax: str, vr: str, length: int, tag: int = PIXEL_DATA) -> bytes:
    length += length % 2
    if syntax == syntaxes.IMPLICIT_LITTLE:
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)


def _end(source: Source, where: Layout) -> int:
    """Say where the pixel data element ends in the stream."""
    if UID(source.syntax).is_encapsulated:
        last = where.frames[-1][-1]
        return last.start + last.length + 8
    run = frames.pixel_run(source.stream, source.offset, source.syntax)
    return run.start + run.length


def _write_head(out: BinaryIO, ds: Dataset, syntax: str) -> None:
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    dcmwrite(out, ds, enforce_file_format=True)


def _write_tail(out: BinaryIO, source: Source, syntax: str, end: int) -> None:
    """Write what follows the pixels."""
    source.stream.seek(end)
    uid = UID(source.syntax)
    ds = read_dataset(source.stream, uid.is_implicit_VR, uid.is_little_endian)
    for tag in SIGNED:
        if tag in ds:
            del ds[tag]
    if not ds:
        return
    if source.syntax == syntaxes.EXPLICIT_BIG:
        _to_little_endian(ds)
    to = DicomFileLike(out)
    to.is_implicit_VR, to.is_little_endian = syntax == syntaxes.IMPLICIT_LITTLE, True
    write_dataset(to, ds)


def _to_little_endian(ds: Dataset) -> None:
    """Turn the octets of words that pydicom leaves as they came."""
    for element in ds.iterall():
        kind = WORDS.get(element.VR)
        if kind and element.value:
            element.value = numpy.frombuffer(element.value, ">" + kind).byteswap().tobytes()
