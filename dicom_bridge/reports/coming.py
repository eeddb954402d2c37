"""Reports that come as objects of a study become DiagnosticReports, each once.

It happens when the study is settled. A report is kept under an id that is derived from its SOP
Instance UID, in the transaction that notes so; what was made here of a DiagnosticReport is noted
before it is stored, so it never becomes a second one. What cannot be read, or is no report, stays
an object of its study; of the first a person is told.

References
----------
* docs/representation.md, "Reports that arrive"
"""

import asyncio
import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson
from psycopg.errors import UniqueViolation

from dicom_bridge import instance, sources
from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import origin, reconciling
from dicom_bridge.mapping import patient as patients
from dicom_bridge.mapping.imaging_study import Arrived
from dicom_bridge.reports import reading
from dicom_bridge.reports.reading import Found
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Texts
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import codes, content, elements
from resources.errors import Exhausted, Refusal, Stale

UNREADABLE: Final = "A report came with the images that cannot be read."
OF_ANOTHER: Final = "A report came with the images that names another patient."

NEW: Final = """
SELECT i.sop_uid, i.series_uid, i.sop_class, i.modality, i.series_number, i.number, i.frames,
    i.organization, i.header, i.blob, i.dataset_offset, i.transfer_syntax, s.imaging_study
FROM instance i JOIN study s ON s.study_uid = i.study_uid
WHERE i.study_uid = $1 AND i.sop_class = ANY($2)
  AND NOT EXISTS (SELECT FROM report_object r WHERE r.sop_uid = i.sop_uid)
ORDER BY i.received, i.sop_uid
"""
NOTE: Final = """
INSERT INTO report_object (sop_uid, report, version, study_uid, kind, made)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (sop_uid) DO NOTHING
"""
KNOWN: Final = "SELECT report FROM report_object WHERE sop_uid = ANY($1) AND report <> '' LIMIT 1"

_log = logging.getLogger(__name__)


class New(NamedTuple):
    """A document that nobody has looked at."""

    arrived: Arrived
    blob: str
    dataset_offset: int
    transfer_syntax: str
    imaging_study: str


class OfAnother(Refusal):
    """A report that is of another patient, as far as its header tells."""


async def take(bridge: Bridge, study_uid: str) -> None:
    """Make reports of the documents of a settled study that nobody has looked at.

    Raises
    ------
    Exhausted, Stale, UniqueViolation
        It is to be tried again.
    """
    for row in await bridge.database.run(NEW, (study_uid, Texts(reading.CLASSES))):
        arrived = Arrived._make((*row[:8], orjson.loads(row[8])))
        one = New(arrived, *row[9:])
        try:
            found = await _read(bridge, one)
        except Exhausted:
            raise
        except Exception as error:  # whatever a parser makes of hostile bytes
            _log.warning("document %s cannot be read: %s", arrived.sop_uid, type(error).__name__)
            await _note(bridge, study_uid, one, UNREADABLE)
            continue
        try:
            await _write(bridge, study_uid, one, found)
        except (Exhausted, Stale, UniqueViolation):
            raise
        except OfAnother:
            _log.warning("document %s is of another patient", arrived.sop_uid)
            await _note(bridge, study_uid, one, OF_ANOTHER)
        except Refusal as refusal:
            _log.warning("document %s is no report: %s", arrived.sop_uid, refusal.reason)
            await _note(bridge, study_uid, one, UNREADABLE)


def id_of(sop_uid: str) -> str:
    """Id of the DiagnosticReport that a document becomes.

    Examples
    --------
    >>> id_of("1.2.3") == id_of("1.2.3"), len(id_of("1.2.3"))
    (True, 36)
    """
    return str(uuid.uuid5(uuid.NAMESPACE_OID, sop_uid))


async def _read(bridge: Bridge, one: New) -> Found | None:
    path = await bridge.blobs.own(one.blob)
    ds, _ = await asyncio.to_thread(
        instance.read_data_set, path, one.dataset_offset, one.transfer_syntax
    )
    if not await asyncio.to_thread(reading.is_report, ds):
        return None
    return await asyncio.to_thread(reading.read, ds, one.arrived.organization)


async def _write(bridge: Bridge, study_uid: str, one: New, found: Found | None) -> None:
    if found is None:
        await _note(bridge, study_uid, one)
        return
    sop_uid = one.arrived.sop_uid
    async with bridge.store.begin(_context()) as work:
        study = await work.read("ImagingStudy", one.imaging_study)
        subject = elements.unversioned(str(study.json["subject"]["reference"]))
        if patients.contradicts((await work.read(*_split(subject))).json, one.arrived.header):
            raise OfAnother("the report names another patient than its study")
        resource = found.resource
        made_by = await sources.found(work, [one.arrived])
        source = origin.source_of(one.arrived.organization, one.arrived.header, made_by)
        resource["performer"] = [{"reference": f"Organization/{source.organization}"}]
        resource["subject"] = study.json["subject"]
        resource["imagingStudy"] = [{"reference": study.reference}]
        if requests := await _requests(work, study, found.accession):
            resource["basedOn"] = [{"reference": name} for name in requests]
        if followed := await work.rows(KNOWN, (Texts(found.predecessors),)):
            resource["extension"] = [_follows(found, str(followed[0][0]))]
        written = await work.create(content.made(resource), id_of(sop_uid))
        row = (sop_uid, written.id, written.version, study_uid, "came", work.context.instant)
        work.add(NOTE, row)


async def _requests(work: Work, study: Stored, accession: str) -> list[str]:
    """The requests of the study that a report answers: of its accession number, or the only one."""
    named = [elements.unversioned(one) for one in elements.references(study.json.get("basedOn"))]
    requests = [one for one in named if one.startswith("ServiceRequest/")]
    answered = [
        name for name in requests if accession in _numbers((await work.read(*_split(name))).json)
    ]
    return answered or (requests if len(requests) == 1 else [])


def _split(reference: str) -> tuple[str, str]:
    type_, _, id = reference.partition("/")
    return type_, id


def _numbers(request: Mapping[str, Any]) -> set[str]:
    return {str(one.get("value", "")) for one in request.get("identifier", ())} - {""}


def _follows(found: Found, report: str) -> dict[str, Any]:
    url = codes.ADDENDUM_OF if reading.is_addendum(found) else codes.REPLACES_REPORT
    return {"url": url, "valueReference": {"reference": f"DiagnosticReport/{report}"}}


async def _note(bridge: Bridge, study_uid: str, one: New, doubt: str = "") -> None:
    """Note that a document is no report, and ask somebody if it should have been."""
    async with bridge.store.begin(_context()) as work:
        if doubt:
            study = await work.read("ImagingStudy", one.imaging_study)
            asked = reconciling.task(
                study.reference, study.json["subject"], one.arrived.organization, doubt,
                work.context.instant,
            )  # fmt: skip
            await work.create(content.made(asked))
        row = (one.arrived.sop_uid, "", 0, study_uid, "none", work.context.instant)
        work.add(NOTE, row)


def _context() -> RequestContext:
    return RequestContext(Principal.system("settle"), "settle", origin="settle")
