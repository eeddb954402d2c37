"""Search parameters that clients define, from the day they are stored to the day they are gone.

An administrator stores a definition; it is checked, kept as a draft that is being built, and every
process is notified. From then on each indexes what it writes by it. The worker, one at a time,
indexes what was there before, and makes the definition active; then searches may use it. What is
retired or deleted is given up in the same way. `index_built` says what the index holds, so that
whatever was left undone when a process died is found and done.

The worker also publishes the server's own definitions as resources, of search parameters and of
what else it is given, and makes the whole index anew where it was made by other rules.

References
----------
* FHIR R4 search, "Custom search parameters"; PostgreSQL documentation: LISTEN, NOTIFY, advisory
  locks
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
import psycopg

from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext, now
from fhir_server.postgres.database import Database, Texts
from fhir_server.store import changes, upkeep
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Work
from resources import content as contents
from resources import own_parameters, search_parameters
from resources.content import Content
from resources.errors import Forbidden, NotFound, Refusal, Stale
from resources.own_parameters import EVERY_CHOICE

TYPE: Final = "SearchParameter"
CHANNEL: Final = "search_parameters"
NOTIFY: Final = f"select pg_notify('{CHANNEL}', '')"

ROLES: Final = frozenset({"administrator", "system"})
"""Who may define what everybody's resources are indexed by."""

LOCK: Final = 0x15_0C_E1_73
"""Advisory lock of the one worker that builds."""

AGAIN_SECONDS: Final = 1.0
HEARD_SECONDS: Final = 1.0
"""After so long every process that is connected has heard of a notification."""

RULES: Final = 2
"""To be counted up with a change of what is indexed: the index is then made anew."""

OURS: Final = ""
PUBLISHED: Final = "=published"
"""Names in `index_built` for the rules of this server, and for what it has published."""

AT_ONCE: Final = 200

ADDED: Final = f"""
select c.id, v.body from current c join version v on v.key = c.key
where c.type = '{TYPE}' and not c.deleted and not (c.id = any($1::text[]))
"""
STORED: Final = """
select c.type, c.id, v.body from current c left join version v on v.key = c.key
where c.type = any($1::text[]) and c.id = any($2::text[])
"""
BUILT: Final = "select name, digest, types from index_built"
KEEP: Final = """
insert into index_built(name, digest, types) values ($1, $2, $3::text[])
on conflict (name) do update set digest = excluded.digest, types = excluded.types
"""
DROP: Final = "delete from index_built where name = $1"
LEFT: Final = """
delete from value_term t where t.type = any($1::text[])
  and not exists (select from current c where c.key = t.key and not c.deleted)
"""

_log = logging.getLogger(__name__)

Definition = Mapping[str, Any]


# --- when one is written ------------------------------------------------------------------------


def rule(before: Definition | None, after: Definition, context: RequestContext) -> None:
    """Refuse a definition from who may not make one, and one that cannot be indexed."""
    _permit(context, before, after)
    if context.principal.role != "system" and after.get("status") == "active":
        own_parameters.check(after)


async def completed(work: Work, content: Content) -> Content:
    """Keep what is to be active as a draft that is being built."""
    if work.context.principal.role == "system" or content.json.get("status") != "active":
        return content
    return contents.replaced(content, own_parameters.begun(content.json))


def follow(work: Work) -> None:
    """Let every process know of a definition that was written or deleted."""
    written = [write for write in work.writes if write.stored.type == TYPE]
    for write in written:
        if write.stored.deleted:
            _permit(work.context, write.before, {})
    if written:
        work.add(NOTIFY)


def _permit(context: RequestContext, *definitions: Definition | None) -> None:
    if context.principal.role not in ROLES:
        raise Forbidden("Search parameters are the administrators'.", TYPE, step="role")
    is_ours = any(each and own_parameters.is_ours(each) for each in definitions)
    if is_ours and context.principal.role != "system":
        raise Forbidden("This search parameter is the server's own.", TYPE, step="role")


# --- in every process ---------------------------------------------------------------------------


async def load(database: Database) -> dict[str, Definition]:
    """Take over what clients have defined, by id, and give what of it is wanted."""
    ours = Texts(each["id"] for each in search_parameters.definitions())
    found = {id: orjson.loads(body) for id, body in await database.run(ADDED, (ours,))}
    wanted = {id: each for id, each in found.items() if _is_usable(each)}
    unfinished = [each["url"] for each in wanted.values() if own_parameters.is_building(each)]
    search_parameters.adopt(wanted.values(), unfinished, EVERY_CHOICE)
    return wanted


