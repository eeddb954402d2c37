"""Make the data of `resources/terminology/` from the published FHIR R4 package and PS3.16.

Run by hand when a release changes, never by the server::

    python -m tools.terminology PACKAGE_DIR

`PACKAGE_DIR` is the unpacked npm package ``hl7.fhir.r4.examples`` 4.0.1. Kept are the value sets
that an element of a type we store is bound to, at whatever strength, and that can be expanded from
code systems in the same package; and those code systems. What is another publisher's and not free
(SNOMED CT, LOINC, RxNorm, ICD, CPT) is left out. The context groups of DICOM are those of pydicom's
dictionary of PS3.16.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom.sr import _cid_dict, _concepts_dict

from tools.definitions import RESOURCES, is_modelled, of_kind, write_lines

FOLDER = RESOURCES / "terminology"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
FREE = ("urn:ietf:bcp:47", "urn:ietf:bcp:13", "http://unitsofmeasure.org")
"""Systems that are not in the package and of which the codes listed by a value set may be kept."""

NAMES = ("url", "version", "name", "title")
PARTS = ("system", "version", "filter", "valueSet")

CONTEXT_GROUPS = {
    29: ("AcquisitionModality", "Acquisition Modality"),
    32: ("NonAcquisitionModality", "Non-Acquisition Modality"),
    33: ("Modality", "Modality"),
    400: ("AuditEventID", "Audit Event ID"),
    9231: ("GeneralPurposeWorkitemDefinition", "General Purpose Workitem Definition"),
    9300: ("ProcedureDiscontinuationReasons", "Procedure Discontinuation Reason"),
    9301: ("ModalityPPSDiscontinuationReasons", "Modality PPS Discontinuation Reason"),
}
"""PS3.16 Annex B: those that imaging resources and the audit use."""

CONTEXT_GROUP = "http://dicom.nema.org/medical/dicom/current/output/chtml/part16/sect_CID_{}.html"
"""How R4 itself names a context group: the binding of ImagingStudy.series.modality."""


def main(package: Path) -> None:
    """Write both files anew."""
    systems = {
        each["url"]: each for each in of_kind(package, "CodeSystem") if "|" not in each["url"]
    }
    value_sets = {each["url"]: each for each in of_kind(package, "ValueSet")}
    kept = {url for url in bound(package) if is_listed(url, value_sets, systems)}
    kept |= {each for url in kept for each in imported(value_sets[url], value_sets)}
    used = {DCM, *(part["system"] for url in kept for part in parts(value_sets[url]))}
    rows = [system(systems[url]) for url in sorted(used & systems.keys())]
    write_lines(FOLDER / "code_systems.ndjson", rows)
    listed = [value_set(value_sets[url]) for url in sorted(kept)]
    write_lines(FOLDER / "value_sets.ndjson", [*listed, *context_groups(systems[DCM])])


def bound(package: Path) -> set[str]:
    """Name the value sets that elements of stored types, and extensions, are bound to."""
    found = set()
    for definition in of_kind(package, "StructureDefinition"):
        kind, name = definition["kind"], definition["type"]
        if kind == "resource" and not is_modelled(name):
            continue
        for element in definition.get("snapshot", {}).get("element", ()):
            if "valueSet" in element.get("binding", ()):
                found.add(element["binding"]["valueSet"].partition("|")[0])
    return found


def is_listed(
    url: str, value_sets: dict[str, dict[str, Any]], systems: dict[str, dict[str, Any]]
) -> bool:
    """Tell whether a value set can be expanded from what may be kept."""
    found = value_sets.get(url)
    return found is not None and all(
        all(is_listed(each, value_sets, systems) for each in part.get("valueSet", ()))
        and (
            "system" not in part
            or systems.get(part["system"], {}).get("content") == "complete"
            or ("concept" in part and part["system"] in FREE)
        )
        for part in compose(found)
    )


def compose(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Give what a value set includes and excludes."""
    content = found.get("compose", {})
    return [*content.get("include", ()), *content.get("exclude", ())]


def parts(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts that name a code system."""
    return (part for part in compose(found) if "system" in part)


def imported(found: dict[str, Any], value_sets: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Name the value sets that a value set imports, and those that they do."""
    for part in compose(found):
        for url in part.get("valueSet", ()):
            yield url
            yield from imported(value_sets[url], value_sets)


def system(found: dict[str, Any]) -> dict[str, Any]:
    """Write a code system as rows ``[code, display, parent, ...]``."""
    head: dict[str, Any] = {key: found[key] for key in NAMES if key in found}
    rows: dict[str, list[str]] = {}
    abstract: list[str] = []
    for concept, parent in concepts(found):
        row = rows.setdefault(concept["code"], [concept["code"], concept.get("display", "")])
        properties = concept.get("property", ())
        above = [parent] if parent else []
        above += [str(each["valueCode"]) for each in properties if each["code"] == "subsumedBy"]
        row += [each for each in dict.fromkeys(above) if each not in row[2:]]
        if any(each["code"] == "notSelectable" and each.get("valueBoolean") for each in properties):
            abstract.append(concept["code"])
    if found.get("caseSensitive") is False:
        head["caseSensitive"] = False
    if abstract:
        head["abstract"] = abstract
    return {**head, "concept": list(rows.values())}


def concepts(found: dict[str, Any], parent: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """Yield every concept with the code of the one above it."""
    for concept in found.get("concept", ()):
        yield concept, parent
        yield from concepts(concept, concept["code"])


def value_set(found: dict[str, Any]) -> dict[str, Any]:
    """Write a value set by what it includes and excludes."""
    head: dict[str, Any] = {key: found[key] for key in NAMES if key in found}
    content = {
        side: [part_of(part) for part in found["compose"][side]]
        for side in ("include", "exclude")
        if side in found["compose"]
    }
    return {**head, "compose": content}


def part_of(part: dict[str, Any]) -> dict[str, Any]:
    """Keep of a part what decides which codes are in it, and how they are shown."""
    kept: dict[str, Any] = {key: part[key] for key in PARTS if key in part}
    if "concept" in part:
        shown = ("code", "display")
        kept["concept"] = [
            {key: each[key] for key in shown if key in each} for each in part["concept"]
        ]
    return kept


def context_groups(dcm: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Write the context groups of DICOM that have only codes of DICOM itself."""
    held = {concept["code"] for concept, _ in concepts(dcm)}
    for number, (name, title) in CONTEXT_GROUPS.items():
        keywords = _cid_dict.cid_concepts[number]["DCM"]
        known: Any = _concepts_dict.concepts["DCM"]
        codes = {code: text for each in keywords for code, (text, _) in known[each].items()}
        listed = [
            {"code": code} if code in held else {"code": code, "display": codes[code]}
            for code in sorted(codes)
        ]
        yield {
            "url": CONTEXT_GROUP.format(number),
            "name": name,
            "title": title,
            "compose": {"include": [{"system": DCM, "concept": listed}]},
        }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
