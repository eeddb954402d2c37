"""Workflow: what a written resource makes necessary next, in the same transaction.

`follow` runs when a unit of work is left. For every imaging request that the work touched it
gathers what there is of it, asks the pathway engine what is missing and writes that, and puts the
Provenance of each act beside it. What follows is decided by the state of the request, under a
lock on it, so two people who act at the same time leave one consistent end.

Rows are locked in one order everywhere, requests before studies and each by id; what a unit of
work writes itself it locks last of all, when it is written.

References
----------
* docs/adr/0016; docs/representation.md, "Steps"
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from fhir_server import delegation, own_parameters, recipients, reporting, unrequested
from fhir_server.access import withdrawn
from fhir_server.acts import Recorder
from fhir_server.context import RequestContext
from fhir_server.naming import held as pin
from fhir_server.naming import local, normal, split
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Hooks, Work
from resources import (
    acknowledgement,
    agreement,
    codes,
    consent,
    content,
    elements,
    emergency_review,
    imaging_study,
    organization,
    pathway,
    patient,
    plan,
    report,
    service_request,
    task,
)
from resources.content import Content, written_instant
from resources.errors import Conflict
from resources.request_state import Held, RequestState, begins, kind
from subscriptions import registration
from subscriptions.addresses import Addresses
from subscriptions.registration import CheckEndpoint, Registration

Json = Mapping[str, Any]

BASED_ON: Final[Mapping[str, str]] = {
    "Task": "based-on",
    "Appointment": "based-on",
    "ImagingStudy": "basedon",
    "DiagnosticReport": "based-on",
}
"""What belongs to a request, and the search parameter that finds it (FHIR R4)."""

PATHWAYS: Final = ("primary",)
"""Kinds of request whose pathway is known; the others are kept and start nothing."""


class Workflow:
    """The engine, fastened to a store.

    Parameters
    ----------
    fhir_base
        Address of the FHIR root, for links in reports and for references written in full.
    policy
        By when reports are acknowledged.
    check_endpoint
        Refuses what is never called for a subscription; all but public addresses, by default.
    most_subscriptions
        Of one organisation.
    sends_mail
        There is a mail server for subscriptions by e-mail.
    """

    def __init__(
        self,
        fhir_base: str,
        policy: acknowledgement.Policy = acknowledgement.DEFAULT,
        check_endpoint: CheckEndpoint | None = None,
        most_subscriptions: int = registration.MOST,
        *,
        sends_mail: bool = True,
    ) -> None:
        self._base = fhir_base
        self._policy = policy
        self._pathways = {name: plan.load(name) for name in PATHWAYS}
        self._recorder = Recorder(fhir_base)
        check = check_endpoint or Addresses().check
        self._registration = Registration(
            fhir_base, check, most_subscriptions, sends_mail=sends_mail
        )

    def hooks(self) -> Hooks:
        """The rules, completions and consequences that the store runs."""
        return Hooks(
            rules={
                "Consent": consent.rule,
                "DiagnosticReport": report.rule,
                "Organization": organization.rule,
                "OrganizationAffiliation": agreement.rule,
                "Patient": patient.rule,
                "Provenance": self._recorder.rule,
                "SearchParameter": own_parameters.rule,
                "Task": _task_rule,
            },
            completions={
                "DiagnosticReport": self.complete_report,
                "SearchParameter": own_parameters.completed,
                "Subscription": self._registration.completed,
            },
            follow=self.follow,
        )

    async def complete_report(self, work: Work, content: Content) -> Content:
        """Put into an issued radiology report what the server adds (`fhir_server.reporting`)."""
        return await reporting.completed(work, content, self._base)

    async def follow(self, work: Work) -> None:
        """Write what the work's writes make necessary, and the Provenance of every act."""
        own_parameters.follow(work)
        self._registration.follow(work)
        written = [write for write in work.writes if not write.stored.deleted]
        if work.context.principal.role != "system":
            for write in written:
                await self._check_parties(work, write)
            for write in work.writes:
                if write.stored.deleted:
                    await self._keep(work, write)
        for write in written:
            if emergency_review.is_review(write.after) and write.after["status"] == "rejected":
                ended = (write.stored.id, work.context.instant)
                work.add(withdrawn.WITHDRAW_EMERGENCY, ended)
        roots = await self._roots(work, written)
        requests = {id for write in written for id in self._requests(write)}
        requests |= {id for root in roots for id in self._asked_for(root.json)}
        reports = [write for write in written if _reports_a_study(write)]
        if not (requests or reports or roots or any(map(unrequested.is_issued, written))):
            return
        asked = [
            await work.read("ServiceRequest", id, lock=not work.is_new(f"ServiceRequest/{id}"))
            for id in sorted(requests)
        ]
        reissued = [await self._reissue(work, root) for root in roots]
        known = [write for write in work.writes if not write.stored.deleted]
        reports = [write for write in known if _reports_a_study(write)]
        studies = {
            name
            for write in reports
            for reference in elements.references(write.after.get("imagingStudy"))
            if (name := local(reference, self._base)).startswith("ImagingStudy/")
        }
        held = {
            name: pin(await work.read(*split(name), lock=not work.is_new(name)), self._base)
            for name in sorted(studies)
        }
        for write in reports:
            self._check_studies(write, held)
        after: list[Stored] = [*reissued]
        for stored in asked:
            after += await self._reconcile(work, stored, known)
        for write in filter(unrequested.is_issued, known):
            after += await self._ask_alone(work, write, known)
        for name in sorted(studies):
            await self._mark_reported(work, held[name], reports)
        await self._recorder.record(work, written, held, after)

    def _check_studies(self, write: Write, held: Mapping[str, Held]) -> None:
        """Refuse a report about another patient than one of its studies."""
        for reference in elements.references(write.after.get("imagingStudy")):
            if (study := held.get(local(reference, self._base))) is not None:
                report.check_study(normal(write.stored, self._base), study.json)

    async def _roots(self, work: Work, written: Sequence[Write]) -> list[Stored]:
        """The issued reports that get or lose an addendum here, and are not written besides.

        Raises
        ------
        Unprocessable
            An addendum is about another patient than its report.
        """
        own = {write.stored.reference for write in written}
        found: dict[str, Stored] = {}
        for write in written:
            if write.stored.type != "DiagnosticReport":
                continue
            named = report.addended(write.after) or report.addended(write.before or {})
            for name in (local(each, self._base) for each in named):
                if not name.startswith("DiagnosticReport/"):
                    continue
                root = await work.read(*split(name))
                report.check_addendum(normal(write.stored, self._base), normal(root, self._base))
                if name not in own and report.is_issued(root.json):
                    found[name] = root
        return [found[name] for name in sorted(found)]

    async def _reissue(self, work: Work, root: Stored) -> Stored:
        """Issue a report anew, as one that has an addendum: to all who had it (R009.3)."""
        stored = await work.read(root.type, root.id, lock=True)
        changed = content.replaced(content.read(stored.text), {"status": "appended"})
        return await work.update(stored.type, stored.id, changed, stored.version)

    async def _check_parties(self, work: Work, write: Write) -> None:
        """Refuse what is done in the name of another, or to what is not the asker's to change.

        These are not rules of the type: who is named is often a role, and for which organisation
        a role acts is another resource.
        """
        before, after = write.before, write.after
        placed = before is not None and begins(before)
        if write.stored.type == "ServiceRequest" and (placed or begins(after)):
            said: Json = before if before is not None and placed else after
            requester = local(said.get("requester", {}).get("reference", ""), self._base)
            # A bare Practitioner is of no organisation in particular: nobody is kept out then.
            by_referrer = not requester.startswith(
                ("PractitionerRole/", "Organization/")
            ) or await delegation.is_or_acts_for(work, requester, self._base)
            if placed:
                service_request.check_change(said, after, by_referrer=by_referrer)
            else:
                service_request.check_made(by_referrer=by_referrer)
        elif before is None:
            return
        elif write.stored.type == "Task" and task.step_of(before):
            if all(before.get(name) == after.get(name) for name in ("status", "owner")):
                return
            parties = await delegation.parties(work, before, self._base)
            named = delegation.is_named(work, before, self._base)
            role = work.context.principal.role
            task.check_parties(before, after, parties, role, named=named)
            await delegation.check(work, before, after, self._base)

    async def _keep(self, work: Work, write: Write) -> None:
        """Refuse to delete what belongs to a request: it is ended, and stays to be looked at."""
        before: Json = write.before or {}
        asked = [before] if write.stored.type == "ServiceRequest" else []
        if write.stored.type in BASED_ON:
            for reference in elements.references(before.get("basedOn")):
                name = local(reference, self._base)
                if name.startswith("ServiceRequest/"):
                    asked.append(await recipients.read(work, name))
        if any(begins(request) for request in asked):
            raise Conflict(f"{write.stored.reference} belongs to a request; it can be cancelled.")

    def _requests(self, write: Write) -> Iterable[str]:
        """Ids of the requests that pathways are walked for and that a write touches."""
        if write.stored.type == "ServiceRequest":
            if begins(normal(write.stored, self._base)):
                yield write.stored.id
        elif write.stored.type in BASED_ON:
            yield from self._asked_for(write.after)

    def _asked_for(self, json: Json) -> Iterable[str]:
        """Ids of the requests that something is based on."""
        for reference in elements.references(json.get("basedOn")):
            type_, _, id = local(reference, self._base).partition("/")
            if type_ == "ServiceRequest":
                yield id

    async def _reconcile(
        self, work: Work, stored: Stored, written: Sequence[Write]
    ) -> list[Stored]:
        """Bring one request to rest; what was written for it."""
        request = pin(stored, self._base)
        actions = self._pathways.get(kind(request.json))
        if actions is None or not begins(request.json):
            return []
        others = await self._others(work, stored.reference, written)
        known = {stored.reference: stored, **others}
        held = tuple(pin(one, self._base) for one in others.values())
        state = RequestState(request, held, policy=self._policy)
        lead = state.lead
        if lead and not any(
            codes.has(one.get("type"), codes.ACCESSION_NUMBER_TYPE)
            for one in request.json.get("identifier", ())
        ):
            ods = organization.ods(await recipients.read(work, lead))
            state = replace(state, lead_ods=ods)
        issued = await recipients.of_reports(work, state, written, self._base)
        state = replace(state, recipients=issued)
        instant = written_instant(work.context.instant)
        terms = agreement.read(lead or "", (), instant)
        if work.context.principal.role != "system":
            for write in written:
                if write.before is None and write.stored.reference in others:
                    pathway.check_made(actions, terms, state, write.after)
        return [
            await self._write(work, one, known)
            for one in pathway.reconcile(actions, terms, state, instant)
        ]

    async def _ask_alone(self, work: Work, write: Write, written: Sequence[Write]) -> list[Stored]:
        """Have a report acknowledged that no request answers for; what was written for it."""
        needed, known = await unrequested.asked(
            work, write, self._pathways, self._policy, written, self._base
        )
        return [await self._write(work, one, known) for one in needed]

    async def _others(self, work: Work, name: str, written: Sequence[Write]) -> dict[str, Stored]:
        """What is based on a request: what was there, and over it what this work wrote."""
        found: dict[str, Stored] = {}
        for type_, code in () if work.is_new(name) else BASED_ON.items():
            query = parse(type_, [(code, name), ("_count", "1000")], strict=True)
            for stored in await work.search(query):
                found[stored.reference] = stored
        for write in written:
            if write.stored.type in BASED_ON:
                found.pop(write.stored.reference, None)
                based_on = elements.references(write.after.get("basedOn"))
                if name in (local(one, self._base) for one in based_on):
                    found[write.stored.reference] = write.stored
        return found

    async def _write(self, work: Work, one: pathway.Next, known: Mapping[str, Stored]) -> Stored:
        """Write one thing that is necessary; of what was there, only the members that changed."""
        type_, id = one.json["resourceType"], one.json["id"]
        if isinstance(one, pathway.Create):
            return await work.create(content.made(dict(one.json)), id)
        stored = known[f"{type_}/{id}"]
        before = normal(stored, self._base)
        members: dict[str, Any] = {
            name: one.json.get(name)
            for name in (*before, *one.json)
            if before.get(name) != one.json.get(name)
        }
        changed = content.replaced(content.read(stored.text), members)
        return await work.update(type_, id, changed, stored.version)

    async def _mark_reported(self, work: Work, study: Held, reports: Sequence[Write]) -> None:
        """Set the reporting status of a study from all its reports (R006.2)."""
        statuses: dict[str, str] = {}
        if not work.is_new(study.reference):
            asked = [("imagingStudy", study.reference), ("_count", "1000")]
            query = parse("DiagnosticReport", asked, strict=True)
            for stored in await work.search(query):
                statuses[stored.reference] = stored.json.get("status", "")
        for write in reports:
            named = elements.references(normal(write.stored, self._base).get("imagingStudy"))
            if study.reference in map(elements.unversioned, named):
                statuses[write.stored.reference] = write.after.get("status", "")
        status = imaging_study.reporting_status(statuses.values())
        if elements.extension_value(study.json, codes.REPORTING_STATUS_EXTENSION) == status:
            return
        stored = await work.read(*split(study.reference))
        extension = imaging_study.with_reporting_status(stored.json, status)["extension"]
        changed = content.replaced(content.read(stored.text), {"extension": extension})
        await work.update(stored.type, stored.id, changed, stored.version)


def _task_rule(
    before: dict[str, Any] | None, after: dict[str, Any], context: RequestContext
) -> None:
    emergency_review.rule(before, after, context)
    task.rule(before, after, context)
    if task.step_of(after) == codes.ACKNOWLEDGE.code:
        acknowledgement.rule(before, after, context)


def _reports_a_study(write: Write) -> bool:
    return write.stored.type == "DiagnosticReport" and bool(
        elements.references(write.after.get("imagingStudy"))
    )
