"""Make the data of `resources/` from the published FHIR R4 package.

Run by hand when the release changes, never by the server::

    python tools/definitions.py PACKAGE_DIR

`PACKAGE_DIR` is the unpacked npm package ``hl7.fhir.r4.examples`` 4.0.1. One function makes each
artefact; what is made is committed and read by people, so it is one element to a line.
"""

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
RESOURCES = HERE / "resources"
CORE = "http://hl7.org/fhir/StructureDefinition/"
SYSTEM_TYPES = "http://hl7.org/fhirpath/System."
FHIR_TYPE = CORE + "structuredefinition-fhir-type"


def main(package: Path) -> None:
    """Write every artefact anew."""
    structure_definitions(package)
    value_sets(package)
    search_parameters(package)
    compartments(package)
    summaries(package)


def structure_definitions(package: Path) -> None:
    """Write one file a type: its elements in order, what they may hold and how often.

    Only types that the R4B models also know are kept: the others were withdrawn or rebuilt
    after R4 (MedicinalProduct, SubstanceSpecification, EffectEvidenceSynthesis, ...).
    """
    for definition in of_kind(package, "StructureDefinition"):
        kind, name = definition["kind"], definition["type"]
        if kind not in ("resource", "complex-type") or definition.get("derivation") == "constraint":
            continue
        if kind == "resource" and not is_modelled(name):
            continue
        folder = RESOURCES / "structure_definitions"
        folder /= "resources" if kind == "resource" else "datatypes"
        rows = list(elements(definition))
        write_rows(folder / f"{name}.json", {"type": name}, "elements", rows)


