"""Workflow: what a written resource makes necessary next, in the same transaction.

`follow` runs when a unit of work is left. For every imaging request that the work touched it
gathers what there is of it, asks the pathway engine what is missing and writes that, and puts the
Provenance of each act beside it. What follows is decided by the state of the request, under a
lock on it, so two people who act at the same time leave one consistent end.

Rows are locked in one order everywhere, requests before studies and each by id; what a unit of
work writes itself it locks last of all, when it is written.

References
----------
* architecture sections 3 and 6; standards 1.0, 1.2, 1.4
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from fhir_server import reporting
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Hooks, Work
from resources import (
    agreement,
    codes,
    content,
    elements,
    imaging_study,
    pathway,
    patient,
    plan,
    provenance,
    report,
    task,
)
from resources.content import Content, written_instant
from resources.errors import NotFound
from resources.request_state import Held, RequestState, begins

Json = Mapping[str, Any]

BASED_ON: Final[Mapping[str, str]] = {
    "Task": "based-on",
    "Appointment": "based-on",
    "ImagingStudy": "basedon",
    "DiagnosticReport": "based-on",
}
"""What belongs to a request, and the search parameter that finds it (standards section 2)."""

REMEMBERED: Final = 10_000
"""People and organisations known to be there, in one process."""

ENDS: Final = frozenset({"completed", "rejected", "failed"})


class Workflow:
    """The engine, fastened to a store.

    Parameters
    ----------
    fhir_base
        Address of the FHIR root, for links in reports and for references written in full.
    name
        The pathway that requests follow.
    """

    def __init__(self, fhir_base: str, name: str = "primary") -> None:
        self._base = fhir_base
        self._pathway = plan.load(name)
        self._agents: dict[tuple[str, str | None], provenance.Agent] = {}

    def hooks(self) -> Hooks:
        """The rules, completions and consequences that the store runs."""
        return Hooks(
            rules={"Task": task.rule, "DiagnosticReport": report.rule, "Patient": patient.rule},
            completions={"DiagnosticReport": self.complete_report},
            follow=self.follow,
        )

    async def complete_report(self, work: Work, content: Content) -> Content:
        """Put into an issued radiology report what the server adds (`fhir_server.reporting`)."""
        return await reporting.completed(work, content, self._base)

    async def follow(self, work: Work) -> None:
        """Write what the work's writes make necessary, and the Provenance of every act."""
        written = [write for write in work.writes if not write.stored.deleted]
        for write in written:
            if write.stored.type == "Task" and write.before is not None:
                await self._check_parties(work, write.before, write.after)
        requests = sorted({id for write in written for id in self._requests(write)})
        reports = [write for write in written if _reports_a_study(write)]
        if not requests and not reports:
            return
        studies = {
            _local(reference, self._base)
            for write in reports
            for reference in elements.references(write.after.get("imagingStudy"))
        }
        new = {write.stored.reference for write in written if write.before is None}
        asked = [
            await work.read("ServiceRequest", id, lock=f"ServiceRequest/{id}" not in new)
            for id in requests
        ]
        held = {
            name: _held(await work.read(*_split(name), lock=name not in new), self._base)
            for name in sorted(studies)
        }
        after: list[Stored] = []
        for stored in asked:
            after += await self._reconcile(work, stored, written)
        for name in sorted(studies):
            await self._mark_reported(work, held[name], reports)
        await self._record(work, written, held, after)

    async def _check_parties(self, work: Work, before: Json, after: Json) -> None:
        """Refuse a change of a step's status or owner by somebody whose step it is not.

        This is not a rule of the type: an owner is often a role, and for which organisation a
        role acts is another resource.
        """
        principal = work.context.principal
        same = all(before.get(name) == after.get(name) for name in ("status", "owner"))
        if principal.role == "system" or same or not task.step_of(before):
            return
        parties: set[task.Party] = set()
        sides: tuple[task.Party, ...] = ("owner", "requester")
        for side in sides:
            reference = _local(before.get(side, {}).get("reference", ""), self._base)
            if reference == principal.subject or (
                principal.organization is not None
                and await self._organization(work, reference) == principal.organization
            ):
                parties.add(side)
        task.check_parties(before, after, parties, principal.role)

    def _requests(self, write: Write) -> Iterable[str]:
        """Ids of the requests that pathways are walked for and that a write touches."""
        if write.stored.type == "ServiceRequest":
            if begins(_normal(write.stored, self._base)):
                yield write.stored.id
        elif write.stored.type in BASED_ON:
            for reference in elements.references(write.after.get("basedOn")):
                type_, _, id = _local(reference, self._base).partition("/")
                if type_ == "ServiceRequest":
                    yield id

    async def _reconcile(
        self, work: Work, stored: Stored, written: Sequence[Write]
    ) -> list[Stored]:
        """Bring one request to rest; what was written for it."""
        request = _held(stored, self._base)
        if not begins(request.json):
            return []
        others = await self._others(work, stored.reference, written)
        known = {stored.reference: stored, **others}
        state = RequestState(request, tuple(_held(one, self._base) for one in others.values()))
        lead = state.lead
        if lead and not any(
            codes.has(one.get("type"), codes.ACCESSION_NUMBER_TYPE)
            for one in request.json.get("identifier", ())
        ):
            organization = await self._resource(work, lead)
            state = RequestState(request, state.others, _ods(organization))
        instant = written_instant(work.context.instant)
        terms = agreement.read(lead or "")
        if work.context.principal.role != "system":
            for write in written:
                if write.before is None and write.stored.reference in others:
                    pathway.check_made(self._pathway, terms, state, write.after)
        return [
            await self._write(work, one, known)
            for one in pathway.reconcile(self._pathway, terms, state, instant)
        ]

    async def _others(self, work: Work, name: str, written: Sequence[Write]) -> dict[str, Stored]:
        """What is based on a request: what was there, and over it what this work wrote."""
        found: dict[str, Stored] = {}
        is_new = any(write.stored.reference == name and not write.before for write in written)
        for type_, code in () if is_new else BASED_ON.items():
            query = parse(type_, [(code, name), ("_count", "1000")], strict=True)
            for stored in await work.search(query):
                found[stored.reference] = stored
        for write in written:
            if write.stored.type in BASED_ON:
                found.pop(write.stored.reference, None)
                based_on = elements.references(write.after.get("basedOn"))
                if name in (_local(one, self._base) for one in based_on):
                    found[write.stored.reference] = write.stored
        return found

    async def _write(self, work: Work, one: pathway.Next, known: Mapping[str, Stored]) -> Stored:
        """Write one thing that is necessary; of what was there, only the members that changed."""
        type_, id = one.json["resourceType"], one.json["id"]
        if isinstance(one, pathway.Create):
            return await work.create(content.made(dict(one.json)), id)
        stored = known[f"{type_}/{id}"]
        before = _normal(stored, self._base)
        members: dict[str, Any] = {
            name: one.json.get(name)
            for name in (*before, *one.json)
            if before.get(name) != one.json.get(name)
        }
        changed = content.replaced(content.read(stored.text), members)
        return await work.update(type_, id, changed, stored.version)

    async def _mark_reported(self, work: Work, study: Held, reports: Sequence[Write]) -> None:
        """Set the reporting status of a study from all its reports (R006.2)."""
        query = parse(
            "DiagnosticReport", [("imagingStudy", study.reference), ("_count", "1000")], strict=True
        )
        statuses = {
            stored.reference: stored.json.get("status", "") for stored in await work.search(query)
        }
        for write in reports:
            named = elements.references(_normal(write.stored, self._base).get("imagingStudy"))
            if study.reference in map(elements.unversioned, named):
                statuses[write.stored.reference] = write.after.get("status", "")
        status = imaging_study.reporting_status(statuses.values())
        if elements.extension_value(study.json, codes.REPORTING_STATUS_EXTENSION) == status:
            return
        stored = await work.read(*_split(study.reference))
        extension = imaging_study.with_reporting_status(stored.json, status)["extension"]
        changed = content.replaced(content.read(stored.text), {"extension": extension})
        await work.update(stored.type, stored.id, changed, stored.version)

    # --- Provenance ---------------------------------------------------------------------------

    async def _record(
        self,
        work: Work,
        written: Sequence[Write],
        studies: Mapping[str, Held],
        after: Sequence[Stored],
    ) -> None:
        """Write the Provenance of each act, and one for all that followed from them."""
        agent = await self._agent(work)
        instant = written_instant(work.context.instant)
        acquirers = dict(_acquirers(after))
        for write in written:
            made = self._act(write, agent, instant, studies, acquirers)
            if made is not None:
                await work.create(content.made(made))
        if after:
            followed = provenance.act(
                [_versioned(stored) for stored in after],
                instant,
                codes.UPDATED.concept,
                agent,
                by_system=True,
                entities=[provenance.source(_versioned(write.stored)) for write in written],
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
        json, target = _normal(write.stored, self._base), _versioned(write.stored)
        status = json.get("status")
        was = (write.before or {}).get("status")
        if write.stored.type == "ServiceRequest" and write.before is None and begins(json):
            return provenance.act([target], instant, codes.CREATED.concept, agent, codes.AUTHOR)
        if write.stored.type == "Task" and status in ENDS and status != was:
            return self._step_ended(json, target, agent, instant)
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
        return provenance.act(
            [target, *pinned],
            instant,
            provenance.of_step(json),
            agent,
            codes.VERIFIER if pinned else codes.PERFORMER,
            reason=json.get("statusReason"),
        )

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
        if organization and not await self._resource(work, f"Organization/{organization}"):
            organization = None
        subject = principal.subject
        if subject.startswith(provenance.PEOPLE) and not await self._resource(work, subject):
            subject = subject.replace("/", "-", 1)
        agent = provenance.Agent(subject, organization)
        if agent == key:
            if len(self._agents) >= REMEMBERED:
                self._agents.pop(next(iter(self._agents)))
            self._agents[key] = agent
        return agent

    # --- reading ------------------------------------------------------------------------------

    async def _resource(self, work: Work, reference: str) -> Json:
        """A resource, or nothing where there is none."""
        try:
            return (await work.read(*_split(reference))).json
        except NotFound:
            return {}

    async def _organization(self, work: Work, reference: str) -> str | None:
        """For which organisation somebody or something acts, as an id."""
        type_, _, id = reference.partition("/")
        if type_ == "Organization":
            return id
        if type_ != "PractitionerRole":
            return None
        role = await self._resource(work, reference)
        organization = _local(role.get("organization", {}).get("reference", ""), self._base)
        return organization.partition("Organization/")[2] or None


def _reports_a_study(write: Write) -> bool:
    return write.stored.type == "DiagnosticReport" and bool(
        elements.references(write.after.get("imagingStudy"))
    )


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


def _ods(organization: Json) -> str:
    return next(
        (
            str(identifier.get("value", ""))
            for identifier in organization.get("identifier", ())
            if identifier.get("system") == codes.ODS_ORGANIZATION
        ),
        "",
    )


def _normal(stored: Stored, base: str) -> Json:
    """The resource, with references to our own written short."""
    full = f'"{base}/'.encode()
    if full not in stored.text:
        return stored.json
    short: dict[str, Any] = orjson.loads(stored.text.replace(full, b'"'))
    return short


def _held(stored: Stored, base: str) -> Held:
    return Held(_normal(stored, base), stored.version)


def _local(reference: str, base: str) -> str:
    """``Type/id`` of one of ours, whatever version and however it is written."""
    return elements.unversioned(reference.removeprefix(f"{base}/"))


def _split(reference: str) -> tuple[str, str]:
    type_, _, id = reference.partition("/")
    return type_, id


def _versioned(stored: Stored) -> str:
    return f"{stored.reference}/_history/{stored.version}"
