"""A study is at the other organisation's PACS when it is needed there, though the worker is killed.

Orthanc is that PACS, over DICOMweb; everything else is one served installation.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmwrite

from resources import codes
from tests.build import a_step
from tests.dicom_bridge import orthanc
from tests.dicom_bridge.build import a_series
from tests.dicom_bridge.conftest import dcmtk as dcmtk
from tests.flows.installation import Installation

pytestmark = [pytest.mark.slow, pytest.mark.peer, pytest.mark.requirement("R003.2")]

Json = dict[str, Any]
OBJECTS = 150
PATIENCE_SECONDS = 120.0


def until(holds: Callable[[], Any]) -> Any:
    """Wait for something to be so, as long as it takes on a busy machine."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "data", "--http-workers", "1")
    made.data.mkdir()
    made.start()
    try:
        made.command("demo", "load")
        yield made
    finally:
        made.stop()


def kept(address: str) -> set[str]:
    found: list[Json] = httpx.get(f"{address}/instances?expand", timeout=60).json()
    return {one["MainDicomTags"]["SOPInstanceUID"] for one in found}


def test_a_scheduled_report_brings_the_study_though_the_worker_is_killed(
    served: Installation, tmp_path: Path, dcmtk: str
) -> None:
    if not orthanc.DICOMWEB.exists():
        pytest.skip("the DICOMweb plugin of Orthanc is not installed")
    places = {one["id"]: one["ods"] for one in served.demo()["organizations"]}
    other = next(id for id in places if id not in ("northmoor", "harbour"))
    header = served.token("demo-backend", "system/*.cruds")
    header["Content-Type"] = "application/fhir+json"
    with httpx.Client(base_url=served.base, headers=header, timeout=60) as web:
        _scheduled(served, web, tmp_path, dcmtk, places, other)


def _scheduled(
    served: Installation, web: httpx.Client, tmp_path: Path, dcmtk: str, places: Any, other: str
) -> None:
    patient = web.get("/Patient?_count=1&organization=Organization/northmoor").json()["entry"][0]
    number = next(
        one["value"]
        for one in patient["resource"]["identifier"]
        if one["system"] == codes.NHS_NUMBER
    )
    study = a_series(OBJECTS, patient_id=number, issuer="NHS", accession="")
    files = [tmp_path / f"{n}.dcm" for n in range(OBJECTS)]
    for path, ds in zip(files, study, strict=True):
        dcmwrite(path, ds, enforce_file_format=True)
    uids = {str(ds.SOPInstanceUID) for ds in study}
    with orthanc.running(tmp_path, Plugins=[str(orthanc.DICOMWEB)]) as (port, address):
        of = ("--host", "127.0.0.1", "--organization")
        served.command("peer", "add", "--ae", "CT7", "--port", "104", *of, places["northmoor"])
        served.command(
            "peer", "add", "--ae", orthanc.AE, "--port", str(port), *of, places[other],
            "--dicomweb", f"{address}/dicom-web",
        )  # fmt: skip
        assert f"{address}/dicom-web" in served.command("peer", "list")
        line = [f"{dcmtk}/storescu", "-aet", "CT7", "-aec", "ISOCENTRE", "127.0.0.1"]
        subprocess.run(
            [*line, str(served.dicom), *map(str, files)], check=True, capture_output=True
        )
        named = f"/ImagingStudy?identifier=urn:oid:{study[0].StudyInstanceUID}"
        (entry,) = until(lambda: web.get(named).json().get("entry"))
        step = a_step(
            "report",
            focus={"reference": f"ImagingStudy/{entry['resource']['id']}"},
            basedOn=None,
            requester={"reference": "Organization/northmoor"},
            owner={"reference": f"Organization/{other}"},
            restriction={"period": {"end": "2036-01-01T09:00:00Z"}},
        )
        step["for"] = entry["resource"]["subject"]
        assert web.post("/Task", content=json.dumps(step)).status_code == 201

        until(lambda: served.sql("SELECT 1 FROM prefetch_sent"))
        with contextlib.suppress(ProcessLookupError):
            os.kill(served.roles()["worker 0"], signal.SIGKILL)
        served.sql("UPDATE prefetch SET lease_until = 0")

        def ended() -> Json | None:
            code = f"{codes.IMAGING_STEP}|prefetch"
            found = web.get("/Task", params={"code": code, "requester": "Organization/northmoor"})
            (one,) = (each["resource"] for each in found.json()["entry"])
            return one if one["status"] == "completed" else None

        task = until(ended)
        assert kept(address) == uids

    (output,) = task["output"]
    assert output["extension"][0]["extension"][0]["valueUnsignedInt"] == OBJECTS
    assert not served.sql("SELECT 1 FROM prefetch")
    since = "/Task/$availability-report?start=2036-01-01&end=2036-01-02&_format=csv"
    assert f"Organization/{other}" in web.get(since).text
