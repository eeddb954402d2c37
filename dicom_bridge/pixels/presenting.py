"""Presenting: a frame shown as a presentation state says.

References
----------
* PS3.4 Section N.2 (pixel transformation sequence); PS3.3 Sections C.11.4 and C.11.6 (presentation
  LUT), C.10.4 (Displayed Area)
"""

from collections.abc import Sequence

import numpy
from PIL import Image
from pydicom.dataset import Dataset

from dicom_bridge.pixels import annotations
from dicom_bridge.pixels.greys import Array, bits, eighth, looked_up, window, windowed
from dicom_bridge.pixels.presentation import State, Turn
from dicom_bridge.pixels.sizing import fitted, turned
from dicom_bridge.pixels.wanted import LINEAR_EXACT, Described, Viewport, Window
from resources.errors import Invalid


def presented(
    frame: Array,
    coloured: Array | None,
    ds: Described,
    state: State,
    viewport: Viewport | None,
) -> tuple[Image.Image, list[str]]:
    """Show a frame as a presentation state says (PS3.4 Section N.2); say what could not be drawn.

    Parameters
    ----------
    coloured
        The colours of the frame, if it has any.

    Raises
    ------
    Invalid
        A part is asked for: which one is displayed, the presentation state says.
    """
    if viewport is not None and viewport.columns is not None:
        raise Invalid("The presentation state says which part is displayed", "viewport")
    values = _p_values(frame, ds, state) if coloured is None else coloured
    picture = Image.fromarray(annotations.shuttered(values, state.ds))
    area, turn = state.area(*picture.size), state.turn
    picture = picture.crop(area)
    wide, high = picture.size
    picture = turned(picture, turn)
    picture = fitted(picture, _aspect(ds, state, turn), viewport, _magnification(state))
    across, down = picture.size

    def image(x: float, y: float) -> tuple[float, float]:
        x, y = x - area.left, y - area.top
        width = high if turn.degrees % 180 else wide
        height = wide if turn.degrees % 180 else high
        x, y = {0: (x, y), 90: (high - y, x), 180: (wide - x, high - y), 270: (y, wide - x)}[
            turn.degrees
        ]
        x = width - x if turn.mirrored else x
        return x * across / width, y * down / height

    def display(x: float, y: float) -> tuple[float, float]:
        return x * across, y * down

    return picture, annotations.drawn(picture, state, image, display)


def _p_values(frame: Array, ds: Described, state: State) -> Array:
    """Take stored values to P-values; whether it is MONOCHROME1 does not matter here."""
    said = state.ds
    if said.get("ModalityLUTSequence"):
        item = said.ModalityLUTSequence[0]
        values = looked_up(frame, item) * ((1 << bits(item)) - 1)
        low, high = 0.0, float((1 << bits(item)) - 1)
    else:
        slope, intercept = (
            float(default if said.get(name) is None else said[name].value)
            for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
        )
        values = frame.astype(numpy.float32) * slope + intercept
        bits_stored = int(ds.get("BitsStored"))
        least = -(1 << bits_stored - 1) if int(ds.get("PixelRepresentation") or 0) else 0
        low, high = ((least + one) * slope + intercept for one in (0, (1 << bits_stored) - 1))
    voi = state.voi if state.voi is not None else Dataset()
    proposed = window(voi, ())
    if proposed is not None:
        grey = windowed(values, proposed)
    elif voi.get("VOILUTSequence"):
        grey = eighth(looked_up(values, voi.VOILUTSequence[0]))
    else:
        grey = windowed(values, Window((low + high) / 2, max(high - low, 1.0), LINEAR_EXACT))
    if said.get("PresentationLUTSequence"):
        item = said.PresentationLUTSequence[0]
        entries = int(item.LUTDescriptor[0]) or 65536
        return eighth(looked_up(grey.astype(numpy.float32) * (entries - 1) / 255, item))
    return 255 - grey if said.get("PresentationLUTShape") == "INVERSE" else grey


def _aspect(ds: Described, state: State, turn: Turn) -> float:
    """Say how much higher than wide a pixel is, as it is displayed."""
    said: Described = state.displayed if state.displayed is not None else Dataset()
    places: Sequence[tuple[Described, str]] = (
        (said, "PresentationPixelSpacing"), (said, "PresentationPixelAspectRatio"),
        (ds, "PixelAspectRatio"),
    )  # fmt: skip
    for place, name in places:
        if place.get(name):
            down, across = (float(one) for one in place.get(name))
            if down > 0 and across > 0:
                return across / down if turn.degrees % 180 else down / across
    return 1.0


def _magnification(state: State) -> float:
    said = state.displayed
    if said is None or said.get("PresentationSizeMode") != "MAGNIFY":
        return 1.0
    ratio = float(said.get("PresentationPixelMagnificationRatio") or 1)
    return ratio if ratio > 0 else 1.0
