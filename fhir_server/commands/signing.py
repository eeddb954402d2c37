"""``keys``: the keys that tokens are signed with, and their roll-over.

A key is no row of the database: the ledger is told what is about to be done, and then it is done.
"""

import time
from pathlib import Path

import click

from fhir_server.access import keys as signing_keys
from fhir_server.commands.beside import data_dir_option, note, record_of, with_database
from fhir_server.postgres.database import Database
from fhir_server.settings import Settings
from resources.content import written_instant


@click.group()
def keys() -> None:
    """The keys that tokens are signed with."""


@keys.command("list")
@data_dir_option
def list_keys(data_dir: Path | None) -> None:
    """List the keys: id, what each does, from when and until when."""
    folder = record_of(data_dir).data_dir
    signing = signing_keys.Keys.load(folder).signing
    at = time.time()
    for key in signing_keys.every(folder):
        if key.id == signing.id:
            state = "signs"
        elif key.begins > at:
            state = "begins"
        else:
            state = "accepted" if key.is_accepted(at) else "ended"
        until = "" if key.ends is None else f" until {_said(key.ends)}"
        click.echo(f"{key.id} {state} from {_said(key.begins)}{until}")


@keys.command()
@data_dir_option
@click.option("--now", "at_once", is_flag=True, help="Sign with it at once: the old one leaked.")
def roll(data_dir: Path | None, at_once: bool) -> None:
    """Make a new key; running servers take it by themselves."""
    settings = record_of(data_dir)
    made = signing_keys.roll(
        settings.data_dir,
        at_once=at_once,
        before=lambda key: _note(settings, f"signing key {key.id} made"),
    )
    click.echo(f"{made.id} signs from {_said(made.begins)}")


@keys.command()
@data_dir_option
@click.option("--key", "kid", required=True, help="Its id.")
def retire(data_dir: Path | None, kid: str) -> None:
    """Refuse from now on what a key has signed."""
    settings = record_of(data_dir)
    signing_keys.retire(
        settings.data_dir,
        kid,
        before=lambda key: _note(settings, f"signing key {key.id} retired"),
    )


def _note(settings: Settings, detail: str) -> None:
    async def add(database: Database) -> None:
        async with database.transaction() as change:
            await note(change, detail)

    with_database(settings, add)


def _said(seconds: int) -> str:
    return written_instant(seconds * 1_000_000)
