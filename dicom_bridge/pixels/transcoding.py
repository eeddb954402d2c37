"""Transcoding: an instance, or frames of one, in another transfer syntax.

Never with loss beyond what the stored pixels have. Only what the transfer syntax says changes: how
the pixels are encoded, and the attributes that describe that. Frame after frame is decoded and
encoded, so that a long recording takes no more memory than a short one. Runs in a child process.

What the decoders of JPEG and JPEG 2000 give as RGB is called RGB; other colours stay as they are.

References
----------
* PS3.5 Section 8 and Annex A (native and encapsulated pixel data), 7.2 (group length)
* PS3.3 Sections C.7.6.3.1.2 (Photometric Interpretation), C.7.6.3.1.3 (Planar Configuration)
* PS3.18 Sections 8.7.3.5.2 and 10.4.3
"""

import shutil
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomFileLike
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from dicom_bridge import frames
from dicom_bridge.frames import Layout
from dicom_bridge.pixels import syntaxes
from dicom_bridge.pixels.decoding import MOST_SAMPLES
from resources.errors import Unsupported

MOST_OCTETS: Final = (1 << 32) - 2
"""PS3.5 Section 7.1.1: a value of even length that 32 bits can say."""
PIXEL_DATA: Final = 0x7FE00010
ENCAPSULATION: Final = (0x7FE00001, 0x7FE00002, 0x7FE00003)
"""Extended Offset Table, its lengths, and the total length: true of the stored encoding only."""
SIGNED: Final = (0x4FFE0001, 0xFFFAFFFA, 0xFFFCFFFC)
"""MAC parameters and digital signatures, which would no longer hold, and trailing padding."""
ENCODERS: Final[Mapping[str, str]] = {syntaxes.RLE: "pydicom"}
"""Which library encodes, if not the only one: gdcm ends its process over images of an odd size."""
WORDS: Final[Mapping[str, str]] = {"OW": "u2", "OL": "u4", "OF": "u4", "OD": "u8", "OV": "u8"}


class Source(NamedTuple):
    """An instance whose pixels are taken out frame by frame."""

    stream: BinaryIO
    """The file; for a deflated one, what it was inflated to."""
    offset: int
    syntax: str
    """Transfer syntax of the stream."""
    ds: Dataset
    """All that stands before the pixels."""
    tag: int
    """Of the pixel data element; 0: there is none."""
    vr: str
    where: Layout | None


def opened(path: Path, offset: int) -> Source:
    """Open an instance for `frame`; its stream is the caller's to close."""
    meta = read_file_meta_info(path)
    syntax = str(meta.TransferSyntaxUID)
    if syntax not in syntaxes.DECODED:
        raise Unsupported("This transfer syntax cannot be decoded", "TransferSyntaxUID")
    stream: BinaryIO = path.open("rb")
    if syntax == syntaxes.DEFLATED:
        with stream:
            stream, syntax = frames.inflated(stream, offset), syntaxes.EXPLICIT_LITTLE
    stream.seek(offset)
    ds = _until_pixels(stream, syntax)
    ds.file_meta = meta
    _require_size(ds)
    tag, vr = _pixel_element(stream, syntax)
    where = frames.layout(stream, offset, syntax) if tag else None
    return Source(stream, offset, syntax, ds, tag, vr, where)


def frame_list(path: Path, offset: int, numbers: list[int], syntax: str) -> list[bytes]:
    """Give frames, each in a transfer syntax; `numbers` count from 1.

    Raises
    ------
    NotFound
        There is no such frame.
    Unsupported
        The pixels cannot be decoded, or not be put into the transfer syntax without loss.
    """
    source = opened(path, offset)
    with source.stream:
        where = source.where or frames.layout(source.stream, offset, source.syntax)
        return [_content(source, where, number, syntax)[0] for number in numbers]


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


def _until_pixels(stream: BinaryIO, syntax: str) -> Dataset:
    uid = UID(syntax)
    return read_dataset(
        stream,
        uid.is_implicit_VR,
        uid.is_little_endian,
        stop_when=lambda tag, vr, length: tag in frames.PIXEL_DATA,
    )


