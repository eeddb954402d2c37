"""Presentation states: the image as somebody wanted it to be shown."""

from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy
import pytest
from PIL import Image
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from dicom_bridge.pixels import child
from dicom_bridge.pixels.tasks import Picture
from tests.dicom_bridge.build import an_instance, written
from tests.dicom_bridge.dicomweb.conftest import Service

pytestmark = pytest.mark.anyio

GSPS = "1.2.840.10008.5.1.4.1.1.11.1"
PNG = {"Accept": "image/png"}
ROWS, COLUMNS = 24, 16


def an_item(**attributes: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def an_image(**attributes: Any) -> Dataset:
    """An image whose stored values are 0 to 4080 in steps, no two rows or columns alike."""
    ds = an_instance(rows=ROWS, columns=COLUMNS)
    values = numpy.arange(ROWS * COLUMNS, dtype="<u2") * 10
    ds.PixelData = values.tobytes()
    ds.WindowCenter, ds.WindowWidth = 100, 50
    ds.RescaleSlope, ds.RescaleIntercept = 2, -500
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def reference(image: Dataset, **more: Any) -> Dataset:
    return an_item(
        ReferencedSOPClassUID=image.SOPClassUID,
        ReferencedSOPInstanceUID=image.SOPInstanceUID,
        **more,
    )


def a_state(*images: Dataset, **attributes: Any) -> Dataset:
    """A presentation state of images; the whole image displayed, if nothing else is said."""
    one = images[0]
    ds = an_instance("SR", study_uid=str(one.StudyInstanceUID), series_number=9)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(GSPS)
    ds.Modality = "PR"
    ds.ReferencedSeriesSequence = Sequence([
        an_item(
            SeriesInstanceUID=one.SeriesInstanceUID,
            ReferencedImageSequence=Sequence([reference(image) for image in images]),
        )
    ])  # fmt: skip
    ds.DisplayedAreaSelectionSequence = Sequence([
        an_item(
            DisplayedAreaTopLeftHandCorner=[1, 1],
            DisplayedAreaBottomRightHandCorner=[COLUMNS, ROWS],
            PresentationSizeMode="SCALE TO FIT",
            PresentationPixelAspectRatio=[1, 1],
        )
    ])  # fmt: skip
    ds.PresentationLUTShape = "IDENTITY"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def path_of(ds: Dataset) -> str:
    return (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


async def answered(service: Service, image: Dataset, **attributes: Any) -> httpx.Response:
    state = a_state(image, **attributes)
    await service.hold(image, state)
    return await service.client().get(f"{path_of(state)}/rendered", headers=PNG)


def shown(folder: Path, image: Dataset, **attributes: Any) -> "numpy.ndarray[Any, Any]":
    """The picture that a child makes of an image and its presentation state, made here."""
    state = written(a_state(image, **attributes), folder)
    task = Picture(written(image, folder), [], "image/png", 90, None, None, state)
    made = child.render(task)
    assert not made.missing
    return numpy.asarray(Image.open(BytesIO(made.content)).convert("L")).astype(int)


def stored() -> "numpy.ndarray[Any, Any]":
    return numpy.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 10


def whole_range() -> "numpy.ndarray[Any, Any]":
    """Stored values of 12 bits without modality and VOI LUT: 0 is black, 4095 white."""
    return (stored() / 4095 * 255).astype(int)


def close(one: Any, other: Any) -> bool:
    return one.shape == other.shape and bool(numpy.abs(one - other).max() <= 1)


@pytest.mark.standard("PS3.4 N.2.1")
def test_what_the_state_leaves_out_is_the_identity_whatever_the_image_proposes(
    tmp_path: Path,
) -> None:
    assert close(shown(tmp_path, an_image()), whole_range())


@pytest.mark.standard("PS3.3 C.11.8")
def test_the_window_of_the_state_is_in_units_of_its_modality_lut(tmp_path: Path) -> None:
    image = an_image()
    voi = an_item(WindowCenter=1000, WindowWidth=2001)
    other = an_item(
        WindowCenter=0, WindowWidth=1,
        ReferencedImageSequence=Sequence([reference(an_instance())]),
    )  # fmt: skip

    got = shown(
        tmp_path, image, RescaleSlope=2, RescaleIntercept=-500, RescaleType="HU",
        SoftcopyVOILUTSequence=Sequence([other, voi]),
    )  # fmt: skip

    values = stored() * 2 - 500
    expected = numpy.clip(((values - 999.5) / 2000 + 0.5) * 255, 0, 255).astype(int)
    assert close(got, expected)


@pytest.mark.standard("PS3.3 C.11.2.1.1")
def test_a_voi_lut_of_the_state_is_looked_up(tmp_path: Path) -> None:
    lut = an_item(LUTDescriptor=[4, 100, 8], LUTData=[0, 50, 100, 255])
    lut["LUTDescriptor"].VR = lut["LUTData"].VR = "US"

    got = shown(
        tmp_path, an_image(),
        SoftcopyVOILUTSequence=Sequence([an_item(VOILUTSequence=Sequence([lut]))]),
    )  # fmt: skip

    table = {90: 0, 100: 0, 110: 255, 0: 0, 3830: 255}
    for value, grey in table.items():
        assert got[stored() == value].tolist() == [grey]


@pytest.mark.standard("PS3.3 C.11.6")
def test_the_presentation_lut_says_what_is_black_and_not_the_image(
    tmp_path: Path,
) -> None:
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        image = an_image(PhotometricInterpretation=photometric)

        got = shown(tmp_path, image, PresentationLUTShape="INVERSE")

        assert close(got, 255 - whole_range()), photometric


TURNED: list[tuple[int, str, Any]] = [
    (0, "N", lambda a: a),
    (90, "N", lambda a: numpy.rot90(a, -1)),
    (180, "N", lambda a: numpy.rot90(a, 2)),
    (270, "N", lambda a: numpy.rot90(a, 1)),
    (0, "Y", numpy.fliplr),
    (90, "Y", lambda a: numpy.fliplr(numpy.rot90(a, -1))),
]


@pytest.mark.standard("PS3.3 C.10.6")
def test_it_is_turned_clockwise_and_mirrored_after_that(tmp_path: Path) -> None:
    for degrees, flip, turn in TURNED:
        got = shown(tmp_path, an_image(), ImageRotation=degrees, ImageHorizontalFlip=flip)

        assert close(got, turn(whole_range())), (degrees, flip)


@pytest.mark.standard("PS3.3 C.10.4")
def test_the_displayed_area_may_be_a_part_or_reach_beyond_the_image(
    tmp_path: Path,
) -> None:
    part = an_item(
        DisplayedAreaTopLeftHandCorner=[3, 5], DisplayedAreaBottomRightHandCorner=[10, 8],
        PresentationSizeMode="SCALE TO FIT",
    )  # fmt: skip
    beyond = an_item(
        DisplayedAreaTopLeftHandCorner=[-1, 0],
        DisplayedAreaBottomRightHandCorner=[COLUMNS, ROWS + 1],
        PresentationSizeMode="MAGNIFY", PresentationPixelMagnificationRatio=1,
    )  # fmt: skip

    cut = shown(tmp_path, an_image(), DisplayedAreaSelectionSequence=Sequence([part]))
    wide = shown(tmp_path, an_image(), DisplayedAreaSelectionSequence=Sequence([beyond]))

    assert close(cut, whole_range()[4:8, 2:10])
    assert close(wide, numpy.pad(whole_range(), ((1, 1), (2, 0))))


@pytest.mark.standard("PS3.3 C.7.6.11")
def test_shutters_hide_what_lies_outside_of_all_of_them(tmp_path: Path) -> None:
    got = shown(
        tmp_path, an_image(PixelData=b"\xff\x0f" * (ROWS * COLUMNS)),
        ShutterShape=["RECTANGULAR", "CIRCULAR"], ShutterPresentationValue=0x4040,
        ShutterLeftVerticalEdge=2, ShutterRightVerticalEdge=15, ShutterUpperHorizontalEdge=3,
        ShutterLowerHorizontalEdge=20, CenterOfCircularShutter=[10, 8],
        RadiusOfCircularShutter=6,
    )  # fmt: skip

    for row in range(1, ROWS + 1):
        for column in range(1, COLUMNS + 1):
            open_ = 2 < column < 15 and 3 < row < 20 and (row - 10) ** 2 + (column - 8) ** 2 < 36
            assert got[row - 1, column - 1] == (255 if open_ else 0x40), (row, column)


@pytest.mark.standard("PS3.3 C.10.5")
def test_graphics_lie_where_the_image_is_and_turn_with_it(tmp_path: Path) -> None:
    line = an_item(
        GraphicAnnotationUnits="PIXEL", GraphicDimensions=2, NumberOfGraphicPoints=2,
        GraphicData=[2.5, 4.5, 2.5, 9.5], GraphicType="POLYLINE", GraphicFilled="N",
    )  # fmt: skip
    box = an_item(
        GraphicAnnotationUnits="DISPLAY", GraphicDimensions=2, NumberOfGraphicPoints=5,
        GraphicData=[0.5, 0.5, 0.9, 0.5, 0.9, 0.9, 0.5, 0.9, 0.5, 0.5],
        GraphicType="POLYLINE", GraphicFilled="Y",
    )  # fmt: skip
    drawn = Sequence([an_item(GraphicLayer="ONE", GraphicObjectSequence=Sequence([line, box]))])
    black = an_image(PixelData=bytes(2 * ROWS * COLUMNS))

    got = shown(tmp_path, black, GraphicAnnotationSequence=drawn)
    turned = shown(
        tmp_path, an_image(PixelData=bytes(2 * ROWS * COLUMNS)),
        GraphicAnnotationSequence=Sequence([an_item(GraphicObjectSequence=Sequence([line]))]),
        ImageRotation=90,
    )  # fmt: skip

    assert got[4:10, 2].tolist() == [255] * 6
    assert got[14:20, 10:13].min() == 255, "filled"
    assert got[:, 3:7].max() == 0
    assert turned.shape == (COLUMNS, ROWS)
    assert turned[2, 15:19].tolist() == [255] * 4, "the point (2.5, 4.5) is now 4.5 from the right"


@pytest.mark.standard("PS3.3 C.10.5.1.2")
def test_circles_ellipses_points_curves_and_text_are_drawn(tmp_path: Path) -> None:
    circle = an_item(
        GraphicAnnotationUnits="PIXEL", GraphicData=[8.5, 8.5, 12.5, 8.5], GraphicType="CIRCLE",
    )  # fmt: skip
    ellipse = an_item(
        GraphicAnnotationUnits="PIXEL", GraphicType="ELLIPSE",
        GraphicData=[2.5, 18.5, 12.5, 18.5, 7.5, 16.5, 7.5, 20.5],
    )  # fmt: skip
    point = an_item(GraphicAnnotationUnits="PIXEL", GraphicData=[1.5, 1.5], GraphicType="POINT")
    curve = an_item(
        GraphicAnnotationUnits="PIXEL", GraphicData=[14.5, 1.5, 13.5, 4.5, 14.5, 7.5],
        GraphicType="INTERPOLATED",
    )  # fmt: skip
    graphics = an_item(GraphicObjectSequence=Sequence([circle, ellipse, point, curve]))
    text = an_item(
        TextObjectSequence=Sequence([
            an_item(
                UnformattedTextValue="LL", AnchorPointAnnotationUnits="PIXEL",
                AnchorPoint=[0, 12], AnchorPointVisibility="N",
            )
        ])
    )  # fmt: skip
    black = bytes(2 * ROWS * COLUMNS)

    got = shown(tmp_path, an_image(PixelData=black), GraphicAnnotationSequence=Sequence([graphics]))
    written = shown(tmp_path, an_image(PixelData=black), GraphicAnnotationSequence=Sequence([text]))

    for row, column in ((8, 12), (8, 4), (4, 8), (18, 2), (18, 12), (1, 1), (1, 14), (7, 14)):
        assert got[row, column] == 255, (row, column)
    assert written[12:].any()
    assert not written[:12].any()


@pytest.mark.standard("PS3.18 10.4.1.1.3")
async def test_what_is_not_applied_is_warned_of(service: Service) -> None:
    odd = an_item(GraphicAnnotationUnits="MATRIX", GraphicType="POINT", GraphicData=[1, 1])
    answer = await answered(
        service, an_image(), MaskSubtractionSequence=Sequence([an_item(MaskOperation="AVG_SUB")]),
        GraphicAnnotationSequence=Sequence([an_item(GraphicObjectSequence=Sequence([odd]))]),
    )  # fmt: skip

    assert answer.status_code == 200
    assert answer.headers["warning"] == (
        f"299 {service.base}: Not applied of the presentation state: "
        "graphic POINT, mask subtraction"
    )


@pytest.mark.standard("threats T15")
async def test_nothing_that_a_state_says_becomes_a_header_of_the_answer(service: Service) -> None:
    odd = an_item(GraphicAnnotationUnits="PIXEL", GraphicData=[1, 1])
    kind = DataElement("GraphicType", "CS", "X\r\nSet-Cookie: a=b", validation_mode=config.IGNORE)
    odd[kind.tag] = kind

    answer = await answered(
        service,
        an_image(),
        GraphicAnnotationSequence=Sequence([an_item(GraphicObjectSequence=Sequence([odd]))]),
    )

    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert answer.headers["warning"].endswith("Not applied of the presentation state: graphic")


@pytest.mark.standard("PS3.18 10.4.1.1.3")
async def test_a_state_of_several_images_shows_one_and_says_so(service: Service) -> None:
    one = an_image()
    two = an_image(StudyInstanceUID=one.StudyInstanceUID, SeriesInstanceUID=one.SeriesInstanceUID)
    state = a_state(one, two)
    await service.hold(one, two, state)

    answer = await service.client().get(f"{path_of(state)}/rendered", headers=PNG)

    assert answer.headers["warning"] == f"299 {service.base}: 1 of 2 images is shown"


async def test_a_state_whose_image_is_not_here_or_of_another_kind_is_not_shown(
    service: Service,
) -> None:
    image = an_image()
    alone = a_state(image)
    blending = a_state(image, SOPClassUID="1.2.840.10008.5.1.4.1.1.11.4")
    blending.file_meta.MediaStorageSOPClassUID = blending.SOPClassUID
    await service.hold(alone)
    client = service.client()

    missing = await client.get(f"{path_of(alone)}/rendered", headers=PNG)
    await service.hold(image, blending)
    unknown = await client.get(f"{path_of(blending)}/rendered", headers=PNG)

    assert (missing.status_code, unknown.status_code) == (404, 406)
