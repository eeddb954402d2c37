"""Intake: instance rows on their way into the database, those that arrive together at once.

While one statement is under way, what arrives waits and shares the next: instance rows, the mark
"this study is unsettled" and the audit rows, durable before any of the senders hears success.

References
----------
* PS3.4 Section B.2.3 (C-STORE status), PS3.7 Section 9.1.1.1.9 (Duplicate SOP Instance)
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from dicom_bridge.instance import Instance
from dicom_bridge.relay import Relay
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.blocking import Line
from fhir_server.postgres.database import Blobs, Database, Integers, Row, Texts
from fhir_server.postgres.gathering import Gathering
from resources.errors import Conflict, Refusal

COLUMNS: Final = (
    ("sop_uid", "text"),
    ("study_uid", "text"),
    ("series_uid", "text"),
    ("sop_class", "text"),
    ("transfer_syntax", "text"),
    ("digest", "text"),
    ("size", "bigint"),
    ("dataset_offset", "bigint"),
    ("blob", "text"),
    ("patient_id", "text"),
    ("issuer", "text"),
    ("accession", "text"),
    ("accession_issuer", "text"),
    ("modality", "text"),
    ("series_number", "bigint"),
    ("number", "bigint"),
    ("frames", "bigint"),
    ("header", "bytea"),
    ("organization", "text"),
    ("peer", "text"),
    ("received", "bigint"),
)
"""Columns of `instance` that an arrival fills, and the type of their parameters."""
ARRAY: Final[dict[str, type[list[Any]]]] = {"text": Texts, "bigint": Integers, "bytea": Blobs}

_NAMES: Final = ", ".join(name for name, _ in COLUMNS)
_ARRIVED: Final = ", ".join(f"${at}::{kind}[]" for at, (_, kind) in enumerate(COLUMNS, start=1))
_AUDIT: Final = ", ".join(f"e.{name}" for name in ledger.Entry._fields)

OTHER_PATIENT: Final = """
    SELECT 1 FROM (SELECT patient_id, issuer FROM instance
                   WHERE study_uid = a.study_uid LIMIT 1) h
    WHERE h.patient_id <> '' AND a.patient_id <> ''
      AND (h.patient_id <> a.patient_id
           OR (h.issuer <> '' AND a.issuer <> '' AND h.issuer <> a.issuer))
"""

OTHER_ORGANIZATION: Final = """
    SELECT 1 FROM (SELECT 1 FROM instance WHERE study_uid = a.study_uid LIMIT 1) h
    LEFT JOIN study s ON s.study_uid = a.study_uid
    WHERE (s.study_uid IS NOT NULL OR a.patient_id = '')
      AND NOT EXISTS (SELECT 1 FROM instance o
                      WHERE o.study_uid = a.study_uid AND o.organization = a.organization)
      AND NOT EXISTS (SELECT 1 FROM relation r
                      WHERE r.organization = a.organization AND r.patient = s.patient
                        AND r.until > a.received)
