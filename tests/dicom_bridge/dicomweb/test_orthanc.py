"""Orthanc as a client of our DICOMweb service."""

from pathlib import Path

import httpx
import pytest

from dicom_bridge import ingest
from tests.dicom_bridge.build import a_series, part10
from tests.dicom_bridge.conftest import found
from tests.dicom_bridge.dicomweb.conftest import Service
from tests.dicom_bridge.orthanc import DICOMWEB, running, studies

pytestmark = [pytest.mark.anyio, pytest.mark.peer]


@pytest.mark.standard("PS3.18 10.4, 10.5, 10.6")
async def test_orthanc_searches_retrieves_and_stores(service: Service, tmp_path: Path) -> None:
    ours, theirs = a_series(3), a_series(2)
    await service.hold(*ours)
    authorization = {"Authorization": f"Bearer {service.token()}"}
    servers = {"ours": {"Url": service.base, "HttpHeaders": authorization}}
    settings = {"Plugins": [str(DICOMWEB)], "DicomWeb": {"Enable": True, "Servers": servers}}
    with running(tmp_path, **settings) as (_, address):
        async with httpx.AsyncClient(base_url=address, timeout=60) as web:
            for ds in theirs:
                assert (await web.post("/instances", content=part10(ds))).status_code == 200
            at = "/dicom-web/servers/ours"

            query = {"Uri": "/studies", "Arguments": {"PatientID": ours[0].PatientID}}
            searched = await web.post(f"{at}/qido", json=query)
            wanted = {"Resources": [{"Study": str(ours[0].StudyInstanceUID)}], "Synchronous": True}
            retrieved = await web.post(f"{at}/retrieve", json=wanted)
            (id,) = await studies(web, theirs)
            stored = await web.post(f"{at}/stow", json={"Resources": [id], "Synchronous": True})

            assert len(searched.json()) == 1
            assert str(ours[0].StudyInstanceUID) in searched.text
            assert retrieved.status_code == stored.status_code == 200
            (id,) = await studies(web, ours)
            assert len((await web.get(f"/studies/{id}/instances")).json()) == 3
    uid = str(theirs[0].StudyInstanceUID)
    await ingest.settle(service.bridge, uid)
    (made,) = await found(service.bridge, "ImagingStudy", identifier=f"urn:dicom:uid|urn:oid:{uid}")
    assert made["numberOfInstances"] == 2
