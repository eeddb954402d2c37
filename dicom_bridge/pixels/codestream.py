"""Codestreams: what the head of a compressed image says of it.

References
----------
* ITU-T T.81 Annex B.2.2 and T.87 Annex C.2.2 (frame headers of JPEG and JPEG-LS)
* ITU-T T.800 Annex A.5.1 and A.6.1 (SIZ and COD of JPEG 2000)
* PS3.5 Table 8.2.1-1 and following (photometric interpretations); PS3.18 Section 10.5.2
"""

import struct
from typing import Final, NamedTuple

from pydicom.dataset import Dataset

from dicom_bridge.pixels import syntaxes
from resources.errors import Unsupported

NOT_FRAMES: Final = frozenset({0xC4, 0xC8, 0xCC})
"""Markers among SOF0 to SOF15 that begin no frame."""
JPEG_LS_FRAME: Final = 0xF7
J2K_REVERSIBLE: Final = syntaxes.JPEG_2000


class Description(NamedTuple):
    """Size and samples of an image."""

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False
    photometric: str = "MONOCHROME2"


def read(head: bytes, syntax: str) -> Description:
    """Read what the beginning of a codestream says.

    Raises
    ------
    Unsupported
        It is no JPEG, JPEG-LS or JPEG 2000, or says nothing that we understand.
    """
    try:
        found = _jpeg_2000(head, syntax) if head[:4] == b"\xff\x4f\xff\x51" else _jpeg(head, syntax)
    except (struct.error, IndexError) as error:
        raise Unsupported("The compressed image does not say what it is", "PixelData") from error
    if found is None or found.samples not in (1, 3) or not 1 <= found.bits <= 16:
        raise Unsupported("The compressed image does not say what it is", "PixelData")
    return found


def describe(ds: Dataset, found: Description) -> None:
    """Write the attributes of the Image Pixel Description Macro."""
    ds.Rows, ds.Columns, ds.SamplesPerPixel = found.rows, found.columns, found.samples
    ds.PhotometricInterpretation = found.photometric
    ds.BitsAllocated = 8 if found.bits <= 8 else 16
    ds.BitsStored, ds.HighBit = found.bits, found.bits - 1
    ds.PixelRepresentation = int(found.signed)
    if found.samples > 1:
        ds.PlanarConfiguration = 0


def _jpeg(head: bytes, syntax: str) -> Description | None:
    at = 2
    if head[:2] != b"\xff\xd8":
        return None
    while head[at] == 0xFF:
        marker = head[at + 1]
        (length,) = struct.unpack_from(">H", head, at + 2)
        if (0xC0 <= marker <= 0xCF and marker not in NOT_FRAMES) or marker == JPEG_LS_FRAME:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", head, at + 4)
            colour = "YBR_FULL_422" if syntax in syntaxes.LOSSY_JPEG else "RGB"
            photometric = colour if samples == 3 else "MONOCHROME2"
            return Description(rows, columns, samples, bits, photometric=photometric)
        at += 2 + length
    return None


def _jpeg_2000(head: bytes, syntax: str) -> Description | None:
    wide, high, left, top = struct.unpack_from(">IIII", head, 8)
    (samples,) = struct.unpack_from(">H", head, 40)
    depth = head[42]
    (siz,) = struct.unpack_from(">H", head, 4)
    at, mixed = 4 + siz, False
    while head[at] == 0xFF and head[at + 1] != 0x90:
        if head[at + 1] == 0x52:
            mixed = bool(head[at + 8])
        at += 2 + struct.unpack_from(">H", head, at + 2)[0]
    mixture = "YBR_RCT" if syntax == J2K_REVERSIBLE else "YBR_ICT"
    photometric = "MONOCHROME2" if samples == 1 else (mixture if mixed else "RGB")
    return Description(
        high - top, wide - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80), photometric
    )
