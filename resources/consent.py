"""Consent: what a patient lets organisations see, or not.

An active Consent about privacy that denies keeps what other organisations recorded of the patient
from those it names, or from all. One that permits lets the organisations it names see the patient
for a time, or read some resources of this server alone. Both are kept whole: a provision that is
narrowed in other ways is refused, because to keep a part of it would be to break it.

References
----------
* FHIR R4 Consent: scope (patient-privacy), provision.type, .actor, .period, .data
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from resources import codes, elements
from resources.codes import Coding
from resources.errors import Unprocessable

Json = Mapping[str, Any]

PATIENT_PRIVACY: Final = Coding(codes.CONSENT_SCOPE, "patient-privacy")

NARROWING: Final = (
    "action", "securityLabel", "purpose", "class", "code", "dataPeriod", "data", "provision",
)  # fmt: skip
"""FHIR R4 Consent.provision: the elements that apply it to a part of the record."""


class Asker(Protocol):
    """As much of a RequestContext as the rule looks at."""

    @property
    def principal(self) -> Any:
        """Who asks."""


class Provision(NamedTuple):
    """What an active Consent about privacy says.

    Parameters
    ----------
    denies
        It denies; else it permits.
    organizations
        Ids of those it names; empty for all.
    start, end
        FHIR dateTimes; empty where there is none.
    data
        References to what it permits to read; empty for the whole record.
    """

    denies: bool
    organizations: tuple[str, ...]
    start: str
    end: str
    data: tuple[str, ...] = ()


def provision(json: Json, base_url: str = "") -> Provision | None:
    """Read what a Consent says; None if it says nothing that is kept here.

    Whoever is not an organisation stands for everybody in a Consent that denies, and for nobody in
    one that permits; a permit that is narrowed permits nothing.
    """
    said = json.get("provision", {})
    kind = said.get("type")
    if (
        json.get("resourceType") != "Consent"
        or json.get("status") != "active"
        or not codes.has(json.get("scope"), PATIENT_PRIVACY)
        or kind not in ("deny", "permit")
    ):
        return None
    actors = said.get("actor", ())
    named = tuple(dict.fromkeys(id for one in actors if (id := _organization(one, base_url))))
    period = said.get("period", {})
    found = Provision(kind == "deny", named, period.get("start", ""), period.get("end", ""))
    if found.denies:
        return found if len(named) == len(actors) else found._replace(organizations=())
    if _narrowed(said) or not named:
        return None
    if said.get("data"):
        return found._replace(data=_data(said)) if all(map(_instance, said["data"])) else None
    return found if found.end else None


def rule(before: Json | None, after: Json, context: Asker) -> None:
    """Refuse a provision that would not be kept as it is said.

    Raises
    ------
    Unprocessable
        It is narrowed, names somebody who is no organisation, or permits without an end.
    """
    if after.get("status") != "active" or not codes.has(after.get("scope"), PATIENT_PRIVACY):
        return
    said = after.get("provision", {})
    if said.get("type") not in ("deny", "permit"):
        return
    if narrowed := _narrowed(said):
        raise Unprocessable(
            "This server keeps a provision for the whole record, or for single resources of it.",
            f"Consent.provision.{narrowed[0]}",
        )
    actors = said.get("actor", ())
    named = [_organization(one, "") for one in actors]
    if not all(named):
        raise Unprocessable("A provision names organisations.", "Consent.provision.actor")
    if said["type"] == "deny":
        return
    if not all(map(_instance, said.get("data", ()))):
        raise Unprocessable(
            "A permit for a part of the record names its resources as instances.",
            "Consent.provision.data",
        )
    has_end = said.get("period", {}).get("end") or (
        context.principal.role == "system" and said.get("data")
    )
    if not named or not has_end:
        raise Unprocessable(
            "A permit names whom it lets see the patient, and until when.", "Consent.provision"
        )
    if context.principal.organization in named:
        raise Unprocessable("An organisation gives no permit to itself.", "Consent.provision.actor")


def _narrowed(said: Json) -> list[str]:
    """The elements that narrow a provision; that a permit names resources is kept."""
    kept = ("data",) if said.get("type") == "permit" else ()
    return [name for name in NARROWING if said.get(name) and name not in kept]


def _instance(data: Json) -> str:
    """The reference of what is meant itself, not what has to do with it; empty if it is none."""
    said = {name for name in data if name not in ("id", "meaning", "reference")}
    if said or data.get("meaning") != "instance":
        return ""
    return str(data.get("reference", {}).get("reference", ""))


def _data(said: Json) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_instance, said["data"])))


def _organization(actor: Json, base_url: str) -> str:
    """Give the id of the Organization an actor is; empty if it is none."""
    reference = str(actor.get("reference", {}).get("reference", ""))
    type, _, id = elements.unversioned(reference.removeprefix(f"{base_url}/")).rpartition("/")
    return id if type.rpartition("/")[2] == "Organization" else ""
