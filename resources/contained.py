"""Contained resources: they live in another, and are pointed to from nowhere else.

References
----------
* FHIR References, "Contained Resources"; FHIR DomainResource, dom-2 to dom-5; FHIR Reference, ref-1
"""

from typing import Any

from resources.findings import Findings, Trail


def check(resource: dict[str, Any], pointers: set[str], here: Trail, findings: Findings) -> None:
    """Check what a contained resource must have and must not have.

    Parameters
    ----------
    pointers
        `pointers` of the container.
    """
    meta = resource.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    if "id" not in resource:
        findings.add("required", "A contained resource has an id.", here, "id")
    elif not {f"#{resource['id']}", "#"} & pointers:
        findings.add("invariant", "dom-3: Nothing refers to this contained resource.", here)
    if "contained" in resource:
        findings.add("invariant", "dom-2: A contained resource contains none itself.", here)
    if "versionId" in meta or "lastUpdated" in meta:
        findings.add("invariant", "dom-4: A contained resource has no version or time.", here)
    if "security" in meta:
        findings.add("invariant", "dom-5: A contained resource has no security label.", here)


def check_fragments(container: dict[str, Any], findings: Findings) -> None:
    """Check ref-1: what begins with ``#`` is contained here, and of a type that may stand there.

    A lone ``#`` is how a contained resource refers to the one around it.
    """
    listed = container.get("contained")
    inside = {
        f"#{each.get('id')}": str(each.get("resourceType"))
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    }
    inside["#"] = container["resourceType"]
    for literal, targets, here in findings.fragments:
        if literal not in inside:
            findings.add("invariant", "ref-1: The resource referred to is not contained.", here)
        elif targets and inside[literal] not in targets:
            findings.add("value", f"A reference to {inside[literal]} may not stand here.", here)


def pointers(json: Any) -> set[str]:
    """Gather the strings that may point into the resource itself: ``#`` and what follows."""
    found, waiting = set(), [json]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and value.startswith("#"):
            found.add(value)
    return found
