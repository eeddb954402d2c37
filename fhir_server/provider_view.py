"""Provider view: what is looked up for who works on a request that serves another.

Its clinical information, and the studies and reports of the patient that matter to it; whatever
else there is of the patient is not theirs to see.

References
----------
* `resources.priors`; requirements, workflows 2 to 4; docs/representation.md, "Onward requests"
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fhir_server.naming import local, normal
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Work
from resources import codes, elements, onward_request, priors
from resources.request_state import RequestState

Json = Mapping[str, Any]

CLINICAL: Final = ("supportingInfo", "reasonReference")
"""FHIR R4 ServiceRequest: what belongs to its clinical information."""

MOST: Final = "200"
"""Studies of a patient among which the relevant ones are looked for."""


async def waiting(work: Work, written: Sequence[Write], base: str) -> set[str]:
    """Ids of onward requests under way for whose patient a study has come: it may be a prior."""
    patients = {
        local(write.after.get("subject", {}).get("reference", ""), base)
        for write in written
        if write.stored.type == "ImagingStudy"
        and write.after.get("status") == "available"
        and (write.before or {}).get("status") != "available"
    }
    found: set[str] = set()
    for patient in sorted(one for one in patients if one.startswith("Patient/")):
        if not work.is_new(patient):
            asked = [("subject", patient), ("status", "active"), ("intent", onward_request.INTENT)]
            stored = await work.search(parse("ServiceRequest", asked, strict=True))
            found |= {one.id for one in stored if onward_request.is_onward(one.json)}
    return found


async def named(work: Work, top: RequestState, base: str) -> dict[str, tuple[str, ...]]:
    """What is looked up for who works on the request: its clinical information, and the priors."""
    request = top.request.json
    clinical = [
        local(reference, base)
        for member in CLINICAL
        for reference in elements.references(request.get(member))
    ]
    subject = local(request.get("subject", {}).get("reference", ""), base)
    asked = [("patient", subject), ("status", "available"), ("_sort", "-started")]
    found_there = await work.search(parse("ImagingStudy", [*asked, ("_count", MOST)], strict=True))
    studies = {one.reference: one for one in found_there}
    for write in work.writes:
        if write.stored.type == "ImagingStudy" and subject == local(
            write.after.get("subject", {}).get("reference", ""), base
        ):
            studies[write.stored.reference] = write.stored
    record = [
        normal(one, base)
        for one in studies.values()
        if not _is_unreleased(one.json) and one.reference not in {o.reference for o in top.others}
    ]
    found = [f"ImagingStudy/{one['id']}" for one in priors.relevant(request, [request, *record])]
    reports: list[Stored] = []
    if found:
        pairs = [("imagingStudy", ",".join(found)), ("_count", MOST)]
        reports = await work.search(parse("DiagnosticReport", pairs, strict=True))
    read = [one.reference for one in reports if not _is_unreleased(one.json)]
    return {
        "clinical": tuple(one for one in clinical if _is_kept(one)),
        "priors": (*found, *sorted(read)),
    }


def _is_kept(reference: str) -> bool:
    """Whether it is a resource of this record that is about the patient."""
    return (
        "/" in reference
        and ":" not in reference
        and not reference.startswith(("#", "OrganizationAffiliation/"))
    )


def _is_unreleased(json: Json) -> bool:
    return codes.UNRELEASED.json in json.get("meta", {}).get("security", ())
