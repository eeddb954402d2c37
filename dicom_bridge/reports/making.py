"""Every issued report becomes an SR and a PDF of its study, so that a DICOM workstation shows it.

A duty follows the change log: a report that was issued, changed or withdrawn, and a study whose
first objects have come. For each study that a report is about it makes the documents of the
present version, the structured one naming the document that it replaces, and takes them in
like whatever else arrives. Which document says which version is noted before it is stored, and
UIDs are derived, so who begins again after a crash makes what is missing and nothing twice.

References
----------
* docs/representation.md, "Reports for DICOM workstations"; requirement R002.1
"""

import asyncio
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import orjson
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from dicom_bridge import ingest
from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping.demographics import component, person_name
from dicom_bridge.reports import documents, hiding
from dicom_bridge.reports.documents import Author, Study, Version
from dicom_bridge.reports.said import Said, said
from fhir_server import reporters
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.naming import local, split
from fhir_server.postgres.database import Texts
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store import changes
from fhir_server.store.changes import BEGINNING, Change, Cursor
from fhir_server.store.unit_of_work import Work
from fhir_server.store.withholding import is_restricted
from resources import addenda, codes, elements, report
from resources.errors import Conflict, Exhausted, Gone, NotFound, Refusal
from resources.reporters import Reporter

FOLLOWER: Final = "report-objects"
"""Our name among the followers of the change log."""
AT_ONCE: Final = 500
OURSELVES: Final = Principal.system("reports")
LONDON: Final = ZoneInfo("Europe/London")

PLACE: Final = "SELECT log, xid, key FROM follower WHERE name = $1"
KEEP: Final = """
INSERT INTO follower (name, log, xid, key) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET log = $2, xid = $3, key = $4
"""
STUDIES: Final = "SELECT study_uid, imaging_study FROM study WHERE imaging_study = ANY($1)"
SHOWN: Final = """
SELECT DISTINCT r.report FROM report_object r JOIN study s ON s.study_uid = r.study_uid
WHERE s.imaging_study = ANY($1) AND r.kind IN ('sr', 'pdf')
"""
WHOSE: Final = """
UPDATE study SET patient = n.patient FROM unnest($1::text[], $2::text[]) AS n(id, patient)
WHERE study.imaging_study = n.id AND study.patient <> n.patient
"""
FIRST: Final = """
SELECT header, organization FROM instance WHERE study_uid = $1 ORDER BY received, sop_uid LIMIT 1
"""
IMAGES: Final = """
SELECT series_uid, sop_class, sop_uid FROM instance WHERE study_uid = $1 AND frames > 0
ORDER BY series_number NULLS LAST, series_uid, number NULLS LAST, sop_uid
"""
MADE: Final = """
SELECT r.kind, r.version, i.series_uid, i.sop_class, r.sop_uid
FROM report_object r LEFT JOIN instance i ON i.sop_uid = r.sop_uid
WHERE r.report = $1 AND r.study_uid = $2 ORDER BY r.version DESC
"""
NOTE: Final = """
INSERT INTO report_object (sop_uid, report, version, study_uid, kind, made)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (sop_uid) DO NOTHING
"""

_log = logging.getLogger(__name__)


class Made(NamedTuple):
    """A document of a report that was noted; without series where it is not stored yet."""

    kind: str
    version: int
    series_uid: str | None
    sop_class: str | None
    sop_uid: str


class Issued(NamedTuple):
    """A report as it is now: what it says, by whom, and the ids of the studies it is about."""

    stored: Stored
    said: Said
    author: Author
    studies: Sequence[str]


