"""Rendered instances and thumbnails: the picture that the standard says, or a refusal."""

import asyncio
import os
import struct
from io import BytesIO
from typing import Any

import numpy
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from dicom_bridge.dicomweb import rendered
from tests.dicom_bridge.build import a_series, a_uid, an_instance
from tests.dicom_bridge.dicomweb.conftest import Service
from tests.dicom_bridge.dicomweb.test_wado import parts

pytestmark = pytest.mark.anyio


def path_of(ds: Dataset) -> str:
    return (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


def a_ramp(**attributes: Any) -> Dataset:
    """An image whose 256 pixels are the stored values 0 to 255 in units of ten, from -1000 HU."""
    ds = an_instance(rows=16, columns=16)
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.PixelData = struct.pack("<256H", *range(256))
    ds.RescaleSlope, ds.RescaleIntercept = 10, -1000
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


async def seen(
    service: Service, ds: Dataset, query: str = "", *, at: str = "/rendered"
) -> Image.Image:
    answer = await service.client().get(f"{path_of(ds)}{at}{query}")
    assert answer.status_code == 200, answer.text
    return Image.open(BytesIO(answer.content))


def grey(picture: Image.Image) -> list[int]:
    return [int(one) for one in numpy.asarray(picture.convert("L")).flatten()]


def linear(value: float, center: float, width: float) -> int:
    """PS3.3 Section C.11.2.1.2, in its own words, for an output of 0 to 255."""
    if value <= center - 0.5 - (width - 1) / 2:
        return 0
    if value > center - 0.5 + (width - 1) / 2:
        return 255
    return int(((value - (center - 0.5)) / (width - 1) + 0.5) * 255)


@pytest.mark.standard("PS3.3 C.11.2.1.2")
@pytest.mark.standard("PS3.18 8.3.5.1.4")
@pytest.mark.parametrize(("center", "width"), [(40, 400), (0, 1), (-600, 1500), (275, 2551)])
async def test_a_window_that_is_asked_for_maps_the_values_of_the_modality(
    service: Service, center: int, width: int
) -> None:
    ds = a_ramp(WindowCenter=50, WindowWidth=350)
    await service.hold(ds)

    picture = await seen(service, ds, f"?window={center},{width},linear&accept=image/png")

    if width == 1:
        expected = [255 if 10 * one - 1000 > center - 0.5 else 0 for one in range(256)]
    else:
        expected = [linear(10 * one - 1000, center, width) for one in range(256)]
    assert all(abs(a - b) <= 1 for a, b in zip(grey(picture), expected, strict=True))


@pytest.mark.standard("PS3.3 C.11.2.1.2")
async def test_without_one_the_first_window_of_the_image_itself_is_used(service: Service) -> None:
    ds = a_ramp(WindowCenter=[40, 900], WindowWidth=[400, 100])
    await service.hold(ds)

    own = await seen(service, ds, "?accept=image/png")
    asked = await seen(service, ds, "?window=40,400,linear&accept=image/png")
    sigmoid = await seen(service, ds, "?window=40,400,sigmoid&accept=image/png")

    assert grey(own) == grey(asked)
    assert grey(sigmoid) != grey(asked)
    assert grey(sigmoid) == sorted(grey(sigmoid))


@pytest.mark.standard("PS3.3 C.7.6.3.1.2")
async def test_monochrome1_is_the_other_way_round(service: Service) -> None:
    one = a_ramp(WindowCenter=40, WindowWidth=400)
    other = a_ramp(
        WindowCenter=40, WindowWidth=400, PhotometricInterpretation="MONOCHROME1",
        StudyInstanceUID=one.StudyInstanceUID,
    )  # fmt: skip
    await service.hold(one, other)

    usual = await seen(service, one, "?accept=image/png")
    inverse = await seen(service, other, "?accept=image/png")

    assert grey(inverse) == [255 - shade for shade in grey(usual)]


@pytest.mark.standard("PS3.18 8.3.5.1.3")
async def test_a_viewport_fits_the_picture_and_cuts_the_part_out(service: Service) -> None:
    ds = a_ramp(WindowCenter=275, WindowWidth=2551)
    await service.hold(ds)

    small = await seen(service, ds, "?viewport=8,4&accept=image/png")
    part = await seen(service, ds, "?viewport=4,2,8,0,4,2&accept=image/png")
    mirrored = await seen(service, ds, "?viewport=16,16,0,0,-16,16&accept=image/png")

    assert small.size == (4, 4), "as large as fits, and not distorted"
    assert part.size == (4, 2)
    whole = grey(await seen(service, ds, "?accept=image/png"))
    assert grey(part) == [whole[row * 16 + column] for row in (0, 1) for column in range(8, 12)]
    assert grey(mirrored)[:16] == whole[:16][::-1]


@pytest.mark.standard("PS3.18 8.7.4")
@pytest.mark.parametrize(
    ("accept", "format"),
    [("image/jpeg", "JPEG"), ("image/png", "PNG"), ("image/gif", "GIF"), ("*/*", "JPEG"),
     ("text/html;q=0.9, image/*;q=0.1", "JPEG")],
)  # fmt: skip
async def test_the_media_type_is_the_one_asked_for(
    service: Service, accept: str, format: str
) -> None:
    ds = a_ramp()
    await service.hold(ds)

    answer = await service.client().get(path_of(ds) + "/rendered", headers={"Accept": accept})

    assert Image.open(BytesIO(answer.content)).format == format
    assert answer.headers["content-type"] == f"image/{format.lower()}"


@pytest.mark.standard("PS3.18 8.3.5.1.2")
async def test_a_lower_quality_is_a_smaller_picture(service: Service) -> None:
    ds = an_instance(rows=64, columns=64)
    ds.PixelData = os.urandom(len(ds.PixelData))
    await service.hold(ds)
    client = service.client()

    sizes = [
        len((await client.get(f"{path_of(ds)}/rendered?quality={quality}")).content)
        for quality in (5, 50, 100)
    ]

    assert sizes == sorted(set(sizes))


@pytest.mark.standard("PS3.18 10.4.1.1.3")
async def test_frames_of_a_multi_frame_instance_move_or_are_shown_one_by_one(
    service: Service,
) -> None:
    ds = a_ramp(NumberOfFrames=3, WindowCenter=275, WindowWidth=2551)
    ds.PixelData = b"".join(struct.pack("<256H", *[shade] * 256) for shade in (0, 128, 255))
    await service.hold(ds)

    moving = await seen(service, ds, "?accept=image/gif")
    second = await seen(service, ds, "?accept=image/png", at="/frames/2/rendered")
    beyond = await service.client().get(f"{path_of(ds)}/frames/4/rendered")

    assert getattr(moving, "n_frames", 1) == 3
    assert all(abs(shade - linear(280, 275, 2551)) <= 1 for shade in grey(second))
    assert beyond.status_code == 404


@pytest.mark.standard("PS3.18 10.4.1.1.3")
async def test_the_images_of_a_study_or_a_series_come_as_pictures_in_parts(
    service: Service,
) -> None:
    study = a_series(3, rows=16, columns=16)
    other = an_instance(study_uid=str(study[0].StudyInstanceUID), series_number=2)
    report = an_instance("SR", study_uid=str(study[0].StudyInstanceUID), series_number=3)
    await service.hold(*study, other, report)
    client = service.client()
    at = f"/studies/{study[0].StudyInstanceUID}"
    wanted = {"Accept": 'multipart/related; type="image/png"'}

    everything = await client.get(f"{at}/rendered", headers=wanted)
    one = await client.get(f"{at}/series/{study[0].SeriesInstanceUID}/rendered?quality=50")
    none = await client.get(f"{at}/series/{report.SeriesInstanceUID}/rendered")

    pictures = parts(everything)
    assert [type for type, _ in pictures] == ["image/png"] * 4
    assert Image.open(BytesIO(pictures[0][1])).size == (16, 16)
    assert [type for type, _ in parts(one)] == ["image/jpeg"] * 3
    assert none.status_code == 404


@pytest.mark.standard("threats T11")
async def test_pictures_that_are_too_many_octets_together_are_not_shown_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = a_series(3, rows=16, columns=16)
    await service.hold(*study)
    at = f"/studies/{study[0].StudyInstanceUID}/rendered"
    whole = await service.client().get(at)
    size = sum(len(content) for _, content in parts(whole))
    monkeypatch.setattr(rendered, "MOST_OCTETS", size - 1)

    answer = await service.client().get(at)

    assert (whole.status_code, answer.status_code) == (200, 406)


@pytest.mark.standard("PS3.18 10.4.1.1.3")
async def test_a_study_of_which_one_image_cannot_be_shown_is_no_success(service: Service) -> None:
    good = an_instance()
    bad = broken("1.2.840.10008.1.2.5", bytes(64), StudyInstanceUID=good.StudyInstanceUID)
    await service.hold(good, bad)

    answer = await service.client().get(f"/studies/{good.StudyInstanceUID}/rendered")

    assert answer.status_code == 406


@pytest.mark.standard("PS3.18 10.4.1.1.4")
async def test_a_thumbnail_stands_for_a_study_a_series_an_instance_and_a_frame(
    service: Service,
) -> None:
    study = a_series(3)
    await service.hold(*study)
    one = study[0]
    client = service.client()

    for at in (
        f"/studies/{one.StudyInstanceUID}",
        f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}",
        path_of(one),
        f"{path_of(one)}/frames/1",
    ):
        answer = await client.get(f"{at}/thumbnail")
        assert answer.status_code == 200, at
        assert max(Image.open(BytesIO(answer.content)).size) == 128
    named = await client.get(f"{path_of(one)}/thumbnail?viewport=32,32")
    assert max(Image.open(BytesIO(named.content)).size) == 32


