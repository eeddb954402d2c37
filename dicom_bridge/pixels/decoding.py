"""Decoding: one frame of a stored instance as an array, with what describes it.

Hostile pixels can make a decoder take memory or time without end, or die: this runs in a child
process (`child`) that may do all three.

References
----------
* PS3.5 Sections 8.1 and 8.2 (native and encapsulated pixel data), Annex A
* PS3.3 Section C.7.6.3 (Image Pixel)
"""

from pathlib import Path
from typing import Any, Final

import numpy
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from dicom_bridge.pixels.limits import MOST_SAMPLES
from dicom_bridge.pixels.native import Native
from dicom_bridge.pixels.wanted import Described
from resources.errors import NotFound, Unsupported

DEFLATED: Final = "1.2.840.10008.1.2.1.99"
DESCRIPTION: Final = (
    "SOPClassUID", "SOPInstanceUID",
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "NumberOfFrames",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PlanarConfiguration", "PixelPaddingValue", "PixelPaddingRangeLimit", "PixelAspectRatio",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "PresentationLUTShape",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""What rendering needs to know beside the pixels."""


def description(path: Path) -> Dataset:
    """Read what describes the pixels of an instance.

    Raises
    ------
    NotFound
        It has no pixels.
    Unsupported
        It has more of them than we decode, or none that can be.
    """
    ds = dcmread(path, stop_before_pixels=True, specific_tags=list(DESCRIPTION))
    rows, columns = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    if not rows or not columns:
        raise NotFound("This instance has no pixel data")
    if rows * columns * int(ds.get("SamplesPerPixel") or 1) > MOST_SAMPLES:
        raise Unsupported("The frames of this instance are too large to be decoded")
    return ds


def frame(path: Path, ds: Described, number: int) -> "numpy.ndarray[Any, Any]":
    """Decode one frame; colours come as RGB.

    Parameters
    ----------
    ds
        Its `description`.
    number
        Counts from 1.

    Raises
    ------
    NotFound
        There is no such frame.
    """
    count = int(ds.get("NumberOfFrames") or 1)
    if not 1 <= number <= count:
        raise NotFound(f"This instance has {count} frames", "NumberOfFrames")
    native = ds.frame(number) if isinstance(ds, Native) else None
    if native is not None:
        return native
    if isinstance(ds, Dataset) and ds.file_meta.TransferSyntaxUID == DEFLATED:
        decoded = dcmread(path).pixel_array
        return decoded[number - 1] if count > 1 else decoded
    found: numpy.ndarray[Any, Any] = pixel_array(path, index=number - 1)
    return found
