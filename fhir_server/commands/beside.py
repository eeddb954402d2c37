"""Beside: how a command works next to a server on the same data folder, or without one."""

import asyncio
import os
import pwd
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fhir_server import installation, logs
from fhir_server.access.principal import Principal
from fhir_server.audit import configuration
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Transaction
from fhir_server.settings import Settings, read

Answer = TypeVar("Answer")
Command = TypeVar("Command", bound=Callable[..., Any])


def data_dir_option(command: Command) -> Command:
    """Give a command the option that all have."""
    return click.option(
        "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="The data folder."
    )(command)


def settings_of(data_dir: Path | None) -> Settings:
    """Read the settings, with the addresses under which the folder is served."""
    logs.configure("command", "WARNING")
    return installation.as_served(read(data_dir=data_dir))


def record_of(data_dir: Path | None) -> Settings:
    """Read the settings of a data folder that has been begun."""
    settings = settings_of(data_dir)
    installation.require_record(settings)
    return settings


def with_database(settings: Settings, work: Callable[[Database], Awaitable[Answer]]) -> Answer:
    """Do something with the database of the data folder, brought to the present schema."""

    async def run(url: str) -> Answer:
        database = Database(url, size=2)
        await database.open()
        try:
            return await work(database)
        finally:
            await database.close()

    with installation.migrated(settings) as url:
        return asyncio.run(run(url))


def as_operator(interaction: str) -> RequestContext:
    """Give the context of what an operator does at the command line."""
    return RequestContext(Principal.system("command"), interaction, "command line")


async def note(
    change: Transaction, detail: str, interaction: str = configuration.SECURITY, **named: str
) -> None:
    """Tell the ledger, in one transaction with it, what an operator changes, and who that is here.

    Parameters
    ----------
    named
        `type` and `id` of the resource that it concerns, if it concerns one.
    """
    told = f"{detail}, by {_account()} at the command line"
    await configuration.note(change, as_operator(interaction), told, **named)


def _account() -> str:
    """Give the account of this machine that the command runs as."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def out(text: object) -> None:
    """Print a line, at once."""
    click.echo(text)
    sys.stdout.flush()
