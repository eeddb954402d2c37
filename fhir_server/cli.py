"""The `isocentre` command.

Every command takes ``--data-dir``. One that needs the database uses that of the server running on
the same data folder, or starts the embedded one for as long as it runs. A command ends with
status 0, or says in one sentence on standard error why not.
"""

import asyncio
import hashlib
import logging
import secrets
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from sqlalchemy.exc import OperationalError

from demo import load as demo_load
from dicom_bridge.dimse import peers
from fhir_server import installation, logs, serve
from fhir_server import main as composition
from fhir_server.access import scopes
from fhir_server.access.principal import Principal
from fhir_server.access.token import Keys, mint
from fhir_server.context import RequestContext
from fhir_server.installation import Served
from fhir_server.main import Core
from fhir_server.search import query
from fhir_server.seat import Seat
from fhir_server.settings import Settings, read
from fhir_server.store import schema
from resources import codes
from resources.errors import Invalid, NotFound, Refusal
from smart_apps import clients, passwords, users
from smart_apps.clients import Client, Kind

Answer = TypeVar("Answer")
Command = TypeVar("Command", bound=Callable[..., Any])

FAILED: Final = 1

_log = logging.getLogger(__name__)


def _data_dir(command: Command) -> Command:
    """Give a command the option that all have."""
    return click.option(
        "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="The data folder."
    )(command)


def _seat(command: Command) -> Command:
    """Give a role the options by which the supervisor hands it its place."""
    for name in ("--listener", "--leash"):
        command = click.option(name, type=int, hidden=True)(command)
    return click.option("--seat", type=int, default=0, hidden=True)(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="isocentre")
def isocentre() -> None:
    """One imaging record shared by many organisations: a FHIR R4 server with a DICOM bridge."""


@isocentre.command("serve")
@_data_dir
@click.option("--http", help="Address of the HTTP port, host:port.")
@click.option("--dicom", help="Address of the DICOM port, host:port.")
@click.option("--http-workers", type=int, help="Processes that answer HTTP.")
@click.option("--dicom-workers", type=int, help="Processes that answer DIMSE.")
def serve_everything(**options: Any) -> None:
    """Run the whole server until SIGTERM or Ctrl-C."""
    settings = read(**options)
    logs.configure("serve", settings.log_level)
    serve.serve(settings, lambda served: _announce(settings, served))


@isocentre.command("http")
@_data_dir
@click.option("--http", help="Address of the HTTP port, host:port.")
@_seat
def http_role(seat: int, leash: int | None, listener: int | None, **options: Any) -> None:
    """Run one process that answers HTTP."""
    _role("http", composition.http, read(**options), Seat.taken(seat, leash, listener))


@isocentre.command("dicom")
@_data_dir
@click.option("--dicom", help="Address of the DICOM port, host:port.")
@_seat
def dicom_role(seat: int, leash: int | None, listener: int | None, **options: Any) -> None:
    """Run one process that answers DIMSE."""
    _role("dicom", composition.dicom, read(**options), Seat.taken(seat, leash, listener))


@isocentre.command("worker")
@_data_dir
@_seat
def worker_role(seat: int, leash: int | None, listener: int | None, **options: Any) -> None:
    """Run one process that does what is due by the clock."""
    _role("worker", composition.worker, read(**options), Seat.taken(seat, leash, listener))


@isocentre.command()
@_data_dir
def init(data_dir: Path | None) -> None:
    """Create the database, or bring it to the present schema."""
    settings = read(data_dir=data_dir)
    Keys.load(settings.data_dir)
    with installation.database_url(settings) as url:
        schema.migrate(url)


@isocentre.group()
def demo() -> None:
    """Demonstration data and workflows."""


@demo.command("load")
@_data_dir
def load_demo(data_dir: Path | None) -> None:
    """Load organisations, people, patients, logins, clients and peers; again is harmless."""
    path = _with_core(
        data_dir, lambda core: demo_load.load(core.settings, core.database, core.store)
    )
    click.echo(path)


@isocentre.group()
def client() -> None:
    """Registered applications."""


@client.command("add")
@_data_dir
@click.option("--id", "id", required=True, help="The client id.")
@click.option("--public", "kind", flag_value="public", help="It can keep no secret.")
@click.option(
    "--jwks",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of its public keys, a JSON Web Key Set.",
)
@click.option("--secret", "kind", flag_value="secret", help="Make a secret and print it once.")
@click.option("--redirect", "redirects", multiple=True, help="Redirect URI; may be repeated.")
@click.option("--scope", required=True, help="All that it may ever ask for.")
@click.option("--organization", required=True, help="ODS code of whom it acts for.")
def add_client(
    data_dir: Path | None,
    id: str,
    kind: Kind | None,
    jwks: Path | None,
    redirects: tuple[str, ...],
    scope: str,
    organization: str,
) -> None:
    """Register a SMART client, or change its registration."""
    if (kind is None) == (jwks is None):
        raise Invalid("Say one of --public, --jwks FILE and --secret.")
    secret = secrets.token_urlsafe(32) if kind == "secret" else None

    async def add(core: Core) -> None:
        made = Client(
            id=id,
            kind=kind or "jwks",
            scope=scope,
            organization=await _organization(core, organization),
            redirect_uris=redirects,
            jwks=jwks.read_text() if jwks else None,
            secret=passwords.derive(secret) if secret else None,
        )
        await clients.add(core.database, made)

    _with_core(data_dir, add)
    if secret:
        click.echo(secret)


@isocentre.group()
def user() -> None:
    """Local logins."""


