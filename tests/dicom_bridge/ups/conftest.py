"""A bridge whose store has the rules of the house, for steps that change hands."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dicom_bridge.blobs import Blobs
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from fhir_server.audit.ledger import Ledger
from fhir_server.core import KEEPS
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from tests import build
from tests.dicom_bridge.conftest import BASE, CT1, CT2, write


@pytest.fixture
async def bridge(database: Database, tmp_path: Path) -> AsyncIterator[Bridge]:
    """The bridge of `tests.dicom_bridge.conftest`, with rules and consequences."""
    ledger = Ledger(database)
    hooks = Workflow(BASE).hooks()._replace(keeps=KEEPS)
    store = Store(database, ledger, hooks, BASE)
    made = Bridge(database, store, ledger, Blobs(tmp_path / "blobs"))
    await write(made, build.an_organization("lead"), build.an_organization("other", ods="ZZ902"))
    for peer in (CT1, CT2, CT1._replace(ae="CT3")):
        await peers.add(database, peer)
    yield made
    await made.quiet.drained()
    await made.crew.close()
    made.intake.close()
