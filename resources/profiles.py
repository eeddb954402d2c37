"""Profiles: what a resource promises more than R4 asks for, where its ``meta.profile`` says so.

Two families are known: IMR of IHE Radiology (a report with its images) and UK Core. Each row is one
demand of a profile said as a function over the JSON. UK Core hardly demands anything: it names what
must be supported, prefers code lists and narrows references to its own profiles, none of which can
make a resource wrong here. Of a profile that is not known, only that is told.

A broken promise is a warning; with the setting ``rules=strict`` it is an error.

References
----------
* FHIR R4 Profiling, "Resources declaring their profiles"
* IHE RAD IMR, profiles imr-diagnosticreport, imr-imagingstudy, imr-servicerequest,
  imr-observation, imr-study-endpoint
* HL7 UK, UK Core Implementation Guide: StructureDefinitions UKCore-*
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from resources import codes
from resources.errors import Issue
from resources.models import TYPES

Json = Mapping[str, Any]
Holds = Callable[[Json], bool]

IMR: Final = "https://profiles.ihe.net/RAD/IMR/StructureDefinition"
UK_CORE: Final = "https://fhir.hl7.org.uk/StructureDefinition"
R4: Final = "http://hl7.org/fhir/StructureDefinition"


class Rule(NamedTuple):
    """One demand: the element it is about, the demand in words, and whether it is met."""

    element: str
    human: str
    holds: Holds


class Profile(NamedTuple):
    """One profile: its canonical URL, the type it is on, and what it demands."""

    url: str
    type: str
    rules: tuple[Rule, ...] = ()


def _items(resource: Json, name: str) -> list[Json]:
    """Give the objects of an element, be it a list of them or one."""
    value = resource.get(name, ())
    return [each for each in (value if isinstance(value, list) else [value]) if each]


def _has(name: str) -> Rule:
    return Rule(name, f"{name} is there", lambda r: name in r or f"_{name}" in r)


def _has_none(stem: str) -> Rule:
    return Rule(stem, f"{stem} is not there", lambda r: not any(k.startswith(stem) for k in r))


def _only(name: str, *types: str) -> Rule:
    def holds(resource: Json) -> bool:
        kinds = [_type_of(each) for each in _items(resource, name)]
        return all(kind in types or kind is None for kind in kinds)

    return Rule(name, f"{name} is only {' or '.join(types)}", holds)


def _one_is(name: str, type: str) -> Rule:
    def holds(resource: Json) -> bool:
        return any(_type_of(each) in (type, None) for each in _items(resource, name))

    return Rule(name, f"one {name} is a {type}", holds)


def _type_of(reference: Json) -> str | None:
    """Tell the type that a reference leads to, if it says."""
    if "type" in reference:
        return str(reference["type"])
    parts = str(reference.get("reference", "")).partition("/_history/")[0].split("/")
    return parts[-2] if len(parts) > 1 and parts[-2] in TYPES else None


def _coded(name: str, coding: codes.Coding) -> Rule:
    """One of the concepts of an element has this code."""
    return Rule(
        name,
        f"one {name} is {coding.system}|{coding.code}",
        lambda r: codes.has(_items(r, name), coding),
    )


def _identified(coding: codes.Coding, *needed: str) -> Rule:
    """One identifier is of this kind, and has what it needs."""

    def holds(resource: Json) -> bool:
        found = [
            each for each in _items(resource, "identifier") if codes.has(each.get("type"), coding)
        ]
        return len(found) == 1 and all(name in found[0] for name in needed)

    return Rule("identifier", f"one identifier is of the type {coding.code}", holds)


def _every(name: str, human: str, holds: Holds) -> Rule:
    """All items of an element satisfy something."""
    return Rule(name, human, lambda r: all(holds(each) for each in _items(r, name)))


def _one_of(name: str, values: Iterable[str]) -> Rule:
    allowed = frozenset(values)
    return Rule(
        name,
        f"{name} is one of {', '.join(sorted(allowed))}",
        lambda r: name not in r or r[name] in allowed,
    )


def _system_has_value(system: str) -> Rule:
    return _every(
        "identifier",
        f"an identifier of the system {system} has a value",
        lambda each: each.get("system") != system or "value" in each,
    )


def _media_said_once(report: Json) -> bool:
    """ukcore-diag-lab-002, as its sentence says: not both at a time."""
    linked = any("link" in each for each in _items(report, "media"))
    said = [each.get("url") for each in _items(report, "extension")]
    return not (linked and MEDIA_LINK_R5 in said)


MEDIA_LINK_R5: Final = (
    "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.media.link"
)
STUDY_ENDPOINTS: Final = ("ihe-iid", "dicom-wado-rs")
ORDERS: Final = ("order", "original-order", "reflex-order", "filler-order", "instance-order")
STUDY: Final = codes.Coding(codes.DCM, "113014", "Study")

_IMR: Final = (
    Profile(f"{IMR}/imr-diagnosticreport", "DiagnosticReport", (
        _has("subject"), _only("subject", "Patient"), _has("issued"),
        _one_is("performer", "Organization"),
        _has("resultsInterpreter"),
        _only("resultsInterpreter", "Practitioner", "PractitionerRole"),
        Rule("imagingStudy", "exactly one imagingStudy is there",
             lambda r: len(_items(r, "imagingStudy")) == 1),
        Rule("presentedForm", "one presentedForm is text/html",
             lambda r: any(each.get("contentType") == "text/html"
                           for each in _items(r, "presentedForm"))),
        _every("presentedForm", "a presentedForm has contentType, size and hash",
               lambda each: {"contentType", "size", "hash"} <= each.keys()),
        _every("presentedForm", "either data or url is present",
               lambda each: "data" in each or "url" in each),
    )),
    Profile(f"{IMR}/imr-imagingstudy", "ImagingStudy", (
        _identified(codes.STUDY_INSTANCE_UID_TYPE, "value"), _has("modality"),
        _only("subject", "Patient"), _has("started"), _has("endpoint"), _has("series"),
    )),
    Profile(f"{IMR}/imr-servicerequest", "ServiceRequest", (
        _identified(codes.ACCESSION_NUMBER_TYPE), _one_of("intent", ORDERS),
        _has_none("quantity"), _only("subject", "Patient"), _coded("category", codes.IMAGING),
    )),
    Profile(f"{IMR}/imr-observation", "Observation", (
        _one_is("basedOn", "ServiceRequest"), _has("category"), _has("subject"),
        _only("subject", "Patient"), _has("effectiveDateTime"),
        _only("performer", "Practitioner", "PractitionerRole", "Organization"),
        Rule("value", "a value is there",
             lambda r: any(k.startswith(("value", "_value")) for k in r)),
        _every("component", "a component has a value",
               lambda each: any(k.startswith(("value", "_value")) for k in each)),
    )),
    Profile(f"{IMR}/imr-study-endpoint", "Endpoint", (
        Rule("connectionType", f"connectionType is one of {', '.join(STUDY_ENDPOINTS)}",
             lambda r: r.get("connectionType", {}).get("code") in STUDY_ENDPOINTS),
        _coded("payloadType", STUDY),
    )),
)  # fmt: skip
"""IHE RAD IMR, Volume 3: content of the FHIR resources."""

_UK_CORE_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "DiagnosticReport": (
        Rule("media", "ukcore-diag-lab-002: only one of media.link and its R5 extension is there",
             _media_said_once),
    ),
    "Organization": (
        _system_has_value(codes.ODS_ORGANIZATION), _system_has_value(codes.ODS_SITE),
    ),
    "Patient": (_system_has_value(codes.NHS_NUMBER),),
    "Practitioner": (_system_has_value(codes.SDS_USER),),
    "PractitionerRole": (_system_has_value(codes.SDS_ROLE_PROFILE),),
    "Location": (_system_has_value(codes.ODS_SITE),),
}  # fmt: skip
"""UK Core 2.x: the identifier slices need a value; and its one invariant on a type we use."""

UK_CORE_TYPES: Final = (
    "AllergyIntolerance", "Appointment", "CarePlan", "CareTeam", "Communication", "Composition",
    "Condition", "Consent", "Device", "DiagnosticReport", "DocumentReference", "Encounter",
    "EpisodeOfCare", "Flag", "HealthcareService", "ImagingStudy", "Immunization", "List",
    "Location", "Medication", "MedicationAdministration", "MedicationDispense",
    "MedicationRequest", "MedicationStatement", "MessageHeader", "Observation",
    "OperationOutcome", "Organization", "Patient", "Practitioner", "PractitionerRole",
    "Procedure", "Questionnaire", "QuestionnaireResponse", "RelatedPerson", "Schedule",
    "ServiceRequest", "Slot", "Specimen", "Subscription", "Task",
)  # fmt: skip
"""UK Core: the types with a profile of their own, ``UKCore-[type]``."""

_UK_CORE: Final = tuple(
    Profile(f"{UK_CORE}/UKCore-{type}", type, _UK_CORE_RULES.get(type, ()))
    for type in UK_CORE_TYPES
)

PROFILES: Final[Mapping[str, Profile]] = {each.url: each for each in (*_IMR, *_UK_CORE)}


class Claims(NamedTuple):
    """What came of the profiles that a resource claims: what it breaks, and what nobody knows."""

    broken: list[Issue]
    unknown: list[Issue]


def check(resource: Json, asked: Iterable[str] = (), at: str = "") -> Claims:
    """Check a valid resource against the profiles that it claims, and those that are asked for.

    Examples
    --------
    >>> claim = {"resourceType": "ImagingStudy", "status": "available", "subject": {},
    ...          "meta": {"profile": [IMR + "/imr-imagingstudy"]}}
    >>> [issue.at for issue in check(claim).broken][:2]
    ['ImagingStudy.identifier', 'ImagingStudy.modality']
    """
    type = str(resource.get("resourceType"))
    root = at or type
    broken: list[Issue] = []
    unknown: list[Issue] = []
    for url in dict.fromkeys((*_claimed(resource), *asked)):
        bare = url.partition("|")[0]
        profile = PROFILES.get(bare)
        if profile is None:
            if bare not in (f"{R4}/{type}", f"{R4}/Resource", f"{R4}/DomainResource"):
                unknown.append(
                    Issue(
                        "not-supported",
                        f"The profile {url} is not known here.",
                        f"{root}.meta.profile",
                    )
                )
        elif profile.type != type:
            broken.append(
                Issue("structure", f"{url} is a profile on {profile.type}.", f"{root}.meta.profile")
            )
        else:
            broken += _broken(profile, resource, root)
    return Claims(broken, unknown)


def _claimed(resource: Json) -> list[str]:
    listed = resource.get("meta", {}).get("profile", ())
    return [url for url in listed if isinstance(url, str)]


def _broken(profile: Profile, resource: Json, root: str) -> list[Issue]:
    name = profile.url.rpartition("/")[2]
    return [
        Issue(
            "required" if rule.human.endswith("is there") else "invariant",
            f"{name}: {rule.human}.",
            f"{root}.{rule.element}",
        )
        for rule in profile.rules
        if not rule.holds(resource)
    ]
