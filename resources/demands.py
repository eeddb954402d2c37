"""What the definition of an element demands beyond the JSON of its members.

Cardinality, invariants, the code of a concept that is bound, and where a reference may lead.

References
----------
* FHIR ElementDefinition: min, constraint, binding, type.targetProfile
"""

from typing import Any

from resources import bindings, references
from resources.findings import Findings, Trail
from resources.models import TYPES
from resources.structures import Demand, Shape


def completeness(own: Shape, element: dict[str, Any], trail: Trail, findings: Findings) -> None:
    """Check that what must be there is, and that no choice is made twice."""
    for name, sibling in own.required:
        if name not in element and sibling not in element:
            findings.add("required", "This element is required.", trail, name)
    for name, required, alternatives in own.choices:
        if alternatives.isdisjoint(element):
            if required:
                findings.add("required", "One of the alternatives is required.", trail, name)
        elif len({each.lstrip("_") for each in element if each in alternatives}) > 1:
            findings.add("structure", "Only one of the alternatives may be there.", trail, name)


def invariants(own: Shape, element: dict[str, Any], trail: Trail, findings: Findings) -> None:
    """Check the rules of an element with which nothing else is wrong."""
    for row in own.invariants:
        if not row.holds(element):
            findings.add("invariant", f"{row.key}: {row.human}.", trail)


def concept_or_target(
    demand: Demand, element: dict[str, Any], here: Trail, findings: Findings
) -> None:
    """Check the code of a Coding or CodeableConcept, or where a Reference may lead."""
    targets, value_set = demand
    if value_set and not _is_bound(value_set, element):
        findings.add("code-invalid", "No coding is one of the required value set.", here)
    literal = element.get("reference")
    if literal.__class__ is str and literal[:1] == "#":
        findings.fragments.append((literal, targets, here))
    elif targets:
        target = _target(literal) if literal.__class__ is str else None
        if target is not None and target not in targets:
            findings.add("value", f"A reference to {target} may not stand here.", here)
        claimed = element.get("type")
        if claimed.__class__ is str and claimed in TYPES and claimed not in targets:
            findings.add("value", f"A reference to {claimed} may not stand here.", here, "type")


def _target(literal: str) -> str | None:
    """Tell the type that a literal or conditional reference leads to, if it can be told."""
    head, separator, _ = literal.partition("/")
    if not separator:
        head = literal.partition("?")[0]
    if head in TYPES:
        return head
    reference = references.parse(literal)
    return reference.type if reference else None


def _is_bound(value_set: str, element: dict[str, Any]) -> bool:
    try:
        return bindings.holds(value_set, element)
    except (AttributeError, TypeError):
        return True  # not a concept at all, which the walk has told