@user.command("add")
@_data_dir
@click.option("--login", required=True)
@click.option("--password", required=True)
@click.option("--practitioner-role", required=True, help="Id of the PractitionerRole.")
@click.option("--role", help=f"One of {', '.join(sorted(users.PERSONS))}; else its code says it.")
def add_user(
    data_dir: Path | None, login: str, password: str, practitioner_role: str, role: str | None
) -> None:
    """Add a login for a person in a role, or change it."""

    async def add(core: Core) -> None:
        found = await core.store.read(_command(), "PractitionerRole", practitioner_role)
        await users.add(core.database, users.made(login, password, found.json, role))

    _with_core(data_dir, add)


@isocentre.group()
def peer() -> None:
    """DICOM peers."""


@peer.command("add")
@_data_dir
@click.option("--ae", required=True, help="AE title.")
@click.option("--host", required=True)
@click.option("--port", type=int, required=True)
@click.option("--organization", required=True, help="ODS code of whom it acts for.")
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Its certificate, PEM.",
)
def add_peer(
    data_dir: Path | None, ae: str, host: str, port: int, organization: str, tls_cert: Path | None
) -> None:
    """Allow a DICOM peer, and make it a destination."""
    certificate = _fingerprint(tls_cert) if tls_cert else None

    async def add(core: Core) -> None:
        party = await _organization(core, organization)
        await peers.add(core.database, peers.Peer(ae, host, port, party, certificate))

    _with_core(data_dir, add)


@isocentre.command()
@_data_dir
@click.option("--client", "client_id", required=True, help="Id of a registered client.")
@click.option("--scope", required=True, help="SMART scopes, within those of the client.")
@click.option("--user", "login", help="Login of the person who uses it.")
@click.option("--patient", help="Id of the Patient in context.")
@click.option("--lifetime", type=click.IntRange(1, 30 * 86400), default=300, help="Seconds.")
def token(
    data_dir: Path | None,
    client_id: str,
    scope: str,
    login: str | None,
    patient: str | None,
    lifetime: int,
) -> None:
    """Print an access token; for scripts and tests."""

    async def who(core: Core) -> Principal:
        registered = await clients.find(core.database, client_id)
        if not scopes.parse(scope).within(scopes.parse(registered.scope)):
            raise Invalid(f"{client_id} is registered for no more than: {registered.scope}")
        if login is None:
            return registered.principal(scope)
        return (await users.find(core.database, login)).principal(scope, client_id)

    if "patient/" in scope and patient is None:
        raise Invalid("patient/ scopes need --patient.")
    settings = _settings(data_dir)
    principal = _with_core(data_dir, who)
    made = mint(
        Keys.load(settings.data_dir),
        settings.url,
        subject=principal.subject,
        client=client_id,
        scope=scope,
        organization=principal.organization,
        role=principal.role,
        patient=patient,
        lifetime=lifetime,
    )
    click.echo(made)


def _role(
    name: str, run: Callable[[Settings, str, Seat], None], settings: Settings, seat: Seat
) -> None:
    """Run one role in its seat."""
    seat.watch()
    logs.configure(name, settings.log_level)
    with installation.database_url(settings) as url:
        run(settings, url, seat)


def _settings(data_dir: Path | None) -> Settings:
    """Read the settings of a command that works beside a server."""
    return installation.as_served(read(data_dir=data_dir))


def _with_core(data_dir: Path | None, work: Callable[[Core], Awaitable[Answer]]) -> Answer:
    """Do something with the database of a data folder, migrated."""
    settings = _settings(data_dir)
    logs.configure("command", "WARNING")

    async def run(url: str) -> Answer:
        async with composition.opened(settings, url) as core:
            return await work(core)

    with installation.database_url(settings) as url:
        schema.migrate(url)
        return asyncio.run(run(url))


def _command() -> RequestContext:
    """Give the context of what an operator does at the command line."""
    return RequestContext(Principal.system("command"), "read", "command line")


async def _organization(core: Core, ods: str) -> str:
    """Find the Organization of an ODS code."""
    context = RequestContext(Principal.system("command"), "search", "command line")
    identifier = f"{codes.ODS_ORGANIZATION}|{ods}"
    page = await core.store.search(
        context, query.parse("Organization", [("identifier", identifier)], strict=True)
    )
    if not page.matches:
        raise NotFound(f"No Organization here has the ODS code {ods}.")
    return page.matches[0].id


def _fingerprint(path: Path) -> str:
    """Give the SHA-256 fingerprint of a certificate."""
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(path.read_text())).hexdigest()
    except ValueError as error:
        raise Invalid(f"{path} is no certificate in PEM.") from error


def _announce(settings: Settings, served: Served) -> None:
    click.echo(f"Isocentre is ready: {served.url}  (FHIR {served.url}/fhir)")
    click.echo(
        f"DICOM {settings.ae_title} at {served.dicom}; data in {settings.data_dir.resolve()}"
    )
    sys.stdout.flush()


def main() -> None:
    """Run the command; tell a refusal in one sentence."""
    try:
        isocentre.main(standalone_mode=False)
    except Refusal as refusal:
        sys.exit(_say(refusal.reason))
    except OperationalError:
        sys.exit(_say("The database cannot be reached."))
    except click.exceptions.Abort:
        sys.exit(_say("Stopped."))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        _log.exception("the command failed")
        sys.exit(_say(f"The command failed: {type(error).__name__}."))


def _say(reason: str) -> int:
    click.echo(reason, err=True)
    return FAILED


if __name__ == "__main__":
    main()
