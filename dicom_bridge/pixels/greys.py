"""Greys: from the values of a modality to 0 to 255, by windows and look-up tables.

References
----------
* PS3.3 Sections C.11.1 (Modality LUT), C.11.2 (VOI LUT: linear, linear exact, sigmoid)
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy
from pydicom.dataset import Dataset

from dicom_bridge.pixels.wanted import (
    FUNCTIONS,
    LINEAR,
    LINEAR_EXACT,
    SIGMOID,
    Described,
    Window,
)

Array = numpy.ndarray[Any, Any]

BLOCK: Final = 1 << 16
"""Pixels that are looked up at once, so that what is between stays in the cache."""


def by_table(frame: Array, shades: Callable[[Array], Array]) -> Array:
    """Map a frame by a function of single values: once each value that there may be, if few.

    Parameters
    ----------
    shades
        Gives 0 to 255 for values.

    Examples
    --------
    >>> by_table(numpy.array([[-1, 3], [3, 3]], "i2"), lambda values: (values + 1).astype("u1"))
    array([[0, 4],
           [4, 4]], dtype=uint8)
    """
    bits = frame.dtype.itemsize * 8
    if frame.dtype.kind not in "iu" or bits > 16 or not frame.size:
        return shades(frame)
    low, high = int(frame.min()), int(frame.max())
    if high - low >= frame.size:
        return shades(frame)
    unsigned = f"u{bits // 8}"
    values = numpy.arange(low, high + 1, dtype=frame.dtype.newbyteorder("="))
    table = numpy.zeros(1 << bits, numpy.uint8)
    table[values.view(unsigned)] = shades(values)
    stored = frame.astype(values.dtype, copy=False).reshape(-1).view(unsigned)
    shown = numpy.empty(frame.size, numpy.uint8)
    for begin in range(0, frame.size, BLOCK):
        block = slice(begin, begin + BLOCK)
        table.take(stored[block], mode="wrap", out=shown[block])
    return shown.reshape(frame.shape)


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


def looked_up(values: Array, item: Dataset) -> Array:
    """Map values by a look-up table to 0 to 1 (PS3.3 Sections C.11.1.1 and C.11.2.1.1)."""
    count, first, _ = (int(one) for one in item.LUTDescriptor)
    data: Any = item.LUTData
    if isinstance(data, bytes):
        kind = "u1" if len(data) in (count, count + 1) else "<u2"
        data = numpy.frombuffer(data, kind)
    table = numpy.atleast_1d(numpy.asarray(data)).astype(numpy.float32)
    at = numpy.rint(values) - first
    found: Array = table[numpy.clip(at, 0, len(table) - 1).astype(numpy.intp)]
    return numpy.clip(found / ((1 << bits(item)) - 1), 0, 1)


def bits(item: Dataset) -> int:
    """Say how many bits an entry of a look-up table has."""
    return min(16, max(1, int(item.LUTDescriptor[2])))


def eighth(shares: Array) -> Array:
    """Turn 0 to 1 into 0 to 255."""
    shown: Array = (shares * 255).astype(numpy.uint8)
    return shown


def stretch(shown: Array) -> Window:
    """Give the window that the values to be shown fill."""
    low, high = float(shown.min()), float(shown.max())
    return Window((low + high) / 2, max(high - low, 1.0), LINEAR_EXACT)


def window(ds: Described, groups: Sequence[Dataset]) -> Window | None:
    """Give the first window that an image, or its functional groups, propose."""
    places = [item for group in groups for item in group.get("FrameVOILUTSequence") or ()]
    for place in (*places, ds):
        center, width = (_first(place.get(name)) for name in ("WindowCenter", "WindowWidth"))
        if center is not None and width is not None and width > 0:
            function = str(place.get("VOILUTFunction") or LINEAR)
            return Window(center, width, function if function in FUNCTIONS else LINEAR)
    return None


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, str | float | int) else value[0])
