"""Invariants: the rules of FHIR that no cardinality, type or binding can say.

Each row is a constraint of the R4 StructureDefinitions with severity error, said again as a
function over the JSON of the element it stands on. The rows are all those of the resources that
imaging is made of; those of datatypes and of definitions are in modules of their own. ``ele-1``,
``ref-1`` and ``dom-2`` to ``dom-5`` are checked by the walk itself, ``txt-1`` and ``txt-2`` by
`resources.narrative`.

References
----------
* FHIR StructureDefinition, ElementDefinition.constraint; the key, the sentence and the place of
  each row are the standard's
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from resources.datatype_invariants import OF_DATATYPES
from resources.definition_invariants import OF_DEFINITIONS
from resources.predicates import (
    Element,
    Invariant,
    any_of,
    chosen,
    exists,
    has_code,
    needs,
    not_both,
    ordered,
)


def _entries(bundle: Element) -> Sequence[Element]:
    entries = bundle.get("entry", ())
    return [entry for entry in entries if isinstance(entry, Mapping)]


def _only_in(name: str, *types: str) -> Callable[[Element], bool]:
    return lambda bundle: (
        bundle.get("type") in types or not any(exists(entry, name) for entry in _entries(bundle))
    )


def _exactly_in(name: str, *types: str) -> Callable[[Element], bool]:
    return lambda bundle: all(
        exists(entry, name) == (bundle.get("type") in types) for entry in _entries(bundle)
    )


def _first_is(bundle_type: str, resource_type: str) -> Callable[[Element], bool]:
    def holds(bundle: Element) -> bool:
        if bundle.get("type") != bundle_type:
            return True
        first = next(iter(_entries(bundle)), {}).get("resource", {})
        return isinstance(first, Mapping) and first.get("resourceType") == resource_type

    return holds


def _full_urls_differ(bundle: Element) -> bool:
    if bundle.get("type") == "history":
        return True
    named = [
        (entry["fullUrl"], str((entry.get("resource", {}).get("meta") or {}).get("versionId")))
        for entry in _entries(bundle)
        if "fullUrl" in entry and isinstance(entry.get("resource", {}), Mapping)
    ]
    return len(set(named)) == len(named)


def _has_one_way_to_say_it(parameter: Element) -> bool:
    ways = (chosen(parameter, "value"), exists(parameter, "resource"), exists(parameter, "part"))
    return sum(ways) == 1


def _scope_names_patient(consent: Element) -> bool:
    scopes = ("patient-privacy", "research", "adr", "treatment")
    return "patient" in consent or not has_code(consent.get("scope"), *scopes)


def _component_does_not_repeat(observation: Element) -> bool:
    if not chosen(observation, "value"):
        return True
    own = _codes(observation.get("code"))
    return not any(own & _codes(each.get("code")) for each in observation.get("component", ()))


def _codes(concept: Any) -> set[tuple[Any, Any]]:
    return {(each.get("system"), each.get("code")) for each in (concept or {}).get("coding", ())}


def _is_on_behalf_of_a_practitioner(participant: Element) -> bool:
    """Judge by the type that the reference says; one that says none cannot be resolved here."""
    if not exists(participant, "onBehalfOf") or "member" not in participant:
        return True
    member = participant["member"]
    parts = str(member.get("reference", "")).partition("/_history/")[0].split("/")
    return member.get("type", parts[-2] if len(parts) > 1 else "") in ("", "Practitioner")


_HISTORY: Final = "history"
_REQUESTS: Final = ("batch", "transaction", _HISTORY)
_RESPONSES: Final = ("batch-response", "transaction-response", _HISTORY)

_ROWS: Final = (
    Invariant("AllergyIntolerance", "ait-1",
              "clinicalStatus SHALL be present if verificationStatus is not entered-in-error",
              lambda e: has_code(e.get("verificationStatus"), "entered-in-error")
              or "clinicalStatus" in e),
    Invariant("AllergyIntolerance", "ait-2",
              "clinicalStatus SHALL NOT be present if verificationStatus is entered-in-error",
              lambda e: not has_code(e.get("verificationStatus"), "entered-in-error")
              or "clinicalStatus" not in e),
    Invariant("Appointment", "app-2", "Either start and end are specified, or neither",
              lambda e: exists(e, "start") == exists(e, "end")),
    Invariant("Appointment", "app-3",
              "Only proposed or cancelled appointments can be missing start/end dates",
              lambda e: (exists(e, "start") and exists(e, "end"))
              or e.get("status") in ("proposed", "cancelled", "waitlist")),
    Invariant("Appointment", "app-4",
              "Cancellation reason is only used for appointments cancelled, or no-show",
              lambda e: "cancelationReason" not in e
              or e.get("status") in ("cancelled", "noshow", "no-show")),  # R4 misspells its code
    Invariant("Appointment.participant", "app-1",
              "Either the type or actor on the participant SHALL be specified",
              any_of("type", "actor")),
    Invariant("AuditEvent.entity", "sev-1", "Either a name or a query (NOT both)",
              not_both("name", "query")),
    Invariant("Bundle", "bdl-1", "total only when a search or history",
              lambda e: not exists(e, "total") or e.get("type") in ("searchset", _HISTORY)),
    Invariant("Bundle", "bdl-2", "entry.search only when a search",
              _only_in("search", "searchset")),
    Invariant("Bundle", "bdl-3",
              "entry.request mandatory for batch/transaction/history, otherwise prohibited",
              _exactly_in("request", *_REQUESTS)),
    Invariant("Bundle", "bdl-4",
              "entry.response mandatory for batch-response/transaction-response/history, "
              "otherwise prohibited",
              _exactly_in("response", *_RESPONSES)),
    Invariant("Bundle", "bdl-7", "fullUrl must be unique in a bundle, or meta.versionId differ",
              _full_urls_differ),
    Invariant("Bundle", "bdl-9", "A document must have an identifier with a system and a value",
              lambda e: e.get("type") != "document"
              or {"system", "value"} <= e.get("identifier", {}).keys()),
    Invariant("Bundle", "bdl-10", "A document must have a date",
              lambda e: e.get("type") != "document" or "timestamp" in e),
    Invariant("Bundle", "bdl-11", "A document must have a Composition as the first resource",
              _first_is("document", "Composition")),
    Invariant("Bundle", "bdl-12", "A message must have a MessageHeader as the first resource",
              _first_is("message", "MessageHeader")),
    Invariant("Bundle.entry", "bdl-5",
              "must be a resource unless there's a request or response",
              any_of("resource", "request", "response")),
    Invariant("Bundle.entry", "bdl-8", "fullUrl cannot be a version specific reference",
              lambda e: "/_history/" not in str(e.get("fullUrl", ""))),
    Invariant("Composition.section", "cmp-1",
              "A section must contain at least one of text, entries, or sub-sections",
              any_of("text", "entry", "section")),
    Invariant("Composition.section", "cmp-2",
              "A section can only have an emptyReason if it is empty",
              not_both("emptyReason", "entry")),
    Invariant("CareTeam.participant", "ctm-1",
              "onBehalfOf can only be populated when member is a Practitioner",
              _is_on_behalf_of_a_practitioner),
    Invariant("Condition", "con-4",
              "If condition is abated, clinicalStatus must be inactive, resolved, or remission",
              lambda e: not chosen(e, "abatement")
              or has_code(e.get("clinicalStatus"), "resolved", "remission", "inactive")),
    Invariant("Condition", "con-5",
              "clinicalStatus SHALL NOT be present if verificationStatus is entered-in-error",
              lambda e: not has_code(e.get("verificationStatus"), "entered-in-error")
              or "clinicalStatus" not in e),
    Invariant("Condition.evidence", "con-2", "evidence SHALL have code or details",
              any_of("code", "detail")),
    Invariant("Condition.stage", "con-1", "Stage SHALL have summary or assessment",
              any_of("summary", "assessment")),
    Invariant("Consent", "ppc-1", "Either a Policy or PolicyRule",
              any_of("policy", "policyRule")),
    Invariant("Consent", "ppc-2", "If the scope is privacy, research, adr or treatment, "
              "there must be a patient (ppc-2 to ppc-5)",
              _scope_names_patient),
    Invariant("Group", "grp-1", 'Can only have members if group is "actual"',
              lambda e: "member" not in e or e.get("actual") is True),
    Invariant("Linkage", "lnk-1", "Must have at least two items",
              lambda e: len(e.get("item", ())) > 1),
    Invariant("List", "lst-1", "A list can only have an emptyReason if it is empty",
              not_both("emptyReason", "entry")),
    Invariant("List", "lst-2", 'The deleted flag can only be used if the mode is "changes"',
              lambda e: e.get("mode") == "changes"
              or not any(exists(entry, "deleted") for entry in _entries(e))),
    Invariant("List", "lst-3", 'An entry date can only be used if the mode is "working"',
              lambda e: e.get("mode") == "working"
              or not any(exists(entry, "date") for entry in _entries(e))),
    Invariant("Observation", "obs-6",
              "dataAbsentReason SHALL only be present if value[x] is not present",
              lambda e: "dataAbsentReason" not in e or not chosen(e, "value")),
    Invariant("Observation", "obs-7",
              "If code is the same as a component's code then value SHALL NOT be present",
              _component_does_not_repeat),
    Invariant("Observation.referenceRange", "obs-3", "Must have at least a low or a high or text",
              any_of("low", "high", "text")),
    Invariant("Organization", "org-1", "SHALL at least have a name or an identifier",
              any_of("name", "identifier")),
    Invariant("Organization", "org-2", "An address of an organization can never be of use 'home'",
              lambda e: not any(each.get("use") == "home" for each in e.get("address", ()))),
    Invariant("Organization", "org-3", "The telecom of an organization is never of use 'home'",
              lambda e: not any(each.get("use") == "home" for each in e.get("telecom", ()))),
    Invariant("Parameters.parameter", "inv-1",
              "A parameter must have one and only one of (value, resource, part)",
              _has_one_way_to_say_it),
    Invariant("Patient.contact", "pat-1",
              "SHALL at least contain a contact's details or a reference to an organization",
              any_of("name", "telecom", "address", "organization")),
    Invariant("ServiceRequest", "prr-1", "orderDetail SHALL only be present if code is present",
              needs("orderDetail", "code")),
    Invariant("Task", "inv-1",
              "Last modified date must be greater than or equal to authored-on date",
              ordered("authoredOn", "lastModified")),
)  # fmt: skip

_ALL: Final = (*_ROWS, *OF_DATATYPES, *OF_DEFINITIONS)

INVARIANTS: Final[Mapping[str, tuple[Invariant, ...]]] = {
    path: tuple(row for row in _ALL if row.path == path)
    for path in dict.fromkeys(row.path for row in _ALL)
}
"""By the path of the element they stand on."""
