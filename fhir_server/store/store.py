"""The store: the one way to resources, for reading and for writing.

Every answer has passed the gate, and its audit row is durable before it is given. A refusal
leaves an audit row too.

References
----------
* FHIR http, "read", "vread", "history", "search", "create", "update", "patch", "delete"
* IHE BALP: what is recorded of each of them
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, Literal

from fhir_server.access import gate
from fhir_server.access.gate import Permit
from fhir_server.audit import asked, events_search, ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.postgres.gathering import Gathering
from fhir_server.reports import availability, counting, measures
from fhir_server.search import find, terms
from fhir_server.search.find import Page
from fhir_server.search.query import Query
from fhir_server.search.stored import Stored
from fhir_server.store import history, labels, reading, walking, writer
from fhir_server.store.attempts import Attempts
from fhir_server.store.history import Cut
from fhir_server.store.labels import Label
from fhir_server.store.reading import Asked, Found
from fhir_server.store.searching import Places
from fhir_server.store.surroundings import Hooks as Hooks
from fhir_server.store.surroundings import Surroundings
from fhir_server.store.targets import Targets, Wanted
from fhir_server.store.unit_of_work import Work
from fhir_server.store.walking import Leg, Place, Walk
from resources.errors import Forbidden, NotFound, Unsupported
from resources.models import TYPES

Rules = Literal["house", "base", "strict"]

KEEP_DAYS: Final = 90
"""How long an organisation still sees a patient after its work for them has ended."""

MOST_AT_ONCE: Final = 500
"""Resources that one statement of `many` reads."""


class Store:
    """Resources of one database.

    Parameters
    ----------
    hooks
        Rules, completions and consequences, handed in by the layers above; under the rules
        ``base`` they do not run.
    base_url
        Our FHIR base, without a slash at its end: references below it are ours.
    rules
        ``house``: references must resolve and If-Match is required where resources change
        hands. ``base``: plain FHIR. ``strict``: as house; profiles are checked before.
    holder
        Id of the Organization that holds the installation: see `audit.events_search`.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        hooks: Hooks,
        base_url: str,
        rules: Rules = "house",
        keep_days: int = KEEP_DAYS,
        holder: str = "",
    ) -> None:
        self._database = database
        self._holder = holder
        self._attempts = Attempts(ledger)
        self._places = Places(database.size)
        self._base_url = base_url
        self._targets = Targets(database)
        self._reads: Gathering[Asked, Found] = Gathering(self._read, lanes=2)
        self._around = Surroundings(
            database,
            self._targets,
            writer.Writer(database).write,
            hooks if rules != "base" else Hooks(keeps=hooks.keeps),
            base_url,
            rules != "base",
            keep_days,
        )

    @asynccontextmanager
    async def begin(self, context: RequestContext) -> AsyncIterator[Work]:
        """Begin a unit of work; leaving the block writes it, an exception undoes it.

        Raises
        ------
        Stale
            Somebody else wrote the version that was to be written.
        """
        work: Work | None = None
        try:
            async with AsyncExitStack() as stack:
                work = Work(self._around, context, stack)
                yield work
                await work.finish()
        except Exception as error:
            cause = writer.refusal(error)
            await self._attempts.note(context, cause, *(work.attempted if work else (None, None)))
            if cause is error:
                raise
            raise cause from error

    @asynccontextmanager
    async def rehearse(self, context: RequestContext) -> AsyncIterator[Work]:
        """Begin a unit of work that is checked on leaving the block, and never written.

        What it would be refused for is raised, and is not an attempt: the asker only asked.
        """
        async with AsyncExitStack() as stack:
            work = Work(self._around, context, stack)
            yield work
            await work.check()

    async def read(self, context: RequestContext, type: str, id: str) -> Stored:
        """Read the current version.

        Raises
        ------
        NotFound
            It does not exist, or the asker may not see it.
        Gone
            It was deleted.
        """
        if type == "AuditEvent":
            return await events_search.read(self._database, context, id, self._holder)
        return (await self._found(context, type, id, None)).stored

    async def vread(self, context: RequestContext, type: str, id: str, version: int) -> Stored:
        """Read one version, if the asker may see the resource as it is now."""
        if type == "AuditEvent":
            if version != 1:
                raise NotFound("An AuditEvent has one version.")
            return await events_search.read(self._database, context, id, self._holder)
        return (await self._found(context, type, id, version)).stored

    async def read_permitted(
        self, context: RequestContext, type: str, id: str
    ) -> tuple[Stored, Permit]:
        """Read the current version, and get the gate's yes to carry to what hangs on it."""
        found = await self._found(context, type, id, None)
        permit = gate.permit(
            context,
            "r",
            type,
            patient=found.patient,
            organizations=found.organizations,
            related=True,  # that the row was given says so
            id=id,
            terms=(
                terms.index(found.stored.json, self._base_url).terms
                if gate.reach(context, "r", type).only
                else None
            ),
        )
        return found.stored, permit

    async def history(self, context: RequestContext, type: str, id: str, cut: Cut) -> Page:
        """Answer a page of the versions of one resource, the newest first."""
        if type == "AuditEvent":
            return Page(
                [await events_search.read(self._database, context, id, self._holder)], [], 1, None
            )
        ask = await self._asked(context, type, id, None)
        return await history.of_one(self._database, ask, cut, self._base_url)

    async def history_of_types(self, context: RequestContext, type: str | None, cut: Cut) -> Page:
        """Answer a page of the versions of all resources of a type, or of every type.

        The ledger has a history of its own: AuditEvents are searched, and are not among these.
        """
        async with self._attempts.noted(context, type, None):
            if type == "AuditEvent":
                raise Unsupported("An AuditEvent has one version: search for them.")
            if type is not None:
                reaches = {type: gate.reach(context, "s", type)}
            elif not (reaches := history.reaches(context, sorted(TYPES))):
                raise Forbidden("the scopes do not grant to search anything", step="scope")
            row = ledger.entry(context, type=type)
            return await history.of_types(
                self._database, context, type, reaches, cut, row, self._base_url
            )

    async def search(self, context: RequestContext, query: Query) -> Page:
        """Answer a page of what a query finds and the asker may see."""
        async with self._attempts.noted(context, query.type or None, None), self._places.one():
            if query.type == "AuditEvent":
                async with find.in_time():
                    return await events_search.search(self._database, context, query, self._holder)
            row = asked.entry(context, query)
            return await find.find(self._database, find.narrow(query, context), context, row=row)

    async def many(self, context: RequestContext, references: Sequence[str]) -> dict[str, Stored]:
        """Read the current versions behind ``Type/id``; what is not to be had is left out."""
        asks: list[Asked] = []
        for reference in dict.fromkeys(references):
            type, _, id = reference.partition("/")
            with suppress(Forbidden, NotFound):
                asks.append(await self._asked(context, type, id, None))
        found: dict[str, Stored] = {}
        for at in range(0, len(asks), MOST_AT_ONCE):
            for answer in await self._read(asks[at : at + MOST_AT_ONCE]):
                if isinstance(answer, Found):
                    found[answer.stored.reference] = answer.stored
        return found

    async def walk(self, context: RequestContext, walk: Walk, place: Place, count: int) -> Leg:
        """Answer a page of all that the asker sees of some types; who asks writes the audit row."""
        return await walking.page(self._database, context, walk, place, count)

    async def labels(self, context: RequestContext, types: Sequence[str]) -> list[Label]:
        """List the labels on what the asker sees of some types; who asks writes the audit row."""
        return await labels.labels(self._database, context, types)

    async def first_available(self, ids: Sequence[str]) -> dict[str, int]:
        """Say since when studies that the asker has found have had images, microseconds UTC."""
        return await availability.first(self._database, ids)

    async def count(self, context: RequestContext, asked: measures.Asked) -> list[measures.Line]:
        """Count what was done, as far as the asker may see; who asks writes the audit row."""
        async with self._places.one():
            return await counting.count(self._database, context, asked)

    async def _found(
        self, context: RequestContext, type: str, id: str, version: int | None
    ) -> Found:
        return await self._reads.ask(await self._asked(context, type, id, version))

    async def _read(self, asks: list[Asked]) -> list[Found | Exception]:
        return await reading.read(self._database, asks, self._base_url)

    async def _asked(
        self, context: RequestContext, type: str, id: str, version: int | None
    ) -> Asked:
        """Ask scope, patient and role; the statement that reads asks for the relationship."""
        async with self._attempts.noted(context, type, id, version):
            reach = gate.reach(context, "r", type)
            if reach.only:
                await self._check_scope(context, type, id, reach.patient)
        return Asked(type, id, version, reach, ledger.entry(context, version=version))

    async def _check_scope(
        self, context: RequestContext, type: str, id: str, bound: str | None
    ) -> None:
        """Let a scope that grants only some resources of a type look at this one."""
        wanted = [Wanted(type, id, whole=True)]
        target = (await self._targets.look_up(context, wanted, None))[type, id]
        if target.stored is None or target.deleted or not target.is_reached(context, bound):
            return
        gate.permit(
            context,
            "r",
            type,
            patient=target.patient,
            organizations=target.parties,
            related=target.related or target.is_let_in,
            id=id,
            terms=terms.index(target.stored.json, self._base_url).terms,
        )
