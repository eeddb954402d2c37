"""``client``, ``peer``: what may ask, registered by an operator."""

import hashlib
import ssl
from pathlib import Path

import click

from dicom_bridge.dimse import peers
from fhir_server.commands.beside import as_operator, data_dir_option, note, settings_of
from fhir_server.commands.cores import with_core
from fhir_server.core import Core, key_addresses_of
from fhir_server.search import query
from resources import codes
from resources.errors import Invalid, NotFound
from smart_apps import clients, registry
from smart_apps.authorization import registration
from smart_apps.authorization.key_sets import KeySets
from smart_apps.authorization.metadata import Registration
from smart_apps.clients import Client, Kind


@click.group()
def client() -> None:
    """Registered applications."""


@client.command("add")
@data_dir_option
@click.option("--id", "id", required=True, help="The client id.")
@click.option("--public", "kind", flag_value="public", help="It can keep no secret.")
@click.option("--secret", "kind", flag_value="secret", help="Make a secret and print it once.")
@click.option(
    "--jwks",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of its public keys, a JSON Web Key Set.",
)
@click.option("--jwks-uri", help="Where it publishes its public keys.")
@click.option("--redirect", "redirects", multiple=True, help="Redirect URI; may be repeated.")
@click.option("--launch", "launch_url", help="Where an EHR launch of it begins.")
@click.option("--scope", required=True, help="All that it may ever ask for.")
@click.option("--organization", required=True, help="ODS code of whom it acts for.")
def add_client(
    data_dir: Path | None,
    id: str,
    kind: Kind | None,
    jwks: Path | None,
    jwks_uri: str | None,
    redirects: tuple[str, ...],
    launch_url: str | None,
    scope: str,
    organization: str,
) -> None:
    """Register a SMART client, or change its registration."""
    if sum(said is not None for said in (kind, jwks, jwks_uri)) != 1:
        raise Invalid("Say one of --public, --secret, --jwks FILE and --jwks-uri URL.")

    async def add(core: Core) -> str | None:
        made = Client(
            id=id,
            kind=kind or "jwks",
            scope=scope,
            organization=await _organization(core, organization),
            redirect_uris=redirects,
            jwks=jwks.read_text() if jwks else None,
            secret="" if kind == "secret" else None,
            launch_url=launch_url,
            jwks_uri=jwks_uri,
        )
        if jwks_uri is not None:
            KeySets(key_addresses_of(core.settings)).check(jwks_uri, made.organization)
        known = id in {one.id for one in await clients.every(core.database)}
        async with core.database.transaction() as change:
            await note(change, f"client {id} {'changed' if known else 'registered'}")
            if not known:
                return await registry.register(change, made)
            await registry.change(change, made)
            return await registry.rotate(change, id) if kind == "secret" else None

    if secret := with_core(settings_of(data_dir), add):
        click.echo(secret)


@client.command("list")
@data_dir_option
def list_clients(data_dir: Path | None) -> None:
    """List the clients: id, kind, organisation, what each may ask for."""

    async def every(core: Core) -> list[Client]:
        return await clients.every(core.database)

    for one in with_core(settings_of(data_dir), every):
        state = () if one.disabled is None else ("disabled",)
        click.echo("\t".join((one.id, one.kind, one.organization, one.scope, *state)))


@client.command("rotate")
@data_dir_option
@click.option("--id", "id", required=True, help="The client id.")
def rotate_client(data_dir: Path | None, id: str) -> None:
    """Give a client a new secret, printed once; the old one is worth nothing."""

    async def rotate(core: Core) -> str:
        async with core.database.transaction() as change:
            await note(change, f"client {id} given a new secret")
            return await registry.rotate(change, id)

    click.echo(with_core(settings_of(data_dir), rotate))


@client.command("disable")
@data_dir_option
@click.option("--id", "id", required=True, help="The client id.")
def disable_client(data_dir: Path | None, id: str) -> None:
    """Let a client do nothing until it is enabled; all its tokens end at once."""

    async def disable(core: Core) -> None:
        async with core.database.transaction() as change:
            await note(change, f"client {id} disabled")
            await registry.disable(change, id)

    with_core(settings_of(data_dir), disable)