class Making:
    """The duty.

    Parameters
    ----------
    fhir_base
        Address of the FHIR root.
    """

    def __init__(self, bridge: Bridge, fhir_base: str) -> None:
        self._bridge = bridge
        self._base = fhir_base

    async def work(self) -> int:
        """Make what the changes since last time ask for; say how many documents were made.

        Raises
        ------
        Exhausted
            There is no room now; what was not made is made next time.
        """
        rows = await self._bridge.database.run(PLACE, (FOLLOWER,))
        place = Cursor._make(rows[0]) if rows else BEGINNING
        made = 0
        while lines := await changes.follow(self._bridge.database, place, AT_ONCE):
            for id in await self._reports(lines):
                made += await self._try(id)
            place = lines[-1].cursor
            await self._bridge.database.run(KEEP, (FOLLOWER, *place))
        return made

    async def _reports(self, lines: Iterable[Change]) -> list[str]:
        """The reports that changes are about, each once."""
        named = [(one.type, one.id) for one in lines]
        ids = [id for type_, id in named if type_ == "DiagnosticReport"]
        studies = [id for type_, id in dict.fromkeys(named) if type_ == "ImagingStudy"]
        context = RequestContext(OURSELVES, "search-type", "worker")
        for id in studies:
            asked = [("imagingStudy", f"ImagingStudy/{id}"), ("_count", "1000"), ("_total", "none")]
            query = parse("DiagnosticReport", asked, strict=True, own_base=self._base)
            page = await self._bridge.store.search(context, query)
            ids += [stored.id for stored in page.matches]
        await self._note_patients(studies)
        ids += [id for (id,) in await self._bridge.database.run(SHOWN, (Texts(studies),))]
        return list(dict.fromkeys(ids))

    async def _note_patients(self, studies: Sequence[str]) -> None:
        """Note of which patient studies are now: somebody may have corrected it."""
        context = RequestContext(OURSELVES, "read", "worker")
        found = await self._bridge.store.many(context, [f"ImagingStudy/{id}" for id in studies])
        subjects = {
            stored.id: local(one, self._base)
            for stored in found.values()
            for one in elements.references(stored.json.get("subject"))
        }
        pairs = {id: split(one)[1] for id, one in subjects.items() if one.startswith("Patient/")}
        if pairs:
            await self._bridge.database.run(WHOSE, (Texts(pairs), Texts(pairs.values())))

    async def _try(self, id: str) -> int:
        try:
            return await self._make(id)
        except Exhausted:
            raise
        except Refusal as refusal:
            _log.error("report %s has no documents: %s", id, refusal.reason)
        except Exception:
            _log.exception("report %s has no documents", id)
        return 0

    async def _make(self, id: str) -> int:
        issued = await self._issued(id)
        if issued is None:
            return 0
        if is_restricted(issued.stored.json) or issued.stored.deleted:
            await hiding.hide(self._bridge, id)
            return 0
        shown = await hiding.shown_in(self._bridge, id)
        whose = elements.references(issued.stored.json.get("subject"))
        strangers = {one for one in shown if not await self._is_of(one, whose)}
        if strangers:
            _log.warning("documents of report %s are of another patient than their study", id)
            await hiding.hide(self._bridge, id, shown - strangers)
        rows = await self._bridge.database.run(STUDIES, (Texts(issued.studies),))
        return sum([await self._of_study(issued, str(study_uid)) for study_uid, _ in rows])

    async def _issued(self, id: str) -> Issued | None:
        context = RequestContext(OURSELVES, "read", "worker")
        async with self._bridge.store.begin(context) as work:
            try:
                stored = await work.read("DiagnosticReport", id)
            except NotFound:
                return None
            except Gone:
                gone = Stored("DiagnosticReport", id, 0, work.context.instant, "D", b"")
                return Issued(gone, Said("", [], []), Author("", ""), [])
            resource = stored.json
            roots = [local(one, self._base) for one in addenda.addended(resource)]
            if not report.is_issued(resource) and resource.get("status") not in report.WITHDRAWN:
                return None
            if any(one.startswith("DiagnosticReport/") for one in roots):
                return None  # the report that it is added to says it too
            by = await self._author(work, stored)
            studies = await self._studies(work, resource)
        return Issued(stored, said(resource), by, studies)

    async def _is_of(self, study: str, whose: Sequence[str]) -> bool:
        """Whether an ImagingStudy is of that patient."""
        context = RequestContext(OURSELVES, "read", "worker")
        try:
            subject = (await self._bridge.store.read(context, "ImagingStudy", study)).json[
                "subject"
            ]
        except (NotFound, Gone):
            return True
        own = [local(one, self._base) for one in elements.references(subject)]
        return own == [local(one, self._base) for one in whose]

    async def _studies(self, work: Work, resource: Mapping[str, Any]) -> list[str]:
        """The studies of its own patient that a report is about: none says what another has."""
        whose = [local(one, self._base) for one in elements.references(resource.get("subject"))]
        found: list[str] = []
        for one in elements.references(resource.get("imagingStudy")):
            named = local(one, self._base)
            id = split(named)[1] if named.startswith("ImagingStudy/") else ""
            if not id or id in found:
                continue
            try:
                study = (await work.read("ImagingStudy", id)).json
            except (NotFound, Gone):
                continue
            if [local(one, self._base) for one in elements.references(study["subject"])] == whose:
                found.append(id)
            else:
                _log.error("ImagingStudy/%s is of another patient than a report of it", id)
        return found

    async def _author(self, work: Work, stored: Stored) -> Author:
        found = await reporters.found(work, stored.json, {}, self._base)
        return author_of(found)

    async def _of_study(self, issued: Issued, study_uid: str) -> int:
        """Make the documents of one study, as far as they are not there."""
        stored, database = issued.stored, self._bridge.database
        known = [Made._make(row) for row in await database.run(MADE, (stored.id, study_uid))]
        older = [one for one in known if one.series_uid and one.kind in ("sr", "came")]
        if stored.json.get("status") in report.WITHDRAWN and not older:
            return 0
        if any(one.kind == "came" and one.version >= stored.version for one in known):
            return 0
        header, organization = (await database.run(FIRST, (study_uid,)))[0]
        study = Study(orjson.loads(header), await database.run(IMAGES, (study_uid,)))
        version = self._version(stored, study_uid, study, older)
        principal = replace(OURSELVES, organization=str(organization))
        context = RequestContext(principal, "settle", origin="worker")
        there = {one.sop_uid for one in known if one.series_uid}
        makers = (("sr", documents.structured), ("pdf", documents.encapsulated))
        missing = [one for one in makers if documents.sop_uid(version, one[0]) not in there]
        for kind, make in missing:
            sop_uid = documents.sop_uid(version, kind)
            row = (sop_uid, stored.id, stored.version, study_uid, kind, context.instant)
            await database.run(NOTE, row)
            ds = await asyncio.to_thread(make, issued.said, issued.author, study, version)
            await self._take_in(ds, context)
        if missing:
            await ingest.settle(self._bridge, study_uid)
        return len(missing)

    def _version(
        self, stored: Stored, study_uid: str, study: Study, older: Sequence[Made]
    ) -> Version:
        name = f"{self._base}/{stored.reference}@{study_uid}"
        instant = datetime.fromtimestamp(stored.instant / 1_000_000, UTC)
        zone = zone_of(str(study.header.get("TimezoneOffsetFromUTC", "")))
        before = next((one for one in older if one.version < stored.version), None)
        replaced = None
        if before is not None and before.series_uid and before.sop_class:
            replaced = (before.series_uid, before.sop_class, before.sop_uid)
        return Version(name, stored.version, instant.astimezone(zone), replaced)

    async def _take_in(self, ds: Dataset, context: RequestContext) -> None:
        """Bring a document in on the one way in."""
        spool = self._bridge.blobs.spool()
        spool.write(await asyncio.to_thread(part10, ds))
        one = await asyncio.to_thread(ingest.keep, self._bridge.blobs, spool)
        try:
            await ingest.receive(self._bridge, one, context)
        except Conflict:
            # Another worker made it at this moment, of the study as it was then.
            _log.info("document %s is there", one.sop_uid)


