"""Compartments: which resources are about a patient, and about which one; and the other four.

`compartments/patient.json` and its like are what the release says; `compartments/once.json` lists
the elements that hold the one patient of a resource. R4 leaves out types that are plainly about
somebody: they are in `FORGOTTEN`.

References
----------
* FHIR R4 compartmentdefinition-patient; compartmentdefinition, "Compartment Membership"
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from resources import codes, search_parameters

FOLDER: Final = Path(__file__).with_suffix("")

FORGOTTEN: Final[Mapping[str, tuple[str, ...]]] = {
    "Contract":         ("patient",),
    "Device":           ("patient",),
    "GuidanceResponse": ("patient",),
    "Task":             ("patient",),
}  # fmt: skip
"""Types that R4 does not count, with the parameter that says whom they are about. R5 has Task and
GuidanceResponse; a Device or a Contract without a patient is about nobody."""

COMPARTMENTS: Final = frozenset({"Device", "Encounter", "Patient", "Practitioner", "RelatedPerson"})
"""FHIR R4 compartmentdefinition, "Standard Compartments"."""

_LOCAL: Final = re.compile(r"Patient/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")


def in_patient_compartment(type: str) -> bool:
    """Whether resources of a type may be about a patient.

    Examples
    --------
    >>> in_patient_compartment("Task"), in_patient_compartment("Organization")
    (True, False)
    """
    return type == "Patient" or type in patient_parameters()


def patient_of(resource: Mapping[str, Any], own_base: str = codes.BASE) -> str | None:
    """The id of the Patient that a resource is about; a Patient is about itself.

    Of several (an Appointment, a Group) it is the first. A performer or an author who happens to
    be a patient does not make a resource about them. References to other servers do not count.

    Parameters
    ----------
    own_base
        References below this URL are ours.

    Examples
    --------
    >>> patient_of({"resourceType": "Task", "for": {"reference": "Patient/p1"}})
    'p1'
    >>> patient_of({"resourceType": "Task", "for": {"reference": "Group/g1"}})
    """
    type = resource["resourceType"]
    if type == "Patient":
        return resource.get("id")
    for element in _about(type, resource):
        reference = element.get("reference") if element.__class__ is dict else None
        if reference.__class__ is str:
            local = _LOCAL.fullmatch(reference.removeprefix(own_base + "/"))
            if local is not None:
                return local.group(1)
    return None


def pins_patient(type: str, code: str) -> bool:
    """Whether a reference parameter looks at exactly the element that `patient_of` reads.

    If so, ``code=Patient/x`` and "the resource is about x" say the same.

    Examples
    --------
    >>> pins_patient("ServiceRequest", "subject"), pins_patient("Provenance", "patient")
    (True, False)
    """
    return code in _pins(type)


def patient_parameters() -> Mapping[str, tuple[str, ...]]:
    """The parameters by which each type is in the compartment."""
    return parameters_of("Patient")


@cache
def parameters_of(compartment: str) -> Mapping[str, tuple[str, ...]]:
    """The parameters by which each type is in a compartment; empty where there is none.

    Examples
    --------
    >>> parameters_of("Encounter")["DiagnosticReport"], parameters_of("Organization")
    (('encounter',), {})
    """
    if compartment not in COMPARTMENTS:
        return {}
    definition = orjson.loads((FOLDER / f"{compartment.lower()}.json").read_bytes())
    rows = {row["code"]: tuple(row["param"]) for row in definition["resource"]}
    return {**rows, **FORGOTTEN} if compartment == "Patient" else rows


def _about(type: str, resource: Mapping[str, Any]) -> Iterable[Any]:
    """What says whom a resource is about: its one element, else its parameter ``patient``."""
    element = _once().get(type)
    if element is not None:
        value = resource.get(element)
        return () if value is None else (value,)
    parameter = _about_parameter(type)
    return () if parameter is None else parameter.extract(resource)


@cache
def _about_parameter(type: str) -> search_parameters.SearchParameter | None:
    codes = patient_parameters().get(type, ())
    known = (search_parameters.parameter(type, code) for code in ("patient", *codes) if codes)
    return next((parameter for parameter in known if parameter is not None), None)


@cache
def _once() -> Mapping[str, str]:
    return dict(orjson.loads((FOLDER / "once.json").read_bytes())["elements"])


@cache
def _pins(type: str) -> frozenset[str]:
    path = f"{type}.{_once().get(type)}"
    same = {path, f"{path}.where(resolve() is Patient)"}
    return frozenset(
        code
        for code, parameter in search_parameters.parameters(type).items()
        if any(operand.strip() in same for operand in parameter.expression.split("|"))
        and len(parameter.path.branches) == 1
    )
