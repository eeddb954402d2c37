"""``user``: who may sign in with a login kept here, and in which roles."""

from pathlib import Path

import click

from fhir_server.audit.configuration import PEOPLE
from fhir_server.commands.beside import as_operator, data_dir_option, note, settings_of
from fhir_server.commands.cores import with_core
from fhir_server.core import Core
from smart_apps import users
from smart_apps.authorization import authorizations, sign_ins


@click.group()
def user() -> None:
    """Local logins."""


@user.command("add")
@data_dir_option
@click.option("--login", required=True)
@click.option("--password", prompt=True, hide_input=True, confirmation_prompt=True)
@click.option("--practitioner-role", required=True, help="Id of the PractitionerRole.")
@click.option(
    "--role",
    type=click.Choice(sorted(users.PERSONS)),
    help="What the person does, where no code of the PractitionerRole says it.",
)
def add_user(
    data_dir: Path | None, login: str, password: str, practitioner_role: str, role: str | None
) -> None:
    """Add a login for a person in a role, or change it."""

    async def add(core: Core) -> None:
        found = await core.store.read(as_operator("read"), "PractitionerRole", practitioner_role)
        made = users.made(login, password, found.json, role)
        async with core.database.transaction() as change:
            await note(change, "login added or changed", PEOPLE, **_role(practitioner_role))
            await users.add(change, made)

    with_core(settings_of(data_dir), add)


@user.command("password")
@data_dir_option
@click.option("--login", required=True)
@click.option("--password", prompt=True, hide_input=True, confirmation_prompt=True)
def change_password(data_dir: Path | None, login: str, password: str) -> None:
    """Change the password of a login; all that it has signed in to and authorised ends."""

    async def changed(core: Core) -> None:
        async with core.database.transaction() as change:
            await users.change_password(change, login, password)
            await sign_ins.close_all(change, login)
            await authorizations.withdraw_all(change, login)
            for each in await users.acting(change, login):
                await note(change, "password changed", PEOPLE, **_role(each.practitioner_role))

    with_core(settings_of(data_dir), changed)


@user.command("remove")
@data_dir_option
@click.option("--login", required=True)
@click.option("--practitioner-role", required=True, help="Id of the PractitionerRole.")
def remove_user(data_dir: Path | None, login: str, practitioner_role: str) -> None:
    """Take a role away from a login; what was authorised in it ends."""

    async def remove(core: Core) -> None:
        await users.find(core.database, login, practitioner_role)
        async with core.database.transaction() as change:
            await note(change, "login taken away", PEOPLE, **_role(practitioner_role))
            await users.remove(change, login, practitioner_role)
            await sign_ins.close_all(change, login)
            await authorizations.withdraw_all(change, login, practitioner_role)

    with_core(settings_of(data_dir), remove)


def _role(practitioner_role: str) -> dict[str, str]:
    return {"type": "PractitionerRole", "id": practitioner_role}
