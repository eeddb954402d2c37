"""Each request that the OHIF viewer makes before it shows an image, as it makes it."""

from typing import Any

import httpx
import pytest

from tests.dicom_bridge.build import a_series, an_instance
from tests.dicom_bridge.dicomweb.conftest import Service
from tests.dicom_bridge.dicomweb.test_transcoded import held
from tests.dicom_bridge.dicomweb.test_wado import parts

pytestmark = pytest.mark.anyio

JSON = {"Accept": "application/dicom+json"}
FRAME = {"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}


async def asked(client: httpx.AsyncClient, address: str) -> list[dict[str, Any]]:
    answer = await client.get(address, headers=JSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    assert "warning" not in answer.headers
    found: list[dict[str, Any]] = answer.json()
    return found


def study_query(**criteria: str) -> str:
    common = "limit=101&offset=0&fuzzymatching=false&includefield=00081030,00080060"
    return f"/studies?{common}&" + "&".join(f"{name}={key}" for name, key in criteria.items())


async def test_a_study_by_its_uid_and_the_priors_by_the_patient_id(service: Service) -> None:
    current, prior, other = an_instance(), an_instance(), an_instance(patient_id="9000000017")
    await service.hold(current, prior, other)
    client = service.client()

    (study,) = await asked(client, study_query(StudyInstanceUID=str(current.StudyInstanceUID)))
    priors = await asked(client, study_query(**{"00100020": "9000000009"}))

    assert study["00081030"]["Value"] == ["CT Head"]
    assert study["00080061"]["Value"] == ["CT"]
    assert study["00201208"]["Value"] == [1]
    assert {one["0020000D"]["Value"][0] for one in priors} == {
        current.StudyInstanceUID,
        prior.StudyInstanceUID,
    }


async def test_the_series_the_metadata_and_a_frame(service: Service) -> None:
    instances = a_series(2, rows=4, columns=4)
    await service.hold(*instances)
    client, one = service.client(), instances[0]
    study = f"/studies/{one.StudyInstanceUID}"

    (series,) = await asked(
        client, f"{study}/series?includefield=00080021,00080031,0008103E,00200011"
    )
    metadata = await asked(client, f"{study}/series/{one.SeriesInstanceUID}/metadata")
    frame = await client.get(
        f"{study}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}/frames/1",
        headers=FRAME,
    )

    assert series["0020000E"]["Value"] == [one.SeriesInstanceUID]
    assert series["0008103E"]["Value"] == ["Series 1"]
    assert series["00200011"]["Value"] == [1]
    assert [row["00080018"]["Value"][0] for row in metadata] == [
        ds.SOPInstanceUID for ds in instances
    ]
    assert "BulkDataURI" in metadata[0]["7FE00010"]
    ((type, pixels),) = parts(frame)
    assert type.startswith("application/octet-stream; transfer-syntax=")
    assert pixels == one.PixelData


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"])
async def test_a_compressed_frame_leaves_as_it_is_for_the_viewer_to_decode(
    service: Service, name: str
) -> None:
    ds = await held(service, name)
    client = service.client()
    at = (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )

    answer = await client.get(f"{at}/frames/1", headers=FRAME)
    (metadata,) = await asked(client, f"{at}/metadata")

    ((type, frame),) = parts(answer)
    syntax = ds.file_meta.TransferSyntaxUID
    assert type.endswith(f"transfer-syntax={syntax}")
    assert frame in ds.PixelData
    assert metadata["00083002"]["Value"] == [syntax], "Available Transfer Syntax UID"


async def test_a_thumbnail_and_the_bulk_data_of_a_document(service: Service) -> None:
    ds = an_instance()
    ds.add_new(0x00420011, "OB", b"%PDF-1.4".ljust(2000))
    await service.hold(ds)
    client = service.client()
    series = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"

    thumbnail = await client.get(
        f"{series}/instances/{ds.SOPInstanceUID}/thumbnail", headers={"Accept": "image/jpeg"}
    )
    (metadata,) = await asked(client, f"{series}/metadata")
    document = await client.get(
        metadata["00420011"]["BulkDataURI"], headers={"Accept": "application/octet-stream"}
    )

    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert document.content.startswith(b"%PDF")