def part10(ds: Dataset) -> bytes:
    """Write a data set as a file (PS3.10)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def author_of(found: Sequence[Reporter]) -> Author:
    """Who stands for a report: the first who is named, and the organisation."""
    named = [one for one in found if one.practitioner.get("name") or one.name]
    first = next(iter(named or found), Reporter({}, {}, {}))
    name = person_name(first.practitioner.get("name", ())) or component(first.name)
    if name and "^" not in name:
        name = f"{name[:63]}^"  # one component, which highdicom wants to be told
    organization: Any = first.organization
    ods = [
        str(one.get("value", ""))
        for one in organization.get("identifier", ())
        if one.get("system") in (codes.ODS_ORGANIZATION, codes.ODS_SITE)
    ]
    place = component(str(organization.get("name", "")))
    return Author(name[:64], place, component(next(iter(ods), "")))


def zone_of(offset: str) -> tzinfo:
    """The time zone of a data set: its offset, or where we are (docs/representation.md).

    Examples
    --------
    >>> zone_of("-0130").utcoffset(None)
    datetime.timedelta(days=-1, seconds=81000)
    >>> zone_of("")
    zoneinfo.ZoneInfo(key='Europe/London')
    """
    digits = offset[1:5]
    if offset[:1] not in ("+", "-") or len(digits) < 4 or not digits.isdecimal():
        return LONDON
    span = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if span >= timedelta(days=1):
        return LONDON
    return timezone(-span if offset[0] == "-" else span)
