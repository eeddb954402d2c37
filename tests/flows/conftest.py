"""What the flows need: one server for all of them, and for each a patient of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from fhir_server.access.token import Keys
from tests.conftest import renamed
from tests.dicom_bridge import orthanc
from tests.flows import pacs as second
from tests.flows import ports
from tests.flows.clinic import Clinic
from tests.flows.pacs import Pacs
from tests.flows.ports import Port
from tests.server import running


@pytest.fixture(scope="session")
def opened_clinic(cluster: str, template: str, keys: Keys) -> Iterator[Clinic]:
    """A clinic on a server of the flows' own."""
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"create database flows template {template} strategy file_copy")
    url = renamed(cluster, "flows")
    with running(url, keys) as server:
        yield Clinic(server, url)


@pytest.fixture
def clinic(opened_clinic: Clinic) -> Clinic:
    """The clinic, with a patient whom no other test knows."""
    opened_clinic.welcome()
    return opened_clinic


@pytest.fixture
async def port(clinic: Clinic, tmp_path: Path) -> AsyncIterator[Port]:
    """A DICOM port on the record of the clinic."""
    async with ports.opened(clinic, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def running_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """Orthanc: its DICOM port, and the address of its own API."""
    with orthanc.running(tmp_path_factory.mktemp("orthanc"), **second.SETTINGS) as place:
        yield place


@pytest.fixture
async def pacs(clinic: Clinic, port: Port, running_orthanc: tuple[int, str]) -> AsyncIterator[Pacs]:
    """Orthanc as the PACS of the partner of the port; images of the patient are known as such."""
    ports.numbered(clinic)
    async with second.opened(port, running_orthanc, clinic.server.base) as opened:
        yield opened
