"""The case that evidence is asked for, and what is said of it (R014.3).

FHIR R4 DiagnosticReport.issued; Provenance (target, activity, agent); Parameters.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fhir_server.rest.operations.past import Past
from fhir_server.search.stored import Stored
from resources import codes, elements, report
from resources.errors import NotFound


@dataclass
class Told:
    """What is said, and the resources it is said of, by versioned reference."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    shown: dict[str, Stored] = field(default_factory=dict)

    def say(self, name: str, what: str, *more: tuple[str, str, Any]) -> None:
        """Add one line: what it is about, and more parts as name, type and value."""
        parts: list[dict[str, Any]] = [{"name": "what", "valueReference": {"reference": what}}]
        parts += [
            {"name": each, f"value{type}": value} for each, type, value in more if value is not None
        ]
        self.parts.append({"name": name, "part": parts})

    def show(self, row: Stored) -> str:
        """Add a version to what is shown, and give its reference."""
        reference = f"{row.reference}/_history/{row.version}"
        self.shown[reference] = row
        return reference


class Case(NamedTuple):
    """The report as it was issued, the Provenance of that, who signed it, and whom it is about."""

    issued: Stored
    made: Stored | None
    author: str
    patient: str | None


def issued(versions: list[Stored], number: int | None) -> Stored:
    """Give the version that is asked for, or the first one that was given out.

    Raises
    ------
    NotFound
        There is no such version, or it was not given out.
    """
    for one in versions:
        if one.version == number or (number is None and report.is_issued(one.json)):
            if not report.is_issued(one.json):
                break
            return one
    raise NotFound("There is no such issued version of the report.", "version")


async def of(past: Past, issued: Stored) -> Case:
    """Find who signed a version, and whom it is about."""
    made = await _provenance(past, issued)
    return Case(issued, made, _author(made), _patient(past, issued))


def _patient(past: Past, row: Stored) -> str | None:
    about = past.parsed(row.json.get("subject", {}).get("reference", ""))
    return about.id if about is not None and about.type == "Patient" else None


async def _provenance(past: Past, issued: Stored) -> Stored | None:
    """The Provenance that was written when the report was signed."""
    target = f"{issued.reference}/_history/{issued.version}"
    activity = codes.LEGALLY_AUTHENTICATED.token
    found = await past.search("Provenance", ("target", target), ("activity", activity))
    return found[0] if found else None


def _author(made: Stored | None) -> str:
    for agent in made.json.get("agent", ()) if made is not None else ():
        for reference in elements.references(agent.get("who")):
            return reference
    return ""
