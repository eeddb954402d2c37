"""Who asks in these tests: an application of the lead organisation, and one of another."""

from collections.abc import Iterator

import httpx
import pytest

from tests.build import an_organization
from tests.flows.installation import Installation
from tests.server import Server
from tests.standards.asking import put
from tests.standards.balp import World
from tests.subscriptions.test_email import mail_server


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


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation with the demonstration in it, whose every event is looked at."""
    with mail_server() as (_, mail):
        settings = {
            "ISOCENTRE_SUBSCRIPTION_HOSTS": "127.0.0.0/8",
            "ISOCENTRE_REGISTRATION": "approved",
            "ISOCENTRE_SMTP": f"127.0.0.1:{mail.port}",
            "ISOCENTRE_SMTP_TLS": "none",
        }
        folder = tmp_path_factory.mktemp("audited")
        installation = Installation(folder, "--http-workers", "1", settings=settings)
        try:
            installation.start()
            installation.command("demo", "load")
            world = World(installation)
            yield world
            world.close()
        finally:
            installation.stop()
