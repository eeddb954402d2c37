"""Keeping: what a UPS has beside its Task, and whether it is still held by who took it.

The record says whether a UPS is taken and by whom. The Transaction UID is the key to it, and is
kept as a digest beside the version of the Task that was written with it. It opens nothing any more
as soon as one later version says that the Task was given back, or belongs to somebody else: then
whoever took it is no longer its holder, whichever protocol the other has used.

References
----------
* PS3.4 Sections CC.1.1, CC.2.1.3 (the Transaction UID as an access lock)
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson
from pydicom import config
from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import ups
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Texts
from fhir_server.search import query
from fhir_server.search.query import Query
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import codes
from resources.errors import NotFound, Refusal, TooLarge

_UID: Final = re.compile(r"[0-9.]{1,64}")

MOST_KEPT: Final = 1 << 20
"""Octets of DICOM JSON that are kept of one UPS."""

OURSELVES: Final = Principal.system("ups")

BY_UID: Final = "select uid, task, kept, lock, held from workitem where uid = $1"
BY_TASK: Final = "select uid, task, kept, lock, held from workitem where task = any($1::text[])"
PUT: Final = """
insert into workitem(uid, task, kept, lock, held) values ($1, $2, $3, $4, $5)
on conflict (task) do update set kept = excluded.kept, lock = excluded.lock, held = excluded.held
where workitem.lock = excluded.lock or workitem.held < excluded.held
"""
"""What was looked at before somebody else took a UPS takes nothing away from them."""
NAME: Final = """
insert into workitem(uid, task, kept, lock, held)
select u, t, '{}', '', 0 from unnest($1::text[], $2::text[]) as n(u, t)
on conflict do nothing
"""


class Kept(NamedTuple):
    """One row of `workitem`, read."""

    uid: str
    task: str
    attributes: Dataset
    lock: str = ""
    held: int = 0


async def find(work: Work, uid: str) -> tuple[Stored, Kept]:
    """Find the Task of a UPS that is to be changed, and what is kept beside it.

    Raises
    ------
    NotFound
        There is none of this UID, or none that the asker may see.
    """
    kept = await _named(uid, work.rows, work.search)
    return _checked(await work.read("Task", kept.task), kept)


async def look(bridge: Bridge, context: RequestContext, uid: str) -> tuple[Stored, Kept]:
    """Find the Task of a UPS that is only looked at.

    Raises
    ------
    NotFound
        As `find`.
    """

    async def search(asked: Query) -> list[Stored]:
        return list((await bridge.store.search(context, asked)).matches)

    kept = await _named(uid, bridge.database.run, search)
    return _checked(await bridge.store.read(context, "Task", kept.task), kept)


async def _named(
    uid: str,
    rows: Callable[[str, Sequence[Any]], Awaitable[Sequence[Any]]],
    search: Callable[[Query], Awaitable[list[Stored]]],
) -> Kept:
    """Tell which Task a UID means: one that is kept, has this UID, or that it was made of."""
    if not is_uid(uid):
        raise NotFound("There is no such UPS")
    if found := await rows(BY_UID, (uid,)):
        return _read(found[0])
    pairs = [("identifier", f"{codes.DICOM_UID}|urn:oid:{uid}")]
    tasks = await search(query.parse("Task", pairs, strict=True))
    id = tasks[0].id if len(tasks) == 1 else ups.id_of(uid)
    if len(tasks) > 1 or id is None:
        raise NotFound("There is no such UPS")
    return Kept(uid, id, Dataset())


def _checked(stored: Stored, kept: Kept) -> tuple[Stored, Kept]:
    if not ups.is_one(stored.json) or ups.uid_of(stored.json) != kept.uid:
        raise NotFound("There is no such UPS")
    return stored, kept


def is_uid(said: str) -> bool:
    """Whether something looks like a UID (PS3.5 Section 9.1)."""
    return _UID.fullmatch(said) is not None


async def beside(database: Database, tasks: list[str]) -> dict[str, Kept]:
    """Read what is kept beside Tasks, by their ids."""
    rows = await database.run(BY_TASK, (Texts(tasks),)) if tasks else []
    return {row[1]: _read(row) for row in rows}


async def name(database: Database, uids: dict[str, str]) -> None:
    """Remember which Tasks are behind UIDs that do not tell it: UID -> id."""
    if uids:
        await database.run(NAME, (Texts(uids.keys()), Texts(uids.values())))


def put(work: Work, kept: Kept) -> None:
    """Keep this with what a unit of work writes.

    Raises
    ------
    TooLarge
        It is more than is kept of one UPS.
    """
    work.add(PUT, (kept.uid, kept.task, as_json(kept.attributes), kept.lock, kept.held))


async def holds(bridge: Bridge, stored: Stored, kept: Kept, transaction_uid: str) -> bool:
    """Whether a UPS under way is still held by who took it with this Transaction UID."""
    if not kept.lock or kept.lock != digest(transaction_uid):
        return False
    owner = stored.json.get("owner")
    context = RequestContext(OURSELVES, "vread", "ups")
    for version in range(kept.held, stored.version):
        try:
            past = (await bridge.store.vread(context, "Task", stored.id, version)).json
        except Refusal:
            return False
        if ups.STATE.get(str(past.get("status"))) != ups.IN_PROGRESS or past.get("owner") != owner:
            return False
    return ups.state_of(stored.json) == ups.IN_PROGRESS


def digest(transaction_uid: str) -> str:
    """Give what is kept of a Transaction UID."""
    return hashlib.sha256(transaction_uid.encode()).hexdigest()


def as_json(ds: Dataset) -> bytes:
    """Write attributes as DICOM JSON (PS3.18 Annex F)."""
    text = orjson.dumps(ds.to_json_dict(suppress_invalid_tags=True))
    if len(text) > MOST_KEPT:
        raise TooLarge(f"A UPS may have {MOST_KEPT} octets")
    return text


def from_json(text: bytes) -> Dataset:
    """Read attributes from DICOM JSON that we wrote."""
    with config.disable_value_validation():
        return Dataset.from_json(orjson.loads(text))


def _read(row: tuple[str, str, bytes, str, int]) -> Kept:
    uid, task, kept, lock, held = row
    return Kept(uid, task, from_json(kept), lock, held)
