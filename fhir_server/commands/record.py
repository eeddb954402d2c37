"""``init``, ``check``, ``reindex``, ``restored``, ``audit``: care for what is kept."""

from pathlib import Path

import click

from dicom_bridge import check as bridge_check
from fhir_server import installation
from fhir_server.access.token import Keys
from fhir_server.audit import anchor, seal
from fhir_server.audit.seal import Fault, Seal
from fhir_server.commands.beside import (
    data_dir_option,
    note,
    record_of,
    settings_of,
    with_database,
)
from fhir_server.commands.cores import with_core
from fhir_server.context import now
from fhir_server.core import Core
from fhir_server.postgres.database import Database
from fhir_server.store import changes, upkeep
from resources.errors import Conflict


@click.command()
@data_dir_option
def init(data_dir: Path | None) -> None:
    """Create the database, or bring it to the present schema."""
    settings = settings_of(data_dir)
    Keys.load(settings.data_dir)
    with installation.migrated(settings):
        pass


@click.command()
@data_dir_option
@click.option("--deep", is_flag=True, help="Read every blob and compare its digest.")
def check(data_dir: Path | None, deep: bool) -> None:
    """Say whether blobs, rows and resources agree."""

    async def look(core: Core) -> list[str]:
        return await bridge_check.problems(core.bridge, deep=deep)

    problems = with_core(record_of(data_dir), look)
    for problem in problems:
        click.echo(problem)
    if problems:
        raise Conflict(f"{len(problems)} things do not agree.")
    click.echo("Blobs, rows and resources agree.")


@click.command()
@data_dir_option
def reindex(data_dir: Path | None) -> None:
    """Make the search index anew from the resources."""

    async def make(core: Core) -> int:
        return await upkeep.reindex(core.database, core.settings.fhir_base)

    count = with_core(record_of(data_dir), make)
    click.echo(f"{count} resources are indexed anew.")


@click.command()
@data_dir_option
def restored(data_dir: Path | None) -> None:
    """Begin a new change log: once, after the database came back from a dump.

    Transactions are counted from the beginning again there; without a new log, followers of
    changes and the seals on the audit would miss what is written from now on.
    """
    settings = record_of(data_dir)
    if installation.is_served(settings.data_dir):
        raise Conflict("A server runs on this data folder: stop it first.")

    async def begin(database: Database) -> int:
        async with database.transaction() as change:
            number = await changes.renew(change)
            await note(change, f"log {number} begun: the database came back from a dump")
            return number

    click.echo(f"Log {with_database(settings, begin)} begins.")


@click.group()
def audit() -> None:
    """The audit ledger."""


@audit.command()
@data_dir_option
@click.option(
    "--heads",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Heads of the chain that somebody has kept; without it, those in the data folder.",
)
def verify(data_dir: Path | None, heads: Path | None) -> None:
    """Walk the chain of seals, and say whether it holds and is the one that was kept."""
    settings = record_of(data_dir)
    keys = Keys.load(settings.data_dir)
    kept = list(anchor.read(anchor.kept(heads or anchor.path(settings.data_dir)), keys))

    async def walk(database: Database) -> tuple[list[Fault], Seal | None]:
        await seal.seal(database, now())
        return await seal.verify(database, *kept), await seal.head(database)

    faults, head = with_database(settings, walk)
    for fault in faults:
        click.echo(f"link {fault.number}: {fault.reason}")
    if faults:
        raise Conflict(f"The chain does not hold: {len(faults)} links are broken.")
    if head is not None:
        click.echo(f"The chain holds: {head.number} links, the last is {head.digest.hex()}.")
    click.echo(f"It agrees with {len(kept)} heads that were kept.")
