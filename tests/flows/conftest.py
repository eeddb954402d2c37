"""What the flows need: a server that walks the pathway, and the people who work with it."""

from collections.abc import Iterator

import pytest

from fhir_server.access.token import Keys
from tests.flows.clinic import Clinic


@pytest.fixture
def clinic(database_url: str, keys: Keys) -> Iterator[Clinic]:
    """A clinic on a server and a database of this test's own."""
    from fhir_server.workflow import Workflow
    from tests.server import running

    hooks = Workflow("http://isocentre.test/fhir").hooks()
    with running(database_url, keys, hooks) as server:
        yield Clinic(server, database_url)
