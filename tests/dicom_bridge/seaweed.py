"""A real object store on loopback: SeaweedFS, speaking S3."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

KEY, SECRET = "isocentre", "not-a-secret"
BUCKET = "pixels"
HIGHEST = 50_000
"""SeaweedFS listens for itself on each of its ports, and 10000 above."""


class Seaweed:
    """One bucket, in a folder of its own; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: _free_port() for name in ("master", "volume", "filer", "s3")}
        allowed = {
            "name": "isocentre",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [allowed]}))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a client reads."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['s3']}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def start(self) -> None:
        weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"
        line = [weed, "server", "-dir", str(self.folder), "-ip", "127.0.0.1", "-s3"]
        line += ["-ip.bind", "127.0.0.1", f"-s3.config={self.folder / 's3.json'}"]
        line += [f"-{name}.port={port}" for name, port in self.ports.items()]
        line += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        line += ["-master.volumeSizeLimitMB=64", "-volume.max=20"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                line, stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )
        end = time.monotonic() + 90
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < end, "the object store did not start"
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return httpx.get(self.environment["AWS_ENDPOINT_URL"], timeout=5).status_code == 403
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)


def _free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < HIGHEST:
            return port
