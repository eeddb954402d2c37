"""Folding: all instance rows of a study into its ImagingStudy, one unit of work, one version.

The instances were permitted when they came, so this is the system's own work. What is written is
a pure function of the rows and of what the order said; running it twice changes nothing.

References
----------
* FHIR R4 ImagingStudy; docs/representation.md; PS3.18 Tables 10.6.3-3, 10.6.3-4
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson

from dicom_bridge import availability, orders, reparenting, sources
from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import dicom_json, origin, reconciling, tags
from dicom_bridge.mapping import imaging_study as studies
from dicom_bridge.mapping import patient as patients
from dicom_bridge.mapping.imaging_study import Arrived
from dicom_bridge.mapping.origin import Sources
from dicom_bridge.reparenting import Place
from fhir_server.access.principal import Principal
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Blobs, Integers, Texts
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import codes, content
from resources import imaging_study as rules

LARGE: Final = 50
"""Rows that are folded in a thread, so that others need not wait."""

ROWS: Final = """
SELECT sop_uid, series_uid, sop_class, modality, series_number, number, frames, organization,
       header, patient_id, accession_issuer
FROM instance WHERE study_uid = $1 ORDER BY received, sop_uid
"""
KNOWN: Final = "SELECT imaging_study FROM study WHERE study_uid = $1"
NEW_STUDY: Final = """
INSERT INTO study (study_uid, imaging_study, patient, json, series, instances, updated)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
SAME_STUDY: Final = """
UPDATE study SET imaging_study = $2, patient = $3, json = $4, series = $5, instances = $6,
    updated = $7
WHERE study_uid = $1
"""
SERIES: Final = """
INSERT INTO series (series_uid, study_uid, json, number, instances, updated)
SELECT s.series_uid, $1, s.json, s.number, s.instances, $2
FROM unnest($3::text[], $4::bytea[], $5::bigint[], $6::bigint[])
    AS s(series_uid, json, number, instances)
ON CONFLICT (series_uid, study_uid) DO UPDATE
    SET json = excluded.json, number = excluded.number, instances = excluded.instances,
        updated = excluded.updated
"""
SENDERS: Final = f"""
INSERT INTO audit (instant, interaction, outcome, subject, organization, role, origin, request,
    type, id, version, patient, query, hits, detail, purpose)
SELECT $2, 'settle', {ledger.SUCCESS}, i.peer, i.organization,
    CASE WHEN i.peer LIKE 'Peer/%' THEN 'device' ELSE 'sender' END, 'settle', $3,
    'ImagingStudy', $4, $5, $6, 'StudyInstanceUID=' || i.study_uid, count(*), 'received', 'TREAT'
FROM instance i WHERE i.study_uid = $1 GROUP BY i.study_uid, i.peer, i.organization
"""
"""What came was audited when nobody knew whose it is: each sender, with patient and study."""
FOLDED: Final = "UPDATE unsettled SET folded = greatest(folded, $2) WHERE study_uid = $1"


async def fold(bridge: Bridge, study_uid: str, mark: int, *, apart: bool = False) -> str | None:
    """Write the ImagingStudy of a study as its instance rows up to `mark` make it.

    Parameters
    ----------
    apart
        It joins no other study, wherever it belongs.

    Returns
    -------
    :
        The study that the instances have joined (see `reparenting`), which is to be settled now.

    Raises
    ------
    Stale, UniqueViolation
        Another process folded the study at the same moment.
    """
    rows = await bridge.database.run(ROWS, (study_uid,))
    if not rows:
        return None  # another process has moved them to the study that they join
    read = await asyncio.to_thread(_read, rows) if len(rows) > LARGE else _read(rows)
    arrived, issuer, strangers = read
    known = await bridge.database.run(KNOWN, (study_uid,))
    known_id = str(known[0][0]) if known else None
    context = RequestContext(Principal.system("settle"), "settle", origin="settle")
    async with bridge.store.begin(context) as work:
        made_by = await sources.found(work, arrived)
        folding = _Folding(work, study_uid, arrived, issuer, made_by)
        there = await folding.belong(strangers, apart) if known_id is None else None
        if there is None:
            written = await folding.write(known_id)
            instant = work.context.instant
            work.add(SERIES, _series_rows(study_uid, arrived, made_by, instant))
            row = _study_row(study_uid, arrived, made_by, written, instant)
            work.add(SAME_STUDY if known_id else NEW_STUDY, row)
            patient = str(written.json["subject"]["reference"]).partition("/")[2]
            sent = (study_uid, instant, context.request_id, written.id, written.version, patient)
            work.add(SENDERS, sent)
            work.add(FOLDED, (study_uid, mark))
            work.add(availability.NOTE, (study_uid, instant))
    if there is None:
        return None
    if await reparenting.move(bridge, study_uid, mark, there, folding.request, folding.sender):
        return there.study_uid
    return await fold(bridge, study_uid, mark, apart=True)


