"""Orthanc, over DIMSE and over DICOMweb, and DCMTK's archive, as the PACS of who is sent to."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.prefetch import over_http
from dicom_bridge.prefetch.planning import Planner
from tests.dicom_bridge import orthanc
from tests.dicom_bridge.build import a_series, an_instance
from tests.dicom_bridge.conftest import BASE
from tests.dicom_bridge.conftest import dcmtk as dcmtk
from tests.dicom_bridge.prefetch.conftest import (
    a_report_step,
    composite,
    held,
    moved,
    now_due,
    prefetches,
    uids,
)
from tests.flows.installation import free_port

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.peer,
    pytest.mark.requirement("R003.2"),
    pytest.mark.requirement("R013.2"),
]


@contextmanager
def archive(folder: Path, *, web: bool) -> Iterator[tuple[Peer, str]]:
    """Orthanc as the PACS of `other`, and the address of its own API."""
    if web and not orthanc.DICOMWEB.exists():
        pytest.skip("the DICOMweb plugin of Orthanc is not installed")
    plugins = [str(orthanc.DICOMWEB)] if web else []
    with orthanc.running(
        folder, Plugins=plugins, DicomAlwaysAllowFind=True, DicomAlwaysAllowStore=True,
        UnknownSopClassAccepted=False, OverwriteInstances=True,
    ) as (port, address):  # fmt: skip
        dicomweb = f"{address}/dicom-web" if web else None
        yield (
            Peer(orthanc.AE, "127.0.0.1", port, "other", destination=True, dicomweb=dicomweb),
            address,
        )


def kept(address: str) -> set[str]:
    """What Orthanc says by its own API that it holds."""
    found: list[dict[str, Any]] = httpx.get(f"{address}/instances?expand", timeout=30).json()
    return {one["MainDicomTags"]["SOPInstanceUID"] for one in found}


async def begun(bridge: Bridge, peer: Peer) -> Planner:
    await peers.add(bridge.database, peer)
    planner = Planner(bridge, BASE)
    await planner.work()
    return planner


@pytest.mark.requirement("R012.2")
@pytest.mark.parametrize("web", [False, True], ids=["DIMSE", "DICOMweb"])
async def test_orthanc_holds_the_composite_study_the_prior_and_what_came_late(
    bridge: Bridge, tmp_path: Path, web: bool
) -> None:
    older, study = a_series(2, study_date="20200101", accession="A0"), composite()
    late = an_instance(study_uid=study[0].StudyInstanceUID, series_number=9)
    with archive(tmp_path, web=web) as (peer, address):
        planner = await begun(bridge, peer)
        await held(bridge, *older)
        await a_report_step(bridge, await held(bridge, *study))
        await planner.work()
        await moved(bridge)
        (task,) = await prefetches(bridge)
        assert task["status"] == "completed", task
        assert kept(address) == uids(older) | uids(study)

        await held(bridge, late)
        await planner.work()
        await moved(bridge)

        assert [one["status"] for one in await prefetches(bridge)] == ["completed"] * 2
        assert kept(address) == uids(older) | uids(study) | uids([late])


@pytest.mark.parametrize("web", [False, True], ids=["DIMSE", "DICOMweb"])
async def test_orthanc_that_is_down_gets_it_when_it_is_back(
    bridge: Bridge, tmp_path: Path, web: bool
) -> None:
    study = a_series(2)
    with archive(tmp_path, web=web) as (peer, _):
        planner = await begun(bridge, peer)
    await a_report_step(bridge, await held(bridge, *study))
    await planner.work()
    await moved(bridge)
    (task,) = await prefetches(bridge)
    assert task["status"] == "in-progress"

    with archive(tmp_path, web=web) as (peer, address):
        await peers.add(bridge.database, peer)
        await now_due(bridge)
        await moved(bridge)
        assert kept(address) == uids(study)

    assert (await prefetches(bridge))[0]["status"] == "completed"


@pytest.mark.standard("PS3.18 10.6.1")
async def test_a_search_for_a_study_that_is_not_there_finds_nothing(tmp_path: Path) -> None:
    with archive(tmp_path, web=True) as (peer, _), over_http.client_of() as client:
        assert over_http.held(client, peer, "1.2.3") == set()


async def test_dcmtk_holds_the_composite_study(bridge: Bridge, tmp_path: Path, dcmtk: str) -> None:
    store, port = tmp_path / "qr", free_port()
    store.mkdir()
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQR {store} RW (200, 1024mb) ANY\nAETable END\n"
    )
    process = subprocess.Popen(
        [f"{dcmtk}/dcmqrscp", "-c", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert orthanc.answers(port)
        study = composite()
        planner = await begun(bridge, Peer("DCMQR", "127.0.0.1", port, "other", destination=True))
        await a_report_step(bridge, await held(bridge, *study))
        await planner.work()
        await moved(bridge)
    finally:
        process.terminate()
        process.wait(10)

    (task,) = await prefetches(bridge)
    assert task["status"] == "completed", task
    files = [dcmread(path) for path in store.iterdir() if path.name != "index.dat"]
    assert uids(files) == uids(study)
