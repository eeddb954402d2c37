"""The unit of work: the only writer. All it writes is there together, or nothing is.

::

    async with store.begin(context) as work:
        study = await work.read("ImagingStudy", study_id)
        task = await work.create(share_task(study, recipient))

Each write passes the gate and the rule of its type at once. Leaving the block looks up, in one
statement, what all new resources refer to; lets the pathway add what has become necessary;
and writes everything with one more. An exception undoes it all, and the attempt is audited.

References
----------
* FHIR http, "create", "update", "Update as Create", "Managing Resource Contention"
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from fhir_server.access import gate
from fhir_server.access.principal import Principal
from fhir_server.audit import asked, events, ledger, received, render
from fhir_server.audit.ledger import Entry
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Statement, Transaction
from fhir_server.search import find
from fhir_server.search.query import Query
from fhir_server.search.stored import Stored
from fhir_server.store import ids
from fhir_server.store.drafts import Draft, Drafts, Key, Write
from fhir_server.store.targets import Target, Targets, Wanted
from fhir_server.store.versions import WRITE, Batch, parameters
from resources import content as contents
from resources.content import Content
from resources.errors import Forbidden, Gone, NotFound, Stale, Unconditional, Unsupported

Rule = Callable[[dict[str, Any] | None, dict[str, Any], RequestContext], None]
Completion = Callable[["Work", Content], Awaitable[Content]]
Follow = Callable[["Work"], Awaitable[None]]


async def nothing_follows(work: "Work") -> None:
    """Let nothing follow from what was written."""


class Hooks(NamedTuple):
    """What the layers above hand in.

    Parameters
    ----------
    rules
        By type: refuse a change from one state to another.
    completions
        By type: add to a resource what the server puts there, before it is written.
    follow
        Write what has become necessary; called once, when the block is left.
    """

    rules: Mapping[str, Rule] = {}
    completions: Mapping[str, Completion] = {}
    follow: Follow = nothing_follows


CONDITIONAL: Final = frozenset(
    {"Appointment", "DiagnosticReport", "List", "ServiceRequest", "Task"}
)
"""Types that change hands: whoever updates one names the version it knows.

docs/representation.md, "Versions are evidence".
"""

FINAL: Final = frozenset({"AuditEvent", "Provenance"})
"""Records of what was done; they are never changed."""

PATHWAY: Final = Principal.system("pathway")
"""As whom the server writes what follows."""

LOCK: Final = "select from current where type = $1 and id = $2 for update"

KEEP_AUDIT_EVENT: Final = f"{ledger.INSERT} returning instant, n"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every unit of work of a store shares.

    Parameters
    ----------
    write
        Write a batch in a transaction of its own.
    base_url
        Our FHIR base: references below it are ours.
    strictly
        The rules of the house hold, not only those of FHIR.
    keep_days
        How long an organisation still sees a patient after its work for them has ended.
    """

    database: Database
    targets: Targets
    write: Callable[[Batch], Awaitable[None]]
    hooks: Hooks
    base_url: str
    strictly: bool
    keep_days: int


