"""Native images: read without the parser they are what the parser says, shade by shade."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.sequence import Sequence

from dicom_bridge.pixels import child, decoding, native, rendering
from dicom_bridge.pixels.tasks import Picture
from dicom_bridge.pixels.wanted import Wanted, Window
from resources.errors import Unsupported
from tests.dicom_bridge.build import an_instance, part10, written

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
Array = numpy.ndarray[Any, Any]
quickly = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def images(draw: st.DrawFn) -> Dataset:
    """Grey images as modalities send them, rubbish in the bits that are not used included."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    frames = draw(st.integers(1, 3))
    ds = an_instance(
        rows=rows, columns=columns, frames=frames if frames > 1 else None,
        transfer_syntax=draw(st.sampled_from([EXPLICIT, IMPLICIT])),
    )  # fmt: skip
    ds.BitsAllocated = draw(st.sampled_from([8, 16]))
    ds.BitsStored = draw(st.integers(1, ds.BitsAllocated))
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, draw(st.sampled_from([0, 1]))
    ds.PhotometricInterpretation = draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))
    seed, rubbish = draw(st.integers(0, 999)), draw(st.booleans())
    bits = ds.BitsAllocated if rubbish else draw(st.integers(1, max(1, ds.BitsStored - 1)))
    values = numpy.random.default_rng(seed).integers(0, 1 << bits, frames * rows * columns)
    pixels = values.astype(f"<u{ds.BitsAllocated // 8}").tobytes()
    ds.PixelData = pixels + b"\0" * (len(pixels) % 2)
    ds["PixelData"].VR = "OW"
    some = st.integers(-2000, 2000) | st.floats(-300, 300).map(lambda x: round(x, 3))
    if draw(st.booleans()):
        ds.RescaleSlope = draw(some.filter(bool))
        ds.RescaleIntercept = draw(some)
    if draw(st.booleans()):
        ds.WindowCenter, ds.WindowWidth = draw(some), draw(some.map(abs).filter(lambda x: x >= 1))
    elif draw(st.booleans()):
        ds.WindowCenter, ds.WindowWidth = [40, 300], [400, 1500]
    if draw(st.booleans()):
        ds.VOILUTFunction = draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
    if draw(st.booleans()):
        ds.add_new(
            "PixelPaddingValue",
            "SS" if ds.PixelRepresentation else "US",
            draw(st.integers(-128, 127) if ds.PixelRepresentation else st.integers(0, 255)),
        )
    if draw(st.booleans()):
        ds.PixelAspectRatio = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    if draw(st.booleans()):
        ds.PresentationLUTShape = draw(st.sampled_from(["IDENTITY", "INVERSE"]))
    if draw(st.booleans()):
        nested(ds, undefined=draw(st.booleans()))
    return ds


def nested(ds: Dataset, *, undefined: bool) -> None:
    """A sequence in a sequence, empty ones, and a private one, of stated length or not."""
    inner, item = Dataset(), Dataset()
    inner.CodeValue = "T"
    item.PurposeOfReferenceCodeSequence = Sequence([inner, Dataset()])
    item.ReferencedSOPInstanceUID = "1.2.3"
    ds.ReferencedImageSequence = Sequence([item, Dataset()])
    ds.ReferencedStudySequence = Sequence([])
    block: Any = ds.private_block(0x0029, "TEST", create=True)
    block.add_new(1, "SQ", [item])
    for sequence in (ds["ReferencedImageSequence"], ds["ReferencedStudySequence"], block[1],
                     item["PurposeOfReferenceCodeSequence"]):  # fmt: skip
        sequence.is_undefined_length = undefined
        for one in sequence.value:
            one.is_undefined_length_sequence_item = undefined


def before(frame: Array, ds: Dataset, window: Window | None) -> Array:
    """The shades of stored values, each pixel by itself (PS3.3 Sections C.11.1.1.2, C.11.2.1.2)."""
    values = frame.astype(numpy.float64)
    if "RescaleSlope" in ds:
        values = values * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    values = values.astype(numpy.float32)
    if window is None and "WindowWidth" in ds:
        first = [x if isinstance(x, float) else x[0] for x in (ds.WindowCenter, ds.WindowWidth)]
        window = Window(float(first[0]), float(first[1]), ds.get("VOILUTFunction", "LINEAR"))
    if window is None:
        shown = values[frame != ds.PixelPaddingValue] if "PixelPaddingValue" in ds else values
        shown = shown if shown.size else values
        low, high = float(shown.min()), float(shown.max())
        window = Window((low + high) / 2, max(high - low, 1.0), "LINEAR_EXACT")
    center, width, function = window
    if function == "LINEAR_EXACT":
        out = ((values - center) / width + 0.5) * 255
    elif function == "SIGMOID":
        out = 255 / (1 + numpy.exp(numpy.clip(-4 * (values - center) / width, -80, 80)))
    elif width <= 1:
        out = numpy.where(values > center - 0.5, 255.0, 0.0)
    else:
        out = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
    grey = numpy.clip(out, 0, 255).astype(numpy.uint8)
    inverse = ds.get("PresentationLUTShape") == "INVERSE"
    return 255 - grey if (ds.PhotometricInterpretation == "MONOCHROME1") != inverse else grey


