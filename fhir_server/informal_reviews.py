"""Informal reviews: who was asked to look at a study may, for as long as it was meant.

In the transaction of the Task that asks, a Consent of the server's lets the organisation that was
asked read the study, its requests and reports, the patient and the priors that matter. What is
added to the study or reported of it while the review is open is put into it; when the review ends,
so does the Consent, and by the clock in any case. A formal review that names the Task ends it.

Only an organisation that has to do with the patient in full may ask: who was only let look hands
nothing on.

References
----------
* Requirements W5; `resources.informal_review`; docs/representation.md, "Informal reviews"
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fhir_server import delegation, recipients
from fhir_server.naming import local, normal, split
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Work
from resources import codes, content, elements, informal_review, priors
from resources.content import Content, written_instant
from resources.errors import Forbidden, Gone, NotFound, Unprocessable
from resources.imaging_study import ISSUED
from resources.task import FINAL

Json = Mapping[str, Any]

RELATED: Final = """
select from relation
where organization = $1 and patient = $2 and until > $3 and not limited limit 1
"""

OPEN: Final = "requested,received,accepted,ready,in-progress,on-hold"
MOST: Final = "500"


async def completed(work: Work, given: Content, hours: int) -> Content:
    """Say until when who is asked may look."""
    task = given.json
    if not informal_review.is_open(task) or informal_review.end_of(task):
        return given
    end = informal_review.ending(task, written_instant(work.context.instant), hours)
    restriction = {**task.get("restriction", {}), "period": {"end": end}}
    return content.replaced(given, {"restriction": restriction})


async def follow(
    work: Work, written: Sequence[Write], hours: int, rules: priors.Rules, base: str
) -> list[Stored]:
    """Begin, renew and end what those may read who were asked; what was written for it.

    Raises
    ------
    Forbidden
        Who asks has not to do with the patient in full, or asks in the name of others.
    Unprocessable
        The Task is about another patient than the study, or asks one's own organisation.
    """
    after: list[Stored] = []
    touched: dict[str, Json] = {}
    for write in written:
        json = normal(write.stored, base)
        if write.stored.type == "Task" and informal_review.is_informal(json):
            if write.before is None:
                await _check(work, json, base)
            touched[write.stored.id] = json
        elif write.stored.type == "ServiceRequest":
            after += await _converted(work, json, touched, base)
        elif write.stored.type in ("DiagnosticReport", "ImagingStudy"):
            for task in await _asked(work, json, base):
                touched.setdefault(task["id"], task)
    for id in sorted(touched):
        after += await _brought_up_to_date(work, touched[id], hours, rules, base)
    return after


async def _check(work: Work, task: Json, base: str) -> None:
    """Refuse to ask about what is not one's own to show."""
    context = work.context
    if context.principal.role == "system":
        return
    requester = local(elements.references(task.get("requester"))[0], base)
    if not await delegation.is_or_acts_for(work, requester, base):
        raise Forbidden("a review is asked for in one's own name", "Task.requester", "relationship")
    own = context.principal.organization or ""
    patient = split(local(elements.references(task.get("for"))[0], base))[1]
    if not await work.rows(RELATED, (own, patient, context.instant)):
        raise Forbidden(
            "who only may look at a study asks nobody else to", "Task.focus", "relationship"
        )
    for name in informal_review.studies(task):
        study = normal(await work.read(*split(name)), base)
        if elements.references(study.get("subject")) != elements.references(task.get("for")):
            raise Unprocessable("a review is about the patient of its study", at="Task.for")
    asked = await _organization(work, task, base)
    if not asked:
        raise Unprocessable("an organisation answers for who is asked", at="Task.owner")


async def _organization(work: Work, task: Json, base: str) -> str:
    """``Organization/id`` of who was asked, whoever of them took it."""
    owner = local(elements.references(task.get("owner"))[0], base)
    return await recipients.organization(work, owner, base)


async def _asked(work: Work, json: Json, base: str) -> list[Json]:
    """The open reviews of a study that has grown, or that was reported."""
    names = (
        [f"ImagingStudy/{json['id']}"]
        if json["resourceType"] == "ImagingStudy"
        else [local(one, base) for one in elements.references(json.get("imagingStudy"))]
    )
    known = [name for name in names if not work.is_new(name)]
    if not known:
        return []
    pairs = [("focus", ",".join(known)), ("code", codes.REVIEW_INFORMAL.token), ("status", OPEN)]
    found = await work.search(parse("Task", [*pairs, ("_count", MOST)], strict=True))
    return [normal(one, base) for one in found]


