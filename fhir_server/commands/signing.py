"""``keys``: the keys that tokens are signed with, and their roll-over."""

import time
from pathlib import Path

import click

from fhir_server.access import keys as signing_keys
from fhir_server.commands.beside import data_dir_option, record_of
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
    made = signing_keys.roll(record_of(data_dir).data_dir, at_once=at_once)
    click.echo(f"{made.id} signs from {_said(made.begins)}")


@keys.command()
@data_dir_option
@click.option("--key", "kid", required=True, help="Its id.")
def retire(data_dir: Path | None, kid: str) -> None:
    """Refuse from now on what a key has signed."""
    signing_keys.retire(record_of(data_dir).data_dir, kid)


def _said(seconds: int) -> str:
    return written_instant(seconds * 1_000_000)