ENCODED = {
    "MR_small_jpeg_ls_lossless.dcm": "MR_small.dcm",
    "MR_small_RLE.dcm": "MR_small.dcm",
    "MR_small_jp2klossless.dcm": "MR_small.dcm",
    "SC_rgb_rle.dcm": "SC_rgb.dcm",
    "SC_rgb_gdcm_KY.dcm": "SC_rgb.dcm",
}
"""Files of pydicom that were encoded without loss, and what they were encoded from."""

LOSSY = [
    "JPEG2000.dcm", "JPEGLSNearLossless_08.dcm", "examples_palette.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_jpeg_gdcm.dcm", "examples_ybr_color.dcm",
]  # fmt: skip


async def held(service: Service, name: str) -> Dataset:
    ds = dcmread(str(get_testdata_file(name)))
    ds.PatientID, ds.IssuerOfPatientID = "9000000009", "NHS"
    ds.PatientName, ds.PatientBirthDate, ds.AccessionNumber = "Test^Ann", "19700101", ""
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(ds, keyword, a_uid())
    await service.hold(ds)
    return ds


@pytest.mark.slow
@pytest.mark.standard("PS3.5 A.4")
@pytest.mark.parametrize("name", ENCODED)
async def test_what_was_encoded_without_loss_looks_as_it_did_before(
    service: Service, name: str
) -> None:
    encoded, plain = await held(service, name), dcmread(str(get_testdata_file(ENCODED[name])))

    shown = await seen(service, encoded, "?accept=image/png")

    expected = plain.pixel_array
    if expected.ndim == 3:
        assert (numpy.asarray(shown) == expected).all()
    else:
        order = numpy.argsort(expected.flatten(), kind="stable")
        shades = numpy.asarray(grey(shown))[order]
        assert (numpy.diff(shades) >= 0).all(), "brighter where the values are higher"
        assert shades[-1] > shades[0]


