"""The table of search parameters: SearchParameter resources -> rows by type and code.

The definitions are the release's own and ours (`search_parameters/`, see its README); the server
publishes the very files that it obeys. A row is compiled when its type is first asked for.

References
----------
* FHIR R4 search; FHIR R4 searchparameter-registry
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path as File
from types import MappingProxyType
from typing import Any, Final, Literal

import orjson

from resources import paths

Kind = Literal["token", "reference", "date", "string", "uri"]
KINDS: Final[tuple[Kind, ...]] = ("token", "reference", "date", "string", "uri")
"""The kinds that are indexed. Number, quantity, composite and special parameters are not yet."""

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
    """

    code: str
    kind: Kind
    expression: str
    targets: tuple[str, ...]
    url: str
    path: paths.Path

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
    """Every indexed parameter of a type, those of all resources among them, by code."""
    rows = {}
    for base in ("Resource", "DomainResource", type):
        for definition in _by_base().get(base, ()):
            if definition["type"] in KINDS:
                row = _row(definition, type)
                rows[row.code] = row
    return MappingProxyType(rows)


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


def _row(definition: Mapping[str, Any], type: str) -> SearchParameter:
    expression = definition["expression"]
    return SearchParameter(
        code=definition["code"],
        kind=definition["type"],
        expression=expression,
        targets=_targets(definition, type),
        url=definition["url"],
        path=paths.compile(expression, type, _choices()),
    )


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
def _choices() -> paths.Choices:
    rows = orjson.loads((FOLDER / "choices.json").read_bytes())["choices"]
    return {path: tuple(types) for path, types in rows}
