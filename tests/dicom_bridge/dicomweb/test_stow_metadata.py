"""STOW-RS with metadata and bulk data beside it (PS3.18 Section 10.5.1.4)."""

import asyncio
import json
import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from dicom_bridge.dicomweb import metadata
from tests.dicom_bridge.build import a_uid, an_instance
from tests.dicom_bridge.dicomweb.conftest import Service
from tests.dicom_bridge.dicomweb.test_stow import FAILED, INSTANCE, REASON, STORED, held, items

pytestmark = pytest.mark.anyio

PIXELS = "7FE00010"
RELATED = 'multipart/related; type="application/dicom+json"; boundary=b-1'
Part = tuple[str, str, bytes]


def in_pieces(ds: Dataset, *, uri: str = "pixels") -> dict[str, Any]:
    """The metadata of an instance whose pixels lie elsewhere."""
    json_: dict[str, Any] = ds.to_json_dict()
    json_[PIXELS] = {"vr": "OW", "BulkDataURI": uri}
    return json_


def body(described: Any, *bulk: Part) -> bytes:
    parts = [
        ("application/dicom+json", "", json.dumps(described).encode()),
        *((type, f"Content-Location: {location}\r\n", data) for type, location, data in bulk),
    ]
    return (
        b"".join(
            f"--b-1\r\nContent-Type: {type}\r\n{line}\r\n".encode() + data + b"\r\n"
            for type, line, data in parts
        )
        + b"--b-1--\r\n"
    )


async def post(service: Service, content: bytes, type: str = RELATED) -> httpx.Response:
    return await service.client().post("/studies", content=content, headers={"Content-Type": type})


async def back(service: Service, ds: Dataset) -> Dataset:
    """The instance as it is held now."""
    path = (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )
    answer = await service.client().get(path, headers={"Accept": "application/dicom"})
    assert answer.status_code == 200, answer.text
    return dcmread(BytesIO(answer.content))


@pytest.mark.standard("PS3.18 10.5.1.4")
async def test_metadata_and_bulk_data_become_the_instance_that_they_describe(
    service: Service,
) -> None:
    ds = an_instance(rows=4, columns=4, patient_name="Müller^Zoë")
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PixelData = bytes(range(32))
    boundary = an_instance(rows=4, columns=4)
    boundary.PixelData = b"\r\n--b-2--\r\n--b-\r\n--b-".ljust(32, b"\r")
    ds.add_new(0x00420011, "OB", b"%PDF")
    first = in_pieces(ds, uri="urn:1")
    first["00420011"] = {"vr": "OB", "BulkDataURI": "https://example/2"}
    ds.add_new(0x00091001, "LO", "private")

    answer = await post(
        service,
        body(
            [first, in_pieces(boundary, uri="urn:3")],
            ("application/octet-stream", "urn:3", boundary.PixelData),
            ("application/octet-stream", "https://example/2", b"%PDF"),
            ("application/octet-stream", "urn:1", ds.PixelData),
        ),
    )

    assert answer.status_code == 200, answer.text
    assert set(items(answer, STORED, INSTANCE)) == {ds.SOPInstanceUID, boundary.SOPInstanceUID}
    got = await back(service, ds)
    assert got.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert got.PixelData == ds.PixelData
    assert got.PatientName == "Müller^Zoë"
    assert got[0x00420011].value == b"%PDF"
    same = {e.keyword for e in got} - {"SpecificCharacterSet", "PixelData", "PatientName"}
    assert all(got[one] == ds[one] for one in same)
    assert (await back(service, boundary)).PixelData == boundary.PixelData
    assert not list(service.bridge.blobs.left())


@pytest.mark.standard("PS3.18 10.5.2")
@pytest.mark.parametrize(
    ("name", "type", "photometric"),
    [
        ("MR_small_jp2klossless.dcm", "image/jp2", "MONOCHROME2"),
        ("MR_small_jpeg_ls_lossless.dcm", "image/jls", "MONOCHROME2"),
        ("SC_rgb_gdcm_KY.dcm", "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.91", "RGB"),
        ("SC_rgb_jpeg_dcmtk.dcm", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50",
         "YBR_FULL_422"),
    ],
)  # fmt: skip
async def test_what_compressed_pixels_are_is_read_from_them_if_nobody_says_it(
    service: Service, name: str, type: str, photometric: str
) -> None:
    encoded = dcmread(str(get_testdata_file(name)))
    (frame,) = generate_frames(encoded.PixelData, number_of_frames=1)
    ds = an_instance()
    for element in [one for one in ds if one.tag.group == 0x0028]:
        del ds[element.tag]

    answer = await post(service, body([in_pieces(ds)], (type, "pixels", frame)))

    assert answer.status_code == 200, answer.text
    got = await back(service, ds)
    assert got.file_meta.TransferSyntaxUID in (type[-22:], encoded.file_meta.TransferSyntaxUID)
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"):
        assert got[keyword].value == encoded[keyword].value, keyword
    assert got.PhotometricInterpretation == photometric
    assert (got.get("LossyImageCompression") == "01") == type.startswith("image/jpeg")
    if type != "image/jls":  # which does not say that numbers are signed
        assert numpy.array_equal(got.pixel_array, encoded.pixel_array)


