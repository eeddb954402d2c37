"""What a unit of work asks before it writes: one resource, a query, a condition.

Own writes are read as they will be. What is asked leaves its audit rows with what is written.

References
----------
* FHIR http, "conditional create", "conditional update", "conditional delete"
* PostgreSQL documentation: "Advisory Locks"
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

from fhir_server.access import gate
from fhir_server.access.principal import Principal
from fhir_server.audit import asked, events, ledger
from fhir_server.audit.ledger import Entry
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Integers, Texts, Transaction
from fhir_server.search import find
from fhir_server.search.query import Query
from fhir_server.search.stored import Stored
from fhir_server.store.draft import Key, Write
from fhir_server.store.drafts import Drafts
from fhir_server.store.surroundings import Surroundings
from fhir_server.store.targets import Target, Wanted
from resources.errors import Ambiguous, Forbidden, Gone, NotFound

PATHWAY: Final = Principal.system("pathway")
"""As whom the server writes what follows."""

LOCK: Final = "select from current where type = $1 and id = $2 for update"

LOCK_CONDITIONS: Final = "select pg_advisory_xact_lock(k) from unnest($1::bigint[]) as k"


BEARING: Final = """
select v.type, v.id, v.version, v.instant, v.interaction::text, v.body
from current as c join version as v on v.key = c.key
where c.terms && $1::text[] and not c.deleted
"""


class Asking:
    """The asking half of a unit of work.

    Attributes
    ----------
    context
        Who asks, and what for.
    attempted
        Type and id of what was last asked for.
    """

    def __init__(
        self, around: Surroundings, context: RequestContext, stack: AsyncExitStack
    ) -> None:
        self.context = context
        self.attempted: tuple[str | None, str | None] = (None, None)
        self._around = around
        self._stack = stack
        self._acting = context
        self._transaction: Transaction | None = None
        self._learnt: dict[Key, Target] = {}
        self._drafts = Drafts(around.base_url, around.keep_days, around.strictly)
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
            await self._lock(type, id)
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

    async def bearing(self, terms: Sequence[str]) -> list[Stored]:
        """Find what bears one of these index terms, of any type, as the server: not audited."""
        if self._acting.principal.role != "system":
            raise AssertionError("nobody but the server asks without the gate")
        return [Stored(*row) for row in await self.rows(BEARING, (Texts(terms),))]

    async def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Ask for what is kept beside the record, without the gate."""
        return await (self._transaction or self._around.database).run(sql, params)

    async def hold(self, conditions: Iterable[Query]) -> None:
        """Let nobody else act on one of these conditions until this unit of work has ended.

        Who asks for the same condition meanwhile, in whatever process, waits and then finds what
        was written here. Conditions are held in one order, so that nobody waits in a circle; hold
        all that are needed at once.
        """
        keys = sorted({_key_of(condition) for condition in conditions})
        if keys:
            await (await self._within()).run(LOCK_CONDITIONS, (Integers(keys),))

    async def sole(self, condition: Query, at: str = "") -> Stored | None:
        """Find the one resource that meets a condition, among those that the asker may see.

        Parameters
        ----------
        condition
            Held before, if something is to be written because of it.
        at
            Where in the request the condition stands.

        Raises
        ------
        Ambiguous
            Several do.
        """
        self.attempted = condition.type, None
        acting = self._acting
        self._acting = replace(acting, interaction="search-type")
        try:
            found = await self.search(replace(condition, count=2, total="none"))
        finally:
            self._acting = acting
        if len(found) > 1:
            raise Ambiguous(f"Several {condition.type} meet the condition.", at)
        return found[0] if found else None

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

    @property
    def is_by_server(self) -> bool:
        """Whether the server asks or writes by itself now (`as_server`)."""
        return self._acting.principal is PATHWAY

    def _permit(self, letter: str, target: Target) -> None:
        """Ask the gate about something that exists; what is not seen is not found."""
        gate.reach(self._acting, letter, target.type)
        try:
            self._drafts.admission.permit(self._acting, letter, target)
        except Forbidden as refusal:
            if not target.is_seen(self._acting):
                raise NotFound(f"There is no {target.type}/{target.id}.") from refusal
            raise

    async def _look_up(self, type: str, id: str) -> Target:
        wanted = [Wanted(type, id, whole=True)]
        await self._drafts.find(self._around.targets, self._transaction, self._acting, wanted)
        return self._drafts.targets[type, id]

    async def _lock(self, type: str, id: str) -> None:
        await (await self._within()).run(LOCK, (type, id))

    async def _within(self) -> Transaction:
        """The transaction of this unit of work, open from now to the end of the block."""
        if self._transaction is None:
            self._transaction = await self._stack.enter_async_context(
                self._around.database.transaction()
            )
        return self._transaction

    def _entry(
        self, context: RequestContext, interaction: str, stored: Stored, patient: str | None
    ) -> Entry:
        """The audit row of one resource read or written here."""
        if context.interaction in events.SEVERAL or context.principal is PATHWAY:
            context = replace(context, interaction=events.DONE[interaction])
        return ledger.entry(
            context, type=stored.type, id=stored.id, version=stored.version, patient=patient, hits=1
        )


def _key_of(condition: Query) -> int:
    """Hash a condition: the same criteria, in whatever order, are the same condition."""
    said = "\n".join([condition.type, *sorted(map(repr, condition.criteria))])
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], signed=True)
