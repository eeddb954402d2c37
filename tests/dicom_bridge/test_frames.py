"""Frames: taken out of stored bytes, compared with pydicom's own reading."""

import struct
import tracemalloc
from io import BytesIO

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from dicom_bridge import frames, layouts
from resources.errors import Exhausted, NotFound, Unsupported

BLOB = "ab" * 32


def image(syntax: str, **values: object) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID("1.2.3")
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.SamplesPerPixel = 2, 3, 16, 1
    icon = Dataset()
    icon.Rows = icon.Columns = 1
    icon.BitsAllocated = 8
    icon.PixelData = b"\x01\x02"
    icon["PixelData"].VR = "OB"
    ds.IconImageSequence = [icon]
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def written(ds: Dataset) -> tuple[BytesIO, int]:
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    (group_length,) = struct.unpack_from("<I", stream.getvalue(), 140)
    return stream, 144 + int(group_length)


def found(ds: Dataset) -> list[bytes]:
    stream, offset = written(ds)
    where = frames.layout(stream, offset, ds.file_meta.TransferSyntaxUID)
    return [frames.frame(stream, where, number) for number in range(1, where.number + 1)]


@pytest.mark.standard("PS3.5 8.1.1")
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_a_native_frame_is_rows_by_columns_by_octets(syntax: str) -> None:
    pixels = bytes(range(36))
    ds = image(syntax, NumberOfFrames=3, PixelData=pixels)
    ds["PixelData"].VR = "OW"

    assert found(ds) == [pixels[:12], pixels[12:24], pixels[24:]]


def test_an_instance_without_number_of_frames_has_one() -> None:
    ds = image(ImplicitVRLittleEndian, PixelData=bytes(12))

    assert found(ds) == [bytes(12)]


def test_float_pixel_data_has_four_octets_a_sample() -> None:
    ds = image(ExplicitVRLittleEndian, FloatPixelData=bytes(range(24)))

    assert found(ds) == [bytes(range(24))]


def test_frames_of_single_bits_are_shifted_to_an_octet() -> None:
    ds = image(ExplicitVRLittleEndian, Rows=1, Columns=6, BitsAllocated=1, NumberOfFrames=3)
    ds.PixelData = (0b101010_110011_000111).to_bytes(3, "little") + b"\0"
    ds["PixelData"].VR = "OB"

    assert found(ds) == [bytes([0b000111]), bytes([0b110011]), bytes([0b101010])]


def test_subsampled_native_colour_has_two_samples_a_pixel() -> None:
    ds = image(ExplicitVRLittleEndian, SamplesPerPixel=3, BitsAllocated=8)
    ds.Columns, ds.PhotometricInterpretation, ds.PixelData = 2, "YBR_FULL_422", bytes(8)
    ds["PixelData"].VR = "OB"

    assert [len(one) for one in found(ds)] == [8]


PIECES = [b"\xff\xd8first!", b"\xff\xd8second one", b"\xff\xd8third."]


@pytest.mark.standard("PS3.5 A.4")
@pytest.mark.parametrize(("fragments", "table"), [(1, True), (1, False), (2, True)])
def test_an_encapsulated_frame_is_its_fragments(fragments: int, table: bool) -> None:
    packed = encapsulate(PIECES, fragments_per_frame=fragments, has_bot=table)
    ds = image(JPEGLSLossless, NumberOfFrames=3, PixelData=packed)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True

    assert [one.rstrip(b"\0") for one in found(ds)] == PIECES


@pytest.mark.standard("PS3.3 C.7.6.3.1.8")
def test_an_extended_offset_table_is_followed() -> None:
    packed, offsets, lengths = encapsulate_extended(PIECES)
    ds = image(JPEGLSLossless, NumberOfFrames=3, PixelData=packed)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = offsets, lengths

    assert [one.rstrip(b"\0") for one in found(ds)] == PIECES


def test_a_single_frame_owns_all_fragments() -> None:
    packed = encapsulate([b"0123456789ab"], fragments_per_frame=3, has_bot=False)
    ds = image(JPEGLSLossless, PixelData=packed)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True

    assert found(ds) == [b"0123456789ab"]


def test_fragments_that_no_table_shares_out_are_not_guessed_at() -> None:
    packed = encapsulate(PIECES, fragments_per_frame=2, has_bot=False)
    ds = image(JPEGLSLossless, NumberOfFrames=3, PixelData=packed)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True

    with pytest.raises(Unsupported):
        found(ds)


@pytest.mark.parametrize("number", [0, 2])
def test_a_frame_that_is_not_there_is_not_found(number: int) -> None:
    stream, offset = written(image(ImplicitVRLittleEndian, PixelData=bytes(12)))
    where = frames.layout(stream, offset, ImplicitVRLittleEndian)

    with pytest.raises(NotFound):
        frames.frame(stream, where, number)


def test_an_instance_without_pixels_has_no_frames() -> None:
    with pytest.raises(NotFound):
        found(image(ExplicitVRLittleEndian))


def test_pixels_shorter_than_their_frames_are_not_served() -> None:
    ds = image(ExplicitVRLittleEndian, NumberOfFrames=9, PixelData=bytes(12))
    ds["PixelData"].VR = "OW"

    with pytest.raises(Unsupported):
        found(ds)


def test_a_deflated_data_set_is_inflated_first() -> None:
    ds = image(DeflatedExplicitVRLittleEndian, PixelData=bytes(range(12)))
    ds["PixelData"].VR = "OW"
    stream, offset = written(ds)

    plain = frames.inflated(stream, offset)
    where = frames.layout(plain, offset, DeflatedExplicitVRLittleEndian)

    assert frames.frame(plain, where, 1) == bytes(range(12))


def test_a_deflation_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "INFLATED_BYTES", 1000)
    ds = image(DeflatedExplicitVRLittleEndian, Rows=100, Columns=100, PixelData=bytes(20_000))
    ds["PixelData"].VR = "OW"
    stream, offset = written(ds)

    with pytest.raises(Exhausted):
        frames.inflated(stream, offset)


@pytest.mark.standard("threats T11")
def test_ten_million_frames_of_a_pixel_take_no_room_before_one_is_asked_for() -> None:
    ds = image(ExplicitVRLittleEndian, Rows=1, Columns=1, BitsAllocated=8)
    ds.NumberOfFrames, ds.PixelData = 9_999_999, bytes(9_999_998) + b"\x07\0"
    stream, offset = written(ds)
    tracemalloc.start()

    where = layouts.unpacked(
        layouts.packed(frames.layout(stream, offset, ExplicitVRLittleEndian), BLOB), BLOB, 1 << 30
    )
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 32 << 20
    assert where is not None
    assert frames.frame(stream, where, 9_999_999) == b"\x07"


@pytest.mark.standard("PS3.5 8.1.1")
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_native_pixels_that_reach_beyond_the_file_are_cut_off(syntax: str) -> None:
    stream, offset = written(image(syntax, NumberOfFrames=3, PixelData=bytes(36)))
    short = BytesIO(stream.getvalue()[:-2])

    with pytest.raises(Unsupported):
        frames.layout(short, offset, syntax)
    with pytest.raises(Unsupported):
        frames.pixel_run(short, offset, syntax)
