"""Acts: the Provenance that is written beside what somebody did, in the same transaction.

A referral, a step done or rejected, images acquired, a report issued: each names who did it, for
which organisation and when (R014.2), and a report pins what its author could look at (R014.3).
What followed by itself is told in one more, with the server as the assembler.

References
----------
* FHIR R4 Provenance; docs/representation.md, "Provenance and evidence"
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fhir_server import repeating
from fhir_server.context import RequestContext
from fhir_server.naming import local, normal, split, versioned
from fhir_server.search.stored import Stored
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Work
from resources import acknowledgement, codes, content, elements, imaging_study, provenance, report
from resources.content import written_instant
from resources.errors import NotFound, Unprocessable
from resources.request_state import Held, begins

Json = Mapping[str, Any]

REMEMBERED: Final = 10_000
"""People and organisations known to be there, in one process."""

ENDS: Final = frozenset({"completed", "rejected", "failed"})

Authority = dict[str, tuple[list[str], list[str]]]
"""``ImagingStudy/id`` -> the policies on which it is acquired, and the acts that gave authority."""


class Recorder:
    """Writes the Provenance of acts.

    Parameters
    ----------
    base
        Address of the FHIR root.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._agents: dict[tuple[str, str | None], provenance.Agent] = {}

    def rule(
        self, before: dict[str, Any] | None, after: dict[str, Any], context: RequestContext
    ) -> None:
        """Refuse a Provenance that its writer has no part in: nobody testifies to others' acts.

        Raises
        ------
        Unprocessable
            None of its agents is the asker or the organisation acted for.
        """
        principal = context.principal
        own = {principal.subject, f"Organization/{principal.organization}"}
        named = {
            local(agent.get(part, {}).get("reference", ""), self._base)
            for agent in after.get("agent", ())
            for part in ("who", "onBehalfOf")
        }
        if principal.role != "system" and not own & named:
            raise Unprocessable("an agent of it is whoever writes it", at="Provenance.agent")

    async def record(
        self,
        work: Work,
        written: Sequence[Write],
        studies: Mapping[str, Held],
        after: Sequence[Stored],
        authority: Authority | None = None,
    ) -> None:
        """Write the Provenance of each act, and one for all that followed from them."""
        agent = await self._agent(work)
        instant = written_instant(work.context.instant)
        acquirers = dict(_acquirers(after))
        by_system = work.context.principal.role == "system"
        for write in written:
            if by_system and write.stored.type == "Task":
                continue  # a duty that changes a step tells of it itself
            made = self._act(write, agent, instant, studies, acquirers)
            if made is not None:
                if made["activity"] == codes.ACQUIRE.concept and authority:
                    _authorised(made, *authority.get(write.stored.reference, ([], [])))
                await work.create(content.made(made))
        if after:
            followed = provenance.act(
                [versioned(stored) for stored in after],
                instant,
                codes.UPDATED.concept,
                agent,
                by_system=True,
                entities=[provenance.source(versioned(write.stored)) for write in written],
            )
            await work.create(content.made(followed))

    def _act(
        self,
        write: Write,
        agent: provenance.Agent,
        instant: str,
        studies: Mapping[str, Held],
        acquirers: Mapping[str, str],
    ) -> dict[str, Any] | None:
        """The Provenance of one write, if it is an act of the pathway."""
        json, target = normal(write.stored, self._base), versioned(write.stored)
        status = json.get("status")
        was = (write.before or {}).get("status")
        if write.stored.type == "ServiceRequest" and write.before is None and begins(json):
            why = repeating.reason(json)
            return provenance.act(
                [target], instant, codes.CREATED.concept, agent, codes.AUTHOR, reason=why
            )
        if write.stored.type == "Task" and status in ENDS and status != was:
            return self._step_ended(json, target, agent, instant)
        if write.stored.type == "Task" and _is_sent_back(write):
            why, part = json.get("statusReason"), codes.VERIFIER
            return provenance.act(
                [target], instant, codes.RETURNED.concept, agent, part, reason=why
            )
        if write.stored.type == "Task" and _is_handed_on(write):
            note = codes.NOTE_HAND_OVER.concept
            return provenance.act([target], instant, note, agent)
        if write.stored.type == "ImagingStudy" and json.get("basedOn") and _grew(write):
            operator = acquirers.get(write.stored.reference)
            source = _source(json, agent)._replace(subject=operator or agent.subject)
            concept = codes.ACQUIRE.concept
            return provenance.act([target], instant, concept, source, by_system=bool(operator))
        if write.stored.type == "DiagnosticReport" and report.is_issued(json):
            read = [
                studies[name]
                for name in dict.fromkeys(
                    map(elements.unversioned, elements.references(json.get("imagingStudy")))
                )
                if name in studies
            ]
            answered = [
                extension.get("valueReference", {}).get("reference", "")
                for extension in json.get("extension", ())
                if extension.get("url") == codes.REPORT_SUPPORTING_INFO
            ]
            entities = [
                *map(provenance.evidence, read),
                *(provenance.source(name) for name in answered if "/_history/" in name),
            ]
            activity = codes.LEGALLY_AUTHENTICATED.concept
            return provenance.act(
                [target], instant, activity, agent, codes.AUTHOR, entities=entities
            )
        return None

    def _step_ended(
        self, json: Json, target: str, agent: provenance.Agent, instant: str
    ) -> dict[str, Any]:
        """A person ended a step: they performed it, or verified the version it is about."""
        focus = elements.references(json.get("focus"))
        pinned = [one for one in focus if "/_history/" in one]
        made = provenance.act(
            [target, *pinned],
            instant,
            provenance.of_step(json),
            agent,
            codes.VERIFIER if pinned else codes.PERFORMER,
            reason=json.get("statusReason"),
        )
        asked = acknowledgement.recipient(json) if _is_acknowledgement(json) else ""
        if asked.startswith("PractitionerRole/") and asked != agent.subject:
            # Somebody answered for somebody else: R010.1, "or an authorised delegate".
            for_them = {**made["agent"][0], "onBehalfOf": {"reference": asked}}
            made["agent"].append(for_them)
        return made

    async def _agent(self, work: Work) -> provenance.Agent:
        """Who acts; named by reference only if there is such a resource.

        Who was found is remembered: a role or an organisation that is deleted later does not come
        back, and what names it then is refused like any reference to nothing.
        """
        principal = work.context.principal
        key = principal.subject, principal.organization
        if key in self._agents:
            return self._agents[key]
        organization = principal.organization
        if organization and not await _is_there(work, f"Organization/{organization}"):
            organization = None
        subject = principal.subject
        if subject.startswith(provenance.PEOPLE) and not await _is_there(work, subject):
            subject = subject.replace("/", "-", 1)
        agent = provenance.Agent(subject, organization)
        if agent == key:
            if len(self._agents) >= REMEMBERED:
                self._agents.pop(next(iter(self._agents)))
            self._agents[key] = agent
        return agent


