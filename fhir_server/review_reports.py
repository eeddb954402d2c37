"""Reports of reviews: addenda to the reports of the studies under review (R008, R009).

Where a study has no report yet, that of its review stands by itself, and becomes an addendum in
the moment the first one is issued. An addendum to an addendum is one to its report too.

References
----------
* `resources.addenda`, `resources.review`; docs/representation.md, "Addenda"
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fhir_server.naming import held as pin
from fhir_server.naming import short, split
from fhir_server.reviews import based_on, read
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from fhir_server.study_reports import Root
from resources import addenda, codes, content, elements, report, review
from resources.content import Content, written_instant
from resources.errors import Unprocessable
from resources.request_state import Held
from resources.task import FINAL

Json = Mapping[str, Any]

MANY: Final = 20
"""Addenda of addenda: how far they are followed."""


async def completed(work: Work, given: Content, base: str) -> Content:
    """The report with what it is an addendum to.

    Raises
    ------
    Unprocessable
        It is for a review of other studies, or an addendum to itself.
    """
    json = short(given.json, base)
    if not report.is_radiology(json) or json.get("status") in report.WITHDRAWN:
        return given
    with work.as_server():
        asked = [await read(work, name, base) for name in based_on(json)]
        requests = [one.json for one in asked if one is not None]
        reviews = [one for one in requests if review.is_review(one)]
        if len(reviews) == 1 == len(requests):
            review.check_report(json, reviews[0])
        roots = _ours(json)
        if reviews and not roots:
            roots = await _under_review(work, json, reviews, base)
        roots = await _with_theirs(work, json, roots, base)
        extension = addenda.adding(json, roots)
    is_more = len(extension) > len(json.get("extension", ()))
    return content.replaced(given, {"extension": extension}) if is_more else given


async def joined(work: Work, studies: Iterable[Held], base: str) -> tuple[list[Root], list[Stored]]:
    """Reports of reviews that came before the report of the study: they become addenda to it.

    Parameters
    ----------
    studies
        Those that are reported here, locked.

    Returns
    -------
    :
        What is to be issued anew for it, and what was written.
    """
    roots: dict[str, Root] = {}
    after: list[Stored] = []
    for study in studies:
        asked = [await read(work, name, base) for name in based_on(study.json)]
        reviews = {one.reference for one in asked if one is not None and review.is_review(one.json)}
        if not reviews:
            continue
        alone = await _reports(work, study.reference, base)
        early = [one for one in alone if _is_of(one.json, reviews)]
        others = [one for one in alone if one not in early]
        for one in early if others else ():
            stored = await work.read(*split(one.reference), lock=not work.is_new(one.reference))
            extension = addenda.adding(stored.json, [root.reference for root in others])
            changed = content.replaced(content.read(stored.text), {"extension": extension})
            after.append(await work.update(stored.type, stored.id, changed, stored.version))
            after += await _superseded(work, one, base)
            for root in others:
                held = await work.read(*split(root.reference))
                roots[root.reference] = Root(held, addenda.as_it_is(held.json))
    return [roots[name] for name in sorted(roots)], after


async def _superseded(work: Work, early: Held, base: str) -> list[Stored]:
    """End what was asked about a report that is told as a part of another one now."""
    pairs = [("focus", early.reference), ("code", codes.ACKNOWLEDGE.token), ("_count", "1000")]
    ended: list[Stored] = []
    for stored in await work.search(parse("Task", pairs, strict=True)):
        if stored.json.get("status") not in FINAL:
            members = {
                "status": "cancelled",
                "businessStatus": codes.SUPERSEDED.concept,
                "lastModified": written_instant(work.context.instant),
            }
            changed = content.replaced(content.read(stored.text), members)
            ended.append(await work.update(stored.type, stored.id, changed, stored.version))
    return ended


async def _reports(work: Work, study: str, base: str) -> list[Held]:
    """The issued reports of a study that stand by themselves, own writes included, by name."""
    found: dict[str, Held] = {}
    if not work.is_new(study):
        pairs = [("imagingStudy", study), ("_count", "1000")]
        for stored in await work.search(parse("DiagnosticReport", pairs, strict=True)):
            found[stored.reference] = pin(stored, base)
    for write in work.writes:
        if write.stored.type == "DiagnosticReport" and not write.stored.deleted:
            found[write.stored.reference] = pin(write.stored, base)
    return [
        found[name]
        for name in sorted(found)
        if report.is_issued(found[name].json)
        and report.is_radiology(found[name].json)
        and addenda.is_released(found[name].json)
        and not _ours(found[name].json)
        and study
        in map(elements.unversioned, elements.references(found[name].json.get("imagingStudy")))
    ]


async def _under_review(work: Work, json: Json, reviews: Sequence[Json], base: str) -> list[str]:
    """The reports of the studies of a review's report: those that it was asked about first."""
    own = {f"ServiceRequest/{one['id']}" for one in reviews}
    asked = [name for one in reviews for name in review.names(one, "DiagnosticReport")]
    found: list[str] = []
    for study in map(elements.unversioned, elements.references(json.get("imagingStudy"))):
        theirs = [
            one.reference
            for one in await _reports(work, study, base)
            if one.json["id"] != json.get("id") and not _is_of(one.json, own)
        ]
        found += [one for one in theirs if one in asked] or theirs
    return list(dict.fromkeys(found))


def _is_of(json: Json, reviews: set[str]) -> bool:
    """Whether a report is for reviews alone."""
    asked = set(based_on(json))
    return bool(asked) and asked <= reviews


async def _with_theirs(work: Work, json: Json, roots: Sequence[str], base: str) -> list[str]:
    """The reports that one is added to, and what those are added to: the whole tells it as well."""
    own = f"DiagnosticReport/{json.get('id', '')}"
    found = dict.fromkeys(roots)
    for name in [*found] if roots else ():
        above, turns = [name], 0
        while above and turns < MANY:
            turns += 1
            held = [await read(work, one, base) for one in above]
            above = [each for one in held if one is not None for each in _ours(one.json)]
            found |= dict.fromkeys(above)
    if own in found:
        raise Unprocessable("a report is no addendum to itself", at="DiagnosticReport.extension")
    return list(found)


def _ours(json: Json) -> list[str]:
    return [one for one in addenda.named(json) if one.startswith("DiagnosticReport/")]
