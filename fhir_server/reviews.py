"""Reviews: what the server adds to the request for a formal review, and when it is done (R008).

The request gets what its referrer left out: the requests that the studies were made for, and
their reports, at the versions that are current. The studies say that they are under review.

References
----------
* `resources.review`; docs/representation.md, "Formal reviews"
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fhir_server import request_gathering
from fhir_server.naming import held as pin
from fhir_server.naming import local, normal, short, split
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Work
from resources import addenda, codes, content, elements, report, review
from resources.content import Content
from resources.errors import Forbidden, Gone, NotFound
from resources.request_state import Held, begins
from resources.task import FINAL, step_of

Json = Mapping[str, Any]


async def completed(work: Work, given: Content, base: str) -> Content:
    """The request for a review with what it is about.

    Raises
    ------
    Unprocessable
        It does not name existing studies, requests and reports of its patient that its referrer
        may see.
    """
    request = short(given.json, base)
    if not review.is_review(request) or request.get("status") not in review.ASKED:
        return given
    with work.as_server():
        before = await read(work, f"ServiceRequest/{request.get('id', '')}", base)
    if before is not None and before.json.get("supportingInfo") == request.get("supportingInfo"):
        return given
    originals: dict[str, Held] = {}
    reports: dict[str, Held] = {}
    for name in review.names(request, "ImagingStudy"):
        study = await read(work, name, base)
        review.check_study(request, study.json if study else None)
        for asked in based_on(study.json if study else {}):
            with work.as_server():
                original = await read(work, asked, base)
            if original is not None and review.is_reviewable_for(original.json):
                originals[asked] = original
        pairs = [("imagingStudy", name), ("_count", "1000")]
        for stored in await work.search(parse("DiagnosticReport", pairs, strict=True)):
            one = pin(stored, base)
            if report.is_issued(one.json) and not addenda.named(one.json):
                reports[one.reference] = one
    named = {
        name: held
        for name in review.names(request, "DiagnosticReport")
        if (held := await read(work, name, base)) is not None
    }
    review.check(request, originals, {name: held.json for name, held in named.items()})
    versions = {name: one.version for name, one in {**originals, **reports, **named}.items()}
    members: dict[str, Any] = {
        "supportingInfo": review.pinned(request, versions, [*originals, *reports], base)
    }
    code = next((one.json["code"] for one in originals.values() if "code" in one.json), None)
    if code and "code" not in request:
        members["code"] = code
    return content.replaced(given, members)


async def linked(work: Work, written: Iterable[Write], base: str) -> list[Stored]:
    """Let studies say that they are under review; what was written for it."""
    wanted: dict[str, list[str]] = {}
    for write in written:
        request = normal(write.stored, base)
        if (
            write.stored.type == "ServiceRequest"
            and review.is_review(request)
            and begins(request)
            and request.get("status") in review.ASKED
        ):
            for name in review.names(request, "ImagingStudy"):
                wanted.setdefault(name, []).append(write.stored.reference)
    after: list[Stored] = []
    for name in sorted(wanted):
        study = await work.read(*split(name), lock=not work.is_new(name))
        known = normal(study, base)
        new = [one for one in wanted[name] if one not in based_on(known)]
        if new:
            extended = [*study.json.get("basedOn", ()), *({"reference": one} for one in new)]
            changed = content.replaced(content.read(study.text), {"basedOn": extended})
            after.append(await work.update(study.type, study.id, changed, study.version))
    return after


async def check_step(work: Work, write: Write, base: str) -> None:
    """Refuse a step that would acquire images for a review."""
    if write.stored.type == "Task" and step_of(write.after) == codes.ACQUIRE.code:
        for name in based_on(normal(write.stored, base)):
            request = await read(work, name, base)
            review.check_step(step_of(write.after), request.json if request else {})


async def waiting(work: Work, write: Write, base: str) -> list[str]:
    """Ids of the reviews that may end with an acknowledgement: of the report their report is in."""
    task = normal(write.stored, base)
    if (
        write.stored.type != "Task"
        or step_of(task) != codes.ACKNOWLEDGE.code
        or task.get("status") not in FINAL
    ):
        return []
    found = []
    for name in map(elements.unversioned, elements.references(task.get("focus"))):
        for one in await _addenda(work, name, base):
            found += list(request_gathering.asked_for(one, base))
    return [
        id
        for id in dict.fromkeys(found)
        if (request := await read(work, f"ServiceRequest/{id}", base)) is not None
        and review.is_review(request.json)
        and request.json.get("status") == "active"
    ]


async def acknowledgements(
    work: Work, request: Json, others: Iterable[Held], base: str
) -> tuple[Held, ...]:
    """Whether those who had the whole reports answered: of the review's referrer, if asked at all.

    Only of the versions that are current, which the report of the review is in.
    """
    if not review.is_review(request):
        return ()
    names = {
        name
        for held in others
        if held.json["resourceType"] == "DiagnosticReport"
        for name in addenda.addended(held.json)
        if name.startswith("DiagnosticReport/")
    }
    found: dict[str, Held] = {}
    for name in sorted(names):
        root = await read(work, name, base)
        if root is None:
            continue
        pairs = [("focus", name), ("code", codes.ACKNOWLEDGE.token), ("_count", "1000")]
        for stored in await work.search(parse("Task", pairs, strict=True)):
            found[stored.reference] = pin(stored, base)
        for write in work.writes:
            if write.stored.type == "Task" and step_of(write.after) == codes.ACKNOWLEDGE.code:
                found[write.stored.reference] = pin(write.stored, base)
        found = {
            reference: one
            for reference, one in found.items()
            if not _is_about(one.json, name)
            or elements.references(one.json.get("focus")) == [root.versioned]
        }
    told = tuple(one for one in found.values() if any(_is_about(one.json, each) for each in names))
    own = elements.references(request.get("requester"))
    asked = tuple(
        one
        for one in told
        if own and own == elements.references(one.json.get("restriction", {}).get("recipient"))
    )
    return asked or told


async def _addenda(work: Work, root: str, base: str) -> list[Json]:
    """What was added to a report, own writes included."""
    pairs = [("addendum-of", root), ("_count", "1000")]
    found = {one.reference: normal(one, base) for one in await _search(work, pairs)}
    found |= {
        one.stored.reference: normal(one.stored, base)
        for one in work.writes
        if one.stored.type == "DiagnosticReport" and root in addenda.addended(one.after)
    }
    return list(found.values())


async def _search(work: Work, pairs: list[tuple[str, str]]) -> Sequence[Stored]:
    return await work.search(parse("DiagnosticReport", pairs, strict=True))


def based_on(json: Json) -> list[str]:
    """``ServiceRequest/id`` of the requests that something is based on."""
    named = map(elements.unversioned, elements.references(json.get("basedOn")))
    return [one for one in named if one.startswith("ServiceRequest/")]


def _is_about(task: Json, name: str) -> bool:
    return name in map(elements.unversioned, elements.references(task.get("focus")))


async def read(work: Work, name: str, base: str) -> Held | None:
    """What there is under a name; nothing where there is none that the asker may see."""
    try:
        return pin(await work.read(*split(local(name, base))), base)
    except (Forbidden, Gone, NotFound):
        return None
