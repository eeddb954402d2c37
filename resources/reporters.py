"""Reporters: who stands over a report, in words: organisation, clinician, registered speciality.

References
----------
* Requirements R015.3; FHIR R4 DiagnosticReport.performer, resultsInterpreter
* FHIR R4 PractitionerRole.specialty
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from resources import codes, elements
from resources.errors import Unprocessable

Json = Mapping[str, Any]

UNREGISTERED: Final = "speciality not registered"


class Reporter(NamedTuple):
    """One who reports; empty where the server does not know.

    Parameters
    ----------
    organization, practitioner, role
        As resources.
    name
        How a report calls somebody of whom nothing else is known.
    """

    organization: Json
    practitioner: Json
    role: Json
    name: str = ""


def words(reporter: Reporter) -> str:
    """Organisation, clinician and speciality, as they stand over a report.

    Examples
    --------
    >>> words(Reporter({"name": "Westvale"}, {"name": [{"text": "Dr Castell"}]}, {}))
    'Westvale · Dr Castell · speciality not registered'
    >>> words(Reporter({"name": "Westvale"}, {}, {}))
    'Westvale'
    """
    clinician = person_name(reporter.practitioner) or reporter.name
    registered = speciality(reporter.role) or UNREGISTERED
    parts = [organization_name(reporter.organization), clinician, registered if clinician else ""]
    return " · ".join(part for part in parts if part)


def check(reporters: Iterable[Reporter]) -> None:
    """Refuse a report that names no organisation, or nobody there.

    Raises
    ------
    Unprocessable
        R015.3: a report names the reporting organisation and the reporting clinician.
    """
    known = list(reporters)
    if not any(organization_name(one.organization) for one in known):
        raise Unprocessable(
            "an issued report names the organisation that reports",
            at="DiagnosticReport.performer",
        )
    if not any(person_name(one.practitioner) or one.name for one in known):
        raise Unprocessable(
            "an issued report names the clinician who reports",
            at="DiagnosticReport.resultsInterpreter",
        )


def organization_name(organization: Json | None) -> str:
    """Name and ODS code of an organisation."""
    organization = organization or {}
    codes_of = [
        one.get("value", "")
        for one in organization.get("identifier", ())
        if one.get("system") == codes.ODS_ORGANIZATION
    ]
    name = str(organization.get("name", ""))
    return f"{name} ({codes_of[0]})" if name and codes_of else name


def person_name(practitioner: Json | None) -> str:
    """A practitioner's name as it is spoken."""
    name: Json = next(iter((practitioner or {}).get("name", ())), {})
    parts = [*name.get("prefix", ()), *name.get("given", ()), name.get("family", "")]
    return str(name.get("text") or " ".join(part for part in parts if part))


def speciality(role: Json | None) -> str:
    """The registered speciality of a role."""
    return ", ".join(elements.words(one) for one in (role or {}).get("specialty", ()))
