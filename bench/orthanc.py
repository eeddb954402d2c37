"""Orthanc beside us: started on loopback in a folder of its own, stopped at the end."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

AE, DICOM_PORT, HTTP_PORT = "ORTHANC", 24242, 28042
WEB = f"http://127.0.0.1:{HTTP_PORT}/dicom-web"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def installed() -> str | None:
    """Where Orthanc is, if it is here with its DICOMweb plugin (Debian: orthanc-dicomweb)."""
    program = shutil.which("Orthanc", path=os.environ.get("PATH", "") + ":/usr/sbin")
    return program if program and PLUGIN.exists() else None


@contextlib.contextmanager
def running(program: str, folder: Path) -> Iterator[int]:
    """Run Orthanc with its index on SQLite and TCP_NODELAY; yields its process id."""
    folder.mkdir(parents=True, exist_ok=True)
    configuration = {
        "Name": "bench",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": HTTP_PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": AE,
        "DicomPort": DICOM_PORT,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "OverwriteInstances": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")],
            stdout=log,
            stderr=log,
            env={**os.environ, "TCP_NODELAY": "1"},
        )
    try:
        _wait(f"http://127.0.0.1:{HTTP_PORT}/system")
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def _wait(address: str) -> None:
    for _ in range(100):
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(address, timeout=2).close()
            return
        time.sleep(0.2)
    raise SystemExit("Orthanc did not start")
