"""A whole server on loopback with two organisations, people who sign in, and clients."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvicorn
from joserfc.jwk import ECKey, RSAKey

from fhir_server.access.principal import Principal
from fhir_server.access.token import Keys
from fhir_server.context import RequestContext
from fhir_server.core import Core
from fhir_server.main import build_http
from fhir_server.seat import share
from fhir_server.settings import Address, Settings
from resources import codes, content
from smart_apps import clients, passwords, users
from smart_apps.clients import Client
from smart_apps.users import User
from tests.build import a_patient, a_practitioner, a_role, an_organization, nhs_number
from tests.conftest import renamed
from tests.smart_apps.authorization.browser import Site

REDIRECT = "http://127.0.0.1:18999/cb"
NHS = nhs_number(9_901)
PASSWORD = "correct horse battery staple"
USER_SCOPES = (
    "openid fhirUser profile launch launch/patient offline_access online_access launch/encounter "
    "launch/imagingstudy launch/diagnosticreport launch/list?role=agenda "
    "user/*.cruds patient/*.cruds"
)
EC = ECKey.generate_key("P-384", {"use": "sig"}, auto_kid=True)
RSA = RSAKey.generate_key(2048, {"use": "sig"}, auto_kid=True)


@pytest.fixture(scope="package")
def site(cluster: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all tests here; each is a client, and a browser, of its own."""
    with serving(cluster, template, tmp_path_factory.mktemp("site"), "site") as site:
        yield site


@contextmanager
def serving(
    cluster: str, template: str, folder: Path, name: str, **settings: Any
) -> Iterator[Site]:
    """Serve on a database of this name until the block is left."""
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template} strategy file_copy")
    database_url = renamed(cluster, name)
    listener = share(Address("127.0.0.1", 0))
    listener.listen()  # who comes before the server is up waits, and is not turned away
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    read = Settings(data_dir=folder, public_url=url, **settings)
    asyncio.run(_prepare(read, database_url))
    application, services = build_http(Core.of(read, database_url), Keys.load(folder))
    config = uvicorn.Config(_served(application, services), log_level="warning", lifespan="on")
    process = uvicorn.Server(config)
    thread = threading.Thread(
        target=lambda: asyncio.run(process.serve(sockets=[listener])), daemon=True
    )
    thread.start()
    site = Site(url, read, database_url)
    try:
        yield site
    finally:
        site.close()
        process.should_exit = True
        thread.join(120)
        listener.close()


def _served(application: Any, services: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        root = "/" + path[1:].partition("/")[0]
        await (services.get(path) or services.get(root) or application)(scope, receive, send)

    return app


def _of(organization: str, number: str) -> dict[str, Any]:
    return {
        "identifier": [{"system": codes.NHS_NUMBER, "value": number}],
        "managingOrganization": {"reference": f"Organization/{organization}"},
    }


def things_of(patient: str, suffix: str) -> list[dict[str, Any]]:
    """A visit, a study and a list of a patient."""
    subject = {"reference": f"Patient/{patient}"}
    return [
        {
            "resourceType": "Encounter",
            "id": f"visit-{suffix}",
            "status": "in-progress",
            "class": {
                "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
                "code": "AMB",
                "display": "ambulatory",
            },
            "subject": subject,
            "period": {"start": "2026-11-20T09:30:00Z"},
        },
        {
            "resourceType": "ImagingStudy",
            "id": f"study-{suffix}",
            "status": "available",
            "subject": subject,
            "started": "2026-11-20T10:00:00Z",
            "description": "Head <CT>",
        },
        {
            "resourceType": "List",
            "id": f"agenda-{suffix}",
            "status": "current",
            "mode": "working",
            "title": "Thursday meeting",
            "subject": subject,
        },
    ]


async def _prepare(settings: Settings, database_url: str) -> None:
    core = Core.of(settings, database_url)
    await core.database.open()
    context = RequestContext(Principal.system("test"), "transaction")
    async with core.store.begin(context) as work:
        for one in (
            an_organization("lead"),
            an_organization("other"),
            a_practitioner("dr"),
            a_role("reporter-lead", practitioner="dr", organization="lead"),
            a_role("referrer-other", practitioner="dr", organization="other"),
            a_role("gp", practitioner="dr", organization="other"),
            a_patient("p1", **_of("lead", NHS)),
            a_patient("p2", **_of("other", nhs_number(9_902))),
            a_patient("p3", **_of("lead", nhs_number(9_903))),
            *things_of("p1", "mine"),
            *things_of("p2", "not-mine"),
        ):
            await work.create(content.made(one), one["id"])
    kept = passwords.derive(PASSWORD)
    await users.add(core.database, User("one", kept, "reporter-lead", "lead", "reporter"))
    await users.add(core.database, User("two", kept, "reporter-lead", "lead", "reporter"))
    await users.add(core.database, User("two", kept, "referrer-other", "other", "referrer"))
    await users.add(core.database, User("gp", kept, "gp", "other", "referrer"))
    jwks = json.dumps({"keys": [EC.as_dict(private=False), RSA.as_dict(private=False)]})
    secret = passwords.derive("s3cret")
    launch = "http://127.0.0.1:18999/launch"
    for client in (
        Client("app", "public", USER_SCOPES, "lead", (REDIRECT,), launch_url=launch),
        Client("other-app", "public", USER_SCOPES, "other", (REDIRECT,)),
        Client("web", "secret", USER_SCOPES, "lead", (REDIRECT,), secret=secret),
        Client("keyed", "jwks", USER_SCOPES, "lead", (REDIRECT,), jwks),
        Client("backend", "jwks", "system/*.rs system/Task.cruds", "lead", (), jwks),
    ):
        await clients.add(core.database, client)
    await core.database.close()
