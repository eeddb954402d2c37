"""Rendering: an array of pixels as the picture that a person is shown.

Pure: the grayscale pipeline of DICOM (modality, values of interest, presentation), colour, the part
and size that are wanted, and the coding as JPEG, PNG or GIF.

References
----------
* PS3.3 Sections C.11.1 (Modality LUT), C.11.2 (VOI LUT: linear, linear exact, sigmoid), C.7.6.3.1.2
  (Photometric Interpretation), C.7.9 (Palette Color), C.7.6.16.2.10 (Frame VOI LUT)
* PS3.4 Annex N.2 (pixel transformation sequence); PS3.18 Section 8.3.5 (window, viewport, quality)
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

import numpy
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi

from dicom_bridge.pixels.wanted import (
    FORMATS,
    FUNCTIONS,
    LINEAR,
    LINEAR_EXACT,
    SIGMOID,
    Viewport,
    Wanted,
    Window,
)
from resources.errors import Invalid

Array = numpy.ndarray[Any, Any]

FRAME_MILLISECONDS: Final = 100


def rendered(frames: Sequence[Array], ds: Dataset, first: int, wanted: Wanted) -> bytes:
    """Render frames as one picture, moving if there are several.

    Parameters
    ----------
    ds
        Their description.
    first
        Number of the first of them, from 1.
    """
    pictures = [
        _sized(_picture(frame, ds, first + at, wanted.window), ds, wanted.viewport)
        for at, frame in enumerate(frames)
    ]
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
    return out.getvalue()


def _picture(frame: Array, ds: Dataset, number: int, window: Window | None) -> Image.Image:
    kind = str(ds.get("PhotometricInterpretation", "MONOCHROME2"))
    if kind == "PALETTE COLOR":
        return Image.fromarray(_eight_bits(apply_color_lut(frame, ds), 16))
    if frame.ndim == 3:
        return Image.fromarray(_eight_bits(frame, int(ds.get("BitsStored") or 8)))
    grey = _grey(frame, ds, number, window)
    inverse = ds.get("PresentationLUTShape") == "INVERSE"
    if (kind == "MONOCHROME1") != inverse:
        grey = 255 - grey
    return Image.fromarray(grey)


def _grey(frame: Array, ds: Dataset, number: int, window: Window | None) -> Array:
    groups = _groups(ds, number)
    values = _modality(frame, ds, groups).astype(numpy.float32)
    if window is None:
        window = _window(ds, groups)
    if window is not None:
        return windowed(values, window)
    if ds.get("VOILUTSequence"):
        looked_up = apply_voi(frame, ds).astype(numpy.float32)
        return _stretched(looked_up, looked_up)
    shown = values[frame != ds.PixelPaddingValue] if "PixelPaddingValue" in ds else values
    return _stretched(values, shown if shown.size else values)


def windowed(values: Array, window: Window) -> Array:
    """Map values of interest to 0 to 255 (PS3.3 Section C.11.2.1.2 and C.11.2.1.3).

    Examples
    --------
    >>> windowed(numpy.array([-200.0, 40.0, 300.0]), Window(40, 400)).tolist()
    [0, 127, 255]
    """
    center, width, function = window
    if function == SIGMOID:
        shown = 255 / (1 + numpy.exp(numpy.clip(-4 * (values - center) / width, -80, 80)))
    elif function == LINEAR_EXACT:
        shown = ((values - center) / width + 0.5) * 255
    elif width <= 1:
        shown = numpy.where(values > center - 0.5, 255.0, 0.0)
    else:
        shown = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
    clipped: Array = numpy.clip(shown, 0, 255).astype(numpy.uint8)
    return clipped


def _modality(frame: Array, ds: Dataset, groups: Sequence[Dataset]) -> Array:
    for group in groups:
        for item in group.get("PixelValueTransformationSequence") or ():
            slope, intercept = float(item.RescaleSlope), float(item.RescaleIntercept)
            return frame.astype(numpy.float64) * slope + intercept
    return apply_modality_lut(frame, ds)


def _window(ds: Dataset, groups: Sequence[Dataset]) -> Window | None:
    """Give the first window that the image itself proposes."""
    places = [item for group in groups for item in group.get("FrameVOILUTSequence") or ()]
    for place in (*places, ds):
        center, width = (_first(place.get(name)) for name in ("WindowCenter", "WindowWidth"))
        if center is not None and width is not None and width > 0:
            function = str(place.get("VOILUTFunction") or LINEAR)
            return Window(center, width, function if function in FUNCTIONS else LINEAR)
    return None


def _groups(ds: Dataset, number: int) -> list[Dataset]:
    """Give the functional groups of a frame: its own, then those of all frames."""
    own = ds.get("PerFrameFunctionalGroupsSequence") or ()
    shared = ds.get("SharedFunctionalGroupsSequence") or ()
    return [*own[number - 1 : number], *shared[:1]]


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, str | float | int) else value[0])


def _stretched(values: Array, shown: Array) -> Array:
    low, high = float(shown.min()), float(shown.max())
    return windowed(values, Window((low + high) / 2, max(high - low, 1.0), LINEAR_EXACT))


def _eight_bits(frame: Array, bits: int) -> Array:
    shifted: Array = (frame >> max(0, bits - 8)).astype(numpy.uint8) if bits > 8 else frame
    return shifted.astype(numpy.uint8)


def _sized(picture: Image.Image, ds: Dataset, viewport: Viewport | None) -> Image.Image:
    """Cut out what is wanted, make its pixels square, and fit it into the size that is wanted."""
    columns, rows = picture.size
    down, across = (float(one) for one in ds.get("PixelAspectRatio") or (1, 1))
    if viewport is not None and viewport.columns is not None and viewport.rows is not None:
        left, top = viewport.x or 0.0, viewport.y or 0.0
        right, bottom = left + abs(viewport.columns), top + abs(viewport.rows)
        if not (0 <= left < right <= columns and 0 <= top < bottom <= rows):
            raise Invalid("The viewport lies outside the image", "viewport")
        picture = picture.crop((int(left), int(top), int(right), int(bottom)))
        columns, rows = picture.size
        if viewport.columns < 0:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if viewport.rows < 0:
            picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    wide, high = float(columns), rows * (down / across if down > 0 and across > 0 else 1)
    scale = 1.0
    if viewport is not None:
        scale = min(viewport.width / wide, viewport.height / high)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    if size == picture.size:
        return picture
    return picture.resize(size, Image.Resampling.BILINEAR)