@client.command("enable")
@data_dir_option
@click.option("--id", "id", required=True, help="The client id.")
def enable_client(data_dir: Path | None, id: str) -> None:
    """Let a client ask for tokens again; those that it had stay withdrawn."""

    async def enable(core: Core) -> None:
        async with core.database.transaction() as change:
            await note(change, f"client {id} enabled")
            await registry.enable(change, id)

    with_core(settings_of(data_dir), enable)


@client.command("remove")
@data_dir_option
@click.option("--id", "id", required=True, help="The client id.")
def remove_client(data_dir: Path | None, id: str) -> None:
    """Remove a client, and withdraw what people have let it do."""

    async def remove(core: Core) -> None:
        async with core.database.transaction() as change:
            await note(change, f"client {id} removed")
            await registry.remove(change, id)

    with_core(settings_of(data_dir), remove)


@client.command("requests")
@data_dir_option
def list_requests(data_dir: Path | None) -> None:
    """List the applications that ask to be clients: id, kind, name, what each asks for."""

    async def waiting(core: Core) -> list[Registration]:
        return await registration.waiting(core.database)

    for one in with_core(settings_of(data_dir), waiting):
        click.echo("\t".join((one.id, one.kind, one.name, one.scope, *one.redirect_uris)))


@client.command("approve")
@data_dir_option
@click.option("--id", "id", required=True, help="The id that waits.")
@click.option("--organization", required=True, help="ODS code of whom it acts for.")
@click.option("--scope", default="", help="What it may ask for, where that is to be less.")
@click.option("--launch", "launch_url", help="Where an EHR launch of it begins.")
def approve_request(
    data_dir: Path | None, id: str, organization: str, scope: str, launch_url: str | None
) -> None:
    """Make a client of an application that asks to be one."""

    async def approve(core: Core) -> None:
        party = await _organization(core, organization)
        async with core.database.transaction() as change:
            await note(change, f"client {id} approved")
            await registration.approve(change, id, party, scope, launch_url)

    with_core(settings_of(data_dir), approve)


@client.command("refuse")
@data_dir_option
@click.option("--id", "id", required=True, help="The id that waits.")
def refuse_request(data_dir: Path | None, id: str) -> None:
    """Forget an application that asks to be a client."""

    async def refuse(core: Core) -> None:
        async with core.database.transaction() as change:
            await note(change, f"client {id} refused")
            await registration.refuse(change, id)

    with_core(settings_of(data_dir), refuse)


@click.group()
def peer() -> None:
    """DICOM peers."""


@peer.command("add")
@data_dir_option
@click.option("--ae", required=True, help="AE title.")
@click.option("--host", required=True)
@click.option("--port", type=int, required=True)
@click.option("--organization", required=True, help="ODS code of whom it acts for.")
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Its certificate, PEM: it must show this one.",
)
@click.option("--tls-subject", help="Subject of its certificates, as CN=CT1,O=Example (RFC 4514).")
@click.option("--tls", is_flag=True, help="It comes over TLS or not at all.")
@click.option("--informed", is_flag=True, help="It is told which instances are available.")
@click.option(
    "--destination", is_flag=True, help="The PACS that studies are sent to before they are needed."
)
@click.option("--dicomweb", help="Address of its DICOMweb services: it is sent to over HTTP.")
def add_peer(
    data_dir: Path | None,
    ae: str,
    host: str,
    port: int,
    organization: str,
    tls_cert: Path | None,
    tls_subject: str | None,
    dicomweb: str | None,
    *,
    tls: bool,
    informed: bool,
    destination: bool,
) -> None:
    """Allow a DICOM peer, and make it a destination."""
    certificate = _fingerprint(tls_cert) if tls_cert else None

    def made(party: str) -> peers.Peer:
        return peers.Peer(
            ae,
            host,
            port,
            party,
            certificate,
            tls_subject,
            tls=tls,
            informed=informed,
            destination=destination or dicomweb is not None,
            dicomweb=dicomweb,
        )

    async def add(core: Core) -> None:
        party = await _organization(core, organization)
        async with core.database.transaction() as change:
            await note(change, f"peer {ae} added or changed")
            await peers.add(change, made(party))

    with_core(settings_of(data_dir), add)


async def _organization(core: Core, ods: str) -> str:
    """Find the Organization of an ODS code."""
    identifier = ("identifier", f"{codes.ODS_ORGANIZATION}|{ods}")
    page = await core.store.search(
        as_operator("search"), query.parse("Organization", [identifier], strict=True)
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
