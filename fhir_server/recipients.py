"""Recipients: whom each report of a request is issued to, gathered from the record.

The referrer first (R009.2); then whoever request or report name for a copy, the referrer who asked
for the review that an addendum answers (R009.3), and the patient's general practitioner, unless
somebody of their practice is among them already.

References
----------
* docs/acknowledgement.md; docs/representation.md, "Steps"
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fhir_server.naming import held, local, split
from fhir_server.search.query import parse
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Work
from resources import acknowledgement, addenda, codes, elements
from resources.errors import Gone, NotFound
from resources.imaging_study import ISSUED
from resources.pathway_values import referring
from resources.request_state import Held, RequestState
from resources.task import step_of

Json = Mapping[str, Any]

WITHDRAWN: Final = "entered-in-error"
TAKE_REPORTS: Final = ("Organization/", "PractitionerRole/", "CareTeam/")
"""Who can be asked to acknowledge: somebody for whom an organisation answers."""

FAIL_SAFE: Final = f"{codes.BASE}/CodeSystem/role|fail-safe"
"""PractitionerRole.code of who sees to it that reports are acknowledged."""


async def of_reports(
    work: Work, state: RequestState, written: Sequence[Write], base: str
) -> dict[str, tuple[str, ...]]:
    """Whom each issued report of a request is for, by ``DiagnosticReport/id``.

    That is asked when a version is issued; afterwards it is as it was then, whatever became of the
    patient's practice since.
    """
    now = {write.stored.reference for write in written}
    found: dict[str, tuple[str, ...]] = {}
    for each in state.of_type("DiagnosticReport"):
        if each.json.get("status") not in {*ISSUED, WITHDRAWN}:
            continue
        asked = _asked(state, each)
        if asked and each.reference not in now:
            found[each.reference] = asked
        else:
            found[each.reference] = await _of_report(work, state, each, written, base)
    return found


def _asked(state: RequestState, of: Held) -> tuple[str, ...]:
    """Who has been asked to acknowledge this version."""
    asked = [
        acknowledgement.recipient(task.json)
        for task in state.of_type("Task")
        if step_of(task.json) == codes.ACKNOWLEDGE.code
        and elements.references(task.json.get("focus")) == [of.versioned]
    ]
    return tuple(dict.fromkeys(asked))


async def _of_report(
    work: Work, state: RequestState, of: Held, written: Sequence[Write], base: str
) -> tuple[str, ...]:
    named: list[Json] = [referring(state) or {"reference": state.lead or ""}]
    named += [*_copies(state.request.json), *_copies(of.json)]
    named += await _reviewers(work, state, of, written, base)
    references = [local(one, base) for one in elements.references(named)]
    chosen = [one for one in dict.fromkeys(references) if one.startswith(TAKE_REPORTS)]
    practice = await _practice(work, state, chosen, base)
    return tuple(dict.fromkeys([*chosen, *practice]))


async def unrequested(
    work: Work, state: RequestState, of: Held, written: Sequence[Write], base: str
) -> tuple[str, ...]:
    """Whom a report is for that no request asks for (`fhir_server.unrequested`): never nobody."""
    asked = [local(one, base) for one in elements.references(of.json.get("basedOn"))]
    shown = [local(one, base) for one in elements.references(of.json.get("imagingStudy"))]
    named: list[Json] = [
        (await read(work, name)).get(member, {})
        for names, type, member in (
            (asked, "ServiceRequest", "requester"),
            (shown, "ImagingStudy", "referrer"),
        )
        for name in names
        if name.startswith(f"{type}/")
    ]
    named += [*_copies(of.json), *await _reviewers(work, state, of, written, base)]
    references = [local(one, base) for one in elements.references(named)]
    chosen = [one for one in dict.fromkeys(references) if one.startswith(TAKE_REPORTS)]
    chosen += await _practice(work, state, chosen, base)
    if chosen or state.lead is None:
        return tuple(dict.fromkeys(chosen))
    return (await fail_safe(work, state.lead),)


async def fail_safe(work: Work, place: str) -> str:
    """Who sees to it that what an organisation reports is acknowledged: it, if nobody else."""
    asked = [("organization", place), ("role", FAIL_SAFE), ("active", "true")]
    officers = await work.search(parse("PractitionerRole", asked, strict=True))
    return min((one.reference for one in officers), default=place)


def _copies(of: Json) -> Iterable[Json]:
    for extension in of.get("extension", ()):
        if extension.get("url") == codes.COPY_TO:
            yield extension.get("valueReference", {})


async def _reviewers(
    work: Work, state: RequestState, of: Held, written: Sequence[Write], base: str
) -> list[Json]:
    """Who asked for the reviews that the addenda of a report answer."""
    added = [] if work.is_new(of.reference) else await _addenda(work, of.reference)
    for write in written:
        written_now = held(write.stored, base).json
        if of.reference in addenda.addended(written_now):
            added.append(written_now)
    answered = [
        local(reference, base)
        for addendum in added
        for reference in elements.references(addendum.get("basedOn"))
    ]
    return [
        (await read(work, name)).get("requester", {})
        for name in dict.fromkeys(answered)
        if name.startswith("ServiceRequest/") and name != state.request.reference
    ]


async def _addenda(work: Work, reference: str) -> list[Json]:
    asked = [("addendum-of", reference), ("_count", "1000")]
    query = parse("DiagnosticReport", asked, strict=True)
    return [stored.json for stored in await work.search(query)]


async def _practice(work: Work, state: RequestState, chosen: Sequence[str], base: str) -> list[str]:
    """The patient's general practitioners, of practices that nobody chosen belongs to."""
    subject = local(state.request.json.get("subject", {}).get("reference", ""), base)
    patient = await read(work, subject) if subject.startswith("Patient/") else {}
    practitioners = [
        local(one, base) for one in elements.references(patient.get("generalPractitioner"))
    ]
    known = {await organization(work, one, base) for one in chosen}
    found: list[str] = []
    for each in practitioners:
        at = await organization(work, each, base)
        if at and at not in known:
            found.append(each)
            known.add(at)
    return found


async def organization(work: Work, party: str, base: str) -> str:
    """``Organization/id`` that somebody acts for; empty if there is none."""
    if party.startswith("Organization/"):
        return party
    json = await read(work, party) if party.startswith(TAKE_REPORTS) else {}
    named = [json.get("organization"), *json.get("managingOrganization", ())]
    return local(next(iter(elements.references(named)), ""), base)


async def read(work: Work, reference: str) -> Json:
    """A resource, or nothing where there is none."""
    try:
        return (await work.read(*split(reference))).json
    except (Gone, NotFound):
        return {}
