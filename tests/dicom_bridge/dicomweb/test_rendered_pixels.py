"""From stored values to shades: each step of the pipeline, worked out by hand from the standard."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_bridge.pixels import child
from dicom_bridge.pixels.tasks import Picture
from tests.dicom_bridge.build import an_instance, written

ROWS, COLUMNS = 4, 4
Array = numpy.ndarray[Any, Any]


def image(values: Any, kind: str = "<u2", **attributes: Any) -> Dataset:
    """An image of sixteen stored values, one sample each unless it says otherwise."""
    ds = an_instance(rows=ROWS, columns=COLUMNS)
    ds.BitsAllocated = ds.BitsStored = numpy.dtype(kind).itemsize * 8
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int("i" in kind)
    ds.PixelData = numpy.asarray(values).astype(kind).tobytes()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def a_lut(first: int, bits: int, data: list[int], vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(data), first, bits])
    item.add_new("LUTData", "US", data)
    return item


def window(values: Array, center: float, width: float) -> Array:
    """PS3.3 Section C.11.2.1.2.1."""
    return numpy.clip(((values - (center - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)


def shades(
    folder: Path, ds: Dataset, window: tuple[float, float, str] | None = None, number: int = 1
) -> Array:
    """The picture that a child makes of an instance, made here."""
    task = Picture(written(ds, folder), [number], "image/png", 90, window, None)
    return numpy.asarray(Image.open(BytesIO(child.render(task).content))).astype(int)


def close(one: Array, other: Array, by: int = 1) -> bool:
    return bool(numpy.abs(one.reshape(-1) - numpy.asarray(other).reshape(-1)).max() <= by)


STEPS = numpy.arange(16)


@pytest.mark.standard("PS3.3 C.11.1.1.2")
def test_signed_values_are_rescaled_and_windowed(tmp_path: Path) -> None:
    stored = (STEPS - 8) * 100
    ds = image(stored, "<i2", RescaleSlope=2, RescaleIntercept=-50, WindowCenter=0, WindowWidth=900)

    assert close(shades(tmp_path, ds), window(stored * 2 - 50, 0, 900))


@pytest.mark.standard("PS3.3 C.7.6.3.1.1")
def test_bits_stored_may_be_fewer_than_allocated(tmp_path: Path) -> None:
    signed = (STEPS - 8) * 200
    ds = image(signed, "<i2", BitsStored=12, HighBit=11, WindowCenter=-100, WindowWidth=2000)
    eight = image(STEPS * 16, "u1", WindowCenter=128, WindowWidth=256)

    assert close(shades(tmp_path, ds), window(signed, -100, 2000))
    assert close(shades(tmp_path, eight), window(STEPS * 16, 128, 256))


@pytest.mark.standard("PS3.3 C.11.2.1.1")
def test_a_voi_lut_is_looked_up_after_the_modality_lut(tmp_path: Path) -> None:
    lut = a_lut(-100, 12, [0, 1000, 2000, 4095], "SS")
    ds = image(STEPS * 10, RescaleSlope=0.1, RescaleIntercept=-102, VOILUTSequence=Sequence([lut]))

    expected = [0, 0, 0, 1000, 2000, 4095, *[4095] * 10]
    assert close(shades(tmp_path, ds), numpy.array(expected) / 4095 * 255)


@pytest.mark.standard("PS3.3 C.11.1.1.1")
def test_a_modality_lut_gives_the_values_that_the_window_is_of(tmp_path: Path) -> None:
    item = a_lut(0, 16, [int(value) for value in (15 - STEPS) * 1000])
    item.ModalityLUTType = "US"
    ds = image(STEPS, ModalityLUTSequence=Sequence([item]), WindowCenter=7500, WindowWidth=15001)

    assert close(shades(tmp_path, ds), window((15 - STEPS) * 1000, 7500, 15001))


@pytest.mark.standard("PS3.3 C.11.2.1.3")
def test_the_functions_of_a_window_are_those_of_the_standard(tmp_path: Path) -> None:
    values = STEPS * 10.0
    exact = numpy.clip(((values - 75) / 100 + 0.5) * 255, 0, 255)
    sigmoid = 255 / (1 + numpy.exp(-4 * (values - 75) / 100))

    for function, expected in (("LINEAR_EXACT", exact), ("SIGMOID", sigmoid)):
        ds = image(values, WindowCenter=75, WindowWidth=100, VOILUTFunction=function)
        assert close(shades(tmp_path, ds), expected), function
        asked = image(values)
        assert close(shades(tmp_path, asked, (75, 100, function)), expected), function


@pytest.mark.standard("PS3.3 C.7.6.3.1.2")
def test_colours_are_shown_whatever_they_are_written_in(tmp_path: Path) -> None:
    rgb = numpy.random.default_rng(3).integers(0, 256, (ROWS, COLUMNS, 3))
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    red, green, blue = (rgb[..., at].astype(float) for at in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    ybr = numpy.stack(
        [luma, (blue - luma) * 0.564 + 128, (red - luma) * 0.713 + 128], axis=-1
    ).round().clip(0, 255)  # fmt: skip

    by_pixel = image(rgb, "u1", PlanarConfiguration=0, **colour)
    by_plane = image(numpy.moveaxis(rgb, 2, 0), "u1", PlanarConfiguration=1, **colour)
    full = image(
        ybr, "u1", SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=0
    )

    assert close(shades(tmp_path, by_pixel), rgb, by=0)
    assert close(shades(tmp_path, by_plane), rgb, by=0)
    assert close(shades(tmp_path, full), rgb, by=4)


@pytest.mark.standard("PS3.3 C.7.9")
def test_a_palette_gives_the_colours_of_its_entries(tmp_path: Path) -> None:
    ds = image(STEPS, "u1", PhotometricInterpretation="PALETTE COLOR")
    tables = {"Red": STEPS * 4096, "Green": (15 - STEPS) * 4096, "Blue": STEPS % 2 * 0xFFFF}
    for name, values in tables.items():
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [16, 0, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", values.astype("<u2").tobytes())

    expected = numpy.stack([table >> 8 for table in tables.values()], axis=-1)
    assert close(shades(tmp_path, ds), expected)


@pytest.mark.standard("PS3.3 C.7.6.16.2.10")
def test_each_frame_has_the_window_and_rescaling_of_its_functional_groups(
    tmp_path: Path,
) -> None:
    ds = image(numpy.concatenate([STEPS, STEPS]) * 10, NumberOfFrames=2)
    groups = []
    for center, slope in ((50, 1), (300, 4)):
        voi, rescale, group = Dataset(), Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth = center, 101
        rescale.RescaleSlope, rescale.RescaleIntercept = slope, 7
        group.FrameVOILUTSequence = Sequence([voi])
        group.PixelValueTransformationSequence = Sequence([rescale])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)

    for number, center, slope in ((1, 50, 1), (2, 300, 4)):
        got = shades(tmp_path, ds, number=number)
        assert close(got, window(STEPS * 10 * slope + 7, center, 101)), number
