"""``demo``: demonstration data, and a workflow played on it."""

import asyncio
from pathlib import Path

import click

from demo import load, play, priors
from fhir_server.commands.beside import data_dir_option, settings_of
from fhir_server.commands.cores import with_core
from fhir_server.core import Core
from resources.errors import Conflict


@click.group()
def demo() -> None:
    """Demonstration data and workflows."""


@demo.command("load")
@data_dir_option
def load_demo(data_dir: Path | None) -> None:
    """Load organisations, people, patients, studies, logins, clients, peers; again is harmless."""

    async def loaded(core: Core) -> Path:
        path = await load.load(core.settings, core.database, core.store)
        await priors.load(core.bridge, core.settings.data_dir)
        return path

    click.echo(with_core(settings_of(data_dir), loaded))


@demo.command("play")
@data_dir_option
@click.option(
    "--pathway", type=click.Choice([*play.PATHWAYS]), default="primary", help="Which workflow."
)
def play_demo(data_dir: Path | None, pathway: str) -> None:
    """Play a workflow on the running server, every step shown and read back."""
    if not asyncio.run(play.play(settings_of(data_dir), pathway)):
        raise Conflict("Not every step was done and read back.")
