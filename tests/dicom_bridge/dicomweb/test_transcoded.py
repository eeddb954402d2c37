"""Transcoding: what comes in another transfer syntax has the same pixels, or does not come."""

import asyncio
import io
import subprocess
from pathlib import Path
from typing import Any

import gdcm  # type: ignore[import-untyped]
import httpx
import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from dicom_bridge.pixels import rewriting, transcoding
from resources.errors import Unsupported
from tests.dicom_bridge.build import a_series, a_uid, an_instance, data_set_of, part10, written
from tests.dicom_bridge.dicomweb.conftest import Service, blocking
from tests.dicom_bridge.reports.conftest import complaints

pytestmark = pytest.mark.anyio

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
TARGETS = (IMPLICIT, EXPLICIT, JPEG_LS, JPEG_2000, RLE)


def path_of(ds: Dataset) -> str:
    return (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


def alone(syntax: str) -> dict[str, str]:
    return {"Accept": f"application/dicom; transfer-syntax={syntax}"}


def octets(syntax: str = "") -> dict[str, str]:
    more = f"; transfer-syntax={syntax}" if syntax else ""
    return {"Accept": f"application/octet-stream{more}"}


def pixels_by_gdcm(path: Path) -> bytes:
    """The pixels of a file as another library decodes them."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    change.SetInput(reader.GetImage())
    assert change.Change()
    found: str = change.GetOutput().GetBuffer()
    return found.encode("utf-8", "surrogateescape")


async def held(service: Service, name: str) -> Dataset:
    ds = dcmread(str(get_testdata_file(name)))
    ds.PatientID, ds.IssuerOfPatientID = "9000000009", "NHS"
    ds.PatientName, ds.PatientBirthDate, ds.AccessionNumber = "Test^Ann", "19700101", ""
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(ds, keyword, a_uid())
    await service.hold(ds)
    return ds


def a_picture(
    rows: int, columns: int, *, samples: int = 1, bits: int = 16, stored: int = 12,
    signed: bool = False, frames: int = 1, seed: int = 1,
) -> Dataset:  # fmt: skip
    ds = an_instance(rows=rows, columns=columns, frames=frames if frames > 1 else None)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, stored, stored - 1
    ds.PixelRepresentation = int(signed)
    low = -(1 << stored - 1) if signed else 0
    shape = (frames, rows, columns, samples)
    values = numpy.random.default_rng(seed).integers(low, low + (1 << stored), shape)
    if samples == 3:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.PixelData = values.astype(f"<{'i' if signed else 'u'}{bits // 8}").tobytes()
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"
    return ds


PICTURES: dict[str, dict[str, Any]] = {
    "grey 12 of 16 bits": {"rows": 33, "columns": 40},
    "grey 16 bits signed": {"rows": 40, "columns": 33, "stored": 16, "signed": True},
    "grey 8 bits": {"rows": 34, "columns": 35, "bits": 8, "stored": 8},
    "colour": {"rows": 33, "columns": 35, "samples": 3, "bits": 8, "stored": 8},
    "frames": {"rows": 36, "columns": 33, "frames": 3},
    "frames in colour":
        {"rows": 32, "columns": 33, "samples": 3, "bits": 8, "stored": 8, "frames": 2},
}  # fmt: skip


@pytest.mark.standard("PS3.18 8.7.3.5.2")
@pytest.mark.parametrize("picture", PICTURES)
async def test_an_instance_comes_in_the_transfer_syntax_asked_for_with_the_same_pixels(
    service: Service, tmp_path: Path, picture: str
) -> None:
    ds = a_picture(**PICTURES[picture])
    await service.hold(ds)

    for syntax in TARGETS:
        await same_pixels(service, tmp_path, ds, syntax)


async def same_pixels(service: Service, tmp_path: Path, ds: Dataset, syntax: str) -> None:
    answer = await service.client().get(path_of(ds), headers=alone(syntax))

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
    path = tmp_path / "got.dcm"
    path.write_bytes(answer.content)
    got = dcmread(path)
    assert got.file_meta.TransferSyntaxUID == syntax
    assert got.SOPInstanceUID == ds.SOPInstanceUID
    length = ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8
    length *= int(ds.get("NumberOfFrames", 1))
    assert got.pixel_array.tobytes() == ds.PixelData[:length]
    assert pixels_by_gdcm(path)[:length] == ds.PixelData[:length]
    own = {element.tag for element in ds}
    assert {element.tag for element in got} == own, "no attribute is lost or added"
    changed = {e.keyword for e in got if e.tag in own and e.value != ds[e.tag].value}
    assert changed <= {"PixelData", "PlanarConfiguration"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The number of bytes of compressed pixel data")  # by chance
@pytest.mark.standard("PS3.18 8.7.3.5.2")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.integers(32, 70), columns=st.integers(32, 70), samples=st.sampled_from([1, 3]),
    stored=st.integers(2, 16), signed=st.booleans(), frames=st.integers(1, 3),
    seed=st.integers(0, 999), way=st.permutations(TARGETS),
)  # fmt: skip
def test_through_any_row_of_transfer_syntaxes_the_pixels_stay_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, samples: int, stored: int,
    signed: bool, frames: int, seed: int, way: list[str],
) -> None:  # fmt: skip
    bits = 8 if stored <= 8 else 16
    ds = a_picture(
        rows, columns, samples=samples, bits=bits, stored=stored,
        signed=signed and samples == 1, frames=frames, seed=seed,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("way")
    path = written(ds, folder)
    for at, syntax in enumerate(way):
        into = folder / str(at)
        into.touch()
        rewriting.whole(path, offset_of(path), syntax, into)
        path = into
    assert dcmread(path).pixel_array.tobytes() == dcmread(written(ds, folder)).pixel_array.tobytes()


def offset_of(path: Path) -> int:
    head = path.read_bytes()[:144]
    return 144 + int.from_bytes(head[140:144], "little")


ENCODED_BY_OTHERS = {
    "SC_rgb_dcmtk_+eb+cr.dcm": "RGB",
    "SC_rgb_jpeg_dcmtk.dcm": "RGB",
    "examples_ybr_color.dcm": "RGB",
    "SC_rgb_gdcm_KY.dcm": "RGB",
    "MR_small_jp2klossless.dcm": "MONOCHROME2",
    "MR_small_RLE.dcm": "MONOCHROME2",
    "MR_small_jpeg_ls_lossless.dcm": "MONOCHROME2",
    "MR_small_bigendian.dcm": "MONOCHROME2",
}


@pytest.mark.standard("PS3.3 C.7.6.3.1.2")
async def test_what_others_encoded_is_decoded_and_says_what_its_colours_are(
    service: Service,
) -> None:
    for name, photometric in ENCODED_BY_OTHERS.items():
        ds = await held(service, name)

        answer = await service.client().get(path_of(ds), headers=alone(EXPLICIT))

        got = dcmread(io.BytesIO(answer.content))
        assert got.PhotometricInterpretation == photometric, name
        assert got.get("PlanarConfiguration", 0) == 0
        assert numpy.array_equal(got.pixel_array, ds.pixel_array), name
        assert got.get("LossyImageCompression") == ds.get("LossyImageCompression")


FRAMES = (
    ("application/octet-stream", ""),
    ("application/octet-stream", EXPLICIT),
    ("application/octet-stream", JPEG_LS),
    ("image/jls", JPEG_LS),
    ("image/jp2", ""),
    ("image/dicom-rle", RLE),
)


@pytest.mark.standard("PS3.18 8.7.3.5.2")
@pytest.mark.parametrize("stored", ["MR_small_RLE.dcm", "MR_small_bigendian.dcm"])
async def test_frames_come_in_the_media_type_asked_for(service: Service, stored: str) -> None:
    ds = await held(service, stored)
    client = service.client()
    again = dcmread(str(get_testdata_file("MR_small.dcm")))
    expected = again.pixel_array

    for type, syntax in FRAMES:
        more = f"; transfer-syntax={syntax}" if syntax else ""
        answer = await client.get(f"{path_of(ds)}/frames/1", headers={"Accept": type + more})

        assert answer.status_code == 200, answer.text
        said = syntax or {"image/jp2": JPEG_2000}.get(type, EXPLICIT)
        assert answer.headers["content-type"] == f"{type}; transfer-syntax={said}"
        if said == EXPLICIT:
            assert answer.content == expected.astype("<i2").tobytes()
        else:
            encapsulated(again, said, answer.content)
            assert numpy.array_equal(again.pixel_array, expected)


def encapsulated(ds: Dataset, syntax: str, frame: bytes) -> None:
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True


@pytest.mark.standard("PS3.18 8.7.3.5.2")
async def test_a_foreign_client_gets_uncompressed_frames_of_compressed_instances(
    service: Service,
) -> None:
    ds = await held(service, "MR_small_jp2klossless.dcm")
    client = service.foreign()

    (frame,) = await blocking(
        client.retrieve_instance_frames,
        ds.StudyInstanceUID,
        ds.SeriesInstanceUID,
        ds.SOPInstanceUID,
        frame_numbers=[1],
        media_types=(("application/octet-stream", EXPLICIT),),
    )
    (whole,) = await blocking(
        client.retrieve_series,
        ds.StudyInstanceUID,
        ds.SeriesInstanceUID,
        media_types=(("application/dicom", JPEG_LS),),
    )

    assert frame == ds.pixel_array.tobytes()
    assert whole.file_meta.TransferSyntaxUID == JPEG_LS
    assert numpy.array_equal(whole.pixel_array, ds.pixel_array)


@pytest.mark.standard("PS3.18 8.7.3.5.2")
async def test_a_study_comes_whole_and_what_has_no_pixels_is_not_compressed(
    service: Service,
) -> None:
    study = a_series(3, rows=32, columns=32)
    report = an_instance("SR", study_uid=str(study[0].StudyInstanceUID), series_number=2)
    await service.hold(*study, report)

    got = await blocking(
        service.foreign().retrieve_study,
        study[0].StudyInstanceUID,
        media_types=(("application/dicom", JPEG_2000),),
    )

    assert {str(ds.SOPInstanceUID): str(ds.file_meta.TransferSyntaxUID) for ds in got} == {
        **{str(ds.SOPInstanceUID): JPEG_2000 for ds in study},
        str(report.SOPInstanceUID): EXPLICIT,
    }


UNABLE: dict[str, tuple[str, str]] = {
    "twelve bits of JPEG Extended": ("JPGExtended.dcm", EXPLICIT),
    "a target with loss": ("MR_small.dcm", BASELINE),
    "JPEG 2000 that may lose": ("MR_small.dcm", "1.2.840.10008.1.2.4.91"),
    "one bit a pixel": ("liver_1frame.dcm", JPEG_LS),
    "pixels that are cut off": ("MR_truncated.dcm", JPEG_LS),
    "a codestream that is broken": ("JPEG2000-embedded-sequence-delimiter.dcm", EXPLICIT),
    "something that is no transfer syntax": ("MR_small.dcm", "../../etc/passwd"),
}


@pytest.mark.standard("RFC 9110 15.5.7")
async def test_what_cannot_be_transcoded_is_not_acceptable_and_still_there_as_stored(
    service: Service,
) -> None:
    client = service.client()
    for case, (name, syntax) in UNABLE.items():
        ds = await held(service, name)

        refused = await client.get(path_of(ds), headers=alone(syntax))
        stored = await client.get(path_of(ds), headers={"Accept": "application/dicom"})

        assert refused.status_code == 406, case
        assert stored.status_code == 200, case
    assert not list(service.bridge.blobs.left())


@pytest.mark.standard("PS3.18 10.4.3")
async def test_a_study_that_breaks_off_while_it_is_transcoded_is_no_success(
    service: Service,
) -> None:
    good, bad = a_series(2, rows=32, columns=32)
    encapsulated(bad, RLE, b"no run lengths at all")
    await service.hold(good, bad)

    with pytest.raises(httpx.RemoteProtocolError):
        await service.client().get(
            f"/studies/{good.StudyInstanceUID}",
            headers={"Accept": f'multipart/related; type="application/dicom"; '
                               f"transfer-syntax={JPEG_LS}"},
        )  # fmt: skip
    assert not list(service.bridge.blobs.left())
    rows = await service.bridge.database.run(
        "SELECT outcome, type, id IS NOT NULL, patient IS NOT NULL, detail FROM audit"
        " WHERE interaction = 'WADO-RS' ORDER BY n"
    )
    assert [tuple(row) for row in rows] == [
        (0, "ImagingStudy", True, True, None),
        (8, "ImagingStudy", True, True, "Unsupported after 1 of 2 instances"),
    ]


@pytest.mark.peer
@pytest.mark.standard("PS3.10 7.1")
async def test_dcmtk_reads_what_was_transcoded(
    service: Service, tmp_path: Path, dcmtk: str
) -> None:
    ds = a_picture(40, 36, frames=2)
    await service.hold(ds)
    path, back = tmp_path / "got.dcm", tmp_path / "back.dcm"
    for syntax in TARGETS:
        answer = await service.client().get(path_of(ds), headers=alone(syntax))
        path.write_bytes(answer.content)

        done = await run(f"{dcmtk}/dcmdump", "-E", path)

        assert done.returncode == 0
        assert not [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
        decoder = {JPEG_LS: "dcmdjpls", RLE: "dcmdrle"}.get(syntax)
        if decoder:
            assert (await run(f"{dcmtk}/{decoder}", path, back)).returncode == 0
            assert dcmread(back).PixelData == ds.PixelData


@pytest.mark.peer
@pytest.mark.standard("PS3.5 A.4")
async def test_dciodvfy_finds_nothing_that_it_did_not_find_before(
    service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "got.dcm"
    for name in ("MR_small_RLE.dcm", "SC_rgb_gdcm_KY.dcm", "CT_small.dcm"):
        ds = await held(service, name)
        path.write_bytes(part10(ds))
        before = set(await complaints(path))
        for syntax in TARGETS:
            answer = await service.client().get(path_of(ds), headers=alone(syntax))
            path.write_bytes(answer.content)
            assert set(await complaints(path)) <= before, (name, syntax)


async def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(
        subprocess.run, [str(word) for word in command], capture_output=True, text=True
    )


def test_what_follows_the_pixels_is_kept(tmp_path: Path) -> None:
    ds: Any = a_picture(33, 33)
    block = ds.private_block(0x7FE1, "TEST", create=True)
    block.add_new(1, "LO", "behind")
    path = written(ds, tmp_path)
    for syntax in TARGETS:
        into = tmp_path / syntax
        into.touch()
        rewriting.whole(path, offset_of(path), syntax, into)
        assert dcmread(into).private_block(0x7FE1, "TEST")[1].value in {"behind", b"behind"}
    assert part10(ds) == path.read_bytes()


@pytest.mark.standard("threats T11")
def test_frames_that_are_too_many_octets_together_are_not_transcoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(an_instance(rows=8, columns=8, frames=4), tmp_path)
    offset = path.stat().st_size - len(data_set_of(path.read_bytes()))
    wanted = (path, offset, [1, 2, 3, 4], EXPLICIT)
    assert sum(map(len, transcoding.frame_list(*wanted))) == 512
    monkeypatch.setattr(transcoding, "MOST_OCTETS", 511)

    with pytest.raises(Unsupported):
        transcoding.frame_list(*wanted)
