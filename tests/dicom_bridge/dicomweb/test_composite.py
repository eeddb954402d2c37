"""One study for a request, whichever way it is asked for: QIDO-RS, WADO-RS, C-GET."""

import io

import httpx
import pytest
from pydicom import dcmread

from dicom_bridge.bridge import Bridge
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import Archive
from tests.dicom_bridge.dicomweb.conftest import Service
from tests.dicom_bridge.dimse.test_find import identifier
from tests.dicom_bridge.dimse.test_retrieve import get
from tests.dicom_bridge.test_ingest import PERSON, order
from tests.dicom_bridge.test_reparenting import bring

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("R012.3")
async def test_every_way_out_gives_the_one_study(
    service: Service, archive: Archive, bridge: Bridge
) -> None:
    await order(bridge)
    first, second = an_instance(**PERSON), an_instance(**PERSON, series_number=2, pixel=9)
    await bring(bridge, first)
    await bring(bridge, second)
    one, gone = str(first.StudyInstanceUID), str(second.StudyInstanceUID)
    series, sop = str(second.SeriesInstanceUID), str(second.SOPInstanceUID)
    client = service.client()

    studies = (await client.get("/studies")).json()
    series_rows = (await client.get(f"/studies/{one}/series")).json()
    rows = (await client.get(f"/studies/{one}/instances")).json()
    metadata = (await client.get(f"/studies/{one}/metadata")).json()
    place = f"/studies/{one}/series/{series}/instances/{sop}"
    whole = await client.get(place, headers={"Accept": "application/dicom"})
    frame = await client.get(
        f"{place}/frames/1", headers={"Accept": "application/octet-stream; transfer-syntax=*"}
    )
    outcome = await archive.call(get, archive, identifier("STUDY", StudyInstanceUID=one))

    assert [row["0020000D"]["Value"] for row in studies] == [[one]]
    assert studies[0]["00201208"]["Value"] == [2]
    assert len(series_rows) == 2
    assert {row["0020000D"]["Value"][0] for row in [*rows, *metadata]} == {one}
    assert len(metadata) == len(rows) == 2
    assert dcmread(io.BytesIO(whole.content)).StudyInstanceUID == one
    assert frame.content == second.PixelData
    assert set(outcome.received) == {str(first.SOPInstanceUID), sop}
    assert gone.encode() in outcome.received[sop]
    assert one.encode() in outcome.received[sop]
    assert await _status(client, f"/studies/{gone}/metadata") == 404


async def _status(client: httpx.AsyncClient, path: str) -> int:
    return (await client.get(path)).status_code
