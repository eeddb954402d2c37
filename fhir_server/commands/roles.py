"""``serve``, ``http``, ``dicom``, ``worker``: the processes of the server."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from fhir_server import installation, logs
from fhir_server.commands.beside import data_dir_option, out
from fhir_server.installation import Served
from fhir_server.seat import Seat
from fhir_server.settings import Settings, read

Command = TypeVar("Command", bound=Callable[..., Any])


def _seat(command: Command) -> Command:
    """Give a role the options by which the supervisor hands it its place."""
    command = click.option("--leash", type=int, hidden=True)(command)
    return click.option("--seat", type=int, default=0, hidden=True)(command)


@click.command("serve")
@data_dir_option
@click.option("--http", help="Address of the HTTP port, host:port.")
@click.option("--dicom", help="Address of the DICOM port, host:port.")
@click.option("--http-workers", type=int, help="Processes that answer HTTP.")
@click.option("--dicom-workers", type=int, help="Processes that answer DIMSE.")
def serve_everything(**options: Any) -> None:
    """Run the whole server until SIGTERM or Ctrl-C."""
    from fhir_server import serve

    settings = read(**options)
    logs.configure("serve", settings.log_level)
    serve.serve(settings, lambda served: _announce(settings, served))


@click.command("http")
@data_dir_option
@click.option("--http", help="Address of the HTTP port, host:port.")
@_seat
def http_role(seat: int, leash: int | None, **options: Any) -> None:
    """Run one process that answers HTTP."""
    _run("http", read(**options), Seat.taken(seat, leash))


@click.command("dicom")
@data_dir_option
@click.option("--dicom", help="Address of the DICOM port, host:port.")
@_seat
def dicom_role(seat: int, leash: int | None, **options: Any) -> None:
    """Run one process that answers DIMSE."""
    _run("dicom", read(**options), Seat.taken(seat, leash))


@click.command("worker")
@data_dir_option
@_seat
def worker_role(seat: int, leash: int | None, **options: Any) -> None:
    """Run one process that does what is due by the clock."""
    _run("worker", read(**options), Seat.taken(seat, leash))


def _run(role: str, settings: Settings, seat: Seat) -> None:
    """Run one role in its seat."""
    seat.watch()
    logs.configure(role, settings.log_level)
    from fhir_server import main

    with installation.database_url(settings) as url:
        {"http": main.http, "dicom": main.dicom, "worker": main.worker}[role](settings, url, seat)


def _announce(settings: Settings, served: Served) -> None:
    out(f"Isocentre is ready: {served.url} (FHIR base {served.url}/fhir)")
    out(f"DICOM at {served.dicom}, AE title {settings.ae_title}")
    if served.dicom_tls:
        out(f"DICOM over TLS at {served.dicom_tls}")
