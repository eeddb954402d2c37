"""The table of search parameters: SearchParameter resources -> rows by type and code.

The definitions are the release's own and ours (`search_parameters/`, see its README), and those
that clients have added (`adopt`); the server publishes the very files that it obeys. A row is
compiled when its type is first asked for.

References
----------
* FHIR R4 search; FHIR R4 searchparameter-registry
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path as File
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import orjson

from resources import paths

Kind = Literal[
    "token", "reference", "date", "string", "uri", "number", "quantity", "composite", "special"
]
KINDS: Final[tuple[Kind, ...]] = (
    "token", "reference", "date", "string", "uri", "number", "quantity", "composite", "special",
)  # fmt: skip
"""FHIR R4 search-param-type: all of them."""

SPECIAL: Final = frozenset({"near"})
"""The special parameters that are done; ``_text``, ``_content`` and ``_filter`` are not."""

SWAPPED: Final = frozenset({"DocumentReference-relationship"})
"""Composites whose definitions name their two parts in the other order than their expressions."""

PRIORITY_RANK: Final = "priority-rank"
"""How urgent it is, as a number to sort by: 1 is stat. It is worked out from `priority`."""

ANY_TYPE: Final = 100
"""A list of so many targets is the list of all."""

FOLDER: Final = File(__file__).with_suffix("")

CHIEF_DATE: Final[Mapping[str, str]] = {
    "AllergyIntolerance":       "date",
    "Appointment":              "date",
    "AuditEvent":               "date",
    "CarePlan":                 "date",
    "CareTeam":                 "date",
    "Communication":            "sent",
    "CommunicationRequest":     "authored",
    "Composition":              "date",
    "Condition":                "recorded-date",
    "Consent":                  "date",
    "DetectedIssue":            "identified",
    "DeviceRequest":            "authored-on",
    "DiagnosticReport":         "date",
    "DocumentManifest":         "created",
    "DocumentReference":        "date",
    "Encounter":                "date",
    "EpisodeOfCare":            "date",
    "Flag":                     "date",
    "ImagingStudy":             "started",
    "Immunization":             "date",
    "List":                     "date",
    "Media":                    "created",
    "MedicationAdministration": "effective-time",
    "MedicationRequest":        "authoredon",
    "MedicationStatement":      "effective",
    "Observation":              "date",
    "Patient":                  "birthdate",
    "Procedure":                "date",
    "Provenance":               "recorded",
    "QuestionnaireResponse":    "authored",
    "RequestGroup":             "authored",
    "RiskAssessment":           "date",
    "ServiceRequest":           "authored",
    "Specimen":                 "collected",
    "Task":                     "authored-on",
}  # fmt: skip
"""The one date by which resources of a type are listed; each occurs at most once in a resource."""


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One parameter of one resource type.

    Parameters
    ----------
    targets
        Resource types that a reference parameter may point at; empty for any.
    path
        The compiled expression, as far as it concerns the type.
    components
        Of a composite parameter, the parameters that its values are made of.
    groups
        Of a composite parameter, the elements it looks at with what is asked of each.
    """

    code: str
    kind: Kind
    expression: str
    targets: tuple[str, ...]
    url: str
    path: paths.Path
    components: tuple["SearchParameter", ...] = ()
    groups: tuple[paths.Group, ...] = ()

    def extract(self, resource: Mapping[str, Any]) -> list[Any]:
        """The elements of a resource that the parameter looks at."""
        return self.path(resource)


def parameter(type: str, code: str) -> SearchParameter | None:
    """Look one parameter up; None when the type has no indexed parameter of that name.

    Examples
    --------
    >>> parameter("ImagingStudy", "basedon").kind
    'reference'
    >>> parameter("ImagingStudy", "wings")
    """
    return parameters(type).get(code)


@cache
def parameters(type: str) -> Mapping[str, SearchParameter]:
    """Every parameter of a type that can be asked for, those of all resources among them, by code.

    Clients may have added to them; see `adopt`.
    """
    return MappingProxyType(
        {code: row for code, row in indexed(type).items() if row.url not in _added.unfinished}
    )


@cache
def indexed(type: str) -> Mapping[str, SearchParameter]:
    """Every parameter that resources of a type are indexed by: those being built besides."""
    rows = dict(of_the_server(type))
    for definition in _added.by_base.get(type, ()):
        rows.setdefault(definition["code"], _row(definition, type, _added.choices))
    return MappingProxyType(rows)


