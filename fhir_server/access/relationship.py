"""Relationship: which organisations a resource names as parties, and for how long that counts.

An organisation has to do with a patient because it is a party to a request, a step, a study, a
report or a meeting about them, or is their GP. The store keeps that as rows (organisation,
patient, resource, until) next to the resource, so that one index lookup answers the gate.

A party is named by a reference to an Organization, or to somebody who acts for one: a
PractitionerRole, HealthcareService, Location, Device, Endpoint. A bare Practitioner acts for no
organisation in particular and makes no party.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fhir_server.access.roles import DEFINITIONS, DIRECTORY
from resources.emergency_review import is_review
from resources.prefetch import is_prefetch

FOREVER: Final = 2**63 - 1
DAY: Final = 86_400_000_000
"""Microseconds."""

OPEN_TYPES: Final = DIRECTORY | DEFINITIONS
"""Types that every authenticated principal may read, as long as they are about no patient."""

RELATING: Final = frozenset({
    "Appointment", "DiagnosticReport", "Encounter", "ImagingStudy", "Patient", "ServiceRequest",
    "Task",
})  # fmt: skip
"""Types whose parties have to do with the patient; the others only name who wrote them."""

ACTS_FOR: Final[Mapping[str, str]] = {
    "Device":             "owner",
    "Endpoint":           "managingOrganization",
    "HealthcareService":  "providedBy",
    "Location":           "managingOrganization",
    "PractitionerRole":   "organization",
}  # fmt: skip
"""FHIR R4: the element that says for which Organization somebody or something acts."""

PARTIES: Final[Mapping[str, tuple[str, ...]]] = {
    "AdverseEvent":        ("recorder", "contributor"),
    "AllergyIntolerance":  ("recorder", "asserter"),
    "Appointment":         ("participant.actor",),
    "CarePlan":            ("author", "contributor"),
    "CareTeam":            ("participant.member", "managingOrganization"),
    "Communication":       ("sender", "recipient"),
    "CommunicationRequest": ("requester", "sender", "recipient"),
    "Composition":         ("author", "custodian", "attester.party"),
    "Condition":           ("recorder", "asserter"),
    "Consent":             ("organization", "performer"),
    "DetectedIssue":       ("author",),
    "Device":              ("owner",),
    "DiagnosticReport":    ("performer", "resultsInterpreter"),
    "DocumentReference":   ("author", "authenticator", "custodian"),
    "Encounter":           ("serviceProvider", "participant.individual"),
    "Endpoint":            ("managingOrganization",),
    "EpisodeOfCare":       ("managingOrganization", "careManager"),
    "Flag":                ("author",),
    "HealthcareService":   ("providedBy",),
    "ImagingStudy":        ("referrer", "interpreter", "series.performer.actor"),
    "List":                ("source",),
    "Location":            ("managingOrganization",),
    "MeasureReport":       ("reporter",),
    "Media":               ("operator",),
    "MedicationAdministration": ("performer.actor",),
    "MedicationStatement": ("informationSource",),
    "Observation":         ("performer",),
    "OrganizationAffiliation": ("organization", "participatingOrganization"),
    "Patient":             ("managingOrganization", "generalPractitioner"),
    "PractitionerRole":    ("organization",),
    "Procedure":           ("performer.actor", "performer.onBehalfOf", "recorder"),
    "Provenance":          ("agent.who", "agent.onBehalfOf"),
    "QuestionnaireResponse": ("author",),
    "ServiceRequest":      ("requester", "performer"),
    "Specimen":            ("collection.collector",),
    "Task":                ("requester", "owner", "restriction.recipient"),
}  # fmt: skip
"""FHIR R4: the elements that name organisations, or people and things that act for one."""

ASKED: Final[Mapping[str, tuple[frozenset[str], tuple[str, ...]]]] = {
    "ServiceRequest": (frozenset({"filler-order"}), ("performer",)),
    "Task":           (frozenset({"filler-order", "proposal"}), ("owner", "restriction")),
}  # fmt: skip
"""FHIR R4 request-intent of what asks for a part of the work or for advice, and who is asked.