async def _brought_up_to_date(
    work: Work, task: Json, hours: int, rules: priors.Rules, base: str
) -> list[Stored]:
    """The Consent of a review as it has to be now."""
    id, instant = informal_review.consent_id(task["id"]), written_instant(work.context.instant)
    try:
        before: Stored | None = await work.read("Consent", id, lock=True)
    except (Gone, NotFound):
        before = None
    is_open = informal_review.is_open(task)
    if before is None and not is_open:
        return []
    if before is not None and (not is_open or before.json["status"] != "active"):
        return await _ended(work, before) if not is_open else []
    if before is None:
        start, to = instant, await _organization(work, task, base)
    else:
        provision = before.json["provision"]
        start = provision["period"]["start"]
        to = elements.references(provision["actor"][0]["reference"])[0]
    end = informal_review.ending(task, start, hours)
    names = await _shown(work, task, rules, base)
    wanted = informal_review.consent(task, to, names, start, end, is_open=True)
    if before is None:
        return [await work.create(content.made(wanted), id)]
    if before.json["provision"]["data"] == wanted["provision"]["data"]:
        return []
    changed = content.replaced(content.read(before.text), {"provision": wanted["provision"]})
    return [await work.update("Consent", id, changed, before.version)]


async def _ended(work: Work, consent: Stored) -> list[Stored]:
    if consent.json["status"] != "active":
        return []
    changed = content.replaced(content.read(consent.text), {"status": "inactive"})
    return [await work.update("Consent", consent.id, changed, consent.version)]


async def _shown(work: Work, task: Json, rules: priors.Rules, base: str) -> list[str]:
    """What who was asked may read: the studies, their requests and reports, priors, the patient."""
    patient = local(elements.references(task["for"])[0], base)
    record: dict[str, Json] = {}
    for type in ("ImagingStudy", "DiagnosticReport", "ServiceRequest"):
        pairs = [("patient", patient), ("_count", MOST)]
        for one in await work.search(parse(type, pairs, strict=True)):
            record[one.reference] = normal(one, base)
    for write in work.writes:  # what this work writes is not found by a search
        if write.stored.deleted:
            record.pop(write.stored.reference, None)
        elif write.stored.type in ("ImagingStudy", "DiagnosticReport"):
            json = normal(write.stored, base)
            if elements.references(json.get("subject")) == [patient]:
                record[write.stored.reference] = json
    asked = informal_review.studies(task)
    relevant = [*asked]
    for name in asked:
        if name in record:
            found = priors.relevant(record[name], record.values(), rules)
            relevant += [f"ImagingStudy/{one['id']}" for one in found]
    shown = [patient, *dict.fromkeys(relevant)]
    for name in asked:
        named = elements.references(record.get(name, {}).get("basedOn"))
        shown += [one for one in map(elements.unversioned, named) if one in record]
    shown += [one for one in record if _is_report_of(record[one], relevant)]
    return list(dict.fromkeys(shown))


def _is_report_of(json: Json, studies: Iterable[str]) -> bool:
    if json["resourceType"] != "DiagnosticReport" or json.get("status") not in ISSUED:
        return False
    named = map(elements.unversioned, elements.references(json.get("imagingStudy")))
    return not set(named).isdisjoint(studies)


async def _converted(
    work: Work, request: Json, touched: dict[str, Json], base: str
) -> list[Stored]:
    """End the informal reviews that a formal one says it comes from."""
    if not codes.has(request.get("category"), codes.KIND_REVIEW_FORMAL):
        return []
    after: list[Stored] = []
    for reference in elements.references(request.get("supportingInfo")):
        name = local(reference, base)
        if not name.startswith("Task/"):
            continue
        stored = await work.read(*split(name), lock=not work.is_new(name))
        task = normal(stored, base)
        if not informal_review.is_informal(task) or task.get("status") in FINAL:
            continue
        if elements.references(task.get("for")) != elements.references(request.get("subject")):
            raise Unprocessable(
                "a review that became formal is about the same patient",
                at="ServiceRequest.supportingInfo",
            )
        instant = written_instant(work.context.instant)
        ended = informal_review.converted(task, f"ServiceRequest/{request['id']}", instant)
        members = {one: value for one, value in ended.items() if task.get(one) != value}
        changed = content.replaced(content.read(stored.text), members)
        after.append(await work.update("Task", stored.id, changed, stored.version))
        touched[stored.id] = ended
    return after