@cache
def of_the_server(type: str) -> Mapping[str, SearchParameter]:
    """Every parameter of a type that the server itself defines."""
    rows = {}
    for base in ("Resource", "DomainResource", type):
        for definition in _by_base().get(base, ()):
            if definition["type"] in KINDS and (
                definition["type"] != "special" or definition["code"] in SPECIAL
            ):
                row = _row(definition, type)
                rows[row.code] = row
    return MappingProxyType(rows)


class _Added(NamedTuple):
    """What clients have added: definitions by base type, and the URLs of those being built."""

    by_base: Mapping[str, list[Mapping[str, Any]]]
    unfinished: frozenset[str]
    choices: paths.Choices


_added = _Added({}, frozenset(), {})
_generation = 0


def adopt(
    definitions: Iterable[Mapping[str, Any]],
    unfinished: Iterable[str] = (),
    choices: paths.Choices = MappingProxyType({}),
) -> None:
    """Take over the parameters that clients have added, instead of all taken over before.

    Parameters
    ----------
    definitions
        SearchParameter resources that `resources.own_parameters.check` has let pass.
    unfinished
        URLs of those that resources are indexed by but nobody may ask for yet.
    choices
        The choice elements that their expressions may meet.
    """
    global _added, _generation
    definitions = list(definitions)
    if not definitions and not _added.by_base:
        return
    by_base: dict[str, list[Mapping[str, Any]]] = {}
    for definition in definitions:
        for base in definition["base"]:
            by_base.setdefault(base, []).append(definition)
    _added = _Added(by_base, frozenset(unfinished), choices)
    _generation += 1
    parameters.cache_clear()
    indexed.cache_clear()


@cache
def published() -> frozenset[str]:
    """The URLs of the definitions that the server publishes itself."""
    return frozenset(each["url"] for each in definitions())


def generation() -> int:
    """A number that is another one after each `adopt`."""
    return _generation


@cache
def types() -> frozenset[str]:
    """The resource types that have parameters of their own."""
    return frozenset(_by_base()) - {"Resource", "DomainResource"}


@cache
def definitions() -> tuple[Mapping[str, Any], ...]:
    """Every SearchParameter resource, as it is published."""
    lines = [
        line for file in sorted(FOLDER.glob("*.ndjson")) for line in file.read_bytes().splitlines()
    ]
    return tuple(orjson.loads(line) for line in lines)


def _row(
    definition: Mapping[str, Any], type: str, choices: paths.Choices | None = None
) -> SearchParameter:
    expression = definition["expression"]
    choices = _choices() if choices is None else choices
    components = _components(definition, type) if definition["type"] == "composite" else ()
    return SearchParameter(
        code=definition["code"],
        kind=definition["type"],
        expression=expression,
        targets=_targets(definition, type),
        url=definition["url"],
        path=paths.compile(expression, type, choices),
        components=components,
        groups=paths.compile_groups(
            expression,
            [each["expression"] for each in definition["component"]],
            type,
            choices,
        )
        if components
        else (),
    )


def _components(definition: Mapping[str, Any], type: str) -> tuple[SearchParameter, ...]:
    """The parameters that a composite one is made of, for what they say of their values."""
    named = [each["definition"] for each in definition["component"]]
    if definition["id"] in SWAPPED:
        named.reverse()
    return tuple(_row(_by_url()[url], type) for url in named)


def _targets(definition: Mapping[str, Any], type: str) -> tuple[str, ...]:
    """Name the types pointed at: the definition of a shared parameter names those of all its bases.

    ``clinical-patient`` has Group among its targets, which no expression of ``patient`` admits. A
    parameter that may point at anything names every type of the release.
    """
    if definition["code"] == "patient":
        return ("Patient",)
    targets = tuple(definition.get("target", ()))
    return targets if len(targets) < ANY_TYPE else ()


@cache
def _by_base() -> Mapping[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for definition in definitions():
        for base in definition["base"]:
            found.setdefault(base, []).append(definition)
    return found


@cache
def _by_url() -> Mapping[str, Mapping[str, Any]]:
    return {each["url"]: each for each in definitions()}


@cache
def _choices() -> paths.Choices:
    rows = orjson.loads((FOLDER / "choices.json").read_bytes())["choices"]
    return {path: tuple(types) for path, types in rows}
