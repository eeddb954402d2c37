"""Ingest: the one way in for DICOM: `receive` an instance, `settle` its study.

C-STORE, STOW-RS and media import all end here. `keep` makes the bytes durable, `receive` the row:
only then may the sender hear success. The ImagingStudy follows once a burst, when its study is
settled; a mark in the database says which studies are not, whatever crashed meanwhile.

References
----------
* PS3.4 Annex B (Storage), B.2.3 for the statuses
* PS3.18 Section 10.5 (Store Transaction)
"""

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Sequence
from typing import Any, Final

from psycopg.errors import UniqueViolation

from dicom_bridge import conflicts, folding, following, instance
from dicom_bridge.arrivals import Arrival
from dicom_bridge.blobs import Blobs
from dicom_bridge.bridge import Bridge
from dicom_bridge.instance import Instance
from dicom_bridge.intake import Received
from dicom_bridge.mapping import dicom_json
from dicom_bridge.mapping import patient as patients
from dicom_bridge.reports import coming
from dicom_bridge.spool import FileMeta, Spool
from fhir_server.access import gate
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext, now
from fhir_server.postgres import database
from resources.errors import Conflict, NotFound, Refusal, Stale

MOST_ATTEMPTS: Final = 8
"""How often a settle begins again because another process was faster."""
LEFTOVER_SECONDS: Final = 15
CHUNK: Final = 64
OTHER_SYNTAX: Final = "the same octets are held as of another transfer syntax"

MARK: Final = "SELECT mark, folded FROM unsettled WHERE study_uid = $1"
CLEAR: Final = "DELETE FROM unsettled WHERE study_uid = $1 AND mark = $2 AND folded = $2"
LEFTOVERS: Final = "SELECT study_uid FROM unsettled WHERE since < $1 ORDER BY since LIMIT 100"
WITHOUT_JSON: Final = """
SELECT sop_uid, blob, dataset_offset, transfer_syntax, size FROM instance
WHERE study_uid = $1 AND json IS NULL ORDER BY sop_uid
"""
RELATED: Final = "SELECT 1 FROM relation WHERE organization = $1 AND patient = $2 AND until > $3"
SET_JSON: Final = """
UPDATE instance SET json = made.json, layout = made.layout
FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::text[], $5::bigint[])
    AS made(sop_uid, json, layout, blob, dataset_offset)
WHERE instance.sop_uid = made.sop_uid AND instance.blob = made.blob
    AND instance.dataset_offset = made.dataset_offset
"""

_log = logging.getLogger(__name__)


def keep(blobs: Blobs, spool: Spool) -> Instance:
    """Read what was spooled and keep it as a blob, or refuse it; the spool is used up.

    Computes for a fraction of a millisecond and waits for the disk: call it in a thread.

    Raises
    ------
    NotDicom
        No file meta information, or no SOP Instance UID.
    Unsupported
        A SOP class or transfer syntax outside our conformance statement.
    Invalid
        The data set contradicts itself or its file meta information.
    Conflict
        The same octets are kept as of another transfer syntax.
    Exhausted
        The disk is full.
    """
    try:
        one = instance.read(spool)
        blobs.put(spool)
    finally:
        spool.discard()
    return one if spool.kept is None else _as_kept(one, spool.kept)


def _as_kept(one: Instance, kept: FileMeta) -> Instance:
    """Say where the data set begins in the file that was there before."""
    if kept.transfer_syntax != one.transfer_syntax:
        raise Conflict(OTHER_SYNTAX, at="TransferSyntaxUID")
    return dataclasses.replace(one, dataset_offset=kept.offset, was_there=True)


async def receive(bridge: Bridge, one: Instance, context: RequestContext) -> Received:
    """Take in an instance that was kept.

    When this returns, the bytes and the instance row are durable and the sender may be told so.
    Receiving the same data set again is a success and changes nothing, but that bytes which were
    gone or damaged are here again. They are kept as they came: what we correct, we correct in FHIR.

    Raises
    ------
    Forbidden
        The sender may not create ImagingStudy, or not for this patient.
    Conflict
        Another instance is held under this SOP Instance UID.
    """
    patient = await _patient_in_token(bridge, one, context.principal)
    _permit(context, patient, related=await _is_related(bridge, context, patient))
    try:
        received = await bridge.intake.enter(Arrival(one, context))
    except Conflict:
        await _ask_about(bridge, one)
        raise
    if received.mended or not received.already:
        bridge.quiet.arrived(one.study_uid, functools.partial(settle_quietly, bridge))
    return received


async def _ask_about(bridge: Bridge, one: Instance) -> None:
    """Have a person look at what contradicts a study that is held."""
    found = await conflicts.contradicted(bridge, one)
    if found is not None and not found.was_settled:
        await settle_quietly(bridge, found.study_uid)
    if found is not None:
        await conflicts.ask(bridge, found)


def receive_here(bridge: Bridge, one: Instance, context: RequestContext) -> bool:
    """Take in an instance from a thread, which waits; False where it takes `receive` to judge it.

    Nearly all instances are new, and then it is the same as `receive`, without the way to the
    event loop and back. `Quiet.heard` is for the caller.

    Raises
    ------
    Forbidden
        The sender may not create ImagingStudy.
    Exhausted
        The database is away, full or too slow.
    """
    if context.principal.patient is not None:
        return False
    _permit(context, None, related=False)
    return bridge.intake.enter_here(Arrival(one, context))