async def _is_there(work: Work, reference: str) -> bool:
    try:
        await work.read(*split(reference))
    except NotFound:
        return False
    return True


def _authorised(made: dict[str, Any], policies: list[str], steps: list[str]) -> None:
    """Say by whose authority images were acquired, where who acquired them did not justify."""
    if policies:
        made["policy"] = policies
        made["entity"] = [*made.get("entity", ()), *map(provenance.source, steps)]


def _is_acknowledgement(task: Json) -> bool:
    return elements.code_in(task.get("code"), codes.IMAGING_STEP) == codes.ACKNOWLEDGE.code


def _is_sent_back(write: Write) -> bool:
    """Whether what somebody did for another is sent back to be done again."""
    was = codes.has((write.before or {}).get("businessStatus"), codes.RETURNED)
    return not was and codes.has(write.after.get("businessStatus"), codes.RETURNED)


def _is_handed_on(write: Write) -> bool:
    """Whether somebody else is asked to acknowledge than before."""
    before, after = write.before or {}, write.after
    is_other = elements.references(before.get("owner")) != elements.references(after.get("owner"))
    return bool(before) and is_other and _is_acknowledgement(after)


def _grew(write: Write) -> bool:
    """Whether images came, rather than a word about them changed."""
    now = imaging_study.instance_uids(write.after)
    return bool(now) and now != imaging_study.instance_uids(write.before or {})


def _acquirers(after: Iterable[Stored]) -> Iterable[tuple[str, str]]:
    """For each study that ended a step: the person who had taken the step."""
    for stored in after:
        owners = elements.references(stored.json.get("owner"))
        if stored.type == "Task" and owners and owners[0].startswith("PractitionerRole/"):
            for output in stored.json.get("output", ()):
                for reference in elements.references(output.get("valueReference")):
                    yield reference, owners[0]


def _source(study: Json, agent: provenance.Agent) -> provenance.Agent:
    """Who acquired: the server settles what an organisation sent, and names that organisation."""
    if agent.organization:
        return agent
    performers = [
        reference
        for series in study.get("series", ())
        for performer in series.get("performer", ())
        for reference in elements.references(performer.get("actor"))
    ]
    sent = next((one for one in performers if one.startswith("Organization/")), None)
    return agent._replace(organization=sent.partition("/")[2] if sent else None)