@pytest.mark.slow
@pytest.mark.standard("PS3.5 A.4")
@pytest.mark.parametrize("name", LOSSY)
async def test_every_encoding_and_colour_can_be_shown(service: Service, name: str) -> None:
    ds = await held(service, name)

    picture = await seen(service, ds, "?accept=image/png")

    assert picture.size == (ds.Columns, ds.Rows)
    assert len(set(grey(picture))) > 4


async def test_jpeg_of_twelve_bits_is_said_not_to_be_decoded(service: Service) -> None:
    ds = await held(service, "JPGExtended.dcm")

    answer = await service.client().get(f"{path_of(ds)}/rendered")

    assert answer.status_code == 406
    assert "cannot be decoded" in answer.json()["detail"]


@pytest.mark.standard("PS3.18 8.3.5")
@pytest.mark.parametrize(
    "query",
    ["window=1", "window=a,b", "window=1,0", "window=1,2,cubic", "window=nan,10", "quality=0",
     "quality=101", "quality=x", "viewport=0,0", "viewport=1", "viewport=100000,1",
     "viewport=4,4,0,0,0,0", "viewport=4,4,15,15,9,9", "viewport=1e999,1", "annotation=patient"],
)  # fmt: skip
async def test_what_cannot_be_meant_is_refused(service: Service, query: str) -> None:
    ds = a_ramp()
    await service.hold(ds)

    answer = await service.client().get(f"{path_of(ds)}/rendered?{query}")

    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_what_has_no_pixels_or_is_wanted_as_something_else_is_not_shown(
    service: Service,
) -> None:
    report = an_instance("SR")
    if "PixelData" in report:
        del report.PixelData
    ds = a_ramp()
    await service.hold(report, ds)
    client = service.client()

    nothing = await client.get(f"{path_of(report)}/rendered")
    html = await client.get(f"{path_of(ds)}/rendered", headers={"Accept": "text/html"})

    assert (nothing.status_code, html.status_code) == (404, 406)


