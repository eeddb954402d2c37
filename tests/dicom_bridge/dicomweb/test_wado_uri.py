"""WADO-URI: one object by query parameters (PS3.18 Chapter 9)."""

from io import BytesIO
from typing import Any

import numpy
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.dicom_bridge.build import an_instance, part10
from tests.dicom_bridge.dicomweb.conftest import Service
from tests.dicom_bridge.dicomweb.test_presentation import a_state, an_image, stored

pytestmark = pytest.mark.anyio

JPEG_LS = "1.2.840.10008.1.2.4.80"


def wado(ds: Dataset, **more: str) -> dict[str, str]:
    return {
        "requestType": "WADO", "studyUID": str(ds.StudyInstanceUID),
        "seriesUID": str(ds.SeriesInstanceUID), "objectUID": str(ds.SOPInstanceUID), **more,
    }  # fmt: skip


async def picture(service: Service, ds: Dataset, **more: str) -> "numpy.ndarray[Any, Any]":
    answer = await service.client().get("/wado", params=wado(ds, contentType="image/png", **more))
    assert answer.status_code == 200, answer.text
    return numpy.asarray(Image.open(BytesIO(answer.content)).convert("L")).astype(int)


@pytest.mark.standard("PS3.18 9.1.2.1.3")
async def test_an_image_is_a_jpeg_and_anything_else_the_object_unless_asked_otherwise(
    service: Service,
) -> None:
    image, cine, report = an_image(), an_instance(frames=2), an_instance("SR")
    await service.hold(image, cine, report)
    client = service.client()

    asked = {
        "image": wado(image), "cine": wado(cine), "frame": wado(cine, frameNumber="2"),
        "report": wado(report), "png": wado(image, contentType="image/jpeg;q=0.5,image/png"),
    }  # fmt: skip

    kinds = {
        name: (await client.get("/wado", params=params)).headers["content-type"]
        for name, params in asked.items()
    }

    plain = "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    assert kinds == {
        "image": "image/jpeg", "cine": plain, "frame": "image/jpeg", "report": plain,
        "png": "image/png",
    }  # fmt: skip


@pytest.mark.standard("PS3.18 9.4")
async def test_the_object_itself_comes_as_it_is_stored_or_transcoded(service: Service) -> None:
    ds = an_instance(rows=40, columns=40)
    await service.hold(ds)
    client = service.client()
    params = wado(ds, contentType="application/dicom")

    whole = await client.get("/wado", params=params)
    packed = await client.get("/wado", params={**params, "transferSyntax": JPEG_LS})
    lossy = await client.get("/wado", params={**params, "transferSyntax": "1.2.840.10008.1.2.4.50"})

    assert dcmread(BytesIO(whole.content)) == dcmread(BytesIO(part10(ds)))
    assert dcmread(BytesIO(packed.content)).file_meta.TransferSyntaxUID == JPEG_LS
    assert lossy.status_code == 406


@pytest.mark.standard("PS3.18 9.1.2.2")
async def test_rows_columns_region_and_window_are_applied(service: Service) -> None:
    ds = an_image()
    await service.hold(ds)

    whole = await picture(service, ds, windowCenter="3500", windowWidth="8001")
    part = await picture(
        service, ds, windowCenter="3500", windowWidth="8001", region="0.25,0.5,0.75,1"
    )
    small = await picture(service, ds, rows="12", columns="100")
    narrow = await picture(service, ds, columns="4")

    values = stored() * 2 - 500
    expected = numpy.clip(((values - 3499.5) / 8000 + 0.5) * 255, 0, 255).astype(int)
    assert numpy.abs(whole - expected).max() <= 1
    assert numpy.array_equal(part, whole[12:24, 4:12])
    assert small.shape == (12, 8), "as large as fits"
    assert narrow.shape == (6, 4)


@pytest.mark.standard("PS3.18 9.1.2.2.8")
async def test_a_presentation_state_is_applied(service: Service) -> None:
    image = an_image()
    state = a_state(image, PresentationLUTShape="INVERSE")
    await service.hold(image, state)
    named = {
        "presentationSeriesUID": str(state.SeriesInstanceUID),
        "presentationUID": str(state.SOPInstanceUID),
    }

    got = await picture(service, image, **named)

    assert numpy.abs(got - (255 - (stored() / 4095 * 255).astype(int))).max() <= 1


BAD: dict[str, tuple[dict[str, str | None], int]] = {
    "no request type": ({"requestType": None}, 400),
    "another request type": ({"requestType": "DICOM"}, 400),
    "no object": ({"objectUID": None}, 400),
    "a UID that is none": ({"studyUID": "../../etc/passwd"}, 400),
    "a study that is not there": ({"studyUID": "1.2.3"}, 404),
    "de-identification": ({"contentType": "application/dicom", "anonymize": "yes"}, 400),
    "a picture de-identified": ({"anonymize": "yes"}, 400),
    "a window of an object": ({"contentType": "application/dicom", "windowCenter": "1"}, 400),
    "half a window": ({"windowCenter": "40"}, 400),
    "a width of nothing": ({"windowCenter": "40", "windowWidth": "0"}, 400),
    "a centre that is no number": ({"windowCenter": "nan", "windowWidth": "5"}, 400),
    "negative rows": ({"rows": "-1"}, 400),
    "too many columns": ({"columns": "99999"}, 400),
    "a region beyond": ({"region": "0,0,1,2"}, 400),
    "a region the wrong way": ({"region": "0.5,0,0.5,1"}, 400),
    "half a region": ({"region": "0,0"}, 400),
    "frame 0": ({"frameNumber": "0"}, 400),
    "a frame that is not there": ({"frameNumber": "9"}, 404),
    "quality 0": ({"imageQuality": "0"}, 400),
    "half a presentation state": ({"presentationUID": "1.2.3"}, 400),
    "annotations": ({"annotation": "patient"}, 400),
    "a parameter that is none": ({"colour": "red"}, 400),
    "a character set that is none": ({"charset": "klingon"}, 406),
    "a media type that is not made": ({"contentType": "video/mpeg"}, 406),
    "a transfer syntax that is none": (
        {"contentType": "application/dicom", "transferSyntax": "x"}, 406,
    ),
}  # fmt: skip


@pytest.mark.standard("PS3.18 9.1.2")
async def test_what_is_asked_wrongly_is_told(service: Service) -> None:
    ds = an_image()
    await service.hold(ds)
    client = service.client()
    for case, (more, status) in BAD.items():
        asked = {name: value for name, value in {**wado(ds), **more}.items() if value is not None}

        answer = await client.get("/wado", params=asked)

        assert answer.status_code == status, (case, answer.text)
        assert answer.headers["content-type"] == "application/problem+json", case


@pytest.mark.standard("threats T1")
async def test_who_may_not_see_the_study_is_told_that_nothing_is_there(service: Service) -> None:
    ds = an_image()
    await service.hold(ds)

    stranger = await service.client("nobody").get("/wado", params=wado(ds))
    nobody = await service.client().get(
        "/wado", params=wado(ds), headers={"Authorization": "Bearer x"}
    )

    assert (stranger.status_code, nobody.status_code) == (404, 401)
