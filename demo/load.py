"""Load the demonstration: resources, logins, clients and peers; and write ``demo.json``.

Loading twice is loading once: what is there stays as it is.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

from joserfc.jwk import ECKey

from demo import data
from demo.resources import resources
from dicom_bridge.dimse import peers
from dicom_bridge.dimse.peers import Peer
from fhir_server.access.principal import Principal
from fhir_server.audit import configuration
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.settings import Settings
from fhir_server.store.store import Store
from resources import content
from resources.errors import NotFound
from smart_apps import clients, passwords, users
from smart_apps.clients import Client
from smart_apps.users import User

KEY_FILE: Final = "demo-backend.jwk.json"


async def load(settings: Settings, database: Database, store: Store) -> Path:
    """Put the demonstration into a migrated database.

    Returns
    -------
    :
        ``demo.json`` in the data folder for scripts and tests.
    """
    await write_resources(store)
    public = _key(settings.data_dir / KEY_FILE)
    await _register(database, public)
    path = settings.data_dir / "demo.json"
    _replace(path, json.dumps(_described(settings, path), indent=1, ensure_ascii=False) + "\n")
    return path


async def write_resources(store: Store) -> None:
    """Write what is not there yet, in one unit of work."""
    context = RequestContext(Principal.system("demo"), "transaction", "demo load")
    wanted = {f"{one['resourceType']}/{one['id']}": one for one in resources()}
    there = await store.many(context, list(wanted))
    missing = [one for reference, one in wanted.items() if reference not in there]
    if not missing:
        return
    async with store.begin(context) as work:
        for one in missing:
            await work.create(content.made(one), one["id"])


async def _register(database: Database, public: dict[str, Any]) -> None:
    """Register logins, clients and peers, and tell the ledger."""
    missing = await _missing(database)
    async with database.transaction() as change:
        for user in missing:
            await users.add(change, user)
        jwks = json.dumps({"keys": [public]})
        await clients.add(
            change, Client("demo-backend", "jwks", data.BACKEND_SCOPES, "northmoor", jwks=jwks)
        )
        await clients.add(
            change, Client("demo-app", "public", data.APP_SCOPES, "northmoor", data.APP_REDIRECTS)
        )
        for ae, host, port, organization in data.PEERS:
            await peers.add(change, Peer(ae, host, port, organization))
        context = RequestContext(Principal.system("demo"), configuration.SECURITY, "demo load")
        await configuration.note(change, context, "logins, clients and peers of the demonstration")


async def _missing(database: Database) -> list[User]:
    """Give the people who do not log in here yet."""
    missing, password = [], ""
    for person in data.PEOPLE:
        try:
            await users.find(database, person.login)
        except NotFound:
            # Slow on purpose, and the same password for all of them: derive it once.
            password = password or passwords.derive(data.PASSWORD)
            user = User(person.login, password, person.login, person.place, person.role)
            missing.append(user)
    return missing


def _key(path: Path) -> dict[str, Any]:
    """The public half of the backend client's key; made and kept for the client if new."""
    if not path.exists():
        parameters: Any = {"use": "sig", "alg": "ES384"}
        made = ECKey.generate_key("P-384", parameters, auto_kid=True)
        _replace(path, json.dumps(made.as_dict(private=True)) + "\n", mode=0o600)
    return ECKey.import_key(json.loads(path.read_text())).as_dict(private=False)


def _described(settings: Settings, path: Path) -> dict[str, Any]:
    """What ``demo.json`` says; studies that were played stay in it."""
    dicom = settings.dicom_address
    described = data.described(
        {
            "fhir_base": settings.fhir_base,
            "dicomweb_base": f"{settings.url}/dicom-web",
            "host": dicom.host,
            "port": str(dicom.port),
            "ae": settings.ae_title,
            "jwk_file": str((settings.data_dir / KEY_FILE).resolve()),
        }
    )
    if path.exists():
        described["studies"] = json.loads(path.read_text()).get("studies", [])
    return described


def note_study(data_dir: Path, study: dict[str, Any]) -> None:
    """Add a study to ``demo.json``, in the place of what it said of it before."""
    path = data_dir / "demo.json"
    described = json.loads(path.read_text())
    others = [one for one in described.get("studies", []) if one["uid"] != study["uid"]]
    described["studies"] = [*others, study]
    _replace(path, json.dumps(described, indent=1, ensure_ascii=False) + "\n")


def _replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file as a whole: nobody reads half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=mode)
    draft.write_text(text)
    draft.replace(path)
