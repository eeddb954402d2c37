"""The `isocentre` command: which subcommand is where, and how a failure sounds.

Every command takes ``--data-dir``. One that needs the database uses that of the server running on
the same data folder, or starts the embedded one for as long as it runs. A command ends with
status 0, or says in one sentence on standard error why not.
"""

import importlib
import logging
import sys
from typing import Final

import click

from resources.errors import Refusal

COMMANDS: Final = {
    "serve":   "roles:serve_everything",
    "http":    "roles:http_role",
    "dicom":   "roles:dicom_role",
    "worker":  "roles:worker_role",
    "init":    "record:init",
    "check":   "record:check",
    "reindex": "record:reindex",
    "restored": "record:restored",
    "audit":   "record:audit",
    "client":  "registry:client",
    "user":    "logins:user",
    "peer":    "peering:peer",
    "token":   "tokens:token",
    "keys":    "signing:keys",
    "demo":    "demonstration:demo",
}  # fmt: skip
"""Name -> module of `fhir_server.commands` and the command in it. A module is imported when its
command is called: a script that wants a token need not wait for a DICOM library."""

FAILED: Final = 1
STOPPED: Final = 130

_log = logging.getLogger("fhir_server.cli")


class Commands(click.Group):
    """The group of all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of a name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(f"fhir_server.commands.{module}"), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="isocentre")
def isocentre() -> None:
    """One imaging record shared by many organisations: a FHIR R4 server with a DICOM bridge."""


def main() -> None:
    """Run the command; tell a refusal in one sentence."""
    try:
        status = isocentre.main(standalone_mode=False)
    except Refusal as refusal:
        status = _said(refusal.reason)
    except (click.exceptions.Abort, KeyboardInterrupt):
        status = STOPPED
    except click.ClickException as error:
        _said(error.format_message())
        status = error.exit_code
    except Exception as error:
        _log.exception("the command failed")
        status = _said(f"The command failed: {type(error).__name__}.")
    sys.exit(status if isinstance(status, int) else 0)


def _said(reason: str) -> int:
    click.echo(reason, err=True)
    return FAILED


if __name__ == "__main__":
    main()
