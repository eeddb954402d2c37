"""Presentation states that mean harm show nothing of others, and preambles are no programs."""

import struct
from typing import Any

import pytest
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.dicom_bridge.build import an_instance, part10
from tests.dicom_bridge.dicomweb.conftest import STOW, Service
from tests.dicom_bridge.dicomweb.test_hostile import path_of
from tests.dicom_bridge.dicomweb.test_presentation import PNG, a_state, an_image

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T1, T11, T15")]


def wado(image: Dataset, state: Dataset) -> str:
    return (
        f"/wado?requestType=WADO&studyUID={image.StudyInstanceUID}"
        f"&seriesUID={image.SeriesInstanceUID}&objectUID={image.SOPInstanceUID}"
        f"&presentationSeriesUID={state.SeriesInstanceUID}&presentationUID={state.SOPInstanceUID}"
    )


@pytest.mark.standard("PS3.18 9.1.2.2.8, 10.4.1.1.3")
async def test_a_state_of_another_study_shows_nothing_of_it(service: Service) -> None:
    image = an_image()
    other = an_image(PatientID="9999999999", StudyInstanceUID=an_instance().StudyInstanceUID)
    of_other = a_state(other)
    strays = a_state(other)
    strays.StudyInstanceUID, strays.SeriesInstanceUID = image.StudyInstanceUID, "1.2.3.77"
    of_other.PatientID = other.PatientID
    await service.hold(image, other, of_other, strays)
    client = service.client()

    answers = [
        await client.get(wado(image, of_other)),
        await client.get(f"{path_of(strays)}/rendered", headers=PNG),
        await client.get(f"{path_of(image)}/rendered?presentationUID={of_other.SOPInstanceUID}"),
    ]

    assert [one.status_code for one in answers] == [404, 404, 400]


BOMBS: dict[str, dict[str, Any]] = {
    "a shutter of a million corners": {
        "ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1] * 200_000,
    },
    "a shutter of half a corner": {
        "ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 1],
    },
    "a shutter without edges": {"ShutterShape": "RECTANGULAR"},
    "a shutter of a circle without end": {
        "ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [2**31 - 1, -(2**31)],
        "RadiusOfCircularShutter": 2**31 - 1,
    },
    "graphics without end": {
        "GraphicAnnotationSequence": [
            {"GraphicObjectSequence": [
                {"GraphicType": "CIRCLE", "GraphicAnnotationUnits": "PIXEL",
                 "GraphicData": [0.0, 0.0, 3e38, 3e38]},
                {"GraphicType": "INTERPOLATED", "GraphicAnnotationUnits": "DISPLAY",
                 "GraphicData": [float("nan"), float("inf")] * 4},
                {"GraphicType": "POLYLINE", "GraphicAnnotationUnits": "PIXEL",
                 "GraphicData": [1.0] * 10_000},
            ]},
        ],
    },
    "a text without end": {
        "GraphicAnnotationSequence": [
            {"TextObjectSequence": [
                {"UnformattedTextValue": "x\n" * 500, "AnchorPoint": [1e38, -1e38],
                 "AnchorPointAnnotationUnits": "PIXEL"},
            ]},
        ],
    },
    "an area without end": {
        "DisplayedAreaSelectionSequence": [
            {"DisplayedAreaTopLeftHandCorner": [-(2**31), -(2**31)],
             "DisplayedAreaBottomRightHandCorner": [2**31 - 1, 2**31 - 1],
             "PresentationSizeMode": "SCALE TO FIT", "PresentationPixelAspectRatio": [1, 1]},
        ],
    },
    "an area of nothing": {
        "DisplayedAreaSelectionSequence": [
            {"DisplayedAreaTopLeftHandCorner": [5, 5],
             "DisplayedAreaBottomRightHandCorner": [1, 1], "PresentationSizeMode": "MAGNIFY",
             "PresentationPixelMagnificationRatio": 1e30},
        ],
    },
    "a window without width": {
        "SoftcopyVOILUTSequence": [{"WindowCenter": 0, "WindowWidth": 0}],
    },
    "a slope without end": {"RescaleSlope": 1e300, "RescaleIntercept": -1e300, "RescaleType": "HU"},
    "turned by an angle of its own": {"ImageRotation": 45, "ImageHorizontalFlip": "Y"},
    "images that are none": {"ReferencedSeriesSequence": [{"ReferencedImageSequence": []}]},
}  # fmt: skip


def made(members: dict[str, Any]) -> Dataset:
    ds = Dataset()
    for keyword, value in members.items():
        is_items = isinstance(value, list) and value and isinstance(value[0], dict)
        setattr(ds, keyword, Sequence(map(made, value)) if is_items else value)
    return ds


@pytest.mark.standard("PS3.3 C.7.6.11, C.10")
@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_a_state_that_is_a_bomb_is_a_picture_or_refused(service: Service) -> None:
    image = an_image()
    states = {}
    with config.disable_value_validation():
        for name, members in BOMBS.items():
            state = a_state(image)
            state.update(made(members))
            states[name] = state
        await service.hold(image, *states.values())
    client = service.client()

    for name, state in states.items():
        answer = await client.get(f"{path_of(state)}/rendered", headers=PNG)
        assert answer.status_code in {200, 400, 404, 406}, (name, answer.status_code)
        assert len(answer.content) < 1 << 20, name
    plain = await client.get(f"{path_of(image)}/rendered", headers=PNG)
    assert plain.status_code == 200


PREAMBLES = {
    "a Windows program": b"MZ" + bytes(58) + struct.pack("<L", 64) + b"PE\0\0",
    "a Unix program": b"\x7fELF\2\1\1",
    "a page": b"<html><script>alert(1)</script>",
    "a PDF": b"%PDF-1.4\n",
    "an archive": b"PK\3\4",
    "a script": b"#!/bin/sh\necho x\n",
    "a picture": b"\xff\xd8\xff\xe0",
}


@pytest.mark.standard("threats T14, PS3.10 7.1")
async def test_no_preamble_is_a_program_on_any_way_out(service: Service) -> None:
    client = service.client()
    for name, begin in PREAMBLES.items():
        ds = an_instance()
        file = begin.ljust(128, b"A")[:128] + part10(ds)[128:]
        stored = await client.post(
            "/studies", content=file, headers={**STOW, "Content-Type": "application/dicom"}
        )
        assert stored.status_code == 200, name
        one = await client.get(path_of(ds), headers={"Accept": "application/dicom"})
        parts = await client.get(f"/studies/{ds.StudyInstanceUID}")
        other = await client.get(
            path_of(ds), headers={"Accept": "application/dicom; transfer-syntax=1.2.840.10008.1.2"}
        )
        assert one.content[:132] == bytes(128) + b"DICM", name
        assert begin[:4] not in parts.content[:600], name
        assert other.status_code in {200, 406}
        assert other.status_code == 406 or other.content[:132] == bytes(128) + b"DICM", name
