"""Sizing: the part of a picture that is wanted, which way up it is, and how large.

References
----------
* PS3.18 Sections 8.3.5.1.3 (viewport), 9.1.2.2.2 to 9.1.2.2.4 (rows, columns, region)
* PS3.3 Section C.10.6 (Spatial Transformation), C.7.6.3.1.7 (Pixel Aspect Ratio)
"""

from typing import Final

from PIL import Image

from dicom_bridge.pixels.presentation import Turn
from dicom_bridge.pixels.wanted import MOST_SIDE, Described, Viewport
from resources.errors import Invalid

TURNS: Final = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
"""Degrees clockwise, and what Pillow calls that."""


def sized(picture: Image.Image, ds: Described, viewport: Viewport | None) -> Image.Image:
    """Cut out what is wanted, make its pixels square, and fit it into the size that is wanted."""
    if viewport is not None and viewport.columns is not None and viewport.rows is not None:
        picture = _cut_out(picture, viewport, viewport.columns, viewport.rows)
    down, across = (float(one) for one in ds.get("PixelAspectRatio") or (1, 1))
    return fitted(picture, down / across if down > 0 and across > 0 else 1.0, viewport)


def fitted(
    picture: Image.Image, aspect: float, viewport: Viewport | None, scale: float = 1.0
) -> Image.Image:
    """Make pixels square, and the picture as large as fits into the size that is wanted."""
    wide, high = float(picture.size[0]), picture.size[1] * aspect
    if viewport is not None:
        bounds = ((viewport.width, wide), (viewport.height, high))
        scale = min((bound / side for bound, side in bounds if bound), default=scale)
    scale = min(scale, MOST_SIDE / wide, MOST_SIDE / high)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    if size == picture.size:
        return picture
    return picture.resize(size, Image.Resampling.BILINEAR)


def turned(picture: Image.Image, turn: Turn) -> Image.Image:
    """Turn a picture, and mirror it after that."""
    if turn.degrees:
        picture = picture.transpose(TURNS[turn.degrees])
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turn.mirrored else picture


def _cut_out(picture: Image.Image, viewport: Viewport, columns: float, rows: float) -> Image.Image:
    wide, high = picture.size
    across, down = (wide, high) if viewport.relative else (1, 1)
    left, top = (viewport.x or 0.0) * across, (viewport.y or 0.0) * down
    right, bottom = left + abs(columns) * across, top + abs(rows) * down
    if not (0 <= left < right <= wide and 0 <= top < bottom <= high):
        raise Invalid("The viewport lies outside the image", "viewport")
    box = (int(left), int(top), max(int(right), int(left) + 1), max(int(bottom), int(top) + 1))
    picture = picture.crop(box)
    if columns < 0:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rows < 0:
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return picture