@pytest.mark.standard("PS3.5 8.1.1")
@quickly
@given(ds=images())
def test_the_description_and_every_frame_are_those_of_the_parser(
    ds: Dataset, tmp_path: Path
) -> None:
    path = written(ds, tmp_path)
    parsed, read = decoding.description(path), native.read(path)

    assert read is not None
    for keyword, _ in native.VALUES.values():
        mine, theirs = read.get(keyword), parsed.get(keyword)
        if keyword in native.SEVERAL and mine is not None:
            theirs = list(theirs) if parsed[keyword].VM > 1 else [theirs]
        assert mine == theirs, keyword
    for number in range(1, int(parsed.get("NumberOfFrames") or 1) + 1):
        frame, expected = read.frame(number), pixel_array(path, index=number - 1)
        assert frame is not None
        assert frame.dtype == expected.dtype
        assert (frame == expected).all()


@pytest.mark.standard("PS3.3 C.11.2.1.2")
@quickly
@given(
    ds=images(),
    window=st.none()
    | st.builds(
        Window,
        st.floats(-3000, 3000),
        st.floats(1, 5000),
        st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    ),
)
def test_each_pixel_has_the_shade_of_its_value_whether_by_a_table_or_not(
    ds: Dataset, window: Window | None, tmp_path: Path
) -> None:
    if "PixelAspectRatio" in ds:
        del ds.PixelAspectRatio
    path = written(ds, tmp_path)
    wanted = Wanted("image/png", 90, window)
    read, parsed = native.read(path), decoding.description(path)
    assert read is not None

    mine, theirs = (
        rendering.rendered([decoding.frame(path, one, 1)], one, 1, wanted).content
        for one in (read, parsed)
    )

    shades = numpy.asarray(Image.open(io.BytesIO(mine)))
    assert (shades == before(pixel_array(path, index=0), parsed, window)).all()
    assert mine == theirs


def other(**attributes: Any) -> Dataset:
    ds = an_instance(transfer_syntax=attributes.pop("syntax", EXPLICIT))
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def encapsulated() -> Dataset:
    ds = other(syntax="1.2.840.10008.1.2.5", PixelData=encapsulate([b"\0" * 64]))
    ds["PixelData"].is_undefined_length = True
    return ds


def a_lut(keyword: str) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [2, 0, 16])
    item.add_new("LUTData", "US", [1, 2])
    return other(**{keyword: Sequence([item])})


OTHERS: dict[str, Callable[[], Dataset]] = {
    "colours": lambda: other(
        SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0
    ),
    "a palette": lambda: other(PhotometricInterpretation="PALETTE COLOR"),
    "32 bits": lambda: other(BitsAllocated=32, BitsStored=32),
    "more bits stored than allocated": lambda: other(BitsStored=17),
    "compressed": encapsulated,
    "deflated": lambda: other(syntax="1.2.840.10008.1.2.1.99"),
    "a modality LUT": lambda: a_lut("ModalityLUTSequence"),
    "a VOI LUT": lambda: a_lut("VOILUTSequence"),
    "functional groups": lambda: a_lut("SharedFunctionalGroupsSequence"),
    "no rows": lambda: other(Rows=0),
    "two slopes": lambda: other(RescaleSlope=[1, 2], RescaleIntercept=0),
    "an empty slope": lambda: other(RescaleSlope=None, RescaleIntercept=0),
    "no pixels": lambda: an_instance("SR"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_plain_is_left_to_the_parser(name: str, tmp_path: Path) -> None:
    assert native.read(written(OTHERS[name](), tmp_path)) is None


def test_a_header_longer_than_what_is_read_at_first_is_read_all_the_same(tmp_path: Path) -> None:
    long, too_long = other(), other()
    for ds, most in zip((long, too_long), native.HEADERS, strict=True):
        block: Any = ds.private_block(0x0029, "TEST", create=True)
        block.add_new(1, "OB", b"\0" * most)

    assert native.read(written(long, tmp_path)) is not None
    assert native.read(written(too_long, tmp_path)) is None


def test_a_frame_that_is_not_there_as_a_whole_is_left_to_the_parser(tmp_path: Path) -> None:
    path = written(other(NumberOfFrames=2), tmp_path)
    short = other(NumberOfFrames=2)
    short.PixelData += short.PixelData
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(part10(short)[:-1])

    for one in (path, cut):
        read = native.read(one)
        assert read is not None
        assert read.frame(1) is not None
        assert read.frame(2) is None


@pytest.mark.standard("threats T11")
def test_frames_beyond_number_are_refused_without_being_counted_out(tmp_path: Path) -> None:
    path = written(other(NumberOfFrames=999_999_999_999), tmp_path)

    with pytest.raises(Unsupported, match="frames"):
        child.render(Picture(path, [], "image/gif", 90, None, None))


@pytest.mark.standard("threats T11")
@quickly
@given(
    ds=images(),
    changes=st.lists(
        st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=4)), max_size=3
    ),
    cut=st.none() | st.integers(0, 4000),
)
def test_whatever_the_octets_are_it_is_read_as_the_parser_does_or_not_at_all(
    ds: Dataset, changes: list[tuple[int, bytes]], cut: int | None, tmp_path: Path
) -> None:
    octets = bytearray(part10(ds))
    for at, change in changes:
        at = 128 + at % (len(octets) - 128)
        octets[at : at + len(change)] = change
    path = tmp_path / "broken.dcm"
    path.write_bytes(octets[:cut])

    read = native.read(path)

    if read is not None and (frame := read.frame(1)) is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pydicom, about values
            parsed = decoding.description(path)
            expected = pixel_array(path, index=0)
        assert (parsed.Rows, parsed.Columns) == (read.get("Rows"), read.get("Columns"))
        assert (frame == expected).all()