"""
"""A study that others hold, of a patient whom the sender has nothing to do with: whoever knows its
UID would add a picture, become a party to the study, and see all of the patient."""

STORE: Final = f"""
WITH arrived AS MATERIALIZED (
    SELECT * FROM unnest({_ARRIVED}) WITH ORDINALITY AS t({_NAMES}, n)
), stored AS (
    INSERT INTO instance ({_NAMES})
    SELECT {_NAMES} FROM arrived a
    WHERE NOT EXISTS ({OTHER_PATIENT}) AND NOT EXISTS ({OTHER_ORGANIZATION})
    ON CONFLICT (sop_uid) DO NOTHING
    RETURNING sop_uid
), new AS (
    SELECT a.* FROM arrived a JOIN stored USING (sop_uid)
), marked AS (
    INSERT INTO unsettled (study_uid, mark, folded, since, organization)
    SELECT study_uid, 1, 0, max(received), min(organization) FROM new
    GROUP BY study_uid ORDER BY study_uid
    ON CONFLICT (study_uid) DO UPDATE
        SET mark = unsettled.mark + 1, since = greatest(unsettled.since, excluded.since)
), audited AS (
    INSERT INTO audit ({ledger.COLUMNS})
    SELECT {_AUDIT}
    FROM {ledger.unnested(len(COLUMNS) + 1)} WITH ORDINALITY AS e({ledger.COLUMNS}, n)
    JOIN new USING (n)
)
SELECT sop_uid FROM stored
"""
"""Rows, marks and audit of what is new; answers with what is new."""

HELD: Final = "SELECT sop_uid, digest, transfer_syntax FROM instance WHERE sop_uid = ANY($1)"

CONFLICT: Final = f"""
WITH kept AS (
    INSERT INTO instance_conflict (sop_uid, digest, study_uid, series_uid, transfer_syntax, size,
        dataset_offset, blob, reason, organization, peer, received)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
        $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[])
    ON CONFLICT (sop_uid, digest) DO NOTHING
)
INSERT INTO audit ({ledger.COLUMNS}) SELECT * FROM {ledger.unnested(13)}
"""
"""What conflicts, kept beside what is held, and the audit of all that was not new."""

HELD_OTHERWISE: Final = "another object is held under this SOP Instance UID"
OF_ANOTHER: Final = "the study is held for another patient or by others"


class Received(NamedTuple):
    """What became of an instance that was taken in."""

    instance: Instance
    already: bool
    """It was held before, byte for byte; nothing changed."""


class Arrival(NamedTuple):
    """One instance, durable as a blob, and who brought it."""

    instance: Instance
    context: RequestContext


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
        rows = self._line.run(STORE, _parameters(entered))
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
        rows = await self._database.run(STORE, _parameters(arrivals))
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
        refused = [
            (arrival, verdict)
            for arrival in rest
            if isinstance(verdict := verdicts[arrival.instance.sop_uid], Refusal)
        ]
        entries = [_entry(arrival, verdicts[arrival.instance.sop_uid]) for arrival in rest]
        await self._database.run(CONFLICT, [*_conflicts(refused), *ledger.arrays(entries)])
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


def _parameters(arrivals: Sequence[Arrival]) -> list[list[Any]]:
    """The parameters of `STORE`."""
    return [*_columns(arrivals), *ledger.arrays([_success(arrival) for arrival in arrivals])]


def _columns(arrivals: Sequence[Arrival]) -> list[list[Any]]:
    rows = [_row(arrival) for arrival in arrivals]
    return [
        ARRAY[kind](values)
        for (_, kind), values in zip(COLUMNS, zip(*rows, strict=True), strict=True)
    ]


def _row(arrival: Arrival) -> tuple[Any, ...]:
    one, who = arrival.instance, arrival.context.principal
    return (
        one.sop_uid,
        one.study_uid,
        one.series_uid,
        one.sop_class,
        one.transfer_syntax,
        one.digest,
        one.size,
        one.dataset_offset,
        one.digest,
        one.patient_id,
        one.issuer,
        one.accession,
        one.accession_issuer,
        one.modality,
        one.series_number,
        one.number,
        one.frames,
        orjson.dumps(one.header),
        who.organization or "",
        who.subject,
        arrival.context.instant,
    )


def _verdict(arrival: Arrival, held: Row | None) -> Received | Exception:
    if held is None:
        return Conflict(OF_ANOTHER, at="PatientID")
    if held[1:] == (arrival.instance.digest, arrival.instance.transfer_syntax):
        return Received(arrival.instance, already=True)
    return Conflict(HELD_OTHERWISE, at="SOPInstanceUID")


def _success(arrival: Arrival) -> ledger.Entry:
    return _entry(arrival, None)


def _entry(arrival: Arrival, verdict: Received | Exception | None) -> ledger.Entry:
    one = arrival.instance
    refused = isinstance(verdict, Refusal)
    return ledger.entry(
        arrival.context,
        outcome=ledger.MINOR_FAILURE if refused else ledger.SUCCESS,
        type="ImagingStudy",
        query=f"StudyInstanceUID={one.study_uid}&SOPInstanceUID={one.sop_uid}",
        hits=1,
        detail=str(verdict) if refused else None,
    )


def _conflicts(refused: Sequence[tuple[Arrival, Refusal]]) -> list[list[Any]]:
    kinds = (Texts, Texts, Texts, Texts, Texts, Integers, Integers, *(Texts,) * 4, Integers)
    rows = [
        (
            one.sop_uid,
            one.digest,
            one.study_uid,
            one.series_uid,
            one.transfer_syntax,
            one.size,
            one.dataset_offset,
            one.digest,
            refusal.reason,
            context.principal.organization or "",
            context.principal.subject,
            context.instant,
        )
        for (one, context), refusal in refused
    ]
    columns = zip(*rows, strict=True) if rows else ((),) * len(kinds)
    return [kind(values) for kind, values in zip(kinds, columns, strict=True)]
