"""``peer``: DICOM peers, and what is asked of them by hand."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from dicom_bridge.dimse import peers, scu
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.scu import Caller, Outcome
from dicom_bridge.mapping.matching import text
from fhir_server.commands.beside import as_operator, data_dir_option, note, settings_of
from fhir_server.commands.cores import with_core
from fhir_server.commands.registry import peer
from fhir_server.core import Core
from resources.errors import Exhausted, NotFound

Answer = TypeVar("Answer")

SHOWN: Final = (
    "StudyInstanceUID", "StudyDate", "PatientID", "AccessionNumber", "StudyDescription",
)  # fmt: skip
"""Of what a peer holds, so much is asked for and printed, tab by tab."""

__all__ = ["peer"]


@peer.command("list")
@data_dir_option
def list_peers(data_dir: Path | None) -> None:
    """List the peers: AE title, address, organisation, how it is met, told, sent to."""

    async def every(core: Core) -> list[Peer]:
        return await peers.every(core.database)

    for one in with_core(settings_of(data_dir), every):
        how = "tls" if one.is_secure else "plain"
        told = "informed" if one.informed else ""
        shown = one.subject or one.certificate or ""
        sent = one.dicomweb or ("destination" if one.destination else "")
        line = (one.ae, f"{one.host}:{one.port}", one.organization, how, told, sent, shown)
        click.echo("\t".join(line).rstrip())


@peer.command("remove")
@data_dir_option
@click.option("--ae", required=True, help="AE title.")
def remove_peer(data_dir: Path | None, ae: str) -> None:
    """Let a peer associate no more, and send it nothing."""

    async def remove(core: Core) -> None:
        async with core.database.transaction() as change:
            await note(change, f"peer {ae} removed")
            await peers.remove(change, ae)

    with_core(settings_of(data_dir), remove)


@peer.command("echo")
@data_dir_option
@click.option("--ae", required=True, help="AE title.")
def echo(data_dir: Path | None, ae: str) -> None:
    """Ask whether a peer is there (C-ECHO)."""
    _asking(data_dir, ae, lambda core, one: Caller(core.bridge).echo(one))
    click.echo(f"{ae} answers")


@peer.command("find")
@data_dir_option
@click.option("--ae", required=True, help="AE title.")
@click.option("--key", "-k", "keys", multiple=True, help="Keyword=value; may be repeated.")
def find(data_dir: Path | None, ae: str, keys: tuple[str, ...]) -> None:
    """List the studies that a peer holds (C-FIND)."""
    identifier = scu.keys_of([*SHOWN, *keys])
    who = as_operator("search").principal
    found = _asking(data_dir, ae, lambda core, one: Caller(core.bridge).find(who, one, identifier))
    for study in found:
        click.echo("\t".join(text(study.get(keyword)) for keyword in SHOWN))


@peer.command("retrieve")
@data_dir_option
@click.option("--ae", required=True, help="AE title.")
@click.option("--study", required=True, help="Study Instance UID.")
def retrieve(data_dir: Path | None, ae: str, study: str) -> None:
    """Have a peer send us a study (C-MOVE); the server must be running to receive it."""
    who = as_operator("search").principal
    _tell(_asking(data_dir, ae, lambda core, one: Caller(core.bridge).retrieve(who, one, study)))


@peer.command("send")
@data_dir_option
@click.option("--ae", required=True, help="AE title.")
@click.option("--study", required=True, help="Study Instance UID.")
def send(data_dir: Path | None, ae: str, study: str) -> None:
    """Send a peer what its organisation may read of a study (C-STORE)."""
    _tell(_asking(data_dir, ae, lambda core, one: Caller(core.bridge).send(one, study)))


def _asking(
    data_dir: Path | None, ae: str, ask: Callable[[Core, Peer], Awaitable[Answer]]
) -> Answer:
    """Ask something of a peer."""

    async def work(core: Core) -> Answer:
        one = await peers.find(core.database, ae)
        if one is None:
            raise NotFound(f"No peer here is called {ae}.")
        return await ask(core, one)

    return with_core(settings_of(data_dir), work)


def _tell(outcome: Outcome) -> None:
    """Say what became of a study; that not all of it has arrived is a failure."""
    click.echo(f"{outcome.completed} instances")
    if not outcome.is_whole:
        raise Exhausted(f"{outcome.failed} instances failed, status {outcome.status:04X}.")
