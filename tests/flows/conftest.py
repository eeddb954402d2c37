"""What the flows need: a server, and the people who work with it."""

import pytest

from tests.flows.clinic import Clinic
from tests.server import Server


@pytest.fixture
def clinic(server: Server, database_url: str) -> Clinic:
    """A clinic on a server and a database of this test's own."""
    return Clinic(server, database_url)
