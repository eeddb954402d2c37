"""Who asks in these tests: an application of the lead organisation, and one of another."""

import httpx
import pytest

from tests.build import an_organization
from tests.server import Server
from tests.standards.asking import put


@pytest.fixture(scope="session")
def api(shared_server: Server) -> httpx.Client:
    """An application of Organization/lead."""
    client = shared_server.client()
    put(client, an_organization())
    return client


@pytest.fixture(scope="session")
def other(shared_server: Server, api: httpx.Client) -> httpx.Client:
    """An application of an organisation that has to do with nobody here."""
    put(api, an_organization("other", "ZZ902"))
    return shared_server.client(organization="other")
