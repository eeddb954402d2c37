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

from collections.abc import Mapping, Sequence
from typing import Any

from fhir_server import (
    entitled,
    informal_reviews,
    onward,
    own_parameters,
    provider_view,
    repeating,
    reporting,
    request_family,
    request_gathering,
    review_reports,
    reviews,
    study_reports,
    unrequested,
)
from fhir_server.access import withdrawn
from fhir_server.acts import Authority, Recorder
from fhir_server.context import RequestContext
from fhir_server.naming import held as pin
from fhir_server.naming import normal, split
from fhir_server.search.stored import Stored
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Hooks, Work
from resources import (
    acknowledgement,
    agreement,
    codes,
    consent,
    content,
    emergency_review,
    informal_review,
    organization,
    pathway,
    patient,
    plan,
    report,
    task,
)
from resources.addenda import Order
from resources.content import Content, written_instant
from subscriptions import registration
from subscriptions.addresses import Addresses
from subscriptions.registration import CheckEndpoint, Registration

Json = Mapping[str, Any]


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
    repeats
        What becomes of a request that repeats another.
    informal_hours
        How long somebody may look who is asked informally.
    addenda
        In which order a whole report tells what was added to it.
    """

    def __init__(
        self,
        fhir_base: str,
        policy: acknowledgement.Policy = acknowledgement.DEFAULT,
        check_endpoint: CheckEndpoint | None = None,
        most_subscriptions: int = registration.MOST,
        *,
        sends_mail: bool = True,
        repeats: repeating.Policy = repeating.DEFAULT,
        informal_hours: int = informal_review.HOURS,
        addenda: Order = "newest-first",
    ) -> None:
        self._base = fhir_base
        self._addenda = addenda
        self._repeats = repeats
        self._informal_hours = informal_hours
        self._policy = policy
        self._pathways = plan.every()
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
                "ServiceRequest": self.complete_request,
                "Subscription": self._registration.completed,
                "Task": self.complete_task,
            },
            unaided=frozenset({"ServiceRequest", "Task"}),
            follow=self.follow,
        )

    async def complete_report(self, work: Work, content: Content) -> Content:
        """Put into an issued radiology report what the server adds (`fhir_server.reporting`)."""
        content = await onward.completed(work, content, self._pathways, self._policy, self._base)
        content = await review_reports.completed(work, content, self._base)
        return await reporting.completed(work, content, self._base, self._addenda)

    async def complete_request(self, work: Work, content: Content) -> Content:
        """Let nobody place a request unawares that repeats another; say what a review is about."""
        content = await reviews.completed(work, content, self._base)
        return await repeating.completed(work, content, self._repeats, self._base)

    async def complete_task(self, work: Work, content: Content) -> Content:
        """Say until when who is asked informally may look."""
        return await informal_reviews.completed(work, content, self._informal_hours)

    async def follow(self, work: Work) -> None:
        """Write what the work's writes make necessary, and the Provenance of every act."""
        own_parameters.follow(work)
        self._registration.follow(work)
        written = [write for write in work.writes if not write.stored.deleted]
        if work.context.principal.role != "system":
            for write in written:
                await entitled.check(work, write, self._base)
                await reviews.check_step(work, write, self._base)
            for write in work.writes:
                if write.stored.deleted:
                    await entitled.keep(work, write, self._base)
                    study_reports.keep(write)
        for write in written:
            if emergency_review.is_review(write.after) and write.after["status"] == "rejected":
                ended = (write.stored.id, work.context.instant)
                work.add(withdrawn.WITHDRAW_EMERGENCY, ended)
        base = self._base
        looks = await informal_reviews.follow(
            work, written, self._informal_hours, self._repeats.rules, base
        )
        roots = await study_reports.roots(work, written, base)
        requests = {id for write in written for id in request_gathering.touched(write, base)}
        requests |= {
            id for root in roots for id in request_gathering.asked_for(root.stored.json, base)
        }
        requests |= await provider_view.waiting(work, written, base)
        for write in written:
            requests |= set(await reviews.waiting(work, write, base))
        reports = [write for write in written if study_reports.reports_a_study(write)]
        alone = any(map(unrequested.is_issued, written))
        if not (requests or reports or roots or looks or alone):
            return
        asked = await request_family.locked(work, written, requests, base)
        after = [*looks, *[await study_reports.reissue(work, root) for root in roots]]
        after += await reviews.linked(work, written, base)
        known = _latest(work)
        reports = [write for write in known if study_reports.reports_a_study(write)]
        held = {
            name: pin(await work.read(*split(name), lock=not work.is_new(name)), base)
            for name in sorted(study_reports.studies(reports, base))
        }
        for write in reports:
            study_reports.check_studies(write, held, base)
        early, joined = await review_reports.joined(work, held.values(), base)
        after += [*joined, *[await study_reports.reissue(work, root) for root in early]]
        known = _latest(work)
        reports = [write for write in known if study_reports.reports_a_study(write)]
        authority: Authority = {}
        for stored in asked:
            after += await self._reconcile(work, stored, known, authority)
        for write in filter(unrequested.is_issued, known):
            after += await self._ask_alone(work, write, known)
        for study in held.values():
            await study_reports.mark_reported(work, study, reports, base)
        await self._recorder.record(work, written, held, after, authority)

    async def _reconcile(
        self, work: Work, stored: Stored, written: Sequence[Write], authority: Authority
    ) -> list[Stored]:
        """Bring a request and those that serve it to rest; what was written for them."""
        cases, known = await request_family.gathered(
            work, stored, written, self._pathways, self._policy, self._base
        )
        instant = written_instant(work.context.instant)
        for case in cases:
            own = {held.reference for held in case.state.others}
            authority.update(request_family.authority(case, self._base))
            if work.context.principal.role == "system":
                continue
            for write in written:
                if write.before is None and write.stored.reference in own:
                    pathway.check_made(*case, write.after)
        return [
            await self._write(work, one, known) for one in pathway.reconcile_all(cases, instant)
        ]

    async def _ask_alone(self, work: Work, write: Write, written: Sequence[Write]) -> list[Stored]:
        """Have a report acknowledged that no request answers for; what was written for it."""
        needed, known = await unrequested.asked(
            work, write, self._pathways, self._policy, written, self._base
        )
        return [await self._write(work, one, known) for one in needed]

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


def _latest(work: Work) -> list[Write]:
    """What was written and is there, each as it was written last."""
    written = {write.stored.reference: write for write in work.writes}
    return [write for write in written.values() if not write.stored.deleted]


def _task_rule(
    before: dict[str, Any] | None, after: dict[str, Any], context: RequestContext
) -> None:
    emergency_review.rule(before, after, context)
    task.rule(before, after, context)
    informal_review.rule(before, after)
    if task.step_of(after) == codes.ACKNOWLEDGE.code:
        acknowledgement.rule(before, after, context)
