"""Record: what is looked at before a study is sent ahead: where to, for what, what there is.

References
----------
* docs/representation.md, "Prefetch"; FHIR R4 Task, Appointment, ServiceRequest
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from dicom_bridge.bridge import Bridge
from fhir_server.access.principal import Principal
from fhir_server.access.relationship import ACTS_FOR
from fhir_server.context import RequestContext
from fhir_server.naming import local, normal, split
from fhir_server.postgres.database import Texts
from fhir_server.search.query import parse
from fhir_server.store.unit_of_work import Work
from resources import codes, elements, prefetch, priors
from resources.errors import Gone, NotFound
from resources.priors import Rules

Json = Mapping[str, Any]

OURSELVES: Final = Principal.system("prefetch")
MOST: Final = "1000"

STATES: Final = """
SELECT s.imaging_study, encode(sha256(convert_to(
    string_agg(i.sop_uid || ' ' || i.blob, E'\\n' ORDER BY i.sop_uid), 'UTF8')), 'hex')
FROM study s JOIN instance i ON i.study_uid = s.study_uid
WHERE s.imaging_study = ANY($1::text[])
GROUP BY s.imaging_study HAVING bool_or(i.peer <> $2)
"""
"""What of some studies is held; nothing of those that came from that peer as a whole."""


class Wanted(NamedTuple):
    """What something scheduled needs: its patient, its study or request, its own studies, priors.

    Ids of ImagingStudies, the most important first.
    """

    subject: Json
    focus: str
    own: Sequence[str]
    priors: Sequence[str]


async def read(work: Work, reference: str, base: str) -> Json:
    """A resource with short references, or nothing where there is none."""
    try:
        return normal(await work.read(*split(reference)), base)
    except (Gone, NotFound):
        return {}


async def organizations(work: Work, trigger: Json, base: str) -> list[str]:
    """Ids of the organisations where something is done."""
    found: list[str] = []
    for reference in prefetch.places(trigger):
        name = local(reference, base)
        type_, _ = split(name)
        if type_ in ACTS_FOR or type_ == "CareTeam":
            json = await read(work, name, base)
            found += elements.references(json.get(ACTS_FOR.get(type_, "managingOrganization")))
        found.append(name)
    ids = (split(elements.unversioned(one)) for one in found)
    return list(dict.fromkeys(id for type_, id in ids if type_ == "Organization"))


async def requests(work: Work, trigger: Json, base: str) -> list[Json]:
    """The requests that something belongs to, and those that they are based on."""
    found: dict[str, Json] = {}
    todo = [trigger]
    while todo:
        one = todo.pop()
        named = [*elements.references(one.get("basedOn")), *elements.references(one.get("focus"))]
        for reference in (local(each, base) for each in named):
            if reference.startswith("ServiceRequest/") and reference not in found:
                found[reference] = await read(work, reference, base)
                todo.append(found[reference])
    return [one for one in found.values() if one]


async def visible(bridge: Bridge, who: Principal, patient: str, base: str) -> list[Json]:
    """The studies of a patient that somebody may see now."""
    asked = [("patient", patient), ("_count", MOST), ("_total", "none")]
    context = RequestContext(who, "search-type", origin="worker")
    page = await bridge.store.search(context, parse("ImagingStudy", asked, strict=True))
    found = [normal(one, base) for one in page.matches]
    return [one for one in found if one.get("status") not in priors.ABSENT]


async def wanted(
    work: Work, trigger: Json, studies: Sequence[Json], rules: Rules, base: str
) -> Wanted | None:
    """What of some studies is needed; None if it is about nobody."""
    asked = await requests(work, trigger, base)
    patient = local(prefetch.patient(trigger), base)
    subjects = [one["subject"] for one in asked if "subject" in one]
    subject: Json | None = {"reference": patient} if patient else next(iter(subjects), None)
    if subject is None:
        return None
    reports = [
        await read(work, local(name, base), base)
        for one in (trigger, *asked)
        for member in ("supportingInfo", "supportingInformation", "reasonReference")
        for name in elements.references(one.get(member))
        if "DiagnosticReport/" in name
    ]
    known = [*studies, *asked, *filter(None, reports)]
    names = {f"ServiceRequest/{one['id']}" for one in asked}
    about = {elements.unversioned(one) for one in elements.references(trigger.get("focus"))}
    own = [
        str(one["id"])
        for one in studies
        if f"ImagingStudy/{one['id']}" in about
        or names & {elements.unversioned(each) for each in elements.references(one.get("basedOn"))}
    ]
    older = [str(one["id"]) for one in priors.relevant(trigger, known, rules)]
    focus = next(iter(sorted(names)), "")
    return Wanted(subject, focus, own, [one for one in older if one not in own])


async def states(bridge: Bridge, ids: Sequence[str], sender: str) -> dict[str, str]:
    """What is held of studies that did not come from `sender`, as digests that tell them apart."""
    rows = await bridge.database.run(STATES, (Texts(ids), sender))
    return {str(id): str(state) for id, state in rows}


async def triggers_of(work: Work, patient: str, base: str) -> list[str]:
    """What is scheduled for a patient and still open, as ``Type/id``."""
    steps = ",".join(f"{codes.IMAGING_STEP}|{one}" for one in sorted(prefetch.STEPS))
    booked = ("status", ",".join(prefetch.BOOKED))
    asked: list[tuple[str, list[tuple[str, str]]]] = [
        ("Task", [("patient", patient), ("code", steps), ("status", ",".join(prefetch.OPEN))]),
        ("Appointment", [("patient", patient), booked]),
    ]
    active = [("patient", patient), ("status", "active"), ("_count", MOST)]
    orders = await work.search(parse("ServiceRequest", active, strict=True))
    if orders:
        names = ",".join(one.reference for one in orders)
        asked.append(("Appointment", [("based-on", names), booked]))
    found = [
        one.reference
        for type_, pairs in asked
        for one in await work.search(parse(type_, [*pairs, ("_count", MOST)], strict=True))
    ]
    return list(dict.fromkeys(found))
