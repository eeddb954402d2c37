"""Orthanc beside us: started on free ports in a folder of its own, stopped at the end."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

AE = "ORTHANC"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Running(NamedTuple):
    """An Orthanc that runs: its process, its DICOM port, its DICOMweb base."""

    pid: int
    port: int
    web: str


def installed() -> str | None:
    """Where Orthanc is, if it is here with its DICOMweb plugin (Debian: orthanc-dicomweb)."""
    program = shutil.which("Orthanc", path=os.environ.get("PATH", "") + ":/usr/sbin")
    return program if program and PLUGIN.exists() else None


@contextlib.contextmanager
def running(program: str, folder: Path) -> Iterator[Running]:
    """Run Orthanc with its index on SQLite and TCP_NODELAY."""
    folder.mkdir(parents=True, exist_ok=True)
    http, dicom = _free_ports(2)
    configuration = {
        "Name": "bench",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": AE,
        "DicomPort": dicom,
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
        _wait(f"http://127.0.0.1:{http}/system")
        yield Running(process.pid, dicom, f"http://127.0.0.1:{http}/dicom-web")
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


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; Orthanc cannot choose its own."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]