class Work:
    """One unit of work; made by `Store.begin` alone.

    Attributes
    ----------
    context
        Who asks, and what for.
    at
        Where in the request the next writes stand (a FHIRPath), for refusals to name.
    attempted
        Type and id of what was last asked for.
    """

    def __init__(
        self, around: Surroundings, context: RequestContext, stack: AsyncExitStack
    ) -> None:
        self.context = context
        self.at = ""
        self.attempted: tuple[str | None, str | None] = (None, None)
        self._around = around
        self._stack = stack
        self._acting = context
        self._transaction: Transaction | None = None
        self._learnt: dict[Key, Target] = {}
        self._drafts = Drafts(around.base_url, around.keep_days, around.strictly)
        self._own_rows: list[Statement] = []
        self._entries: list[Entry] = []

    @property
    def writes(self) -> list[Write]:
        """What has been written so far, in order."""
        return [draft.write for draft in self._drafts.all]

    def is_new(self, reference: str) -> bool:
        """Whether ``Type/id`` is first written here: nobody else can know of it yet."""
        type, _, id = reference.partition("/")
        last = self._drafts.last.get((type, id))
        return last is not None and last.target is None

    async def read(self, type: str, id: str, *, lock: bool = False) -> Stored:
        """Read the current version, own writes included.

        What was read before is not asked for again, unless it is to be locked now.

        Parameters
        ----------
        lock
            Let nobody else change it until this unit of work has ended.

        Raises
        ------
        NotFound
            It does not exist, or the asker may not see it.
        Gone
            It was deleted.
        """
        self.attempted = type, id
        if lock:
            await (await self._within()).run(LOCK, (type, id))
        last = self._drafts.last.get((type, id))
        if last is not None:
            stored = last.write.stored
        else:
            known = self._drafts.targets.get((type, id))
            if lock or known is None or known.stored is None:
                known = await self._look_up(type, id)
            if known.stored is None:
                gate.reach(self._acting, "r", type)
                raise NotFound(f"There is no {type}/{id}.")
            self._permit("r", known)
            stored = known.stored
            if self._acting.principal.role != "system":
                self._entries.append(self._entry(self._acting, "R", stored, known.patient))
        if stored.deleted:
            raise Gone(f"{type}/{id} was deleted.")
        return stored

    async def search(self, query: Query) -> list[Stored]:
        """Search among what was there before; own writes are not found."""
        narrowed = gate.narrow(self._acting, query)
        by_system = self._acting.principal.role == "system"
        page = await find.find(
            self._transaction or self._around.database,
            narrowed,
            self._acting,
            row=None if by_system else asked.entry(self._acting, query),
        )
        return list(page.matches)

    @contextmanager
    def as_server(self) -> Iterator[None]:
        """In this block the server asks, for what it adds or writes by itself.

        What it learns stays with the server: it is not what the asker may see.
        """
        acting, targets = self._acting, self._drafts.targets
        self._acting = replace(self.context, principal=PATHWAY)
        self._learnt |= targets
        self._drafts.targets = self._learnt
        try:
            yield
        finally:
            self._acting, self._drafts.targets = acting, targets

    async def create(self, content: Content, id: str | None = None) -> Stored:
        """Write a new resource.

        Parameters
        ----------
        id
            An id nobody has used; without it the server makes one.

        Raises
        ------
        Refusal
            By the gate, the rule of the type, or a reference to nothing; what needs a look-up
            is found on leaving the block.
        """
        self.attempted = content.type, id
        gate.reach(self._acting, "c", content.type)
        if content.type == "AuditEvent":
            return await self._keep_audit_event(content)
        return await self._draft(content, id or ids.new(), None, None)

    async def update(
        self, type: str, id: str, content: Content, if_match: int | None = None
    ) -> Stored:
        """Write a new version of a resource, or the first one under an id the asker chose.

        Raises
        ------
        Stale
            The version named is not the current one; it may be found on leaving the block.
        Unconditional
            A version must be named for this type, and was not.
        """
        self.attempted = type, id
        try:
            before, target = await self._before("u", type, id)
        except NotFound as hidden:
            if if_match is not None:
                raise _no_version(type, id, if_match) from hidden.__cause__
            raise
        if before is None:
            self._permit_first(type, id, if_match)
        else:
            self._require_match(before, if_match)
        return await self._draft(content, id, before, target)

    async def delete(self, type: str, id: str, if_match: int | None = None) -> Stored:
        """Write a version that says that the resource is no more; its versions stay."""
        self.attempted = type, id
        before, target = await self._before("d", type, id)
        if before is None:
            raise NotFound(f"There is no {type}/{id}.")
        if before.deleted:
            return before
        self._require_match(before, if_match)
        gone = Stored(type, id, before.version + 1, self.context.instant, "D", b"")
        write = Write(before.json, {"resourceType": type, "id": id}, gone)
        self._drafts.add(Draft(write, contents.made(write.after), self._acting, target, self.at))
        return gone

    def add(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Write a package's own rows in the same transaction."""
        self._own_rows.append((sql, params))

    async def finish(self) -> None:
        """Check what is left to check, let follow what follows, and write it all."""
        await self._drafts.settle(self._around.targets, self._transaction)
        if self._drafts.all and self._around.hooks.follow is not nothing_follows:
            with self.as_server():
                await self._around.hooks.follow(self)
                await self._drafts.settle(self._around.targets, self._transaction)
        written = [
            self._entry(
                draft.context,
                draft.write.stored.interaction,
                draft.write.stored,
                draft.standing.patient,
            )
            for draft in self._drafts.all
        ]
        batch = Batch(self._drafts.rows(), [*self._entries, *written])
        if self._transaction is None and not self._own_rows:
            await self._around.write(batch)
        else:
            statements = [*self._own_rows, (WRITE, parameters(batch))]
            await (self._transaction or self._around.database).run_all(statements)

    async def _draft(
        self, content: Content, id: str, before: Stored | None, target: Target | None
    ) -> Stored:
        """Pass the rule of the type, complete the resource and note it for the end."""
        type = content.type
        was = None if before is None or before.deleted else before.json
        if (rule := self._around.hooks.rules.get(type)) is not None:
            rule(was, content.json, self._acting)
        if (complete := self._around.hooks.completions.get(type)) is not None:
            wanted = self._drafts.wanted([content])
            await self._drafts.find(self._around.targets, self._transaction, self._acting, wanted)
            self._drafts.require_references(content, (type, id), self._acting, self.at)
            content = await complete(self, content)
            self.attempted = type, id
        version = 1 if before is None else before.version + 1
        text = contents.stamped(content, id, version, self.context.instant)
        interaction = "C" if was is None else "U"
        stored = Stored(type, id, version, self.context.instant, interaction, text)
        self._drafts.add(
            Draft(Write(was, stored.json, stored), content, self._acting, target, self.at)
        )
        return stored

    async def _before(self, letter: str, type: str, id: str) -> tuple[Stored | None, Target | None]:
        """The state that is to be changed, and what was current before this unit of work."""
        last = self._drafts.last.get((type, id))
        if last is not None:
            return last.write.stored, last.target
        target = await self._look_up(type, id)
        if target.stored is None:
            return None, None
        if type in FINAL and target.is_seen(self._acting):
            raise Unsupported(f"{type} is a record of what was done and is not changed.")
        self._permit(letter, target)
        return target.stored, target

    def _permit(self, letter: str, target: Target) -> None:
        """Ask the gate about something that exists; what is not seen is not found."""
        gate.reach(self._acting, letter, target.type)
        try:
            self._drafts.permit(self._acting, letter, target)
        except Forbidden as refusal:
            if not target.is_seen(self._acting):
                raise NotFound(f"There is no {target.type}/{target.id}.") from refusal
            raise

    def _permit_first(self, type: str, id: str, if_match: int | None) -> None:
        """Ask the gate about a first version under an id of the asker's choice.

        Who may not write one is told the same as of a resource that is there and not seen.
        """
        if if_match is not None:
            gate.reach(self._acting, "u", type)
            raise _no_version(type, id, if_match)
        try:
            gate.reach(self._acting, "c", type)
        except Forbidden as refusal:
            gate.reach(self._acting, "u", type)
            raise NotFound(f"There is no {type}/{id}.") from refusal

    def _require_match(self, before: Stored, if_match: int | None) -> None:
        if if_match is not None:
            if if_match != before.version:
                raise Stale(f"{before.reference} has moved on from version {if_match}.")
        elif (
            self._around.strictly
            and before.type in CONDITIONAL
            and self._acting.principal.role != "system"
        ):
            raise Unconditional(f"A change of {before.type} names the version it changes.")

    async def _look_up(self, type: str, id: str) -> Target:
        wanted = [Wanted(type, id, whole=True)]
        await self._drafts.find(self._around.targets, self._transaction, self._acting, wanted)
        return self._drafts.targets[type, id]

    async def _within(self) -> Transaction:
        """The transaction of this unit of work, open from now to the end of the block."""
        if self._transaction is None:
            self._transaction = await self._stack.enter_async_context(
                self._around.database.transaction()
            )
        return self._transaction

    async def _keep_audit_event(self, content: Content) -> Stored:
        entry = received.entry(self._acting, content, self._around.base_url)
        rows = await (await self._within()).run(KEEP_AUDIT_EVENT, ledger.arrays([entry]))
        id = render.id_of(*rows[0])
        text = contents.stamped(content, id, 1, self.context.instant)
        return Stored("AuditEvent", id, 1, self.context.instant, "C", text)

    def _entry(
        self, context: RequestContext, interaction: str, stored: Stored, patient: str | None
    ) -> Entry:
        """The audit row of one resource read or written here."""
        if context.interaction in events.SEVERAL or context.principal is PATHWAY:
            context = replace(context, interaction=events.DONE[interaction])
        return ledger.entry(
            context, type=stored.type, id=stored.id, version=stored.version, patient=patient, hits=1
        )


def _no_version(type: str, id: str, version: int) -> Stale:
    return Stale(f"There is no {type}/{id}, so it has no version {version}.")
