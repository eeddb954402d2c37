"""``user``: who may sign in with a login kept here, and in which roles."""

from pathlib import Path

import click

from fhir_server.audit import ledger
from fhir_server.commands.beside import as_operator, data_dir_option, settings_of
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
        await users.add(core.database, users.made(login, password, found.json, role))

    with_core(settings_of(data_dir), add)


@user.command("password")
@data_dir_option
@click.option("--login", required=True)
@click.option("--password", prompt=True, hide_input=True, confirmation_prompt=True)
def change_password(data_dir: Path | None, login: str, password: str) -> None:
    """Change the password of a login; all that it has signed in to and authorised ends."""

    async def change(core: Core) -> None:
        await users.change_password(core.database, login, password)
        await sign_ins.close_all(core.database, login)
        await authorizations.withdraw_all(core.database, login)
        for each in await users.acting(core.database, login):
            row = ledger.entry(
                as_operator("login"),
                type="PractitionerRole",
                id=each.practitioner_role,
                detail="password changed",
            )
            await core.ledger.append(row)

    with_core(settings_of(data_dir), change)


@user.command("remove")
@data_dir_option
@click.option("--login", required=True)
@click.option("--practitioner-role", required=True, help="Id of the PractitionerRole.")
def remove_user(data_dir: Path | None, login: str, practitioner_role: str) -> None:
    """Take a role away from a login; what was authorised in it ends."""

    async def remove(core: Core) -> None:
        await users.find(core.database, login, practitioner_role)
        await users.remove(core.database, login, practitioner_role)
        await sign_ins.close_all(core.database, login)
        await authorizations.withdraw_all(core.database, login, practitioner_role)
        row = ledger.entry(
            as_operator("login"),
            type="PractitionerRole",
            id=practitioner_role,
            detail="login taken away",
        )
        await core.ledger.append(row)

    with_core(settings_of(data_dir), remove)
