"""Intake: instance rows on their way into the database, those that arrive together at once.

While one statement is under way, what arrives waits and shares the next: instance rows, the mark
"this study is unsettled" and the audit rows, durable before any of the senders hears success.

References
----------
* PS3.4 Section B.2.3 (C-STORE status), PS3.7 Section 9.1.1.1.9 (Duplicate SOP Instance)
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from dicom_bridge.arrivals import CONFLICT, HELD, MEND, STORE, Arrival, entering, keeping, mending
from dicom_bridge.instance import Instance
from dicom_bridge.relay import Relay
from fhir_server.postgres.blocking import Line
from fhir_server.postgres.database import Database, Row, Texts
from fhir_server.postgres.gathering import Gathering
from resources.errors import Conflict, Refusal

HELD_OTHERWISE: Final = "another object is held under this SOP Instance UID"
OF_ANOTHER: Final = "the study is held for another patient or by others"


class Received(NamedTuple):
    """What became of an instance that was taken in."""

    instance: Instance
    already: bool
    """It was held before, byte for byte; nothing changed."""
    mended: bool = False
    """Its bytes were gone or damaged, and are here again."""


class Intake:
    """Where arrivals join the next statement: those of threads one, those of the loop another."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gathering: Gathering[Arrival, Received] = Gathering(self._answer)
        self._line = Line(database.url)
        self._relay: Relay[Arrival, bool] = Relay(self._are_new)

    def enter_here(self, arrival: Arrival) -> bool:
        """Enter one instance from a thread, which waits; False if it is not simply new.

        Its row and audit are durable when this says True. Otherwise nothing was written, and
        `enter` knows why.

        Raises
        ------
        Exhausted
            The database is away, full or too slow.
        """
        return self._relay.ask(arrival)

    def close(self) -> None:
        """Hang up the line of the threads."""
        self._line.close()

    async def enter(self, arrival: Arrival) -> Received:
        """Enter one instance; its row and audit are durable when this returns.

        Raises
        ------
        Conflict
            Another object is held under its SOP Instance UID, or its study is held for another
            patient or by others. It is kept beside, and audited.
        """
        return await self._gathering.ask(arrival)

    def _are_new(self, batch: list[Arrival]) -> list[bool]:
        now, _ = _compatible(enumerate(batch))
        entered = [arrival for _, arrival in now]
        rows = self._line.run(STORE, entering(entered))
        new = {sop_uid for (sop_uid,) in rows}
        found = [False] * len(batch)
        for at, arrival in now:
            found[at] = arrival.instance.sop_uid in new
        return found

    async def _answer(self, batch: list[Arrival]) -> list[Received | Exception]:
        answers: dict[int, Received | Exception] = {}
        waiting = list(enumerate(batch))
        while waiting:
            now, waiting = _compatible(waiting)
            found = await self._enter([arrival for _, arrival in now])
            answers.update(zip((at for at, _ in now), found, strict=True))
        return [answers[at] for at in range(len(batch))]

    async def _enter(self, arrivals: list[Arrival]) -> list[Received | Exception]:
        """Enter arrivals no two of which share a SOP Instance UID."""
        rows = await self._database.run(STORE, entering(arrivals))
        new = {sop_uid for (sop_uid,) in rows}
        if len(new) == len(arrivals):
            return [Received(arrival.instance, already=False) for arrival in arrivals]
        rest = [arrival for arrival in arrivals if arrival.instance.sop_uid not in new]
        verdicts = await self._judge(rest)
        return [
            verdicts.get(arrival.instance.sop_uid, Received(arrival.instance, already=False))
            for arrival in arrivals
        ]

    async def _judge(self, rest: Sequence[Arrival]) -> dict[str, Received | Exception]:
        """Tell the same object from a conflict; keep and audit either."""
        wanted = Texts([arrival.instance.sop_uid for arrival in rest])
        held = {row[0]: row for row in await self._database.run(HELD, (wanted,))}
        verdicts: dict[str, Received | Exception] = {
            a.instance.sop_uid: _verdict(a, held.get(a.instance.sop_uid)) for a in rest
        }
        mended = [
            arrival
            for arrival in rest
            for verdict in [verdicts[arrival.instance.sop_uid]]
            if isinstance(verdict, Received) and verdict.mended
        ]
        if mended:
            await self._database.run(MEND, mending(mended))
        judged = [
            (arrival, verdict if isinstance(verdict, Refusal) else None)
            for arrival in rest
            for verdict in [verdicts[arrival.instance.sop_uid]]
        ]
        await self._database.run(CONFLICT, keeping(judged))
        return verdicts


def _compatible(
    waiting: Iterable[tuple[int, Arrival]],
) -> tuple[list[tuple[int, Arrival]], list[tuple[int, Arrival]]]:
    """Split off what one statement may hold: each UID once, each study for one patient."""
    now: list[tuple[int, Arrival]] = []
    later: list[tuple[int, Arrival]] = []
    seen: set[str] = set()
    patients: dict[str, tuple[str, str]] = {}
    for at, arrival in waiting:
        one = arrival.instance
        patient = (one.patient_id, one.issuer)
        if one.sop_uid in seen or patients.setdefault(one.study_uid, patient) != patient:
            later.append((at, arrival))
        else:
            seen.add(one.sop_uid)
            now.append((at, arrival))
    return now, later


def _verdict(arrival: Arrival, held: Row | None) -> Received | Exception:
    if held is None:
        return Conflict(OF_ANOTHER, at="PatientID")
    one = arrival.instance
    if held[1:3] == (one.digest, one.transfer_syntax):
        is_as_said = one.was_there and held[3] == one.dataset_offset
        return Received(one, already=True, mended=not is_as_said)
    return Conflict(HELD_OTHERWISE, at="SOPInstanceUID")
