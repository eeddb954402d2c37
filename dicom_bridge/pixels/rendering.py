"""Rendering: an array of pixels as the picture that a person is shown.

Pure: the grayscale pipeline of DICOM (modality, values of interest, presentation), colour, the part
and size that are wanted, and the coding as JPEG, PNG or GIF.

References
----------
* PS3.3 Sections C.11.1 (Modality LUT), C.11.2 (VOI LUT), C.7.6.3.1.2 (Photometric Interpretation),
  C.7.9 (Palette Color), C.7.6.16.2.10 (Frame VOI LUT)
* PS3.4 Annex N.2 (pixel transformation sequence); PS3.18 Section 8.3.5 (window, viewport, quality)
"""

from collections.abc import Sequence
from io import BytesIO
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import numpy
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from dicom_bridge.pixels.greys import Array, eighth, looked_up, stretched, windowed
from dicom_bridge.pixels.greys import window as window_of
from dicom_bridge.pixels.presentation import State
from dicom_bridge.pixels.presenting import presented
from dicom_bridge.pixels.sizing import sized
from dicom_bridge.pixels.wanted import FORMATS, Wanted, Window

FRAME_MILLISECONDS: Final = 100


class Rendered(NamedTuple):
    """A picture, and what of a presentation state it does not show."""

    content: bytes
    missing: Sequence[str] = ()


def rendered(
    frames: Sequence[Array],
    ds: Dataset,
    first: int,
    wanted: Wanted,
    states: Sequence[State | None] = (),
) -> Rendered:
    """Render frames as one picture, moving if there are several.

    Parameters
    ----------
    ds
        Their description.
    first
        Number of the first of them, from 1.
    states
        The presentation state of each frame, if they have one.
    """
    pictures: list[Image.Image] = []
    missing: list[str] = []
    for at, (frame, state) in enumerate(zip_longest(frames, states)):
        if state is None:
            picture = _picture(frame, ds, first + at, wanted.window)
            pictures.append(sized(picture, ds, wanted.viewport))
        else:
            picture, lacks = presented(frame, _coloured(frame, ds), ds, state, wanted.viewport)
            pictures.append(picture)
            missing += [*state.missing, *lacks]
    out = BytesIO()
    options: dict[str, Any] = {}
    if wanted.type == "image/jpeg":
        options = {"quality": wanted.quality}
    if len(pictures) > 1:
        options |= {
            "save_all": True, "append_images": pictures[1:], "duration": FRAME_MILLISECONDS,
            "loop": 0,
        }  # fmt: skip
    pictures[0].save(out, FORMATS[wanted.type], **options)
    return Rendered(out.getvalue(), sorted(set(missing)))


def _picture(frame: Array, ds: Dataset, number: int, window: Window | None) -> Image.Image:
    coloured = _coloured(frame, ds)
    if coloured is not None:
        return Image.fromarray(coloured)
    kind = str(ds.get("PhotometricInterpretation", "MONOCHROME2"))
    grey = _grey(frame, ds, number, window)
    inverse = ds.get("PresentationLUTShape") == "INVERSE"
    if (kind == "MONOCHROME1") != inverse:
        grey = 255 - grey
    return Image.fromarray(grey)


def _coloured(frame: Array, ds: Dataset) -> Array | None:
    """Give the colours of a frame; None: it is grey."""
    if ds.get("PhotometricInterpretation") == "PALETTE COLOR":
        return _eight_bits(apply_color_lut(frame, ds), 16)
    return _eight_bits(frame, int(ds.get("BitsStored") or 8)) if frame.ndim == 3 else None


def _grey(frame: Array, ds: Dataset, number: int, window: Window | None) -> Array:
    groups = _groups(ds, number)
    values = _modality(frame, ds, groups).astype(numpy.float32)
    if window is None:
        window = window_of(ds, groups)
    if window is not None:
        return windowed(values, window)
    if ds.get("VOILUTSequence"):
        return eighth(looked_up(values, ds.VOILUTSequence[0]))
    shown = values[frame != ds.PixelPaddingValue] if "PixelPaddingValue" in ds else values
    return stretched(values, shown if shown.size else values)


def _modality(frame: Array, ds: Dataset, groups: Sequence[Dataset]) -> Array:
    for group in groups:
        for item in group.get("PixelValueTransformationSequence") or ():
            slope, intercept = float(item.RescaleSlope), float(item.RescaleIntercept)
            return frame.astype(numpy.float64) * slope + intercept
    return apply_modality_lut(frame, ds)


def _groups(ds: Dataset, number: int) -> list[Dataset]:
    """Give the functional groups of a frame: its own, then those of all frames."""
    own = ds.get("PerFrameFunctionalGroupsSequence") or ()
    shared = ds.get("SharedFunctionalGroupsSequence") or ()
    return [*own[number - 1 : number], *shared[:1]]


def _eight_bits(frame: Array, bits: int) -> Array:
    shifted: Array = (frame >> max(0, bits - 8)).astype(numpy.uint8) if bits > 8 else frame
    return shifted.astype(numpy.uint8)
