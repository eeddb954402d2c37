"""Drafts: what a unit of work is going to write, and the checks that need a look-up.

The look-ups of all drafts share one statement. Then, draft by draft: who may see it
(`standing`), whether the gate lets the asker write that (`admission`), and whether what it refers
to exists (`citations`).

A reference may point to what the same unit of work writes. What the asker may not see does not
exist for a reference either, so that a reference tells nobody what is there; the patient that
a resource is about is the exception, because a referral makes the relationship.

References
----------
* FHIR References, "Literal References"; FHIR http, "Integrity"
"""

from collections.abc import Iterable, Sequence
from typing import Final

from fhir_server.access import gate
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Statement, Transaction
from fhir_server.search.terms import Terms
from fhir_server.store import granting, meetings, standing
from fhir_server.store.admission import Admission
from fhir_server.store.citations import Citations, indexed
from fhir_server.store.draft import Draft, Key
from fhir_server.store.draft import Write as Write
from fhir_server.store.standing import Known, Relation, Standing
from fhir_server.store.targets import Target, Targets, Wanted
from fhir_server.store.versions import Row
from resources.content import Content
from resources.errors import Issue, Unprocessable
from resources.references import Reference

NO_TERMS: Final = Terms([], None, None, [], [])


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
    admission
        The gate, as far as it has been asked.
    """

    def __init__(self, base_url: str, keep_days: int, strictly: bool) -> None:
        self.all: list[Draft] = []
        self.last: dict[Key, Draft] = {}
        self.targets: dict[Key, Target] = {}
        self.admission = Admission(base_url)
        self._base_url = base_url
        self._keep_days = keep_days
        self._strictly = strictly
        self._settled = 0
        self._known: dict[Key, Known] = {}
        self._citations = Citations(base_url)

    def add(self, draft: Draft) -> None:
        """Note a draft; it is checked by the next `settle`."""
        earlier = self.last.get(draft.key)
        if earlier is not None:
            draft.creator = earlier.creator
        elif draft.target is not None:
            draft.creator = draft.target.creator
        else:
            draft.creator = gate.party(draft.context.principal, draft.key[0]) or ""
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
            self.admission.learn(context, target)

    def wanted(self, contents: Iterable[Content]) -> list[Wanted]:
        """What must be looked up to check these resources."""
        found: dict[Wanted, None] = {}
        own = {(draft.key, draft.write.stored.version) for draft in self.all}
        for content in contents:
            for _, _, reference in self._citations.of(content):
                if reference is None or reference.base:
                    continue
                key = reference.type, reference.id
                if (key, reference.version) in own:
                    continue
                if reference.version is not None or (
                    key not in self.targets and key not in self.last
                ):
                    found[Wanted(*key, reference.version)] = None
            about = ("Patient", self._citations.about(content))
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
        await self.find(targets, within, _asking(drafts), wanted)
        # A Provenance is about the patient of its targets, which may be drafts too.
        for draft in sorted(drafts, key=lambda draft: draft.key[0] in standing.FOLLOWS):
            self._place(draft)
        self.admission.pass_all(drafts)
        issues: list[Issue] = []
        for draft in drafts:
            issues += self._dangling(draft.content, draft.key, draft.context, draft.at)
        if issues:
            raise Unprocessable(issues=issues)
        for draft in drafts:
            for check in (meetings.check, granting.check):
                check(draft, self.targets, self.last, self.admission, self._base_url)

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

    def follow(self, context: RequestContext) -> list[Statement]:
        """What is to be run when the rows are written."""
        return meetings.statements(self.all, context, self._base_url, self._keep_days)

    def _relations(self, draft: Draft) -> list[Relation]:
        return standing.relations(
            draft.target,
            draft.standing,
            draft.creator,
            draft.content.json,
            draft.write.stored.instant,
            self._keep_days,
            deleted=draft.write.stored.deleted,
            writer=draft.relates,
        )

    def _terms(self, draft: Draft) -> Terms:
        if draft.write.stored.deleted:
            return NO_TERMS
        cited = self._citations.of(draft.content)
        return indexed(draft.content.json, self._base_url, cited)

    def _place(self, draft: Draft) -> None:
        """Work out who may see a draft; a deletion leaves that as it was."""
        if draft.write.stored.deleted and draft.target is not None:
            draft.standing = Standing(draft.target.patient, draft.target.parties)
        else:
            draft.standing = standing.standing(
                draft.key[1],
                draft.content.json,
                self.targets,
                self._known,
                self._base_url,
                draft.context,
            )
        self._known[draft.key] = Known(
            draft.content.json, draft.standing.patient, draft.standing.limited
        )

    def _dangling(
        self, content: Content, key: Key, context: RequestContext, at: str
    ) -> list[Issue]:
        if not self._strictly:
            return []
        about = ("Patient", self._citations.about(content))

        def resolves(reference: Reference) -> bool:
            return self._resolves(reference, context, key, about)

        return self._citations.dangling(content, at, resolves)

    def _resolves(
        self,
        reference: Reference,
        context: RequestContext,
        referrer: Key,
        about: tuple[str, str | None],
    ) -> bool:
        key = reference.type, reference.id
        own = self.last.get(key)
        if own is not None and own.write.stored.deleted and key != referrer:
            return False
        if key == referrer or own is not None:
            return (
                reference.version is None
                or any(
                    draft.key == key and draft.write.stored.version == reference.version
                    for draft in self.all
                )
                or self._existed(key)
            )
        if key not in self.targets or not self.targets[key].exists:
            return False
        target = self.targets[key]
        return (
            key == about
            or target.is_known(context)
            or (
                not target.withheld
                and context.principal.patient in (None, target.patient)
                and self.admission.is_related(context, target.patient)
            )
        )

    def _existed(self, key: Key) -> bool:
        target = self.targets.get(key)
        return target is not None and target.exists


def _asking(drafts: Sequence[Draft]) -> RequestContext:
    """The context of who asks: what the server itself writes beside it may come first."""
    contexts = [draft.context for draft in drafts]
    return next((one for one in contexts if one.principal.role != "system"), contexts[0])
