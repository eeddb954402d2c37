"""Arrivals: what an instance on its way in becomes in the database, and the two statements for it.

References
----------
* PS3.4 Section B.2.3 (C-STORE status), PS3.7 Section 9.1.1.1.9 (Duplicate SOP Instance)
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from dicom_bridge.instance import Instance
from fhir_server.access import granted
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Blobs, Integers, Texts
from resources.errors import Refusal

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

OWN_WORK: Final = f"""EXISTS (
    SELECT 1 FROM current c WHERE c.type = 'ImagingStudy' AND c.id = s.imaging_study
      AND (a.organization = ANY (c.organizations)
           OR 'IS.basedon=ServiceRequest/' || r.id = ANY (c.terms)
           OR EXISTS (SELECT 1 FROM current q WHERE q.type = 'ServiceRequest' AND q.id = r.id
                      AND q.terms && ARRAY(
                          SELECT 'SR.based-on=' || substr(t, 12) FROM unnest(c.terms) AS t
                          WHERE t LIKE 'IS.basedon=ServiceRequest/%'))
           OR {granted.seen("c", "a.organization", "a.received")}))"""

OTHER_ORGANIZATION: Final = f"""
    SELECT 1 FROM (SELECT 1 FROM instance WHERE study_uid = a.study_uid LIMIT 1) h
    LEFT JOIN study s ON s.study_uid = a.study_uid
    WHERE (s.study_uid IS NOT NULL OR a.patient_id = '')
      AND NOT EXISTS (SELECT 1 FROM instance o
                      WHERE o.study_uid = a.study_uid AND o.organization = a.organization)
      AND NOT EXISTS (SELECT 1 FROM relation r
                      WHERE r.organization = a.organization AND r.patient = s.patient
                        AND r.until > a.received AND (NOT r.limited OR {OWN_WORK}))
"""
"""A study that others hold, of a patient whom the sender has nothing to do with: whoever knows its
UID would add a picture, become a party to the study, and see all of the patient. Whose relation is
limited adds to what is theirs, of a request that they are asked to serve, or granted."""

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

HELD: Final = """
SELECT i.sop_uid, i.digest, i.transfer_syntax, coalesce(o.dataset_offset, i.dataset_offset)
FROM instance i LEFT JOIN original o USING (sop_uid) WHERE i.sop_uid = ANY($1)
"""
"""What is held under these UIDs, as it came."""

MEND: Final = """
WITH brought AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS b(sop_uid, blob, dataset_offset)
), original_mended AS (
    UPDATE original o SET dataset_offset = b.dataset_offset FROM brought b
    WHERE o.sop_uid = b.sop_uid AND o.blob = b.blob
), mended AS (
    UPDATE instance i SET dataset_offset = b.dataset_offset, json = NULL, layout = NULL
    FROM brought b WHERE i.sop_uid = b.sop_uid AND i.blob = b.blob
    RETURNING i.study_uid, i.organization
)
INSERT INTO unsettled (study_uid, mark, folded, since, organization)
SELECT study_uid, 1, 1, $4, min(organization) FROM mended GROUP BY study_uid ORDER BY study_uid
ON CONFLICT (study_uid) DO UPDATE SET mark = unsettled.mark + 1
"""
"""The blobs of these instances are there again: where their data sets begin, and what was made of
what was there before is made anew when their studies are settled."""

CONFLICT: Final = f"""
WITH kept AS (
    INSERT INTO instance_conflict (sop_uid, digest, study_uid, series_uid, transfer_syntax, size,
        dataset_offset, blob, reason, organization, peer, received)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
        $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[])
    ON CONFLICT (sop_uid, digest) DO UPDATE SET dataset_offset = excluded.dataset_offset
)
INSERT INTO audit ({ledger.COLUMNS}) SELECT * FROM {ledger.unnested(13)}
"""
"""What conflicts, kept beside what is held, and the audit of all that was not new."""


class Arrival(NamedTuple):
    """One instance, durable as a blob, and who brought it."""

    instance: Instance
    context: RequestContext


def entering(arrivals: Sequence[Arrival]) -> list[list[Any]]:
    """The parameters of `STORE`."""
    return [*_columns(arrivals), *ledger.arrays([_entry(arrival, None) for arrival in arrivals])]


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


def mending(arrivals: Sequence[Arrival]) -> list[Any]:
    """The parameters of `MEND`."""
    brought = [arrival.instance for arrival in arrivals]
    return [
        Texts([one.sop_uid for one in brought]),
        Texts([one.digest for one in brought]),
        Integers([one.dataset_offset for one in brought]),
        max(arrival.context.instant for arrival in arrivals),
    ]


def keeping(judged: Sequence[tuple[Arrival, Refusal | None]]) -> list[list[Any]]:
    """The parameters of `CONFLICT`: what was refused, and the audit of all."""
    refused = [(arrival, refusal) for arrival, refusal in judged if refusal is not None]
    entries = [_entry(arrival, refusal) for arrival, refusal in judged]
    return [*_conflicts(refused), *ledger.arrays(entries)]


def _entry(arrival: Arrival, refusal: Refusal | None) -> ledger.Entry:
    one = arrival.instance
    return ledger.entry(
        arrival.context,
        outcome=ledger.SUCCESS if refusal is None else ledger.MINOR_FAILURE,
        type="ImagingStudy",
        query=f"StudyInstanceUID={one.study_uid}&SOPInstanceUID={one.sop_uid}",
        hits=1,
        detail=None if refusal is None else str(refusal),
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
