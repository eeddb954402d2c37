"""What a picture shall be like: values of interest, size and part, and how it is coded.

References
----------
* PS3.18 Section 8.3.5 (window, viewport, quality), Table 8.7.4-1 (media types)
* PS3.3 Section C.11.2.1.3 (VOI LUT Function)
"""

from typing import Any, Final, NamedTuple, Protocol

LINEAR, LINEAR_EXACT, SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"
FUNCTIONS: Final = (LINEAR, LINEAR_EXACT, SIGMOID)
FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF"}
MOST_SIDE: Final = 8192
"""Pixels of one side of a picture."""


class Described(Protocol):
    """What describes an image: a data set, or what is as good as one."""

    def get(self, key: str, default: Any = None, /) -> Any:
        """Say what an attribute is, by keyword."""
        ...


class Window(NamedTuple):
    """Values of interest: centre and width in the units of the modality, and the function."""

    center: float
    width: float
    function: str = LINEAR


class Viewport(NamedTuple):
    """How large the picture may be, and which part of the frame it shows; None: all of it."""

    width: int | None = None
    height: int | None = None
    x: float | None = None
    y: float | None = None
    columns: float | None = None
    rows: float | None = None
    relative: bool = False
    """The part is given as fractions of the frame (PS3.18 Section 9.1.2.2.4), not as pixels."""


class Wanted(NamedTuple):
    """What the picture shall be like."""

    type: str = "image/jpeg"
    quality: int = 90
    window: Window | None = None
    viewport: Viewport | None = None
