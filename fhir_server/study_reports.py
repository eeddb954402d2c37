"""Reports of studies: what an issued report makes necessary beside its pathway.

A report that gets an addendum is issued anew, its study says whether it has been reported, and a
report is about nobody but the patient of its study.

References
----------
* R006.2, R009.3 of the requirements; docs/representation.md, "Reports"
"""

from collections.abc import Iterable, Mapping, Sequence

from fhir_server.naming import local, normal, split
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Work
from resources import codes, content, elements, imaging_study, report
from resources.request_state import Held


def reports_a_study(write: Write) -> bool:
    """Whether a report of a study is written."""
    return write.stored.type == "DiagnosticReport" and bool(
        elements.references(write.after.get("imagingStudy"))
    )


def studies(reports: Iterable[Write], base: str) -> set[str]:
    """``ImagingStudy/id`` of the studies that reports are about."""
    return {
        name
        for write in reports
        for reference in elements.references(write.after.get("imagingStudy"))
        if (name := local(reference, base)).startswith("ImagingStudy/")
    }


def check_studies(write: Write, held: Mapping[str, Held], base: str) -> None:
    """Refuse a report about another patient than one of its studies."""
    for reference in elements.references(write.after.get("imagingStudy")):
        if (study := held.get(local(reference, base))) is not None:
            report.check_study(normal(write.stored, base), study.json)


async def roots(work: Work, written: Sequence[Write], base: str) -> list[Stored]:
    """The issued reports that get or lose an addendum here, and are not written besides.

    Raises
    ------
    Unprocessable
        An addendum is about another patient than its report.
    """
    own = {write.stored.reference for write in written}
    found: dict[str, Stored] = {}
    for write in written:
        if write.stored.type != "DiagnosticReport":
            continue
        named = report.addended(write.after) or report.addended(write.before or {})
        for name in (local(each, base) for each in named):
            if not name.startswith("DiagnosticReport/"):
                continue
            root = await work.read(*split(name))
            report.check_addendum(normal(write.stored, base), normal(root, base))
            if name not in own and report.is_issued(root.json):
                found[name] = root
    return [found[name] for name in sorted(found)]


async def reissue(work: Work, root: Stored) -> Stored:
    """Issue a report anew, as one that has an addendum: to all who had it (R009.3)."""
    stored = await work.read(root.type, root.id, lock=True)
    changed = content.replaced(content.read(stored.text), {"status": "appended"})
    return await work.update(stored.type, stored.id, changed, stored.version)


async def mark_reported(work: Work, study: Held, reports: Sequence[Write], base: str) -> None:
    """Set the reporting status of a study from all its reports (R006.2)."""
    statuses: dict[str, str] = {}
    if not work.is_new(study.reference):
        asked = [("imagingStudy", study.reference), ("_count", "1000")]
        query = parse("DiagnosticReport", asked, strict=True)
        for stored in await work.search(query):
            statuses[stored.reference] = stored.json.get("status", "")
    for write in reports:
        named = elements.references(normal(write.stored, base).get("imagingStudy"))
        if study.reference in map(elements.unversioned, named):
            statuses[write.stored.reference] = write.after.get("status", "")
    status = imaging_study.reporting_status(statuses.values())
    if elements.extension_value(study.json, codes.REPORTING_STATUS_EXTENSION) == status:
        return
    stored = await work.read(*split(study.reference))
    extension = imaging_study.with_reporting_status(stored.json, status)["extension"]
    changed = content.replaced(content.read(stored.text), {"extension": extension})
    await work.update(stored.type, stored.id, changed, stored.version)