async def heed(database: Database, then: Callable[[], Awaitable[object]] | None = None) -> None:
    """Take over whatever is defined, as soon as it is, until cancelled.

    Parameters
    ----------
    then
        Done after each time.
    """
    while True:
        try:
            async with _connected(database) as connection:
                await connection.execute(f"listen {CHANNEL}")
                await load(database)
                if then is not None:
                    await then()
                async for _ in connection.notifies():
                    await load(database)
                    if then is not None:
                        await then()
        except (psycopg.Error, Refusal) as error:
            _log.warning("search parameters are not heard of: %s", type(error).__name__)
            await asyncio.sleep(AGAIN_SECONDS)


def _is_usable(definition: Definition) -> bool:
    return own_parameters.is_wanted(definition) and own_parameters.is_usable(definition)


@asynccontextmanager
async def _connected(database: Database) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        yield connection


# --- in the worker ------------------------------------------------------------------------------


async def build(
    database: Database, store: Store, base_url: str, others: Sequence[Definition] = ()
) -> int:
    """Bring index and definitions to where they should be; give how many resources were indexed.

    Only one process does so at a time; the others wait, and find it done.

    Parameters
    ----------
    others
        What is published beside the search parameters.
    """
    async with _connected(database) as connection:
        await connection.execute(f"select pg_advisory_lock({LOCK})")
        return await _build(database, store, base_url, others)


async def _build(
    database: Database, store: Store, base_url: str, others: Sequence[Definition]
) -> int:
    rows = await database.run(BUILT)
    built = {name: (digest, frozenset(types)) for name, digest, types in rows}
    parameters = search_parameters.definitions()
    published = _digest(orjson.dumps([*parameters, *others]))
    if built.pop(PUBLISHED, ("", frozenset()))[0] != published:
        await publish(store, database, [*parameters, *others])
        await database.run(KEEP, (PUBLISHED, published, []))
    wanted = await load(database)
    goal = {id: _state(each) for id, each in wanted.items()}
    rules = _digest(orjson.dumps(parameters))
    goal[OURS] = _digest(f"{RULES} {rules}".encode()), frozenset()
    wrong = {name for name in goal.keys() | built.keys() if goal.get(name) != built.get(name)}
    count = 0
    if wrong:
        types = frozenset[str]().union(
            *(state[name][1] for state in (goal, built) for name in wrong if name in state)
        )
        count = await _reindex(database, base_url, None if OURS in wrong else types)
        for name in sorted(wrong):
            if name in goal:
                await database.run(KEEP, (name, goal[name][0], sorted(goal[name][1])))
            else:
                await database.run(DROP, (name,))
    for id, definition in wanted.items():
        if own_parameters.is_building(definition):
            await _finish(store, id, definition)
    return count


async def _reindex(database: Database, base_url: str, types: frozenset[str] | None) -> int:
    """Index anew what is there, and what others wrote before they had heard."""
    cursor = await changes.horizon(database)
    await asyncio.sleep(HEARD_SECONDS)
    count = await upkeep.reindex(database, base_url, types)
    while lines := await changes.follow(database, cursor):
        cursor = lines[-1].cursor
        keys = [line.key for line in lines if types is None or line.type in types]
        count += await upkeep.reindex_keys(database, base_url, keys)
    if types:
        await database.run(LEFT, (Texts(types),))
    return count


async def _finish(store: Store, id: str, definition: Definition) -> None:
    """Make a definition active, unless somebody has changed it meanwhile."""
    version = int(definition["meta"]["versionId"])
    members = own_parameters.done(definition)
    with contextlib.suppress(Stale, NotFound):
        async with store.begin(_context("update")) as work:
            stored = await work.read(TYPE, id)
            if stored.version == version:
                active = contents.replaced(contents.read(stored.text), members)
                await work.update(TYPE, id, active, if_match=version)


async def publish(store: Store, database: Database, definitions: Sequence[Definition]) -> int:
    """Keep the server's own definitions as resources, as they now are; say how many changed."""
    ours = {(str(each["resourceType"]), str(each["id"])): each for each in definitions}
    types, ids = zip(*ours, strict=True)
    rows = await database.run(STORED, (Texts(set(types)), Texts(ids)))
    there = {(type, id): orjson.loads(body) if body else {} for type, id, body in rows}
    missing = [
        (key, each)
        for key, each in ours.items()
        if key not in there or {**there[key], "meta": None} != {**each, "meta": None}
    ]
    for at in range(0, len(missing), AT_ONCE):
        async with store.begin(_context("transaction")) as work:
            for key, each in missing[at : at + AT_ONCE]:
                type, id = key
                content = contents.made(dict(each))
                if key in there:
                    await work.update(type, id, content)
                else:
                    await work.create(content, id)
    return len(missing)


def _state(definition: Definition) -> tuple[str, frozenset[str]]:
    return _digest(own_parameters.digest_of(definition)), frozenset(definition["base"])


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _context(interaction: str) -> RequestContext:
    return RequestContext(Principal.system("search-parameters"), interaction, instant=now())
