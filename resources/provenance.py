"""Provenance: who did what to which version, for whom, and on what evidence (R014.2, R014.3).

References
----------
* FHIR R4 Provenance; docs/representation.md, "Provenance and evidence"
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from resources import codes, elements
from resources.codes import Coding
from resources.imaging_study import manifest
from resources.request_state import Held

Json = Mapping[str, Any]
PEOPLE: Final = ("PractitionerRole/", "Practitioner/", "Device/", "Patient/", "RelatedPerson/")
"""What may stand as Provenance.agent.who; clients and peers are named by identifier instead."""


class Agent(NamedTuple):
    """Who did it: the subject of a principal, and the organisation acted for (an id)."""

    subject: str
    organization: str | None = None


def act(
    targets: Sequence[str],
    recorded: str,
    activity: Json,
    agent: Agent,
    part: Coding = codes.PERFORMER,
    *,
    reason: Json | None = None,
    entities: Sequence[Json] = (),
    by_system: bool = False,
) -> dict[str, Any]:
    """The Provenance of one act.

    Parameters
    ----------
    targets
        Versioned references to what the act made.
    activity
        CodeableConcept.
    part
        What the agent was: author, performer, verifier.
    by_system
        The act followed by itself from what the agent did: the server assembled it.
    """
    agents = [_agent(agent, part)]
    if by_system:
        agents.append({"type": codes.ASSEMBLER.concept, "who": {"display": "Isocentre"}})
    provenance: dict[str, Any] = {
        "resourceType": "Provenance",
        "target": [{"reference": target} for target in targets],
        "recorded": recorded,
        "activity": activity,
        "agent": agents,
    }
    if reason:
        provenance["reason"] = [reason]
    if entities:
        provenance["entity"] = list(entities)
    return provenance


def evidence(study: Held) -> dict[str, Any]:
    """A study at the version that was available, with the manifest of its instances."""
    held = manifest(study.json)
    return {
        "extension": [
            {"url": codes.EVIDENCE_ROLE_EXTENSION, "valueCode": codes.EVIDENCE_AVAILABLE.code},
            {
                "url": codes.INSTANCE_MANIFEST,
                "extension": [
                    {"url": "count", "valueUnsignedInt": held.instances},
                    {"url": "sha256", "valueString": held.sha256},
                ],
            },
        ],
        "role": "source",
        "what": {"reference": study.versioned},
    }


def source(versioned: str) -> dict[str, Any]:
    """A version that the act was based on."""
    return {"role": "source", "what": {"reference": versioned}}


def who(subject: str) -> Json:
    """A reference to a subject: literal where FHIR lets it stand, else by identifier.

    Examples
    --------
    >>> who("PractitionerRole/gp")
    {'reference': 'PractitionerRole/gp'}
    >>> who("Peer/CT1")["identifier"]["value"], who("System/settle")["display"]
    ('CT1', 'Isocentre, settle')
    """
    kind, _, name = subject.partition("/")
    if subject.startswith(PEOPLE):
        return {"reference": subject}
    if kind == "System":
        return {"display": f"Isocentre, {name}"}
    if not name:
        return {"display": kind}
    system = codes.AE_TITLE if kind == "Peer" else f"{codes.BASE}/Id/{kind.lower()}"
    return {"type": "Device", "identifier": {"system": system, "value": name}, "display": name}


def _agent(agent: Agent, part: Coding) -> dict[str, Any]:
    said: dict[str, Any] = {"type": part.concept, "who": who(agent.subject)}
    if agent.organization:
        said["onBehalfOf"] = {"reference": f"Organization/{agent.organization}"}
    return said


def of_step(task: Json) -> Json:
    """The activity of a Task: its imaging step."""
    step = elements.code_in(task.get("code"), codes.IMAGING_STEP) or ""
    return codes.STEPS[step].concept if step in codes.STEPS else dict(task.get("code", {}))
