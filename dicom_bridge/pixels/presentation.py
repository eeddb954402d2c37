"""Presentation states: how somebody wanted an image to be shown, read from the object that says so.

A presentation state says all of it: what it leaves out is the identity, whatever the image itself
proposes. What is not applied here is told, never passed over in silence.

References
----------
* PS3.3 Sections A.33.1 (Grayscale Softcopy Presentation State), A.33.2 (Color), C.10.4 (Displayed
  Area), C.10.6 (Spatial Transformation), C.7.6.11 (Display Shutter), C.11.6 (Softcopy Presentation
  LUT), C.11.8 (Softcopy VOI LUT)
* PS3.4 Section N.2 (pixel transformation sequence)
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydicom import dcmread
from pydicom.dataset import Dataset

from resources.errors import Invalid, Unsupported

GRAYSCALE: Final = "1.2.840.10008.5.1.4.1.1.11.1"
COLOR: Final = "1.2.840.10008.5.1.4.1.1.11.2"
APPLIED: Final = frozenset({GRAYSCALE, COLOR})

NOT_APPLIED: Final[Mapping[str, str]] = {
    "MaskSubtractionSequence":      "mask subtraction",
    "ShutterOverlayGroup":          "bitmap shutter",
    "OverlayActivationSequence":    "overlay activation",
    "ICCProfile":                   "ICC profile",
    "CompoundGraphicSequence":      "compound graphics",
    "VolumetricPresentationInputSetSequence": "volumetric presentation",
}  # fmt: skip
"""Attributes of a presentation state that nothing is done with, and what to call them."""
OVERLAYS: Final = range(0x6000, 0x6020, 2)


class Turn(NamedTuple):
    """Degrees clockwise, and whether it is mirrored left to right after that."""

    degrees: int = 0
    mirrored: bool = False


class Area(NamedTuple):
    """The part that is displayed: edges of pixels, from 0; it may reach beyond the image."""

    left: int
    top: int
    right: int
    bottom: int


class State(NamedTuple):
    """A presentation state, as far as it concerns one frame."""

    ds: Dataset
    voi: Dataset | None
    """The item of Softcopy VOI LUT Sequence."""
    displayed: Dataset | None
    """The item of Displayed Area Selection Sequence."""
    annotations: Sequence[Dataset]

    @property
    def turn(self) -> Turn:
        """PS3.3 Section C.10.6.

        Raises
        ------
        Invalid
            It is turned by something else than a multiple of 90 degrees.
        """
        degrees = int(self.ds.get("ImageRotation") or 0)
        if degrees % 90:
            raise Invalid("The presentation state turns by no right angle", "ImageRotation")
        return Turn(degrees % 360, self.ds.get("ImageHorizontalFlip") == "Y")

    def area(self, columns: int, rows: int) -> Area:
        """PS3.3 Section C.10.4: both corners are pixels of the image before it is turned."""
        if self.displayed is None:
            return Area(0, 0, columns, rows)
        corners = [
            self.displayed.get(name)
            for name in ("DisplayedAreaTopLeftHandCorner", "DisplayedAreaBottomRightHandCorner")
        ]
        if any(corner is None or len(corner) != 2 for corner in corners):
            return Area(0, 0, columns, rows)
        (x1, y1), (x2, y2) = ((int(one) for one in corner) for corner in corners)
        area = Area(min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2), max(y1, y2))
        if area.right - area.left > 4 * columns or area.bottom - area.top > 4 * rows:
            raise Invalid("The displayed area is much larger than the image", "DisplayedArea")
        return area

    @property
    def missing(self) -> list[str]:
        """What of it is not applied."""
        names = [words for name, words in NOT_APPLIED.items() if self.ds.get(name)]
        if any((group, 0x3000) in self.ds for group in OVERLAYS):
            names.append("overlays")
        if self.displayed is not None and self.displayed.get("PresentationSizeMode") == "TRUE SIZE":
            names.append("true size")
        return names


def read(path: Path, sop_uid: str, number: int) -> State:
    """Read what a presentation state says of a frame of an image.

    Raises
    ------
    Unsupported
        It is no grayscale or colour softcopy presentation state.
    Invalid
        It says nothing of this image.
    """
    ds = dcmread(path, stop_before_pixels=True)
    if ds.get("SOPClassUID") not in APPLIED:
        raise Unsupported("This presentation state is of a kind that is not applied", "SOPClassUID")
    if sop_uid not in referenced(ds):
        raise Invalid("The presentation state is not of this image", "presentationUID")
    return State(
        ds,
        next(_of(ds, "SoftcopyVOILUTSequence", sop_uid, number), None),
        next(_of(ds, "DisplayedAreaSelectionSequence", sop_uid, number), None),
        tuple(_of(ds, "GraphicAnnotationSequence", sop_uid, number)),
    )


def referenced(ds: Dataset) -> list[str]:
    """Name the images that a presentation state is of (PS3.3 Section C.11.11)."""
    return [
        str(image.get("ReferencedSOPInstanceUID", ""))
        for series in ds.get("ReferencedSeriesSequence") or ()
        for image in series.get("ReferencedImageSequence") or ()
    ]


def _of(ds: Dataset, keyword: str, sop_uid: str, number: int) -> Iterator[Dataset]:
    """Give the items that are of all images, or of this one and frame."""
    for item in ds.get(keyword) or ():
        images = item.get("ReferencedImageSequence") or ()
        if not images or any(_is(image, sop_uid, number) for image in images):
            yield item


def _is(image: Dataset, sop_uid: str, number: int) -> bool:
    numbers: Any = image.get("ReferencedFrameNumber")
    if image.get("ReferencedSOPInstanceUID") != sop_uid:
        return False
    if numbers is None or numbers == "":
        return True
    several = isinstance(numbers, Sequence) and not isinstance(numbers, str)
    return number in [int(one) for one in (numbers if several else [numbers])]
