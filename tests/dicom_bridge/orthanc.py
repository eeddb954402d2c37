"""Orthanc as a peer: Debian's, in a folder of its own, on loopback."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.flows.installation import free_port

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AE = "ORTHANC"


def answers(port: int, seconds: float = 30.0) -> bool:
    """Whether a port is open, sooner or later."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[tuple[int, str]]:
    """Run Orthanc; its DICOM port, and the address of its own API."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        pytest.skip("Orthanc is not installed")
    port, web = free_port(), free_port()
    place = folder / "orthanc.json"
    place.write_text(json.dumps({
        "StorageDirectory": str(folder / "orthanc"), "DicomAet": AE, "DicomPort": port,
        "HttpPort": web, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "DicomCheckCalledAet": True, "DicomAlwaysAllowMove": True, "Plugins": [], **settings,
    }))  # fmt: skip
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(place)], stdout=log, stderr=log)
        try:
            assert answers(port)
            assert answers(web)
            yield port, f"http://127.0.0.1:{web}"
        finally:
            process.terminate()
            process.wait(20)


async def studies(web: Any, study: list[Dataset]) -> list[str]:
    """Orthanc's ids of a study."""
    keys = {"StudyInstanceUID": str(study[0].StudyInstanceUID)}
    found = await web.post("/tools/find", json={"Level": "Study", "Query": keys})
    ids: list[str] = found.json()
    return ids