@pytest.mark.standard("PS3.18 10.5.1.4")
async def test_metadata_that_needs_no_bulk_data_may_come_alone(service: Service) -> None:
    report = an_instance("SR")

    answer = await post(
        service, json.dumps([report.to_json_dict()]).encode(), "application/dicom+json"
    )

    assert answer.status_code == 200
    assert (await back(service, report)).PatientID == report.PatientID


@pytest.mark.standard("PS3.18 10.5.3.1")
async def test_of_several_instances_those_that_are_wrong_fail_by_name(service: Service) -> None:
    good, lost, odd = an_instance(), an_instance(), an_instance()
    unknown = in_pieces(odd)
    unknown["00100020"] = {"vr": "LO", "Value": [{"not": "text"}]}

    answer = await post(
        service,
        body(
            [in_pieces(good), in_pieces(lost, uri="nowhere"), unknown],
            ("application/octet-stream", "pixels", good.PixelData),
        ),
    )

    assert answer.status_code == 202
    assert items(answer, STORED, INSTANCE) == [good.SOPInstanceUID]
    assert set(items(answer, FAILED, INSTANCE)) == {lost.SOPInstanceUID, odd.SOPInstanceUID}
    assert set(items(answer, FAILED, REASON)) == {0xA900}


PIXEL_PART = ("application/octet-stream", "pixels", b"\0" * 128)
REFUSED: dict[str, tuple[Any, tuple[Part, ...], int]] = {
    "no array": ({}, (), 400),
    "an array of nothing": ([1], (), 400),
    "no instances": ([], (), 400),
    "a part without a place": ([{}], (("application/octet-stream", "", b"x"),), 400),
    "two parts in one place": ([{}], (PIXEL_PART, PIXEL_PART), 400),
    "an object without a name": ([{}], (), 409),
}


@pytest.mark.standard("PS3.18 10.5.3.1")
async def test_a_malformed_request_stores_nothing(service: Service) -> None:
    for case, (described, bulk, status) in REFUSED.items():
        assert (await post(service, body(described, *bulk))).status_code == status, case
    one = an_instance()
    for uri in ("file:///etc/passwd", "http://127.0.0.1:1/x", "../../etc/passwd", "pixels#"):
        answer = await post(service, body([in_pieces(one, uri=uri)], PIXEL_PART))
        assert answer.status_code == 409, uri
    frames = an_instance(frames=2)
    several = await post(service, body([in_pieces(frames)], ("image/jls", "pixels", b"x")))
    text = await post(service, body([in_pieces(one)], ("text/plain", "pixels", b"x")))
    empty = await post(service, b"--b-1--")
    assert [one.status_code for one in (several, text, empty)] == [409, 409, 400]
    assert await held(service) == 0
    assert not list(service.bridge.blobs.left())


@pytest.mark.standard("threats T11")
async def test_a_small_request_does_not_become_an_endless_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "MOST_SHARED", 512)
    monkeypatch.setattr(metadata, "MOST_VALUE", 100)
    many = [an_instance() for _ in range(9)]
    one = an_instance("SR").to_json_dict()
    one["00420011"] = {"vr": "OB", "BulkDataURI": "pixels"}

    shared = await post(service, body([in_pieces(ds) for ds in many], PIXEL_PART))
    large = await post(service, body([one], PIXEL_PART))

    assert len(items(shared, STORED, INSTANCE)) == 4, "four times 128 octets, and no more"
    assert set(items(shared, FAILED, REASON)) == {0xA700}
    assert large.status_code == 503


@pytest.mark.standard("threats T15")
async def test_however_the_metadata_is_damaged_the_answer_is_never_a_fault(
    service: Service,
) -> None:
    ds = an_instance(sop_uid=a_uid())
    whole = in_pieces(ds)
    loop = asyncio.get_running_loop()
    junk = st.recursive(
        st.none() | st.booleans() | st.integers(-9, 1 << 70) | st.text(max_size=8),
        lambda one: (
            st.lists(one, max_size=3)
            | st.dictionaries(st.sampled_from(["vr", "Value", "InlineBinary", "BulkDataURI"]), one)
        ),
        max_leaves=6,
    )

    @settings(
        max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(st.sampled_from(sorted(whole)), junk)
    def damage(tag: str, value: Any) -> None:
        content = body([{**whole, tag: value}], PIXEL_PART)
        future = asyncio.run_coroutine_threadsafe(post(service, content), loop)
        assert future.result(60).status_code in {200, 202, 400, 409}, (tag, value)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about values that are none
        await asyncio.to_thread(damage)


@pytest.mark.standard("threats T15")
@pytest.mark.parametrize("length", [0, 1, 2, 3, 10, 41, 42, 43, 50])
async def test_a_codestream_that_breaks_off_says_nothing(service: Service, length: int) -> None:
    frame = b"\xff\x4f\xff\x51" + struct.pack(">HHIIII", 41, 0, 8, 8, 0, 0) + bytes(60)
    ds = an_instance()
    for element in [one for one in ds if one.tag.group == 0x0028]:
        del ds[element.tag]

    answer = await post(service, body([in_pieces(ds)], ("image/jp2", "pixels", frame[:length])))

    assert answer.status_code == 409
    assert Path(service.bridge.blobs.folder).exists()
