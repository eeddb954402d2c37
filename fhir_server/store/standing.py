"""What a resource about to be written says of who may see it: patient, parties, relations.

It is worked out once, when the resource is written, from the resource and from what it refers
to; reads and searches then compare columns.

References
----------
* FHIR CompartmentDefinition, Patient
* `fhir_server.access.relationship` for who is a party, and for how long
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from fhir_server.access import relationship
from fhir_server.access.relationship import ACTS_FOR, DAY
from fhir_server.context import RequestContext
from fhir_server.store.targets import Target
from resources import compartments, references

FOLLOWS: Final[Mapping[str, str]] = {"Binary": "securityContext", "Provenance": "target"}
"""Types that are about the patient of another resource, and the element that names it."""


FULL: Final = 0
LIMITED: Final = 1
AS_BEFORE: Final = 2
"""How far a relation reaches: the last as far as the organisation's other relations do."""


class Standing(NamedTuple):
    """Who may see a resource.

    Parameters
    ----------
    patient
        Id of the Patient it is about.
    parties
        Ids of the organisations it names.
    limited
        Ids of those that have to do with the patient only as far as what they are asked to do.
    """

    patient: str | None
    parties: frozenset[str]
    limited: frozenset[str] = frozenset()


class Relation(NamedTuple):
    """An organisation has to do with a patient until an instant, `FULL` or `LIMITED`."""

    organization: str
    patient: str
    until: int
    limited: int


class Known(NamedTuple):
    """What the unit of work knows of a resource it writes itself, for those that refer to it."""

    json: Mapping[str, Any]
    patient: str | None
    limited: frozenset[str] = frozenset()


def standing(
    id: str,
    json: Mapping[str, Any],
    targets: Mapping[tuple[str, str], Target],
    own: Mapping[tuple[str, str], Known],
    base_url: str,
    context: RequestContext,
) -> Standing:
    """Work out patient and parties of a resource.

    Parameters
    ----------
    context
        Who writes it: what they do not see says nothing about what they write.
    targets
        What was found behind its references.
    own
        What the same unit of work writes; it counts before `targets`.
    """
    acts_for: dict[str, str] = {}
    for named in relationship.named(json, base_url):
        type, _, its_id = named.partition("/")
        if type in ACTS_FOR:
            organization = _acts_for((type, its_id), targets, own, base_url)
            if organization:
                acts_for[named] = organization
    # An Organization is a party to itself, and so needs its id, which the sender may not know.
    parties = frozenset(relationship.parties({**json, "id": id}, acts_for, base_url))
    limited = _limited(json, acts_for, targets, own, base_url)
    return Standing(_patient(id, json, targets, own, base_url, context), parties, limited)


def relations(
    before: Target | None, after: Standing, creator: str, json: Mapping[str, Any],
    instant: int, keep_days: int, *, deleted: bool = False, writer: int = FULL,
) -> list[Relation]:  # fmt: skip
    """Say which organisation is related to which patient by this version, and until when.

    Who is no longer named keeps the relation as if the work had ended now, so that what they
    did can still be looked at; but when the resource turns out to be about another patient, they
    never had to do with the first. What is deleted relates nobody any more.

    Parameters
    ----------
    writer
        How far the relation of whoever writes it reaches: they let nobody in further.
    """
    if not relationship.relates(json):
        return []
    until = instant if deleted else relationship.until(json, instant, keep_days)
    organizations = (after.parties | {creator}) - {""}
    related: dict[tuple[str, str], int] = {}
    same = before is not None and before.patient == after.patient
    known = before.parties if before is not None and same else frozenset()
    if before is not None and before.patient is not None:
        ended = min(until, instant + keep_days * DAY) if same else instant
        related = {(organization, before.patient): ended for organization in before.parties}
    if after.patient is not None:
        related |= {(organization, after.patient): until for organization in organizations}
    return [
        Relation(
            organization,
            patient,
            until,
            LIMITED if organization in after.limited else FULL if organization in known else writer,
        )
        for (organization, patient), until in related.items()
    ]


def _limited(
    json: Mapping[str, Any],
    acts_for: Mapping[str, str],
    targets: Mapping[tuple[str, str], Target],
    own: Mapping[tuple[str, str], Known],
    base_url: str,
) -> frozenset[str]:
    """The organisations that are asked to do a part of the work, or for advice, and no more."""
    asked = relationship.asked(json)
    found = relationship.parties(asked, acts_for, base_url) if asked else set()
    if json["resourceType"] in relationship.RELATING:
        for target in _targets(json.get("basedOn", []), base_url):
            if target in own:
                found |= own[target].limited
            elif target in targets:
                found |= targets[target].limited
    return frozenset(found)


def _patient(
    id: str,
    json: Mapping[str, Any],
    targets: Mapping[tuple[str, str], Target],
    own: Mapping[tuple[str, str], Known],
    base_url: str,
    context: RequestContext,
) -> str | None:
    type = json["resourceType"]
    if type == "Patient":
        return id
    patient = compartments.patient_of(json, base_url)
    if patient is not None or type not in FOLLOWS:
        return patient
    for target in _targets(json.get(FOLLOWS[type], []), base_url):
        if target in own:
            patient = own[target].patient
        elif target in targets and targets[target].is_known(context):
            patient = targets[target].patient
        if patient is not None:
            return patient
    return None


def _targets(elements: Any, base_url: str) -> Iterable[tuple[str, str]]:
    """The resources of our own that these elements refer to, as (type, id)."""
    for element in elements if isinstance(elements, list) else [elements]:
        reference = references.parse(element.get("reference", ""), base_url)
        if reference is not None and not reference.base:
            yield reference.type, reference.id


def _acts_for(
    key: tuple[str, str],
    targets: Mapping[tuple[str, str], Target],
    own: Mapping[tuple[str, str], Known],
    base_url: str,
) -> str | None:
    if key not in own:
        return targets[key].acts_for if key in targets else None
    element = own[key].json.get(ACTS_FOR[key[0]])
    literal = element.get("reference") if isinstance(element, dict) else None
    reference = references.parse(literal, base_url) if isinstance(literal, str) else None
    return reference.id if reference is not None and reference.type == "Organization" else None
