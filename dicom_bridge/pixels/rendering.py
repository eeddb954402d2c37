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

from dicom_bridge.pixels.greys import Array, by_table, eighth, looked_up, stretch, windowed
from dicom_bridge.pixels.greys import window as window_of
from dicom_bridge.pixels.presentation import State
from dicom_bridge.pixels.presenting import presented
from dicom_bridge.pixels.sizing import sized
from dicom_bridge.pixels.wanted import FORMATS, Described, Wanted, Window

FRAME_MILLISECONDS: Final = 100
TRANSFORMATION: Final = "PixelValueTransformationSequence"


class Rendered(NamedTuple):
    """A picture, and what of a presentation state it does not show."""

    content: bytes
    missing: Sequence[str] = ()


def rendered(
    frames: Sequence[Array],
    ds: Described,
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


def _picture(frame: Array, ds: Described, number: int, window: Window | None) -> Image.Image:
    coloured = _coloured(frame, ds)
    if coloured is not None:
        return Image.fromarray(coloured)
    kind = str(ds.get("PhotometricInterpretation", "MONOCHROME2"))
    grey = _grey(frame, ds, number, window)
    inverse = ds.get("PresentationLUTShape") == "INVERSE"
    if (kind == "MONOCHROME1") != inverse:
        grey = 255 - grey
    return Image.fromarray(grey)


def _coloured(frame: Array, ds: Described) -> Array | None:
    """Give the colours of a frame; None: it is grey."""
    if isinstance(ds, Dataset) and ds.get("PhotometricInterpretation") == "PALETTE COLOR":
        return _eight_bits(apply_color_lut(frame, ds), 16)
    return _eight_bits(frame, int(ds.get("BitsStored") or 8)) if frame.ndim == 3 else None


def _grey(frame: Array, ds: Described, number: int, window: Window | None) -> Array:
    groups = _groups(ds, number)
    window = window or window_of(ds, groups)
    luts: Sequence[Dataset] = () if window else ds.get("VOILUTSequence") or ()
    if not window and not luts:
        padding = ds.get("PixelPaddingValue")
        shown = frame if padding is None else frame[frame != padding]
        window = _stretched(shown if shown.size else frame, ds, groups)

    def shades(stored: Array) -> Array:
        values = _modality(stored, ds, groups)
        return windowed(values, window) if window else eighth(looked_up(values, luts[0]))

    return by_table(frame, shades)


def _stretched(shown: Array, ds: Described, groups: Sequence[Dataset]) -> Window:
    """Give the window that stored values fill; what is rescaled keeps its ends."""
    if not ds.get("ModalityLUTSequence"):
        shown = numpy.array([shown.min(), shown.max()])
    return stretch(_modality(shown, ds, groups))


def _modality(stored: Array, ds: Described, groups: Sequence[Dataset]) -> Array:
    """Take stored values to those of the modality (PS3.3 Section C.11.1)."""
    values = stored
    items = [item for group in groups for item in group.get(TRANSFORMATION) or ()]
    if items:
        slope, intercept = float(items[0].RescaleSlope), float(items[0].RescaleIntercept)
        values = stored.astype(numpy.float64) * slope + intercept
    elif isinstance(ds, Dataset):
        values = apply_modality_lut(stored, ds)
    elif None not in (slope := ds.get("RescaleSlope"), intercept := ds.get("RescaleIntercept")):
        values = stored.astype(numpy.float64) * slope + intercept
    return values.astype(numpy.float32)


def _groups(ds: Described, number: int) -> list[Dataset]:
    """Give the functional groups of a frame: its own, then those of all frames."""
    own = ds.get("PerFrameFunctionalGroupsSequence") or ()
    shared = ds.get("SharedFunctionalGroupsSequence") or ()
    return [*own[number - 1 : number], *shared[:1]]


def _eight_bits(frame: Array, bits: int) -> Array:
    shifted: Array = (frame >> max(0, bits - 8)).astype(numpy.uint8) if bits > 8 else frame
    return shifted.astype(numpy.uint8)
