"""``token``: an access token for scripts and tests, without the authorisation server."""

from pathlib import Path

import click

from fhir_server.access import purposes, scopes
from fhir_server.access.keys import LONGEST_TOKEN_SECONDS
from fhir_server.access.principal import Principal
from fhir_server.access.token import Keys, mint
from fhir_server.commands.beside import data_dir_option, note, settings_of, with_database
from fhir_server.postgres.database import Database
from resources.errors import Invalid
from smart_apps import clients, users
from smart_apps.clients import Client


@click.command()
@data_dir_option
@click.option("--client", "client_id", required=True, help="Id of a registered client.")
@click.option("--scope", required=True, help="SMART scopes, within those of the client.")
@click.option("--user", "login", help="Login of the person who uses it.")
@click.option("--patient", help="Id of the Patient in context.")
@click.option("--purpose", default="", help="HL7 v3 PurposeOfUse, if not that of the role.")
@click.option(
    "--lifetime", type=click.IntRange(1, LONGEST_TOKEN_SECONDS), default=300, help="Seconds."
)
def token(
    data_dir: Path | None,
    client_id: str,
    scope: str,
    login: str | None,
    patient: str | None,
    purpose: str,
    lifetime: int,
) -> None:
    """Print an access token."""

    async def who(database: Database) -> tuple[Client, Principal]:
        registered = await clients.enabled(database, client_id)
        if not scopes.parse(scope).within(scopes.parse(registered.scope)):
            raise Invalid(f"{client_id} is registered for no more than: {registered.scope}")
        user = None if login is None else await users.find(database, login)
        given = user.principal(scope, client_id) if user else registered.principal(scope)
        role = {"type": "PractitionerRole", "id": user.practitioner_role} if user else {}
        async with database.transaction() as change:
            await note(change, f"token of client {client_id} made: {scope}, {lifetime} s", **role)
        return registered, given

    asked = scopes.parse(scope)
    if patient is None and any(grant.context == "patient" for grant in asked.grants):
        raise Invalid("patient/ scopes need --patient.")
    purpose = purposes.check(purpose) if purpose else ""
    settings = settings_of(data_dir)
    client, principal = with_database(settings, who)
    made = mint(
        Keys.load(settings.data_dir),
        settings.url,
        subject=principal.subject,
        client=client_id,
        scope=scope,
        organization=principal.organization,
        role=principal.role,
        patient=patient,
        epoch=client.epoch,
        purpose=purpose,
        lifetime=lifetime,
    )
    click.echo(made)
