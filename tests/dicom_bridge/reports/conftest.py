"""A bridge whose store keeps the rules of the whole server: reports are completed and follow."""

import asyncio
import io
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_bridge import retrieval
from dicom_bridge.blobs import Blobs
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from dicom_bridge.reports.making import Making
from fhir_server.access.principal import Principal
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.core import KEEPS
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from resources import codes
from tests import build
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import BASE, CT1, CT2, found, take_in, write
from tests.dicom_bridge.test_ingest import NHS, PERSON, accession

SYSTEM = RequestContext(Principal.system("test"), "read")


@pytest.fixture
async def bridge(database: Database, tmp_path: Path) -> AsyncIterator[Bridge]:
    ledger = Ledger(database)
    hooks = Workflow(BASE).hooks()._replace(keeps=KEEPS)
    store = Store(database, ledger, hooks, BASE)
    made = Bridge(database, store, ledger, Blobs(tmp_path / "blobs"))
    await write(
        made,
        build.an_organization("lead", name="Northmoor Hospital"),
        build.an_organization("other", ods="ZZ902", name="Westvale"),
        build.a_practitioner("dr", family="Castell"),
        build.a_role("radiologist", practitioner="dr", organization="lead"),
    )
    for peer in (CT1, CT2):
        await peers.add(database, peer)
    yield made
    await made.quiet.drained()
    await made.crew.close()
    made.intake.close()


async def a_study_of(bridge: Bridge, **members: Any) -> tuple[dict[str, Any], Dataset]:
    """A patient, a request (sr1), and its study with one image."""
    patient = build.a_patient("p1", identifier=[{"system": codes.NHS_NUMBER, "value": NHS}])
    request = build.a_request(
        "sr1", subject={"reference": "Patient/p1"}, identifier=[accession("A1")]
    )
    for member in ("requester", "performer", "reasonReference", "supportingInfo", "encounter"):
        request.pop(member, None)
    await write(bridge, patient, request)
    image = an_instance(**{**PERSON, **members})
    await take_in(bridge, image)
    await bridge.quiet.drained()
    (study,) = await found(bridge, "ImagingStudy")
    return study, image


async def issue(bridge: Bridge, study: dict[str, Any], id: str = "dr1", **members: Any) -> None:
    """Write a report of the study, as it is issued."""
    await write(bridge, build.a_report(id, study=study["id"], **members))


async def make(bridge: Bridge) -> int:
    """Run the duty once."""
    made = await Making(bridge, BASE).work()
    await bridge.quiet.drained()
    return made


async def documents_of(bridge: Bridge, study_uid: str) -> list[Dataset]:
    """What is held of a study that is no image, in the order of series and number."""
    there = await retrieval.instances(bridge, SYSTEM, study_uid)
    paths = [
        await bridge.blobs.path(one.blob, there.permit) for one in there.instances if not one.frames
    ]
    return [dcmread(path) for path in paths]


async def printed(program: str, *arguments: str) -> str:
    """What a foreign program says, of a success."""
    done = await asyncio.to_thread(
        subprocess.run, [program, *arguments], capture_output=True, check=True
    )
    return (done.stdout + done.stderr).decode("utf-8", "replace")


async def complaints(path: Path) -> list[str]:
    """What dciodvfy finds wrong with an object."""
    program = str(Path(sys.executable).parent / "dciodvfy")
    done = await asyncio.to_thread(subprocess.run, [program, str(path)], capture_output=True)
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.startswith("Error")]


def written(ds: Dataset, folder: Path) -> Path:
    """The object as a file."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    path.write_bytes(buffer.getvalue())
    return path
