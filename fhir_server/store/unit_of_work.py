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
* FHIR http, "create", "update", "Update as Create", "patch", "delete", "Managing Resource
  Contention"
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from fhir_server.access import gate
from fhir_server.audit import ledger, received, render
from fhir_server.audit.line import Line
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Statement
from fhir_server.search.stored import Stored
from fhir_server.store import agreements, granting, ids, referrers, withholding
from fhir_server.store.draft import Draft, Key, Write
from fhir_server.store.preceding import FINAL as FINAL
from fhir_server.store.preceding import Preceding, no_version, nothing
from fhir_server.store.surroundings import Hooks as Hooks
from fhir_server.store.surroundings import Surroundings, nothing_follows
from fhir_server.store.targets import Target
from fhir_server.store.versions import Batch, statement
from resources import content as contents
from resources.content import Content
from resources.errors import Conflict, Gone

LONG: Final = 256 * 1024
"""Octets from which a change of a resource may hold up the loop."""

KEEP_AUDIT_EVENT: Final = f"{ledger.INSERT} returning instant, n"


class Work(Preceding):
    """One unit of work; made by `Store.begin` alone.

    Attributes
    ----------
    at
        Where in the request the next writes stand (a FHIRPath), for refusals to name.
    """

    def __init__(
        self, around: Surroundings, context: RequestContext, stack: AsyncExitStack
    ) -> None:
        super().__init__(around, context, stack)
        self.at = ""
        self._own_rows: list[Statement] = []

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
        self,
        type: str,
        id: str,
        content: Content,
        if_match: int | None = None,
        *,
        first: type[Conflict] | None = None,
    ) -> Stored:
        """Write a new version of a resource, or the first one under an id the asker chose.

        Parameters
        ----------
        first
            Only if there is nothing yet under this id; otherwise this is raised.

        Raises
        ------
        Conflict
            There is something, where nothing should be.
        Stale
            The version named is not the current one; it may be found on leaving the block.
        Unconditional
            A version must be named for this type, and was not.
        """
        self.attempted = type, id
        before, target = await self._before("u", type, id, if_match)
        if before is None:
            self._permit_first(type, id, if_match)
        elif first is not None and not before.deleted:
            raise first(f"There is a {type}/{id} already.")
        else:
            self._require_match(before, if_match)
        return await self._draft(content, id, before, target)

    async def patch(
        self,
        type: str,
        id: str,
        change: Callable[[Stored], Content],
        if_match: int | None = None,
    ) -> Stored:
        """Write a new version that is the present one with a change.

        Without `if_match` nobody else changes it between being read and being written, so two
        patches that arrive together are both done. Its asker must be allowed to read it too: a
        patch may test what it does not know, and is answered with the whole.

        Raises
        ------
        NotFound
            There is nothing to change, or nothing that the asker may see.
        """
        self.attempted = type, id
        if if_match is None and (type, id) not in self._drafts.last:
            await self._lock(type, id)
        before, target = await self._before("u", type, id, if_match)
        if before is None:
            gate.reach(self._acting, "u", type)
            raise nothing(type, id) if if_match is None else no_version(type, id, if_match)
        if target is not None:
            self._permit("r", target)
        if before.deleted:
            raise Gone(f"{type}/{id} was deleted.")
        self._require_match(before, if_match)
        if len(before.text) >= LONG:
            content = await asyncio.to_thread(change, before)
        else:
            content = change(before)
        return await self._draft(content, id, before, target)

    async def delete(self, type: str, id: str, if_match: int | None = None) -> Stored:
        """Write a version that says that the resource is no more; its versions stay.

        Raises
        ------
        NotFound
            There is nothing under this id, or nothing that the asker may see.
        Conflict
            Something refers to it; that is found on leaving the block.
        """
        self.attempted = type, id
        before, target = await self._before("d", type, id, if_match)
        if before is None:
            gate.reach(self._acting, "d", type)
            raise nothing(type, id) if if_match is None else no_version(type, id, if_match)
        if before.deleted:
            return before
        self._require_match(before, if_match)
        gone = Stored(type, id, before.version + 1, self._instant(before), "D", b"")
        write = Write(before.json, {"resourceType": type, "id": id}, gone)
        self._drafts.add(Draft(write, contents.made(write.after), self._acting, target, self.at))
        return gone

    def add(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Write a package's own rows in the same transaction."""
        self._own_rows.append((sql, params))

    async def check(self) -> None:
        """Check all that leaving the block would, for a unit of work that is never written."""
        await self._drafts.settle(self._around.targets, self._transaction)
        await self._require_unreferred()

    async def _require_unreferred(self) -> None:
        gone = [write for write in self.writes if write.stored.deleted]
        runs = self._transaction or self._around.database
        if gone and self._around.strictly:
            await referrers.require_none(runs, self._drafts.last)
        for write in gone:
            if (keep := self._around.hooks.keeps.get(write.stored.type)) is not None:
                await keep(runs, write.before or {})

    async def finish(self) -> None:
        """Check what is left to check, let follow what follows, and write it all."""
        await self._drafts.settle(self._around.targets, self._transaction)
        if self._drafts.all and self._around.hooks.follow is not nothing_follows:
            with self.as_server():
                await self._around.hooks.follow(self)
                await self._drafts.settle(self._around.targets, self._transaction)
        await self._require_unreferred()
        written = [
            self._entry(draft.context, stored.interaction, stored, draft.standing.patient)
            for draft in self._drafts.all
            for stored in (draft.write.stored,)
        ]
        for draft in self._drafts.all:
            self._own_rows += withholding.statements(draft, self._around.base_url)
            self._own_rows += agreements.statements(draft, self._around.base_url)
            self._own_rows += granting.statements(draft, self._around.base_url)
        batch = Batch(self._drafts.rows(), [*self._entries, *written])
        after = self._drafts.follow(self.context)
        if self._transaction is None and not self._own_rows and not after:
            await self._around.write(batch)
        else:
            statements = [*self._own_rows, statement(batch), *after]
            await (self._transaction or self._around.database).run_all(statements)

    async def _draft(
        self, content: Content, id: str, before: Stored | None, target: Target | None
    ) -> Stored:
        """Pass the rule of the type, complete the resource and note it for the end."""
        type = content.type
        was = None if before is None or before.deleted else before.json
        if self._acting.principal.role != "system":
            content = withholding.kept(was, content)
        if (rule := self._around.hooks.rules.get(type)) is not None:
            rule(was, content.json, self._acting)
        if (complete := self._around.hooks.completions.get(type)) is not None:
            if type not in self._around.hooks.unaided:
                await self._require_references(content, (type, id))
            content = await complete(self, content)
            self.attempted = type, id
        version = 1 if before is None else before.version + 1
        instant = self._instant(before)
        text = contents.stamped(content, id, version, instant)
        interaction = "C" if was is None else "U"
        stored = Stored(type, id, version, instant, interaction, text)
        self._drafts.add(
            Draft(Write(was, stored.json, stored), content, self._acting, target, self.at)
        )
        return stored

    async def _require_references(self, content: Content, key: Key) -> None:
        """Refuse what refers to nothing before the server looks there for its completion."""
        wanted = self._drafts.wanted([content])
        await self._drafts.find(self._around.targets, self._transaction, self._acting, wanted)
        self._drafts.require_references(content, key, self._acting, self.at)

    async def _keep_audit_event(self, content: Content) -> Stored:
        entry = received.entry(self._acting, content, self._around.base_url)
        rows = await (await self._within()).run(KEEP_AUDIT_EVENT, ledger.arrays([entry]))
        _, n = rows[0]
        return render.stored(Line(n, *entry))
