"""The invariants of definitions: of CodeSystem, ValueSet, SearchParameter and ElementDefinition.

FHIR R4 CodeSystem, ValueSet, SearchParameter, ElementDefinition. The rows are read like those of
`resources.invariants`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from resources.predicates import (
    Element,
    Invariant,
    any_chosen,
    any_of,
    chosen,
    distinct,
    exists,
    needs,
    needs_one,
    not_both,
)

CODED: Final = ("code", "Coding", "CodeableConcept", "Quantity", "string", "uri")
"""eld-11: the types that may have a binding."""

_SLICE: Final = re.compile(r"[a-zA-Z0-9/\-_\[\]@]+")
_STEP: Final = r"""[^\s.,:;'"/|?!@#$%&*()\[\]{}]{1,64}"""
_PATH: Final = re.compile(rf"{_STEP}(?:\.{_STEP}(?:\[x\])?(?::[^\s.]+)?)*")


def _codes(concept: Element) -> Iterator[str]:
    for child in concept.get("concept", ()):
        yield child.get("code", "")
        yield from _codes(child)


def _types(element: Element) -> Sequence[Element]:
    return [each for each in element.get("type", ()) if isinstance(each, dict)]


def _is_at_most(element: Element) -> bool:
    least, most = element.get("min"), str(element.get("max", "*"))
    return least is None or not most.isdigit() or int(least) <= int(most)


def _is_coded(element: Element) -> bool:
    kinds = [each.get("code") for each in _types(element)]
    return "binding" not in element or not kinds or any(kind in CODED for kind in kinds)


def _says_nothing_of_its_own(element: Element) -> bool:
    own = ("type", "defaultValue", "fixed", "pattern", "example", "minValue", "maxValue",
           "maxLength", "binding")  # fmt: skip
    return not exists(element, "contentReference") or not any_chosen(element, *own)


def _alone(name: str) -> Invariant:
    number, what = {"fixed": ("eld-6", "Fixed value"), "pattern": ("eld-7", "Pattern")}[name]
    return Invariant(
        "ElementDefinition", number, f"{what} may only be specified if there is one type",
        lambda e: not chosen(e, name) or len(_types(e)) <= 1,
    )  # fmt: skip


OF_DEFINITIONS: Final = (
    Invariant("CodeSystem", "csd-1",
              "Within a code system definition, all the codes SHALL be unique",
              lambda e: distinct(_codes(e))),
    Invariant("ElementDefinition", "eld-2", "Min <= Max", _is_at_most),
    Invariant("ElementDefinition", "eld-5", "if the element definition has a contentReference, it "
              "cannot have type, defaultValue, fixed, pattern, example, minValue, maxValue, "
              "maxLength, or binding", _says_nothing_of_its_own),
    _alone("fixed"),
    _alone("pattern"),
    Invariant("ElementDefinition", "eld-8", "Pattern and fixed are mutually exclusive",
              lambda e: not (chosen(e, "pattern") and chosen(e, "fixed"))),
    Invariant("ElementDefinition", "eld-11",
              "Binding can only be present for coded elements, string, and uri", _is_coded),
    Invariant("ElementDefinition", "eld-13", "Types must be unique by code",
              lambda e: distinct(each.get("code") for each in _types(e))),
    Invariant("ElementDefinition", "eld-14", "Constraints must be unique by key",
              lambda e: distinct(each.get("key") for each in e.get("constraint", ()))),
    Invariant("ElementDefinition", "eld-15",
              "default value and meaningWhenMissing are mutually exclusive",
              lambda e: not (chosen(e, "defaultValue") and exists(e, "meaningWhenMissing"))),
    Invariant("ElementDefinition", "eld-16",
              'sliceName must be composed of proper tokens separated by "/"',
              lambda e: bool(_SLICE.fullmatch(str(e.get("sliceName", "x"))))),
    Invariant("ElementDefinition", "eld-18", "Must have a modifier reason if isModifier = true",
              lambda e: e.get("isModifier") is not True or exists(e, "isModifierReason")),
    Invariant("ElementDefinition", "eld-19", "Element names cannot include some special characters",
              lambda e: bool(_PATH.fullmatch(str(e.get("path", "x"))))),
    Invariant("ElementDefinition", "eld-22",
              "sliceIsConstraining can only appear if slicename is present",
              needs("sliceIsConstraining", "sliceName")),
    Invariant("ElementDefinition", "eld-3", 'Max SHALL be a number or "*"',
              lambda e: str(e.get("max", "*")) == "*" or str(e["max"]).isdigit()),
    Invariant("ElementDefinition.slicing", "eld-1",
              "If there are no discriminators, there must be a definition",
              any_of("discriminator", "description")),
    Invariant("ElementDefinition.type", "eld-4", "Aggregation may only be specified if one of the "
              "allowed types for the element is a reference",
              lambda e: "aggregation" not in e or e.get("code") in ("Reference", "canonical")),
    Invariant("ElementDefinition.type", "eld-17",
              "targetProfile is only allowed if the type is Reference or canonical",
              lambda e: "targetProfile" not in e or e.get("code") in ("Reference", "canonical")),
    Invariant("ElementDefinition.binding", "eld-12",
              "ValueSet SHALL start with http:// or https:// or urn:",
              lambda e: str(e.get("valueSet", "urn:")).startswith(("http:", "https", "urn:"))),
    Invariant("SearchParameter", "spd-1", "If an xpath is present, there SHALL be an xpathUsage",
              needs("xpath", "xpathUsage")),
    Invariant("SearchParameter", "spd-2", "Search parameters can only have chain names when the "
              "search parameter type is 'reference'",
              lambda e: "chain" not in e or e.get("type") == "reference"),
    Invariant("ValueSet.compose.include", "vsd-1",
              "A value set include/exclude SHALL have a value set or a system",
              any_of("valueSet", "system")),
    Invariant("ValueSet.compose.include", "vsd-2",
              "A value set with concepts or filters SHALL include a system",
              lambda e: needs("concept", "system")(e) and needs("filter", "system")(e)),
    Invariant("ValueSet.compose.include", "vsd-3", "Cannot have both concept and filter",
              not_both("concept", "filter")),
    Invariant("ValueSet.expansion.contains", "vsd-6", "SHALL have a code or a display",
              any_of("code", "display")),
    Invariant("ValueSet.expansion.contains", "vsd-9", "Must have a code if not abstract",
              lambda e: exists(e, "code") or e.get("abstract") is True),
    Invariant("ValueSet.expansion.contains", "vsd-10", "Must have a system if a code is present",
              needs_one("code", "system")),
)  # fmt: skip
