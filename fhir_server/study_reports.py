"""Reports of studies: what an issued report makes necessary beside its pathway.

A report that gets an addendum is issued anew, its study says whether it has been reported, and a
report is about nobody but the patient of its study.

References
----------
* R006.2, R009.3 of the requirements; docs/representation.md, "Reports"
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fhir_server.naming import local, normal, short, split
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Work
from resources import addenda, codes, content, elements, imaging_study, report
from resources.addenda import Reissue
from resources.errors import Conflict
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


class Root(NamedTuple):
    """A report that gets, changes or loses an addendum, and as what it is issued anew."""

    stored: Stored
    how: Reissue


async def roots(work: Work, written: Sequence[Write], base: str) -> list[Root]:
    """The reports whose addenda are written here, by name.

    Raises
    ------
    Unprocessable
        An addendum is about another patient than its report.
    """
    found: dict[str, list[Reissue]] = {}
    held: dict[str, Stored] = {}
    for write in written:
        if write.stored.type != "DiagnosticReport":
            continue
        before, after = short(write.before or {}, base), normal(write.stored, base)
        for name in dict.fromkeys([*addenda.addended(after), *addenda.addended(before)]):
            how = addenda.reissue(before, after, name)
            if how is None or not name.startswith("DiagnosticReport/"):
                continue
            if name not in held:
                held[name] = await work.read(*split(name))
            addenda.check_patient(after, normal(held[name], base))
            loses = name not in addenda.addended(after)
            # What comes from outside stands in the report as soon as that is issued.
            may_wait = loses or work.context.principal.role == "system"
            if report.is_issued(held[name].json) or not may_wait:
                found.setdefault(name, []).append(how)
    for name in found:
        if any(write.stored.reference == name for write in written):
            found[name].append(addenda.as_it_is(held[name].json))
    return [Root(held[name], addenda.gravest(found[name])) for name in sorted(found)]


def keep(write: Write) -> None:
    """Refuse to delete an addendum: it is withdrawn, and the whole report is told without it.

    Raises
    ------
    Conflict
        It is an addendum that is issued.
    """
    if write.stored.type == "DiagnosticReport" and addenda.addended(write.before or {}):
        raise Conflict("An addendum is withdrawn (entered-in-error), and not deleted.")


async def reissue(work: Work, root: Root) -> Stored:
    """Issue a report anew, as one whose addenda changed: to all who had it (R009.3).

    Raises
    ------
    Conflict
        It is not issued, or was withdrawn at this moment.
    """
    named = root.stored
    stored = await work.read(named.type, named.id, lock=not work.is_new(named.reference))
    members = addenda.reissued(stored.json, root.how)
    changed = content.replaced(content.read(stored.text), members)
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
