"""What every role works with: the database, the store with its rules, the ledger, the bridge.

Wired here for all roles alike; `main` makes each role of it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicom_bridge import holdings
from dicom_bridge.blobs import Blobs
from dicom_bridge.bridge import Bridge
from dicom_bridge.bucket import Bucket
from dicom_bridge.remote import RemoteBlobs
from dicom_bridge.tls import Files
from fhir_server import conformance, own_parameters, repeating
from fhir_server.audit.ledger import Ledger
from fhir_server.export.exports import Exports
from fhir_server.postgres.database import Database
from fhir_server.settings import Settings
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from resources import acknowledgement, priors
from resources.acknowledgement import Policy
from subscriptions.addresses import Addresses

KEEPS: Final = {"ImagingStudy": holdings.keep}
"""What is not deleted while the bridge holds what it lists."""


@dataclass(frozen=True)
class Core:
    """What every role works with."""

    settings: Settings
    database: Database
    ledger: Ledger
    store: Store
    bridge: Bridge
    exports: Exports

    @classmethod
    def of(cls, settings: Settings, database_url: str) -> "Core":
        """Wire it; nothing is connected yet."""
        database = Database(database_url, size=settings.database_connections)
        ledger = Ledger(database)
        policy = policy_of(settings)
        workflow = Workflow(
            settings.fhir_base,
            policy,
            addresses_of(settings).check,
            settings.subscription_limit,
            sends_mail=settings.smtp_address is not None,
            repeats=repeats_of(settings),
            informal_hours=settings.informal_hours,
            addenda=settings.addenda,
        )
        hooks = workflow.hooks()._replace(keeps=KEEPS)
        store = Store(
            database,
            ledger,
            conformance.binding(hooks) if settings.profiles_bind else hooks,
            settings.fhir_base,
            rules=settings.rules,
            keep_days=settings.keep_days,
            holder=settings.holder,
        )
        blobs = blobs_of(settings)
        files = settings.dicom_tls_files
        bridge = Bridge(
            database,
            store,
            ledger,
            blobs,
            ae_title=settings.ae_title,
            tls=Files(*files) if files else None,
        )
        exports = Exports(database, settings.data_dir / "exports", settings.fhir_base)
        return cls(settings, database, ledger, store, bridge, exports)


def blobs_of(settings: Settings) -> Blobs:
    """Where this installation keeps pixels."""
    if settings.blob_url.startswith("s3:"):
        return RemoteBlobs(settings.blob_folder, Bucket(settings.blob_url), settings.blob_room)
    return Blobs(settings.blob_folder)


def policy_of(settings: Settings) -> Policy:
    """By when reports are acknowledged here: the operator's file, or what we bring."""
    place = settings.acknowledgement
    return acknowledgement.read(Path(place)) if place else acknowledgement.DEFAULT


def repeats_of(settings: Settings) -> repeating.Policy:
    """What becomes of requests that repeat others here."""
    rules = priors.read(Path(settings.priors)) if settings.priors else priors.DEFAULT
    return repeating.Policy(settings.repeat_days, settings.repeats == "reason", rules)


def addresses_of(settings: Settings) -> Addresses:
    """Where this installation sends subscriptions."""
    return Addresses(settings.subscription_hosts, public=settings.subscription_public)


def key_addresses_of(settings: Settings) -> Addresses:
    """Where this installation reads the keys that clients publish."""
    return Addresses(settings.jwks_hosts, public=settings.jwks_public)


@asynccontextmanager
async def opened(settings: Settings, database_url: str) -> AsyncIterator[Core]:
    """Wire everything and connect for as long as the block lasts."""
    core = Core.of(settings, database_url)
    await core.database.open()
    try:
        await own_parameters.load(core.database)
        yield core
    finally:
        await core.bridge.quiet.drained()
        await core.database.close()
