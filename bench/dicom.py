"""Load on DICOM services: C-STORE and C-GET by dcmtk, QIDO-RS and WADO-RS, C-FIND by pynetdicom."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import httpx
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE

from bench.client import Client, drive
from bench.processes import Roots

DCMTK = Path("/usr/bin")
"""Not from PATH: pynetdicom installs programs of the same names beside Python."""

CALLING = "BENCH"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
DICOM_JSON = "application/dicom+json"


class Peer(NamedTuple):
    """A server under load: its AE, port and DICOMweb base on 127.0.0.1, processes, token."""

    ae: str
    port: int
    web: str
    processes: Roots
    token: str = ""


def store(peer: Peer, folder: Path, associations: int = 1) -> float:
    """C-STORE all files below `folder` over parallel associations; instances per second."""
    files = sorted(folder.rglob("*.dcm"))
    with tempfile.TemporaryDirectory() as parts:
        for number, file in enumerate(files):
            part = Path(parts) / str(number % associations)
            part.mkdir(exist_ok=True)
            (part / f"{number:06d}.dcm").symlink_to(file.resolve())
        began = time.perf_counter()
        senders = [
            subprocess.Popen(
                [DCMTK / "storescu", "-q", "-aec", peer.ae, "-aet", CALLING, "+sd", "127.0.0.1",
                 str(peer.port), str(Path(parts) / str(part))],
                env={**os.environ, "TCP_NODELAY": "1"},
            )
            for part in range(associations)
        ]  # fmt: skip
        failed = [sender.wait(600) for sender in senders]
        took = time.perf_counter() - began
    if any(failed):
        raise SystemExit(f"storescu to {peer.ae} failed")
    return len(files) / took


def get(peer: Peer, study_uid: str, instances: int) -> float:
    """C-GET one study, discarding it; instances per second, the best of three."""
    command = [str(DCMTK / "getscu"), "-q", "-S", "-aec", peer.ae, "-aet", CALLING, "--ignore",
               "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_uid}",
               "127.0.0.1", str(peer.port)]  # fmt: skip
    best = 0.0
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, "TCP_NODELAY": "1"})
        best = max(best, instances / (time.perf_counter() - began))
    return best


def find_ms(peer: Peer, patient_id: str, times: int = 50) -> float:
    """Median milliseconds of a STUDY level C-FIND of two rows on an open association."""
    ae = AE(ae_title=CALLING)
    ae.add_requested_context(STUDY_ROOT_FIND)
    association = ae.associate("127.0.0.1", peer.port, ae_title=peer.ae)
    if not association.is_established:
        raise SystemExit(f"{peer.ae} refused the association")
    took = []
    for _ in range(times):
        query = Dataset()
        query.QueryRetrieveLevel, query.PatientID = "STUDY", patient_id
        query.StudyInstanceUID = query.PatientName = query.StudyDate = ""
        began = time.perf_counter()
        rows = sum(1 for status, _ in association.send_c_find(query, STUDY_ROOT_FIND)
                   if status and status.Status == 0xFF00)  # fmt: skip
        took.append((time.perf_counter() - began) * 1e3)
        if rows != 2:
            raise SystemExit(f"{peer.ae} found {rows} rows instead of 2")
    association.release()
    return sorted(took)[len(took) // 2]


def web(
    peer: Peer, path: str, accept: str, connections: int, seconds: float
) -> tuple[float, float]:
    """GET one DICOMweb address; requests per second and p95 in milliseconds."""
    client = Client(peer.web, peer.token, accept)
    request = client.request("GET", path)
    found = asyncio.run(
        drive(client, connections, seconds, lambda: request,
              lambda status, body: status == 200 and bool(body), peer.processes)
    )  # fmt: skip
    if found.errors:
        raise SystemExit(f"{peer.ae} {path}: {found.errors}")
    return found.per_second, found.p95_ms


def whole_study(peer: Peer, study_uid: str) -> float:
    """WADO-RS of a whole study as stored; MB per second, the best of three."""
    headers = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    if peer.token:
        headers["Authorization"] = f"Bearer {peer.token}"
    best = 0.0
    with httpx.Client(timeout=120, headers=headers) as client:
        for _ in range(3):
            began, size = time.perf_counter(), 0
            with client.stream("GET", f"{peer.web}/studies/{study_uid}") as answer:
                answer.raise_for_status()
                for chunk in answer.iter_raw():
                    size += len(chunk)
            best = max(best, size / 1e6 / (time.perf_counter() - began))
    return best


def measure(peer: Peer, data: Path, seconds: float) -> dict[str, float]:
    """Everything in one go, keyed by work; rates per second, C-FIND in milliseconds."""
    first = dcmread(data / "ct" / "0" / "0001.dcm", stop_before_pixels=True)
    study = first.StudyInstanceUID
    series, instance = first.SeriesInstanceUID, first.SOPInstanceUID
    store(peer, data / "tiny", 4)
    results = {
        "c-store ct, 1 association": store(peer, data / "ct" / "0"),
        "c-store ct, 4 associations": store(peer, data / "ct-rest", 4),
        "c-store cr": store(peer, data / "cr"),
    }
    time.sleep(3)  # both settle what they received before they are asked
    frame = f"/studies/{study}/series/{series}/instances/{instance}/frames/1"
    octets = 'multipart/related; type="application/octet-stream"'
    metadata = f"/studies/{study}/metadata"
    results["qido 50 studies"] = web(peer, "/studies?limit=50", DICOM_JSON, 4, seconds)[0]
    results["metadata of 200 instances"] = web(peer, metadata, DICOM_JSON, 1, seconds)[0]
    results["frame"] = web(peer, frame, octets, 4, seconds)[0]
    results["whole study"] = whole_study(peer, study)
    results["c-get 200 ct"] = get(peer, study, 200)
    results["c-find of two rows, ms"] = find_ms(peer, "P0010005")
    return results


def installed() -> bool:
    """Whether dcmtk's programs are here."""
    return all(shutil.which(DCMTK / name) for name in ("storescu", "getscu"))