def elements(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the elements of a definition; ``min`` 0 and ``max`` 1 go without saying."""
    name = definition["type"]
    for element in definition["snapshot"]["element"][1:]:
        row: dict[str, Any] = {"path": element["path"].removeprefix(name + ".")}
        if element["min"]:
            row["min"] = element["min"]
        if element["max"] != "1":
            row["max"] = element["max"]
        if "contentReference" in element:
            row["like"] = element["contentReference"].removeprefix("#" + name + ".")
        else:
            row["types"] = types(element)
        binding = element.get("binding", {})
        if binding.get("strength") == "required" and "valueSet" in binding:
            row["binding"] = binding["valueSet"].partition("|")[0].rpartition("/")[2]
        yield row


def summaries(package: Path) -> None:
    """Write which elements of each resource type are its summary, and which modify the others."""
    rows = []
    for definition in of_kind(package, "StructureDefinition"):
        name = definition["type"]
        is_base = definition.get("derivation") != "constraint"
        if definition["kind"] == "resource" and is_base and is_modelled(name):
            listed = definition["snapshot"]["element"][1:]
            paths = {flag: [
                element["path"].removeprefix(name + ".")
                for element in listed
                if element.get(flag)
            ] for flag in ("isSummary", "isModifier")}  # fmt: skip
            rows.append({"type": name, **paths})
    write_lines(RESOURCES / "summary" / "elements.ndjson", sorted(rows, key=lambda r: r["type"]))


def types(element: dict[str, Any]) -> list[str]:
    """Name the types of an element, ``Reference(Patient|Group)`` with its targets.

    An ``id`` and the value of a primitive carry a FHIRPath system type in the definition; the
    FHIR type stands in an extension. ``Resource.id`` is an id although R4 says string there.
    """
    names = []
    for kind in element["type"]:
        code = kind["code"]
        if code.startswith(SYSTEM_TYPES):
            is_resource_id = element["base"]["path"] == "Resource.id"
            code = "id" if is_resource_id else fhir_type(kind)
        targets = [target.removeprefix(CORE) for target in kind.get("targetProfile", ())]
        if code == "Reference" and targets and targets != ["Resource"]:
            code = f"Reference({'|'.join(sorted(targets))})"
        names.append(code)
    return names


def fhir_type(kind: dict[str, Any]) -> str:
    """Read the FHIR type that stands behind a FHIRPath system type."""
    for extension in kind.get("extension", ()):
        if extension["url"] == FHIR_TYPE:
            return str(extension.get("valueUrl") or extension["valueUri"])
    return "string"


def value_sets(package: Path) -> None:
    """Write the expansion of every value set that a required binding names, one to a line.

    All of them are lists of codes or whole code systems of the package, save a few that are open
    grammars (mime types, currencies, units) or another publisher's: these get no line.
    """
    folder = RESOURCES / "structure_definitions"
    bound = {
        row["binding"]
        for path in sorted(folder.glob("*/*.json"))
        for row in json.loads(path.read_text(encoding="utf-8"))["elements"]
        if "binding" in row
    }
    systems = {system["url"]: system for system in of_kind(package, "CodeSystem")}
    rows = []
    for value_set in of_kind(package, "ValueSet"):
        name = value_set["url"].rpartition("/")[2]
        if name in bound and (codes := expansion(value_set, systems)):
            rows.append({"name": name, "url": value_set["url"], "codes": codes})
    write_lines(RESOURCES / "value_sets" / "required.ndjson", rows)


def expansion(
    value_set: dict[str, Any], systems: dict[str, dict[str, Any]]
) -> dict[str, list[str]] | None:
    """List the codes of a value set by system; ``None`` if they cannot be listed offline."""
    codes: dict[str, list[str]] = {}
    for part in value_set["compose"]["include"]:
        url = part.get("system", "")
        if "concept" in part:
            listed = [concept["code"] for concept in part["concept"]]
        elif systems.get(url, {}).get("content") == "complete" and "filter" not in part:
            listed = list(concept_codes(systems[url]))
        else:
            return None
        codes.setdefault(url, []).extend(listed)
    return codes


def concept_codes(concept: dict[str, Any]) -> Iterator[str]:
    """Yield the codes below a code system or a concept."""
    for child in concept.get("concept", ()):
        yield child["code"]
        yield from concept_codes(child)


def search_parameters(package: Path) -> None:
    """Write the SearchParameters of the release, one file a base type, without the noise.

    What has several base types is in ``shared.ndjson``. Definitions of extensions and examples
    are left out, and those without an expression: they say nothing a server could obey. Our own
    are in ``house.ndjson``, written by hand. ``choices.json`` names the choice elements that
    the expressions meet.
    """
    folder = RESOURCES / "search_parameters"
    files: dict[str, list[dict[str, Any]]] = {}
    for parameter in of_kind(package, "SearchParameter"):
        if is_of_the_release(parameter):
            base = [name for name in parameter["base"] if name in ABSTRACT or is_modelled(name)]
            row = {key: parameter[key] for key in OF_A_PARAMETER if key in parameter}
            if base:
                file = base[0] if len(parameter["base"]) == 1 else "shared"
                files.setdefault(file, []).append({**row, "base": base})
    for file, rows in files.items():
        write_lines(folder / f"{file}.ndjson", sorted(rows, key=lambda row: str(row["id"])))
    ours = [json.loads(line) for line in (folder / "house.ndjson").read_text().splitlines()]
    expressions = [row["expression"] for rows in (*files.values(), ours) for row in rows]
    met = sorted(choices(package, expressions))
    write_rows(folder / "choices.json", {"release": "4.0.1"}, "choices", met)


OF_A_PARAMETER = (
    "resourceType", "id", "url", "version", "name", "status", "description", "code", "base", "type",
    "expression", "target", "multipleOr", "multipleAnd", "comparator", "modifier", "chain",
    "component",
)  # fmt: skip
ABSTRACT = ("Resource", "DomainResource")


def is_of_the_release(parameter: dict[str, Any]) -> bool:
    """Tell a definition of the base specification from one of an extension or an example."""
    named = parameter["url"].removeprefix("http://hl7.org/fhir/SearchParameter/")
    return (
        parameter["url"] != named
        and "expression" in parameter
        and "extension(" not in parameter["expression"]
        and not named.startswith("example")
    )


def choices(package: Path, expressions: list[str]) -> Iterator[list[Any]]:
    """Yield the choice elements that expressions meet, each with the types it may have."""
    types_of: dict[str, list[str]] = {}
    for definition in of_kind(package, "StructureDefinition"):
        if definition.get("derivation") != "constraint" and "snapshot" in definition:
            for element in definition["snapshot"]["element"][1:]:
                if "contentReference" not in element:
                    codes = [kind["code"] for kind in element["type"]]
                    types_of[element["path"]] = codes
    met = {
        element
        for expression in expressions
        for path in re.findall(r"\b[A-Z]\w+(?:\.[a-z]\w*\b(?!\())+", expression)
        for element in prefixes(path)
    }
    for element in {*met, "Extension.value"}:
        name = defined_as(element, types_of)
        if name + "[x]" in types_of:
            yield [element, types_of[name + "[x]"]]


def prefixes(path: str) -> list[str]:
    """Every element on the way along a path."""
    names = path.split(".")
    return [".".join(names[: n + 1]) for n in range(1, len(names))]


def defined_as(element: str, types_of: dict[str, list[str]]) -> str:
    """Name an element as its definition does: ``Measure.useContext.value`` is of UsageContext."""
    base, _, name = element.rpartition(".")
    if "." not in base:
        return element
    base = defined_as(base, types_of)
    types = types_of.get(base, [])
    if len(types) == 1 and types[0] not in ("BackboneElement", "Element"):
        return f"{types[0]}.{name}"
    return f"{base}.{name}"


def compartments(package: Path) -> None:
    """Write the compartments: which parameters of which type put a resource into them."""
    for name in ("patient", "encounter", "practitioner", "device", "relatedPerson"):
        source = package / f"CompartmentDefinition-{name}.json"
        definition = json.loads(source.read_text(encoding="utf-8"))
        rows = [
            {"code": row["code"], "param": row["param"]}
            for row in definition["resource"]
            if "param" in row and is_modelled(row["code"])
        ]
        head = {key: definition[key] for key in ("resourceType", "url", "version", "code")}
        file = f"{name.lower()}.json"
        write_rows(RESOURCES / "compartments" / file, head, "resource", rows)
    write_rows(
        RESOURCES / "compartments" / "once.json", {"of": "Patient"}, "elements", once(package)
    )


def once(package: Path) -> list[list[str]]:
    """List the elements that hold the one patient a resource is about: those of at most one."""
    single = {
        element["path"]
        for definition in of_kind(package, "StructureDefinition")
        if definition.get("derivation") != "constraint"
        for element in definition["snapshot"]["element"]
        if element["max"] == "1"
    }
    found = {
        path
        for parameter in of_kind(package, "SearchParameter")
        if parameter["code"] == "patient"
        for path in re.findall(r"([A-Z]\w+\.\w+)(?!\.[a-z]+(?!\w*\())", parameter["expression"])
        if path in single and is_modelled(path.partition(".")[0])
    }
    return sorted(path.split(".") for path in found)


def of_kind(package: Path, resource_type: str) -> Iterator[dict[str, Any]]:
    """Read every resource of one type in the package, by file name."""
    for path in sorted(package.glob(f"{resource_type}-*.json")):
        resource = json.loads(path.read_text(encoding="utf-8"))
        if resource["resourceType"] == resource_type:
            yield resource


def is_modelled(name: str) -> bool:
    """Tell whether the R4B models of fhir.resources have this resource type."""
    return importlib.util.find_spec(f"fhir.resources.R4B.{name.lower()}") is not None


def write_rows(path: Path, head: dict[str, Any], key: str, rows: list[Any]) -> None:
    """Write JSON with one row to a line, so that a change of the standard reads as a diff."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    start = json.dumps(head, ensure_ascii=False)[:-1]
    path.write_text(f'{start}, "{key}": [\n{lines}\n]}}\n', encoding="utf-8")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object to a line (ndjson)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
