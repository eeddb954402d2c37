"""Reporting: what the server adds to an issued radiology report, gathered from the record.

The clinical information of the request and the notes of practitioner and operator go into the
report by themselves (R007.3, G3), whoever writes it and with whatever system; reporting
organisation, clinician and speciality are named (R015.3). What to say is `resources.report`.

References
----------
* docs/representation.md, "Reports"
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fhir_server import reporters
from fhir_server.naming import local, normal, split
from fhir_server.search import date
from fhir_server.search.query import parse
from fhir_server.store.unit_of_work import Work
from resources import addenda, content, elements, report
from resources.addenda import Addendum, Order
from resources.content import Content
from resources.imaging_study import DRAFTED
from resources.onward_request import is_onward
from resources.report import Remark, Surroundings
from resources.reporters import check
from resources.task import step_of

Json = Mapping[str, Any]

NOTED: Final = {"justify": "Justification", "acquire": "Acquisition"}
"""Steps whose notes belong into the report, and how the note is headed."""


async def completed(
    work: Work, given: Content, fhir_base: str, order: Order = "newest-first"
) -> Content:
    """The report with what the server adds; a draft is told who writes it, and no more.

    Raises
    ------
    Unprocessable
        It is issued, and nobody says which clinician of which organisation reports (R015.3).
    """
    if not report.is_radiology(given.json):
        return given
    if not report.is_issued(given.json):
        unnamed = {name: one for name, one in _defaults(work).items() if not given.json.get(name)}
        is_draft = given.json.get("status") in DRAFTED and unnamed
        return content.replaced(given, unnamed) if is_draft else given
    with work.as_server():
        if also := await reporters.revised_by(work, given.json, fhir_base):
            named = [*given.json.get("resultsInterpreter", ()), *also]
            given = content.replaced(given, {"resultsInterpreter": named})
        around = await _around(work, given.json, fhir_base, order)
    check(around.reporters)
    return content.replaced(given, report.completed(given.json, around))


def _defaults(work: Work) -> dict[str, Sequence[Json]]:
    """Who writes, for a report that names nobody."""
    principal = work.context.principal
    defaults: dict[str, Sequence[Json]] = {}
    if principal.organization:
        defaults["performer"] = [{"reference": f"Organization/{principal.organization}"}]
    if principal.subject.startswith("PractitionerRole/"):
        defaults["resultsInterpreter"] = [{"reference": principal.subject}]
    return defaults


async def _around(work: Work, given: Json, fhir_base: str, order: Order) -> Surroundings:
    defaults = _defaults(work)
    requests: list[tuple[str, Json]] = []
    noted: list[str] = []
    for reference in elements.references(given.get("basedOn")):
        name = local(reference, fhir_base)
        if name.startswith("ServiceRequest/"):
            stored = await work.read(*split(name))
            requests.append((f"{name}/_history/{stored.version}", stored.json))
            noted += [name, *await _onward(work, name)]
    remarks = [one for name in dict.fromkeys(noted) for one in await _remarks(work, name)]
    return Surroundings(
        requests=requests,
        remarks=sorted(remarks, key=lambda remark: remark.time),
        reporters=await reporters.found(work, given, defaults, fhir_base),
        defaults=defaults,
        studies=[await _link(work, one, fhir_base) for one in _studies(given, fhir_base)],
        addenda=[
            Addendum(one, await reporters.found(work, one, {}, fhir_base))
            for one in await _addenda(work, given, fhir_base)
        ],
        order=order,
    )


async def _addenda(work: Work, given: Json, base: str) -> list[Json]:
    """What was added to a report, own writes included, the newest first; to a new one nothing."""
    if "id" not in given:
        return []
    root = f"DiagnosticReport/{given['id']}"
    query = parse("DiagnosticReport", [("addendum-of", root), ("_count", "1000")], strict=True)
    found = {stored.reference: normal(stored, base) for stored in await work.search(query)}
    found |= {write.stored.reference: normal(write.stored, base) for write in work.writes}
    added = [one for one in found.values() if root in addenda.addended(one)]
    return sorted(added, key=_issued, reverse=True)


def _issued(addendum: Json) -> int:
    """When it was issued, as an instant; where it does not say so, when it was written last."""
    said = addendum.get("issued") or addendum.get("meta", {}).get("lastUpdated", "")
    return date.period(str(said))[0] if said else 0


async def _onward(work: Work, request: str) -> list[str]:
    """The requests by which others do a part of it: what they noted belongs into the report too."""
    if work.is_new(request):
        return []
    query = parse("ServiceRequest", [("based-on", request), ("_count", "100")], strict=True)
    return [one.reference for one in await work.search(query) if is_onward(one.json)]


async def _remarks(work: Work, request: str) -> list[Remark]:
    """Notes on the steps of a request, own writes included; a new one had none before."""
    steps: dict[str, Json] = {}
    if not work.is_new(request):
        query = parse("Task", [("based-on", request), ("_count", "1000")], strict=True)
        steps = {stored.reference: stored.json for stored in await work.search(query)}
    for write in work.writes:
        if write.stored.type == "Task" and {"reference": request} in write.after.get("basedOn", ()):
            steps[write.stored.reference] = write.after
    return [
        remark
        for step in steps.values()
        if (kind := step_of(step)) in NOTED
        for remark in report.remarks(NOTED[kind], step)
    ]


async def _link(work: Work, study: str, base: str) -> tuple[str, str]:
    """Where a study is shown, and what it is called."""
    json = (await work.read(*split(study))).json
    words = json.get("description") or elements.words(next(iter(json.get("procedureCode", ())), {}))
    modality = ", ".join(one.get("code", "") for one in json.get("modality", ()))
    return f"{base}/{study}", " ".join(part for part in (modality, words) if part) or "Images"


def _studies(given: Json, base: str) -> list[str]:
    named = [local(one, base) for one in elements.references(given.get("imagingStudy"))]
    return [name for name in named if name.startswith("ImagingStudy/")]
