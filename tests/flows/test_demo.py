"""``make demo ARGS=--once``: the primary pathway on a whole server, read back to the end."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.requirement("W1")
def test_the_demonstration_plays_to_its_end_on_real_images(tmp_path: Path) -> None:
    place = ["--data-dir", str(tmp_path), "--http", free_address(), "--dicom", free_address()]

    played = subprocess.run(
        [sys.executable, "-m", "demo", "--once", *place],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert played.returncode == 0, played.stdout + played.stderr
    *priors, study = json.loads((tmp_path / "demo.json").read_text())["studies"]
    assert study["instances"] > 0
    assert study["report"]
    assert {prior["patient"] for prior in priors} == {"brook", "quist"}
    assert "23 of 23 done and read back" in played.stdout
