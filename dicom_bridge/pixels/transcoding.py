"""Transcoding: frames of an instance in another transfer syntax.

Never with loss beyond what the stored pixels have. Runs in a child process.

What the decoders of JPEG and JPEG 2000 give as RGB is called RGB; other colours stay as they are.

References
----------
* PS3.5 Section 8 and Annex A (native and encapsulated pixel data)
* PS3.3 Sections C.7.6.3.1.2 (Photometric Interpretation), C.7.6.3.1.3 (Planar Configuration)
* PS3.18 Section 8.7.3.5.2 (transfer syntax parameter)
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from dicom_bridge import frames
from dicom_bridge.frames import Layout
from dicom_bridge.pixels import syntaxes
from dicom_bridge.pixels.limits import MOST_SAMPLES
from resources.errors import Unsupported

PIXEL_DATA: Final = 0x7FE00010
MOST_OCTETS: Final = 256 << 20
"""Octets of all frames of a list, which are in memory until they are sent."""
ENCODERS: Final[Mapping[str, str]] = {syntaxes.RLE: "pydicom"}
"""Which library encodes, if not the only one: gdcm ends its process over images of an odd size."""


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
    try:
        stream.seek(offset)
        ds = _until_pixels(stream, syntax)
        ds.file_meta = meta
        _require_size(ds)
        tag, vr = _pixel_element(stream, syntax)
        where = frames.layout(stream, offset, syntax) if tag else None
    except BaseException:
        stream.close()
        raise
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
        made: list[bytes] = []
        for number in numbers:
            made.append(content_of(source, where, number, syntax)[0])
            if sum(map(len, made)) > MOST_OCTETS:
                raise Unsupported("So many frames are not transcoded at once", "frames")
        return made


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


def content_of(source: Source, where: Layout, number: int, syntax: str) -> tuple[bytes, Properties]:
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
