"""Shutters and annotations of a presentation state, drawn into a picture.

References
----------
* PS3.3 Sections C.7.6.11 (Display Shutter), C.10.5 (Graphic Annotation), C.10.7 (Graphic Layer)
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from dicom_bridge.pixels.presentation import State

Array = numpy.ndarray[Any, Any]
Point = tuple[float, float]
Place = Callable[[float, float], Point]
"""Where a point lies in the picture."""

WHITE: Final = 0xFFFF
MOST_POINTS: Final = 20_000
MOST_OBJECTS: Final = 1000
MOST_TEXT: Final = 1024
TYPES: Final = frozenset({"POINT", "POLYLINE", "INTERPOLATED", "CIRCLE", "ELLIPSE"})
UNITS: Final = frozenset({"PIXEL", "DISPLAY"})


def shuttered(grey: Array, ds: Dataset) -> Array:
    """Hide what lies outside the shutters; several are all in force."""
    shapes = _texts(ds.get("ShutterShape"))
    if not shapes:
        return grey
    rows, columns = grey.shape[:2]
    row, column = numpy.ogrid[1 : rows + 1, 1 : columns + 1]
    open_ = numpy.ones((rows, columns), bool)
    if "RECTANGULAR" in shapes:
        open_ &= (column > int(ds.ShutterLeftVerticalEdge)) & (
            column < int(ds.ShutterRightVerticalEdge)
        )
        open_ &= (row > int(ds.ShutterUpperHorizontalEdge)) & (
            row < int(ds.ShutterLowerHorizontalEdge)
        )
    if "CIRCULAR" in shapes:
        middle_row, middle_column = (int(one) for one in ds.CenterOfCircularShutter)
        away = (row - middle_row) ** 2 + (column - middle_column) ** 2
        open_ &= away < int(ds.RadiusOfCircularShutter) ** 2
    if "POLYGONAL" in shapes:
        flat = [int(one) - 1 for one in ds.VerticesOfThePolygonalShutter][: 2 * MOST_POINTS]
        mask = Image.new("1", (columns, rows))
        ImageDraw.Draw(mask).polygon(list(zip(flat[1::2], flat[::2], strict=True)), fill=1)
        open_ &= numpy.asarray(mask)
    hidden = grey.copy()
    hidden[~open_] = int(ds.get("ShutterPresentationValue") or 0) >> 8
    return hidden


def drawn(picture: Image.Image, state: State, image: Place, display: Place) -> list[str]:
    """Draw text and graphics, layer by layer; say what could not be drawn.

    Parameters
    ----------
    image, display
        Where a point of the image (PIXEL), and one of the displayed area (DISPLAY), is.
    """
    draw = ImageDraw.Draw(picture)
    order = {
        str(layer.get("GraphicLayer", "")): layer
        for layer in state.ds.get("GraphicLayerSequence") or ()
    }
    missing: list[str] = []
    left = MOST_OBJECTS

    def rank(item: Dataset) -> int:
        layer = order.get(str(item.get("GraphicLayer", "")))
        return int(layer.get("GraphicLayerOrder") or 0) if layer is not None else 0

    for item in sorted(state.annotations, key=rank):
        layer = order.get(str(item.get("GraphicLayer", "")), Dataset())
        value = layer.get("GraphicLayerRecommendedDisplayGrayscaleValue")
        shade = int(WHITE if value is None else value) >> 8
        colour: Any = shade if picture.mode == "L" else (shade,) * 3
        graphics = list(item.get("GraphicObjectSequence") or ())
        texts = list(item.get("TextObjectSequence") or ())
        left -= len(graphics) + len(texts)
        if left < 0:
            return [*missing, "annotations beyond the first thousand"]
        for one in graphics:
            place = image if one.get("GraphicAnnotationUnits") == "PIXEL" else display
            if not _graphic(draw, one, place, colour):
                kind = str(one.get("GraphicType", ""))
                missing.append(f"graphic {kind}" if kind in TYPES else "graphic")
        written = [_text(draw, one, image, display, colour) for one in texts]
        missing += ["text"] * written.count(False)
    return missing


def _graphic(draw: ImageDraw.ImageDraw, one: Dataset, place: Place, colour: Any) -> bool:
    kind = str(one.get("GraphicType", ""))
    flat = [float(value) for value in one.get("GraphicData") or ()]
    if (
        kind not in TYPES or str(one.get("GraphicAnnotationUnits")) not in UNITS
        or len(flat) < 2 or len(flat) % 2 or len(flat) > 2 * MOST_POINTS
    ):  # fmt: skip
        return False
    given = list(zip(flat[::2], flat[1::2], strict=True))
    if kind == "POINT":
        x, y = place(*given[0])
        draw.line([(x - 2, y), (x + 2, y)], fill=colour)
        draw.line([(x, y - 2), (x, y + 2)], fill=colour)
        return True
    curve = _curve(kind, given)
    points = [place(*point) for point in curve]
    filled = one.get("GraphicFilled") == "Y" and points[0] == points[-1]
    if filled and len(points) > 2:
        draw.polygon(points, fill=colour, outline=colour)
    else:
        draw.line(points, fill=colour)
    return True


def _curve(kind: str, given: Sequence[Point]) -> list[Point]:
    """Give the points that a shape goes through (PS3.3 Section C.10.5.1.2)."""
    if kind == "CIRCLE" and len(given) == 2:
        (x, y), rim = given
        radius = math.dist(given[0], rim)
        return _ellipse((x, y), (radius, 0.0), (0.0, radius))
    if kind == "ELLIPSE" and len(given) == 4:
        (a1, a2), (b1, b2) = given[:2], given[2:]
        middle = ((a1[0] + a2[0]) / 2, (a1[1] + a2[1]) / 2)
        return _ellipse(
            middle,
            ((a2[0] - a1[0]) / 2, (a2[1] - a1[1]) / 2),
            ((b2[0] - b1[0]) / 2, (b2[1] - b1[1]) / 2),
        )
    if kind == "INTERPOLATED" and len(given) > 2:
        return _interpolated(given)
    return list(given)


def _ellipse(middle: Point, major: Point, minor: Point) -> list[Point]:
    angles = [2 * math.pi * step / 64 for step in range(64)]
    points = [
        (
            middle[0] + math.cos(a) * major[0] + math.sin(a) * minor[0],
            middle[1] + math.cos(a) * major[1] + math.sin(a) * minor[1],
        )
        for a in angles
    ]
    return [*points, points[0]]


def _interpolated(given: Sequence[Point]) -> list[Point]:
    """Smooth the line through the points (Catmull-Rom; the standard leaves it open)."""
    closed = given[0] == given[-1]
    before, after = (given[-2], given[1]) if closed else (given[0], given[-1])
    points = [before, *given, after]
    out: list[Point] = []
    for p0, p1, p2, p3 in zip(points, points[1:], points[2:], points[3:], strict=False):
        for step in range(8):
            t = step / 8
            x, y = (
                0.5
                * (
                    2 * p1[i]
                    + (p2[i] - p0[i]) * t
                    + (2 * p0[i] - 5 * p1[i] + 4 * p2[i] - p3[i]) * t**2
                    + (3 * p1[i] - p0[i] - 3 * p2[i] + p3[i]) * t**3
                )
                for i in (0, 1)
            )
            out.append((x, y))
    return [*out, given[-1]]


def _text(
    draw: ImageDraw.ImageDraw, one: Dataset, image: Place, display: Place, colour: Any
) -> bool:
    """Write text in its bounding box, else beside its anchor point; a line may join the two."""
    words = str(one.get("UnformattedTextValue") or "").replace("\r\n", "\n").replace("\r", "\n")
    corner, anchor = one.get("BoundingBoxTopLeftHandCorner"), one.get("AnchorPoint")
    at: Point | None = None
    if corner is not None and one.get("BoundingBoxAnnotationUnits") in UNITS:
        place = image if one.BoundingBoxAnnotationUnits == "PIXEL" else display
        at = place(*(float(value) for value in corner))
    if anchor is not None and one.get("AnchorPointAnnotationUnits") in UNITS:
        place = image if one.AnchorPointAnnotationUnits == "PIXEL" else display
        point = place(*(float(value) for value in anchor))
        if at is not None and one.get("AnchorPointVisibility") == "Y":
            draw.line([at, point], fill=colour)
        at = at or point
    if at is None or not words:
        return not words
    draw.multiline_text(at, words[:MOST_TEXT], fill=colour)
    return True


def _texts(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else [str(one) for one in value]
