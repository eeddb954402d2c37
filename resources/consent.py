"""Consent: what a patient lets organisations see, or not.

An active Consent about privacy that denies keeps what other organisations recorded of the patient
from those it names, or from all. One that permits lets the organisations it names see the patient
for a time. Both are kept whole: a provision that is narrowed in ways this server does not keep
apart is refused, because to keep a part of it would be to break it.

References
----------
* FHIR R4 Consent: scope (patient-privacy), provision.type, provision.actor, provision.period
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
    """

    denies: bool
    organizations: tuple[str, ...]
    start: str
    end: str


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
    return found if named and found.end and not _narrowed(said) else None


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
            "This server keeps a provision for the whole record, not for a part of it.",
            f"Consent.provision.{narrowed[0]}",
        )
    actors = said.get("actor", ())
    named = [_organization(one, "") for one in actors]
    if not all(named):
        raise Unprocessable("A provision names organisations.", "Consent.provision.actor")
    if said["type"] == "deny":
        return
    if not named or not said.get("period", {}).get("end"):
        raise Unprocessable(
            "A permit names whom it lets see the patient, and until when.", "Consent.provision"
        )
    if context.principal.organization in named:
        raise Unprocessable("An organisation gives no permit to itself.", "Consent.provision.actor")


def _narrowed(said: Json) -> list[str]:
    return [name for name in NARROWING if said.get(name)]


def _organization(actor: Json, base_url: str) -> str:
    """Give the id of the Organization an actor is; empty if it is none."""
    reference = str(actor.get("reference", {}).get("reference", ""))
    type, _, id = elements.unversioned(reference.removeprefix(f"{base_url}/")).rpartition("/")
    return id if type.rpartition("/")[2] == "Organization" else ""