def _require_size(ds: Dataset) -> None:
    samples = int(ds.get("Rows") or 0) * int(ds.get("Columns") or 0)
    if samples * int(ds.get("SamplesPerPixel") or 1) > MOST_SAMPLES:
        raise Unsupported("The frames of this instance are too large to be decoded")


class Properties(NamedTuple):
    """What describes the pixels as they are now."""

    photometric: str
    planar: int


def _decoded(source: Source, where: Layout, number: int) -> tuple[Any, Properties]:
    """Decode one frame, colours by pixel, in as many bits as are allocated."""
    ds = source.ds
    if source.tag != PIXEL_DATA:
        raise Unsupported("Pixels that are no integers cannot be compressed", "PixelData")
    content = frames.frame(source.stream, where, number)
    syntax = UID(source.syntax)
    photometric = str(ds.get("PhotometricInterpretation") or "MONOCHROME2")
    colour = source.syntax in syntaxes.LOSSY_JPEG and photometric.startswith("YBR")
    if syntax.is_encapsulated:
        content = encapsulate([content])
    options = {**as_pixel_options(ds), "number_of_frames": 1, "pixel_keyword": "PixelData"}
    if source.syntax == syntaxes.EXPLICIT_BIG:
        options["pixel_vr"] = source.vr
    array, known = get_decoder(syntax).as_array(content, raw=not colour, **options)
    found = str(known.get("photometric_interpretation", photometric))
    if found in {"YBR_RCT", "YBR_ICT"}:
        found = "RGB"
    bits = int(ds.BitsAllocated)
    if bits not in (8, 16, 32):
        raise Unsupported("Pixels of this size cannot be transcoded", "BitsAllocated")
    kind = "i" if int(ds.PixelRepresentation) else "u"
    return array.astype(f"<{kind}{bits // 8}"), Properties(found, 0)


def _content(source: Source, where: Layout, number: int, syntax: str) -> tuple[bytes, Properties]:
    """Give one frame in a transfer syntax, and what describes it there."""
    array, known = _decoded(source, where, number)
    if syntax in syntaxes.LITTLE:
        return array.tobytes(), known
    ds = source.ds
    samples = int(ds.get("SamplesPerPixel") or 1)
    options: dict[str, Any] = {
        "rows": int(ds.Rows), "columns": int(ds.Columns), "number_of_frames": 1,
        "samples_per_pixel": samples, "bits_allocated": int(ds.BitsAllocated),
        "bits_stored": int(ds.BitsStored), "pixel_representation": int(ds.PixelRepresentation),
        "photometric_interpretation": known.photometric,
    }  # fmt: skip
    if samples > 1:
        options["planar_configuration"] = 0
    try:
        encoder = get_encoder(UID(syntax))
        content = encoder.encode(array, encoding_plugin=ENCODERS.get(syntax, ""), **options)
    except (ValueError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise Unsupported("These pixels cannot be compressed so without loss") from error
    planar = 1 if syntax == syntaxes.RLE else 0
    return bytes(content) + b"\0" * (len(content) % 2), known._replace(planar=planar)


def _encode_all(out: BinaryIO, source: Source, where: Layout, syntax: str) -> None:
    """Write the instance with all its frames; they wait in a file until their lengths are known."""
    lengths: list[int] = []
    known = Properties("", 0)
    with tempfile.TemporaryFile(dir=Path(out.name).parent) as waiting:
        for number in range(1, where.number + 1):
            content, known = _content(source, where, number, syntax)
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


def _pixel_element(stream: BinaryIO, syntax: str) -> tuple[int, str]:
    """Read tag and VR of the pixel data element that the stream stands at; 0: its end."""
    head = stream.read(6)
    if len(head) < 6:
        return 0, ""
    uid = UID(syntax)
    group, element, vr = struct.unpack(("<" if uid.is_little_endian else ">") + "HH2s", head)
    tag = group << 16 | element
    implied = {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(tag, "OW")
    return tag, implied if uid.is_implicit_VR else vr.decode("ascii", "replace")


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