@pytest.mark.standard("threats T1")
async def test_a_picture_is_for_those_who_may_see_the_study(service: Service) -> None:
    ds = a_ramp()
    await service.hold(ds)

    answer = await service.client("other").get(f"{path_of(ds)}/rendered")
    unscoped = await service.client("lead", "system/Patient.rs").get(f"{path_of(ds)}/thumbnail")

    assert (answer.status_code, unscoped.status_code) == (404, 403)


def broken(syntax: str, *frames: bytes, **attributes: Any) -> Dataset:
    ds = an_instance(transfer_syntax=syntax, rows=512, columns=512)
    ds.PixelData = encapsulate(list(frames))
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


HOSTILE = {
    "noise as JPEG": broken("1.2.840.10008.1.2.4.50", bytes(range(256)) * 40),
    "noise as JPEG 2000": broken("1.2.840.10008.1.2.4.90", b"\xff\x4f\xff\x51" + b"\x7f" * 4000),
    "noise as JPEG-LS": broken("1.2.840.10008.1.2.4.80", b"\xff\xd8\xff\xf7" + b"\x01" * 4000),
    "RLE that says more than it has": broken("1.2.840.10008.1.2.5", b"\x0f\0\0\0" + b"\xff" * 60),
    "a JPEG 2000 that says that it is huge": broken(
        "1.2.840.10008.1.2.4.90",
        bytes.fromhex("ff4fff51002f0000") + b"\x7f\xff\xff\xff" * 8 + bytes.fromhex("0001070101"),
    ),
    "an image of 65,535 by 65,535": broken(
        "1.2.840.10008.1.2.5", b"\0" * 64, Rows=65535, Columns=65535
    ),
}


@pytest.mark.standard("threats T11")
@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_pixels_are_refused_and_others_are_served_meanwhile(
    service: Service, name: str
) -> None:
    hostile, good = HOSTILE[name], a_ramp()
    await service.hold(hostile, good)
    client = service.client()

    refused, shown, again = await asyncio.gather(
        client.get(f"{path_of(hostile)}/rendered"),
        client.get(f"{path_of(good)}/rendered"),
        client.get(f"{path_of(hostile)}/thumbnail"),
    )

    assert (refused.status_code, shown.status_code, again.status_code) == (406, 200, 406)


@pytest.mark.standard("threats T11")
async def test_a_child_that_dies_is_replaced(service: Service) -> None:
    ds = a_ramp()
    await service.hold(ds)
    client = service.client()
    assert (await client.get(f"{path_of(ds)}/rendered")).status_code == 200

    (child,) = service.bridge.crew._idle
    child.kill()
    await child.wait()
    after = [(await client.get(f"{path_of(ds)}/rendered")).status_code for _ in range(2)]

    assert after[-1] == 200
