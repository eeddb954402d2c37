"""Looks: what the query parameters and the Accept field of a rendered resource ask for.

References
----------
* PS3.18 Section 8.3.5 (query parameters of rendered resources), Table 8.7.4-1 (media types)
"""

import math
from typing import Final, NamedTuple

from dicom_bridge.dicomweb import accept
from dicom_bridge.dicomweb.exchange import Call
from dicom_bridge.dicomweb.problems import NotAcceptable
from dicom_bridge.pixels.wanted import FORMATS, FUNCTIONS, LINEAR, MOST_SIDE, Viewport, Window
from resources.errors import Invalid

QUALITY: Final = 90
UNDONE: Final = ("annotation", "iccprofile", "imageannotation", "presentationUID")
"""Parameters that are refused, since a picture without what they ask for would mislead."""


class Look(NamedTuple):
    """How a picture shall look."""

    type: str
    quality: int = QUALITY
    window: Window | None = None
    viewport: Viewport | None = None


def look(call: Call, *, moving: bool) -> Look:
    """Read how a picture shall look.

    Raises
    ------
    Invalid
        A parameter is malformed.
    NotAcceptable
        The user agent takes none of the media types that pictures are made in.
    """
    return Look(_media_type(call, moving=moving), _quality(call), _window(call), _viewport(call))


def _media_type(call: Call, *, moving: bool) -> str:
    """Choose as what it is shown: JPEG unless something else is asked for, GIF if it moves."""
    ordered = ["image/jpeg", "image/png", "image/gif"]
    ordered.sort(key=lambda type: type != "image/gif" if moving else False)
    for one in call.acceptable():
        meant = one._replace(type=one.part or "*/*") if one.type == accept.RELATED else one
        for type in ordered:
            if accept.wants([meant], type):
                return type
    raise NotAcceptable(f"Rendered as {', '.join(FORMATS)}", "Accept")


def numbers(call: Call) -> list[int]:
    """Read which frame is meant; none is named: all.

    Raises
    ------
    Invalid
        It is no number, or something is asked for that is not done.
    """
    require_done(call)
    text = call.request.path_params.get("frames")
    if text is None:
        return []
    if not (text.isascii() and text.isdigit() and len(text) < 9) or int(text) < 1:
        raise Invalid("One frame is rendered at a time, named by its number", "frames")
    return [int(text)]


def require_done(call: Call) -> None:
    """Refuse what is not done here."""
    for name in UNDONE:
        if name in call.request.query_params:
            raise Invalid(f"{name} is not done here", name)


def _quality(call: Call) -> int:
    """PS3.18 Section 8.3.5.1.2: 1 to 100."""
    text = call.request.query_params.get("quality", str(QUALITY))
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 0 < int(text) <= 100):
        raise Invalid("quality is a number from 1 to 100", "quality")
    return int(text)


def _window(call: Call) -> Window | None:
    """PS3.18 Section 8.3.5.1.4: centre, width and function."""
    text = call.request.query_params.get("window")
    if text is None:
        return None
    parts = text.split(",")
    function = (parts[2] if len(parts) == 3 else LINEAR).strip().upper().replace("-", "_")
    if len(parts) not in (2, 3) or function not in FUNCTIONS:
        raise Invalid("window is centre,width,function", "window")
    center, width = (number(part, "window") for part in parts[:2])
    if width <= 0 or (function == LINEAR and width < 1):
        raise Invalid("The width of a window is 1 or more", "window")
    return Window(center, width, function)


def _viewport(call: Call) -> Viewport | None:
    """PS3.18 Section 8.3.5.1.3: width and height, then the part that is shown."""
    text = call.request.query_params.get("viewport")
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) not in (2, 6):
        raise Invalid("viewport is vw,vh or vw,vh,sx,sy,sw,sh", "viewport")
    width, height = (number(part, "viewport") for part in parts[:2])
    if not (1 <= width <= MOST_SIDE and 1 <= height <= MOST_SIDE):
        raise Invalid(f"A viewport is up to {MOST_SIDE} pixels wide and high", "viewport")
    if len(parts) == 2:
        return Viewport(int(width), int(height))
    x, y, columns, rows = (number(part, "viewport") if part else 0.0 for part in parts[2:])
    if not columns or not rows:
        raise Invalid("The part that is shown has a width and a height", "viewport")
    return Viewport(int(width), int(height), x, y, columns, rows)


def number(text: str, at: str) -> float:
    """Read a finite number."""
    try:
        found = float(text) if len(text) < 32 else math.nan
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise Invalid(f"{at} has a part that is no number", at)
    return found
