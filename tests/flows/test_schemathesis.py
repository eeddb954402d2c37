"""Requests that a tool of others makes up from the OpenAPI documents: none breaks the server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.build import an_organization
from tests.server import Server

ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("ISOCENTRE_EXAMPLES", "40"))
"""Of each address and method; 400 are more than 10,000 requests."""
SLOWEST_SECONDS = 5


@pytest.mark.slow
@pytest.mark.standard("threats T10")
def test_no_generated_request_is_answered_with_a_failure_or_late(
    shared_server: Server, tmp_path: Path
) -> None:
    client = shared_server.client()
    client.put("Organization/lead", content=json.dumps(an_organization())).raise_for_status()
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "run", str(ROOT / "openapi" / "fhir.json"),
        "--url", shared_server.base,
        "--header", f"Authorization: Bearer {shared_server.token()}",
        "--checks", "not_a_server_error",
        "--max-response-time", str(SLOWEST_SECONDS),
        "--phases", "coverage,fuzzing",
        "--max-examples", str(EXAMPLES),
        "--suppress-health-check", "all",
        "--warnings", "off",
        "--no-color",
        "--no-shrink",
        "--continue-on-failure",
    ]  # fmt: skip

    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout[-4000:]
    counted = re.search(r"(\d[\d,]*) generated", ran.stdout)
    assert counted is not None, ran.stdout[-2000:]
    assert int(counted[1].replace(",", "")) > 20 * EXAMPLES
