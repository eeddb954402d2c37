"""Admission: the gate, asked about everything that a unit of work writes or changes.

What the gate allows relates its writer to the patient, so that a referral and what comes with it
may be written in one go, whatever their order. Who has a limited relation adds to the record, and
lets neither themselves nor anybody else in any further.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fhir_server.access import gate
from fhir_server.access.relationship import RELATING
from fhir_server.context import RequestContext
from fhir_server.search.terms import index
from fhir_server.store.draft import Draft
from fhir_server.store.standing import AS_BEFORE, FULL, LIMITED
from fhir_server.store.targets import Target
from fhir_server.store.withholding import is_restricted
from resources.errors import Forbidden

MADE_FOR_ANYBODY: Final = frozenset({"DiagnosticReport", "ImagingStudy", "Task"})
"""What the server makes for organisations of either kind: it lets none of them in further."""


class Admission:
    """What the gate has been asked, and who is known to have to do with whom."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._related: set[tuple[str | None, str | None]] = set()
        self._adds_to: set[tuple[str | None, str | None]] = set()
        self._bound: set[tuple[str | None, str | None]] = set()

    def learn(self, context: RequestContext, target: Target) -> None:
        """Remember that the asker has to do with the patient of a target."""
        patient = target.id if target.type == "Patient" else target.patient
        who = context.principal.organization, patient
        if target.related:
            self._related.add(who)
        if target.added_to:
            self._adds_to.add(who)
        if target.bound:
            self._bound.add(who)

    def is_related(self, context: RequestContext, patient: str | None) -> bool:
        """Whether the asker is known to have to do with a patient, and not only so far."""
        return (context.principal.organization, patient) in self._related

    def adds_to(self, context: RequestContext, patient: str | None) -> bool:
        """Whether the asker is known to have to do with a patient, however far."""
        who = context.principal.organization, patient
        return who in self._related or who in self._adds_to

    def permit(self, context: RequestContext, letter: str, target: Target) -> None:
        """Ask the gate about a resource that exists."""
        _require_shown(context, target)
        related = target.related or self.is_related(context, target.patient)
        related = related or (letter == "r" and target.is_let_in)
        stored = target.stored
        json = stored.json if stored is not None and not stored.deleted else {}
        self._ask(
            context, letter, target.type, target.id, target.patient, target.parties, related, json
        )

    def pass_all(self, drafts: Sequence[Draft]) -> None:
        """Ask the gate about each draft, whatever their order.

        What it refuses for want of a relation is asked again as long as there are new ones.

        Raises
        ------
        Forbidden
            The gate does not let the asker write this.
        """
        waiting = list(drafts)
        refused: Forbidden | None = None
        while waiting:
            still: list[Draft] = []
            for draft in waiting:
                try:
                    self._pass(draft)
                except Forbidden as refusal:
                    if refusal.step != "relationship":
                        _placed(refusal, draft.at)
                        raise
                    refused = refused if still else _placed(refusal, draft.at)
                    still.append(draft)
            if refused is not None and len(still) == len(waiting):
                raise refused
            waiting = still

    def _pass(self, draft: Draft) -> None:
        type, id = draft.key
        context, patient = draft.context, draft.standing.patient
        before = draft.target
        related = self.is_related(context, patient)
        if before is None:
            letter, parties = "c", draft.standing.parties
        else:
            _require_shown(context, before)
            letter = "d" if draft.write.stored.deleted else "u"
            parties = before.parties
            if patient == before.patient or patient is None:
                related = related or before.related
            elif not related and context.principal.role != "system":
                raise Forbidden(f"this {type} is not moved to that patient", step="relationship")
            _keep_parties(draft, before)
        json = draft.write.before if draft.write.stored.deleted else draft.content.json
        allowed = related or (letter == "c" and self.adds_to(context, patient))
        self._ask(context, letter, type, id, patient, parties, allowed, json or {})
        draft.relates = self._relates(draft, letter, related)
        if type in RELATING and patient is not None:
            own = context.principal.organization
            is_full = related or (draft.relates == FULL and own not in draft.standing.limited)
            (self._related if is_full else self._adds_to).add((own, patient))

    def _relates(self, draft: Draft, letter: str, related: bool) -> int:
        """How far a draft relates those whom it is the first to name."""
        principal, type = draft.context.principal, draft.key[0]
        if principal.role == "system":
            return AS_BEFORE if type in MADE_FOR_ANYBODY else FULL
        if related or (letter == "c" and type in gate.ESTABLISHES.get(principal.role, ())):
            return FULL
        return LIMITED if (principal.organization, draft.standing.patient) in self._bound else FULL

    def _ask(
        self,
        context: RequestContext,
        letter: str,
        type: str,
        id: str,
        patient: str | None,
        parties: frozenset[str],
        related: bool,
        json: Mapping[str, Any],
    ) -> None:
        restricted = gate.reach(context, letter, type).only
        gate.permit(
            context,
            letter,
            type,
            patient=patient,
            organizations=parties,
            related=related,
            id=id,
            terms=index(json, self._base_url).terms if restricted else None,
        )


def _require_shown(context: RequestContext, target: Target) -> None:
    """Refuse what is withheld from the asker."""
    if target.withheld and context.principal.role != "system":
        raise Forbidden(f"this {target.type} is withheld", step="relationship")


def _keep_parties(draft: Draft, before: Target) -> None:
    """Let who may only correct a resource not say who is a party to it, nor whom it is for."""
    own = draft.context.principal.organization
    if draft.key[0] not in gate.SHARED or own is None or own in before.parties:
        return
    if (draft.standing.parties | {draft.creator}) - {""} != before.parties:
        raise Forbidden("only a party to this says who else is", step="relationship")
    if is_restricted(draft.write.after) != is_restricted(draft.write.before or {}):
        raise Forbidden("only a party to this restricts it", step="relationship")


def _placed(refusal: Forbidden, at: str) -> Forbidden:
    if at:
        refusal.place_in(at)
    return refusal