docs/representation.md, "Onward requests" and "Informal reviews".
"""

ENDED: Final[Mapping[str, frozenset[str]]] = {
    "Appointment":      frozenset({"fulfilled", "cancelled", "noshow"}),
    "DiagnosticReport": frozenset({"final", "amended", "corrected", "appended", "cancelled"}),
    "Encounter":        frozenset({"finished", "cancelled"}),
    "ImagingStudy":     frozenset({"available", "cancelled", "inactive"}),
    "ServiceRequest":   frozenset({"completed", "revoked"}),
    "Task":             frozenset({"completed", "cancelled", "rejected", "failed"}),
}  # fmt: skip
"""FHIR R4 value sets: the statuses after which nothing more is done."""


def parties(
    json: Mapping[str, Any], organizations_of: Mapping[str, str], base_url: str = ""
) -> set[str]:
    """Give the ids of the organisations that a resource names as parties.

    Who writes a resource is a party to it too; the store, which knows the writer, adds it.

    Parameters
    ----------
    json
        The resource.
    organizations_of
        ``PractitionerRole/x`` -> id of the Organization it acts for; see `named`.
    base_url
        Our FHIR base: absolute references below it are ours.

    Examples
    --------
    >>> request = {"resourceType": "ServiceRequest",
    ...            "requester": {"reference": "PractitionerRole/gp"},
    ...            "performer": [{"reference": "Organization/lead"}]}
    >>> sorted(parties(request, {"PractitionerRole/gp": "practice"}))
    ['lead', 'practice']
    """
    found = {json["id"]} if json["resourceType"] == "Organization" and "id" in json else set()
    for reference in named(json, base_url):
        type, _, id = reference.partition("/")
        organization = id if type == "Organization" else organizations_of.get(reference)
        if organization:
            found.add(organization)
    return found


def named(json: Mapping[str, Any], base_url: str = "") -> set[str]:
    """Give the references, ``Type/id``, that stand where a party is named.

    Those of a type in `ACTS_FOR` must be looked up to know the organisation.
    """
    prefix = base_url.rstrip("/") + "/"
    return {
        "/".join(reference.removeprefix(prefix).split("/")[:2])
        for path in PARTIES.get(json["resourceType"], ())
        for reference in _references(json, path.split("."))
        if not reference.startswith("#")
    }


def relates(json: Mapping[str, Any]) -> bool:
    """Say whether the parties to a resource have to do with its patient because of it.

    Who is told of an emergency access, to look at it, gets to see no more for it; nor does who is
    sent what it may see already.
    """
    return json["resourceType"] in RELATING and not is_review(json) and not is_prefetch(json)


def asked(json: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give as much of a resource as names who is asked for a part of the work, or for advice.

    They have to do with the patient only so far: they add to the record, and see what is their own,
    what names them and what they are granted.

    Examples
    --------
    >>> advice = {"resourceType": "Task", "intent": "proposal",
    ...           "requester": {"reference": "Organization/a"},
    ...           "owner": {"reference": "Organization/b"}}
    >>> asked(advice)
    {'resourceType': 'Task', 'owner': {'reference': 'Organization/b'}}
    """
    intents, elements = ASKED.get(json["resourceType"], (frozenset(), ()))
    if json.get("intent") not in intents:
        return {}
    return {name: json[name] for name in ("resourceType", *elements) if name in json}


def until(json: Mapping[str, Any], instant: int, keep_days: int) -> int:
    """Say how long the parties to a resource have to do with its patient.

    `FOREVER` while work goes on, `keep_days` after it ended, and not at all when the resource
    says that it was an error.

    Parameters
    ----------
    instant
        When the resource took this state, microseconds since 1970 UTC.
    """
    status = json.get("status")
    if status == "entered-in-error":
        return instant
    if status in ENDED.get(json["resourceType"], ()):
        return instant + keep_days * DAY
    return FOREVER


def _references(element: Any, path: list[str]) -> Iterator[str]:
    """Walk a dotted path through objects and lists to the references at its end."""
    if isinstance(element, list):
        for each in element:
            yield from _references(each, path)
    elif isinstance(element, dict):
        if path:
            yield from _references(element.get(path[0]), path[1:])
        elif isinstance(reference := element.get("reference"), str):
            yield reference