def _permit(context: RequestContext, patient: str | None, *, related: bool) -> None:
    gate.permit(
        context,
        "c",
        "ImagingStudy",
        patient=patient,
        organizations=[context.principal.organization or ""],
        related=related,
    )


async def settle(bridge: Bridge, study_uid: str) -> None:
    """Fold what arrived of a study into its ImagingStudy: one new version a burst.

    Running it again changes nothing. Two processes that settle one study at once do not wait
    for each other: the slower one finds a newer version, and begins again.
    """
    joined = None
    async with bridge.quiet.turn(study_uid):
        for _ in range(MOST_ATTEMPTS):
            try:
                joined = await _settle(bridge, study_uid)
                break
            except (Stale, UniqueViolation):
                _log.info("study %s was settled elsewhere at the same time", study_uid)
    bridge.quiet.forget(study_uid)
    if joined is not None:
        await settle(bridge, joined)


async def settle_quietly(bridge: Bridge, study_uid: str) -> None:
    """Settle, where nobody waits for the answer: a failure is logged, its mark stays."""
    try:
        await settle(bridge, study_uid)
    except Refusal as refusal:
        _log.error("study %s is not settled: %s %s", study_uid, refusal.reason, refusal.at)
    except Exception:
        _log.exception("study %s is not settled", study_uid)


async def settle_leftovers(bridge: Bridge, older_than_seconds: float = LEFTOVER_SECONDS) -> int:
    """Settle studies whose mark a crash left, and say how many there were."""
    before = now() - int(older_than_seconds * 1_000_000)
    rows = await bridge.database.run(LEFTOVERS, (before,))
    for (study_uid,) in rows:
        await settle_quietly(bridge, study_uid)
    return len(rows)


async def _settle(bridge: Bridge, study_uid: str) -> str | None:
    """Settle one study; the one that its instances have joined is still to be settled."""
    rows = await bridge.database.run(MARK, (study_uid,))
    if not rows:
        return None
    mark, folded = rows[0]
    joined = await folding.fold(bridge, study_uid, mark) if folded < mark else None
    await coming.take(bridge, study_uid)
    await _make_json(bridge, study_uid)
    await bridge.database.run(CLEAR, (study_uid, mark))
    return joined


async def _make_json(bridge: Bridge, study_uid: str, rounds: int = MOST_ATTEMPTS) -> None:
    """Make the DICOM JSON of new instances (PS3.18 Annex F) before anybody asks for it.

    Of one that was corrected since it was read, it is made again.
    """
    rows = await bridge.database.run(WITHOUT_JSON, (study_uid,))
    loop = asyncio.get_running_loop()
    followed: set[str] = set()
    for at in range(0, len(rows), CHUNK):
        chunk = await _at_hand(bridge.blobs, rows[at : at + CHUNK])
        made: list[Any] = await loop.run_in_executor(bridge.executor, dicom_json.metadata, chunk)
        names = following.named(study_uid, [(one.sop_uid, one.json) for one in made])
        followed |= await following.follow(bridge, names)
        made = [one for one in made if one.sop_uid not in followed]
        read = {one.sop_uid: one for one in chunk}
        of = [read[one.sop_uid] for one in made]
        await bridge.database.run(
            SET_JSON,
            (
                database.Texts([one.sop_uid for one in made]),
                database.Blobs([one.json for one in made]),
                database.Blobs([one.layout for one in made]),
                database.Texts([one.path.name for one in of]),
                database.Integers([one.dataset_offset for one in of]),
            ),
        )
        followed |= await following.follow(bridge, names)  # what was re-parented meanwhile
    if followed and rounds:
        await _make_json(bridge, study_uid, rounds - 1)


async def _at_hand(blobs: Blobs, rows: Sequence[database.Row]) -> list[dicom_json.Stored]:
    """Bring instances to where they can be read; what is gone is for `check` to tell."""
    stored = []
    for sop_uid, blob, offset, transfer_syntax, size in rows:
        with contextlib.suppress(NotFound):
            path = await blobs.own(blob, offset + size)
            stored.append(dicom_json.Stored(sop_uid, path, offset, transfer_syntax))
    return stored


async def _is_related(bridge: Bridge, context: RequestContext, patient: str | None) -> bool:
    """Whether the sender's organisation has to do with the patient of its token."""
    if patient is None:
        return False
    asked = (context.principal.organization or "", patient, context.instant)
    return bool(await bridge.database.run(RELATED, asked))


async def _patient_in_token(bridge: Bridge, one: Instance, principal: Principal) -> str | None:
    """The token's patient if the instance is of that patient, else a name nobody has."""
    if principal.patient is None:
        return None
    context = RequestContext(Principal.system("receive"), "read")
    held = await bridge.store.read(context, "Patient", principal.patient)
    own = patients.agrees(held.json, one.header, principal.organization or "")
    return principal.patient if own else "-"
