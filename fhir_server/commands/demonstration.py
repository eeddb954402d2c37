"""``demo``: demonstration data, and a workflow played on it."""

from pathlib import Path

import click

from demo import load
from fhir_server.commands.beside import data_dir_option, settings_of
from fhir_server.commands.cores import with_core


@click.group()
def demo() -> None:
    """Demonstration data and workflows."""


@demo.command("load")
@data_dir_option
def load_demo(data_dir: Path | None) -> None:
    """Load organisations, people, patients, logins, clients and peers; again is harmless."""
    click.echo(
        with_core(
            settings_of(data_dir),
            lambda core: load.load(core.settings, core.database, core.store),
        )
    )
