"""Roles: what a person, a system or a device may do, whatever its token grants.

The actors are those of IR(ME)R 2000 (referrer, practitioner, operator, and the clinicians who
report and review) and of the requirements: the co-ordinator of an MDT meeting (R020), those who
watch over access (R014.3, R014.4), over clinical safety (R013.1) and over the directories. An
application acts for an organisation without a person: its scopes alone limit it.
"""

from collections.abc import Mapping
from typing import Final

RS: Final = "rs"
RSU: Final = "rsu"
CRS: Final = "crs"
CRSU: Final = "crsu"
ALL: Final = "cruds"

DIRECTORY: Final = frozenset({
    "Organization", "Practitioner", "PractitionerRole", "Location", "HealthcareService",
    "Endpoint", "OrganizationAffiliation", "Device",
})  # fmt: skip
"""Who and what takes part in care: no patient is told of in them."""

DEFINITIONS: Final = frozenset({
    "ActivityDefinition", "CapabilityStatement", "ChargeItemDefinition", "CodeSystem",
    "CompartmentDefinition", "ConceptMap", "DeviceDefinition", "EventDefinition",
    "GraphDefinition", "ImplementationGuide", "Library", "Measure", "MessageDefinition",
    "NamingSystem", "ObservationDefinition", "OperationDefinition", "PlanDefinition",
    "Questionnaire", "SearchParameter", "SpecimenDefinition", "StructureDefinition",
    "StructureMap", "SubscriptionTopic", "TerminologyCapabilities", "ValueSet",
})  # fmt: skip
"""Conformance and definitional resources: knowledge, not records."""

CLINICAL_NOTES: Final = frozenset({
    "AdverseEvent", "AllergyIntolerance", "Binary", "Communication", "Condition",
    "DocumentReference", "Flag", "Media", "MedicationAdministration", "MedicationStatement",
    "Observation", "Procedure", "QuestionnaireResponse", "Specimen",
})  # fmt: skip
"""What any clinician may add to the record around a request: its question, history, reactions."""

MEETING: Final = frozenset({
    "Appointment", "Communication", "Composition", "Encounter", "List", "Schedule", "Slot",
})  # fmt: skip
"""What scheduling a procedure or an MDT meeting needs (R020)."""


def _row(*parts: tuple[frozenset[str] | str, str], default: str) -> Mapping[str, str]:
    """Spell a role out: type -> letters; later parts win over earlier ones."""
    row = {"*": default}
    for types, letters in parts:
        row.update(dict.fromkeys([types] if isinstance(types, str) else types, letters))
    return row


def _clinician(*parts: tuple[frozenset[str] | str, str]) -> Mapping[str, str]:
    """Spell a clinician out: reads the record, works on Tasks, adds notes; sees no audit."""
    return _row(
        (CLINICAL_NOTES, CRSU),
        ("Task", CRSU),
        ("Provenance", CRS),
        ("Subscription", ALL),
        ("AuditEvent", ""),
        *parts,
        default="rs",
    )


ROLES: Final[Mapping[str, Mapping[str, str]]] = {
    "referrer": _clinician(
        ("ServiceRequest", CRSU), ("Patient", CRSU), ("Consent", CRSU), ("List", CRSU)),
    "practitioner": _clinician(
        ("ServiceRequest", RSU), ("Appointment", CRSU), ("List", CRSU)),
    "operator": _clinician(
        ("ImagingStudy", CRSU), ("Appointment", CRSU), ("Patient", CRSU), ("ServiceRequest", RSU)),
    "reporter": _clinician(
        ("DiagnosticReport", CRSU), ("ImagingStudy", RSU), ("Composition", CRSU), ("List", CRSU)),
    "reviewer": _clinician(
        ("DiagnosticReport", CRSU), ("ImagingStudy", RSU), ("Composition", CRSU), ("List", CRSU)),
    "delegate": _clinician(
        (CLINICAL_NOTES, "rs"), ("Communication", CRSU), ("Appointment", CRSU), ("List", CRSU)),
    "coordinator": _clinician((MEETING, CRSU), ("ServiceRequest", CRSU)),
    "auditor": _row(
        (DIRECTORY | DEFINITIONS, "rs"), (frozenset({"AuditEvent", "Provenance"}), "rs"),
        ("Task", RSU), ("MeasureReport", CRSU), default=""),
    "safety-officer": _row(
        (frozenset({"AdverseEvent", "Communication", "Flag", "Task"}), CRSU),
        ("Provenance", CRS), ("AuditEvent", "rs"), default="rs"),
    "administrator": _row(
        (DIRECTORY | DEFINITIONS, ALL), (frozenset({"Patient", "Consent"}), CRSU),
        ("Subscription", ALL), ("AuditEvent", "rs"), default=""),
    "application": _row(default=ALL),
    "device": _row(
        (frozenset({"ImagingStudy", "Patient", "Appointment"}), CRSU), ("Task", CRSU),
        ("AuditEvent", ""), default="rs"),
    "system": _row(default=ALL),
}  # fmt: skip
"""Role -> type -> letters of `scopes.LETTERS`; ``*`` is every type not named."""


USES: Final[Mapping[str, Mapping[str, str]]] = {
    "evidence": {"auditor": RS},
}
"""What an operation looks at -> for whom, and the letters it has for all types meanwhile: who is
told only which versions there were, and not what they say (R014.3). Scope and relationship are
asked as ever."""


def letters(role: str, type: str, use: str = "") -> str:
    """Give what a role may do with a type; a role nobody knows may do nothing.

    Examples
    --------
    >>> letters("referrer", "ServiceRequest"), letters("reporter", "ServiceRequest")
    ('crsu', 'rs')
    >>> letters("referrer", "AuditEvent"), letters("janitor", "Patient")
    ('', '')
    >>> letters("auditor", "DiagnosticReport"), letters("auditor", "DiagnosticReport", "evidence")
    ('', 'rs')
    """
    row = ROLES.get(role, {})
    own = row.get(type, row.get("*", ""))
    return own or (USES.get(use, {}).get(role, "") if use else "")