class _Folding:
    """One study being folded: finds what it belongs to, writes what differs."""

    def __init__(
        self, work: Work, study_uid: str, arrived: list[Arrived], issuer: str, made_by: Sources
    ) -> None:
        self._work = work
        self._study_uid = study_uid
        self._arrived = arrived
        self._header = arrived[0].header
        self._issuer = issuer
        self._made_by = made_by
        self._of = orders.Sender("", "")
        self._belonging = orders.Belonging(None, None)
        self._doubt = ""

    @property
    def request(self) -> str:
        """Reference to the request that the study belongs to; empty if to none."""
        request = self._belonging.request
        return request.reference if request else ""

    @property
    def sender(self) -> str:
        """Name of who sent the study."""
        return self._of.name

    async def belong(self, strangers: bool, apart: bool) -> Place | None:
        """Find what a study belongs to that comes for the first time, and where it is to go."""
        self._of = await self._sender()
        self._belonging = await orders.belonging(self._work, self._header, self._issuer, self._of)
        there, self._doubt = await reparenting.place(
            self._work, self._study_uid, self._header, self._belonging, self._of
        )
        if there is not None and (strangers or apart):
            there, self._doubt = None, self._doubt or reparenting.SECOND_STUDY
        if strangers:
            self._doubt = self._belonging.doubt or STRANGERS
        return there

    async def write(self, known_id: str | None) -> Stored:
        """Create or update the ImagingStudy."""
        of = self._of if self._of.id else await self._sender()
        system = f"{codes.ACCESSION}/{self._issuer or of.ods}"
        found = studies.found(self._study_uid, self._arrived, system, self._made_by)
        if known_id is not None:
            known = await self._work.read("ImagingStudy", known_id)
            return await self._replace(known, found)
        belonging = self._belonging
        known_patient = belonging.patient or await self._work.create(
            content.made(patients.made(self._header, of.ods, of.id, contested=belonging.contested))
        )
        found["subject"] = {"reference": f"Patient/{known_patient.id}"}
        if belonging.request is not None:
            found["basedOn"] = [{"reference": f"ServiceRequest/{belonging.request.id}"}]
        study = await self._first(found, belonging)
        if not self._doubt and belonging.patient is not None and not study.json.get("basedOn"):
            awaited = await orders.is_awaited(self._work, belonging.patient, self._header, of)
            self._doubt = orders.AWAITED if awaited else ""
        if self._doubt:
            await self._ask(study)
        return study

    async def _sender(self) -> orders.Sender:
        return await orders.sender(self._work, self._arrived[0].organization)

    async def _ask(self, study: Stored) -> None:
        instant, subject = self._work.context.instant, study.json["subject"]
        asked = reconciling.task(study.reference, subject, self._of.id, self._doubt, instant)
        await self._work.create(content.made(asked))

    async def _first(self, found: dict[str, Any], belonging: orders.Belonging) -> Stored:
        """Adopt the study that was registered for it, if its patient agrees, or make one."""
        awaited = await orders.registered(self._work, self._study_uid, belonging.request)
        if awaited is not None and awaited.json.get("subject") == found["subject"]:
            return await self._replace(awaited, found)
        return await self._work.create(content.made(rules.merged(None, found)))

    async def _replace(self, known: Stored, found: dict[str, Any]) -> Stored:
        held = {member: value for member, value in known.json.items() if member != "meta"}
        merged = rules.merged(_renamed(held, self._study_uid), found)
        if merged == held:
            return known
        return await self._work.update(
            "ImagingStudy", known.id, content.made(merged), if_match=known.version
        )


STRANGERS: Final = "Instances of another patient came under the same Study Instance UID."


def _renamed(known: Mapping[str, Any], study_uid: str) -> dict[str, Any]:
    """The study known, without a UID that was foreseen for it and is not the one it got."""
    kept = [
        identifier
        for identifier in known.get("identifier", ())
        if identifier.get("system") != codes.DICOM_UID
        or identifier.get("value") == f"urn:oid:{study_uid}"
    ]
    return {**known, "identifier": kept}


def _read(rows: list[Any]) -> tuple[list[Arrived], str, bool]:
    """Rows as the fold wants them: of the first's patient only, and whether others were there."""
    read = [
        (Arrived._make((*row[:8], orjson.loads(row[8]))), str(row[9]), str(row[10])) for row in rows
    ]
    patient = next((patient for _, patient, _ in read if patient), "")
    own = [arrived for arrived, of, _ in read if of in ("", patient)]
    issuer = next((issuer for _, _, issuer in read if issuer), "")
    return own, issuer, len(own) < len(read)


def _series_rows(
    study_uid: str, arrived: list[Arrived], made_by: Sources, instant: int
) -> list[Any]:
    """What QIDO-RS will say of the series."""
    series = studies.by_series(arrived)
    texts = []
    for rows in series.values():
        extra: dict[str, Any] = {"NumberOfSeriesRelatedInstances": len(rows)}
        if name := _institution(rows, made_by):
            extra["InstitutionName"] = name
        texts.append(orjson.dumps(dicom_json.row(rows[0].header, [tags.SERIES], extra)))
    numbers = Integers([rows[0].series_number for rows in series.values()])
    counts = Integers([len(rows) for rows in series.values()])
    return [study_uid, instant, Texts(series), Blobs(texts), numbers, counts]


def _institution(rows: list[Arrived], made_by: Sources) -> str:
    """Who created these, in the one value that Institution Name has."""
    return origin.institution(
        origin.source_of(row.organization, row.header, made_by).name for row in rows
    )


def _study_row(
    study_uid: str, arrived: list[Arrived], made_by: Sources, written: Stored, instant: int
) -> tuple[Any, ...]:
    """What QIDO-RS will say of the study."""
    series = len({row.series_uid for row in arrived})
    extra: dict[str, Any] = {
        "ModalitiesInStudy": sorted({row.modality for row in arrived if row.modality}),
        "SOPClassesInStudy": sorted({row.sop_class for row in arrived}),
        "InstanceAvailability": "ONLINE",
        "NumberOfStudyRelatedSeries": series,
        "NumberOfStudyRelatedInstances": len(arrived),
    }
    if name := _institution(arrived, made_by):
        extra["InstitutionName"] = name
    json = orjson.dumps(dicom_json.row(arrived[0].header, [tags.PATIENT, tags.STUDY], extra))
    patient = str(written.json["subject"]["reference"]).partition("/")[2]
    return (study_uid, written.id, patient, json, series, len(arrived), instant)
