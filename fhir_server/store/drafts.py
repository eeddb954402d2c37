"""Drafts: what a unit of work is going to write, and the checks that need a look-up.

The look-ups of all drafts share one statement. Then, draft by draft: who may see it
(`standing`), whether the gate lets the asker write that, and whether what it refers to exists.

A reference may point to what the same unit of work writes. What the asker may not see does not
exist for a reference either, so that a reference tells nobody what is there; the patient that
a resource is about is the exception, because a referral makes the relationship.

References
----------
* FHIR References, "Literal References"; FHIR http, "Integrity"
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from fhir_server.access import gate
from fhir_server.access.relationship import RELATING
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Transaction
from fhir_server.search.stored import Stored
from fhir_server.search.terms import Terms, index
from fhir_server.store import standing
from fhir_server.store.standing import Known, Standing
from fhir_server.store.targets import Target, Targets, Wanted
from fhir_server.store.versions import Row
from resources import references
from resources.compartments import patient_of
from resources.content import Content
from resources.errors import Forbidden, Issue, Unprocessable

Key = tuple[str, str]

NO_TERMS: Final = Terms([], None, None, [], [])
NOBODYS: Final = Standing(None, frozenset())


_ELSEWHERE: Final = re.compile(r"#|(?!urn:(?:uuid|oid):)[A-Za-z][A-Za-z0-9+.\-]*:")
"""References that are not ours to follow: fragments, and addresses of others. A urn that no entry
of a transaction bore, a condition or a type that nobody knows is none of these."""


class Cited(NamedTuple):
    """A reference in a resource: its FHIRPath, as written, and as read if it is a literal one."""

    path: str
    literal: str
    reference: references.Reference | None


class Write(NamedTuple):
    """One version written by a unit of work; `before` is None where nothing was."""

    before: dict[str, Any] | None
    after: dict[str, Any]
    stored: Stored


@dataclass(slots=True)
class Draft:
    """One version to write.

    Parameters
    ----------
    context
        As whom it is written.
    target
        What was current before the unit of work; None where nothing was.
    at
        Where in the request it stands.
    creator
        The organisation that created the resource; empty for the system.
    """

    write: Write
    content: Content
    context: RequestContext
    target: Target | None
    at: str
    creator: str = ""
    standing: Standing = NOBODYS

    @property
    def key(self) -> Key:
        """Type and id."""
        return self.write.stored.type, self.write.stored.id


class Drafts:
    """The drafts of one unit of work, and what it has learnt of their surroundings.

    Attributes
    ----------
    all
        Every draft, in order.
    last
        The last draft of each resource.
    targets
        What has been looked up.
    """

    def __init__(self, base_url: str, keep_days: int, strictly: bool) -> None:
        self.all: list[Draft] = []
        self.last: dict[Key, Draft] = {}
        self.targets: dict[Key, Target] = {}
        self._base_url = base_url
        self._keep_days = keep_days
        self._strictly = strictly
        self._settled = 0
        self._known: dict[Key, Known] = {}
        self._related: set[tuple[str | None, str | None]] = set()
        self._cited: dict[int, tuple[Content, list[Cited]]] = {}

    def add(self, draft: Draft) -> None:
        """Note a draft; it is checked by the next `settle`."""
        earlier = self.last.get(draft.key)
        if earlier is not None:
            draft.creator = earlier.creator
        elif draft.target is not None:
            draft.creator = draft.target.creator
        else:
            draft.creator = draft.context.principal.organization or ""
        self.all.append(draft)
        self.last[draft.key] = draft
        self._known[draft.key] = Known(draft.content.json, None)

    async def find(
        self,
        targets: Targets,
        within: Transaction | None,
        context: RequestContext,
        wanted: Iterable[Wanted],
    ) -> None:
        """Look up targets, anew where they have been looked up before."""
        found = await targets.look_up(context, wanted, within)
        self.targets |= found
        for target in found.values():
            if target.related:
                patient = target.id if target.type == "Patient" else target.patient
                self._related.add((context.principal.organization, patient))

    def wanted(self, contents: Iterable[Content]) -> list[Wanted]:
        """What must be looked up to check these resources."""
        found: dict[Wanted, None] = {}
        own = {(draft.key, draft.write.stored.version) for draft in self.all}
        for content in contents:
            for _, _, reference in self._references(content):
                if reference is None or reference.base:
                    continue
                key = reference.type, reference.id
                if (key, reference.version) in own:
                    continue
                if reference.version is not None or (
                    key not in self.targets and key not in self.last
                ):
                    found[Wanted(*key, reference.version)] = None
            about = ("Patient", self._about(content))
            if about[1] is not None and about not in self.targets and about not in self.last:
                found[Wanted("Patient", about[1])] = None
        return list(found)

    async def settle(self, targets: Targets, within: Transaction | None) -> None:
        """Check the drafts that are new since the last time.

        Raises
        ------
        Forbidden
            The gate does not let the asker write this.
        Unprocessable
            A reference points to nothing.
        """
        drafts = self.all[self._settled :]
        self._settled = len(self.all)
        if not drafts:
            return
        wanted = self.wanted(draft.content for draft in drafts)
        await self.find(targets, within, drafts[0].context, wanted)
        # A Provenance is about the patient of its targets, which may be drafts too.
        for draft in sorted(drafts, key=lambda draft: draft.key[0] == "Provenance"):
            self._place(draft)
        self._pass_gate(drafts)
        issues: list[Issue] = []
        for draft in drafts:
            issues += self._dangling(draft.content, draft.key, draft.context, draft.at)
        if issues:
            raise Unprocessable(issues=issues)

    def permit(self, context: RequestContext, letter: str, target: Target) -> None:
        """Ask the gate about a resource that exists."""
        related = target.related or self._is_related(context, target.patient)
        stored = target.stored
        json = stored.json if stored is not None and not stored.deleted else {}
        self._ask(
            context, letter, target.type, target.id, target.patient, target.parties, related, json
        )

    def require_references(
        self, content: Content, key: Key, context: RequestContext, at: str
    ) -> None:
        """Refuse a resource that refers to nothing, as far as is known now."""
        issues = self._dangling(content, key, context, at)
        if issues:
            raise Unprocessable(issues=issues)

    def rows(self) -> list[Row]:
        """What is to be written."""
        return [
            Row(
                draft.write.stored,
                self.last[draft.key] is draft,
                None if draft.target is None else draft.target.key,
                draft.standing.patient,
                [draft.creator, *sorted(draft.standing.parties - {draft.creator})],
                self._relations(draft) if self.last[draft.key] is draft else (),
                self._terms(draft) if self.last[draft.key] is draft else NO_TERMS,
            )
            for draft in self.all
        ]

    def _relations(self, draft: Draft) -> list[tuple[str, str, int]]:
        return standing.relations(
            draft.target,
            draft.standing,
            draft.creator,
            draft.content.json,
            draft.write.stored.instant,
            self._keep_days,
        )

    def _terms(self, draft: Draft) -> Terms:
        return NO_TERMS if draft.write.stored.deleted else index(draft.content.json, self._base_url)

    def _place(self, draft: Draft) -> None:
        """Work out who may see a draft; a deletion leaves that as it was."""
        if draft.write.stored.deleted and draft.target is not None:
            draft.standing = Standing(draft.target.patient, draft.target.parties)
        else:
            draft.standing = standing.standing(
                draft.key[1], draft.content.json, self.targets, self._known, self._base_url
            )
        self._known[draft.key] = Known(draft.content.json, draft.standing.patient)

    def _pass_gate(self, drafts: Sequence[Draft]) -> None:
        """Ask the gate about each draft, whatever their order.

        What the gate allows relates its writer to the patient; what it refuses for want of a
        relation is asked again as long as there are new ones.
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
        related = self._is_related(context, patient)
        if before is None:
            letter, parties = "c", draft.standing.parties
        else:
            letter = "d" if draft.write.stored.deleted else "u"
            parties = before.parties
            if patient == before.patient or patient is None:
                related = related or before.related
            elif not related and context.principal.role != "system":
                raise Forbidden(f"this {type} is not moved to that patient", step="relationship")
            self._keep_parties(draft, before)
        self._ask(context, letter, type, id, patient, parties, related, draft.content.json)
        if type in RELATING and patient is not None:
            self._related.add((context.principal.organization, patient))

    def _keep_parties(self, draft: Draft, before: Target) -> None:
        """Let who may only correct a resource not say who is a party to it."""
        own = draft.context.principal.organization
        if draft.key[0] not in gate.SHARED or own is None or own in before.parties:
            return
        if (draft.standing.parties | {draft.creator}) - {""} != before.parties:
            raise Forbidden("only a party to this says who else is", step="relationship")

    def _is_related(self, context: RequestContext, patient: str | None) -> bool:
        return (context.principal.organization, patient) in self._related

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

    def _references(self, content: Content) -> list[Cited]:
        """The references of a resource; each resource is searched once."""
        held = self._cited.get(id(content))
        if held is None:
            cited = [
                Cited(path, literal, references.parse(literal, self._base_url))
                for path, literal, _ in references.find(content.json)
            ]
            held = self._cited[id(content)] = (content, cited)
        return held[1]

    def _about(self, content: Content) -> str | None:
        """The patient that a resource names; a Patient names none."""
        return None if content.type == "Patient" else patient_of(content.json, self._base_url)

    def _dangling(
        self, content: Content, key: Key, context: RequestContext, at: str
    ) -> list[Issue]:
        if not self._strictly:
            return []
        about = ("Patient", self._about(content))
        issues: list[Issue] = []
        for path, literal, reference in self._references(content):
            if reference is None:
                if not _ELSEWHERE.match(literal):
                    issues.append(Issue("value", "This refers to nothing.", _place_of(path, at)))
            elif not reference.base and not self._resolves(reference, context, key, about):
                text = f"There is no {reference.local} to refer to."
                issues.append(Issue("not-found", text, _place_of(path, at)))
        return issues

    def _resolves(
        self,
        reference: references.Reference,
        context: RequestContext,
        referrer: Key,
        about: tuple[str, str | None],
    ) -> bool:
        key = reference.type, reference.id
        version = reference.version
        own = self.last.get(key)
        if key == referrer or (own is not None and not own.write.stored.deleted):
            return (
                version is None
                or any(
                    draft.key == key and draft.write.stored.version == version for draft in self.all
                )
                or self._existed(key)
            )
        if key not in self.targets or not self.targets[key].exists:
            return False
        target = self.targets[key]
        return key == about or target.is_seen(context) or self._is_related(context, target.patient)

    def _existed(self, key: Key) -> bool:
        target = self.targets.get(key)
        return target is not None and target.exists


def _placed(refusal: Forbidden, at: str) -> Forbidden:
    if at:
        refusal.place_in(at)
    return refusal


def _place_of(path: str, at: str) -> str:
    return f"{at}.{path.partition('.')[2]}" if at else path
