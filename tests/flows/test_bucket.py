"""A server whose pixels are in a bucket: it may lose its own disk, and the bucket may go away."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.dicom_bridge.build import a_uid
from tests.dicom_bridge.seaweed import BUCKET, Seaweed
from tests.flows.installation import Installation
from tests.flows.test_faults import eventually, stow

pytestmark = [pytest.mark.slow, pytest.mark.requirement("R012.1")]


@pytest.fixture
def seaweed(tmp_path: Path) -> Iterator[Seaweed]:
    made = Seaweed(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def served(seaweed: Seaweed) -> Iterator[Installation]:
    settings = {"ISOCENTRE_BLOB_URL": f"s3://{BUCKET}/site", **seaweed.environment}
    with tempfile.TemporaryDirectory(prefix="isocentre-") as folder:
        installation = Installation(Path(folder), settings=settings)
        installation.start()
        installation.command("demo", "load")
        yield installation
        installation.stop()


def retrieved(served: Installation, headers: dict[str, str], study: str) -> httpx.Response:
    address = f"{served.address}/dicom-web/studies/{study}"
    return httpx.get(address, headers={**headers, "Accept": "application/dicom"}, timeout=60)


def test_what_was_acknowledged_is_served_after_the_disk_is_gone_and_while_the_bucket_is_away(
    served: Installation, seaweed: Seaweed
) -> None:
    headers = served.token("demo-backend", "system/*.cruds")
    first, second, third = (a_uid() for _ in range(3))
    assert stow(served, headers, first).status_code == 200
    assert stow(served, headers, second).status_code == 200
    assert eventually(lambda: retrieved(served, headers, f"{second}.1").status_code == 200)
    as_sent = retrieved(served, headers, f"{first}.1").content

    served.kill()
    shutil.rmtree(served.data / "blobs")
    served.start()
    assert retrieved(served, headers, f"{first}.1").content == as_sent
    assert served.command("check", "--deep") == "Blobs, rows and resources agree."

    seaweed.stop()
    assert retrieved(served, headers, f"{first}.1").content == as_sent, "it is at hand"
    assert retrieved(served, headers, f"{second}.1").status_code == 503
    assert stow(served, headers, third).status_code in (503, 507)

    seaweed.start()
    assert eventually(lambda: retrieved(served, headers, f"{second}.1").status_code == 200, 60)
    assert eventually(lambda: stow(served, headers, third).status_code == 200, 60)
    assert eventually(lambda: retrieved(served, headers, f"{third}.1").status_code == 200)
    assert served.command("check", "--deep") == "Blobs, rows and resources agree."
