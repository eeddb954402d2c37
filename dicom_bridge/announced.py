"""What modalities say that they have made, and what of it has not arrived.

A performed procedure step lists its images. Each is noted until it is here; a duty looks, and some
time after the modality spoke last a person of its organisation is asked where the rest is. When
all has come, that question is answered by itself.

References
----------
* PS3.4 Annex F, Table F.7.2-1 (Performed Series Sequence)
* docs/representation.md, "Performed steps"
"""

import uuid
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import performed, reconciling
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.naming import split
from fhir_server.postgres.database import Texts
from fhir_server.search import query
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import codes, content, elements
from resources.errors import Gone, NotFound

MOST: Final = 100_000
"""Objects of one step; a modality that lists more is not kept count of."""
MINUTE: Final = 60_000_000
KEEP_DAYS: Final = 30
"""How long what never comes is looked for."""
OPEN: Final = "requested,received,accepted,ready,in-progress,on-hold"

NOTE: Final = """
INSERT INTO announced (sop_uid, procedure, said)
SELECT u.uid, $2, $3 FROM unnest($1::text[]) AS u(uid)
WHERE NOT EXISTS (SELECT FROM instance i WHERE i.sop_uid = u.uid)
ON CONFLICT (procedure, sop_uid) DO UPDATE SET said = excluded.said, asked = false
"""
COMPLETE: Final = """
SELECT a.procedure FROM announced a LEFT JOIN instance i ON i.sop_uid = a.sop_uid
GROUP BY a.procedure HAVING count(i.sop_uid) = count(*)
"""
FORGET: Final = """
DELETE FROM announced a USING instance i WHERE a.procedure = $1 AND i.sop_uid = a.sop_uid
"""
MISSING: Final = """
SELECT a.procedure, count(*) - count(i.sop_uid), max(a.said)
FROM announced a LEFT JOIN instance i ON i.sop_uid = a.sop_uid
GROUP BY a.procedure HAVING max(a.said) < $1 AND count(i.sop_uid) < count(*)
  AND NOT bool_and(a.asked)
"""
ASKED: Final = "UPDATE announced SET asked = true WHERE procedure = $1"
GIVE_UP: Final = "DELETE FROM announced WHERE said < $1"

WORDS: Final = "that the modality says it has made have not arrived."


def note(work: Work, procedure: str, ds: Dataset) -> None:
    """Keep what a step lists, in the transaction that writes the step down."""
    uids = performed.instance_uids(ds)
    if uids:
        work.add(NOTE, (Texts(uids[:MOST]), procedure, work.context.instant))


async def look(bridge: Bridge, now: int, after_minutes: int) -> int:
    """Ask for what has not arrived, and be content with what has; say how many steps it was.

    Parameters
    ----------
    now
        Microseconds since 1970 UTC.
    after_minutes
        How long after the modality spoke last something is missing; 0: nobody is asked.
    """
    database = bridge.database
    for (procedure,) in await database.run(COMPLETE):
        await _answer(bridge, str(procedure))
        await database.run(FORGET, (procedure,))
    await database.run(GIVE_UP, (now - KEEP_DAYS * 24 * 60 * MINUTE,))
    if not after_minutes:
        return 0
    rows = await database.run(MISSING, (now - after_minutes * MINUTE,))
    return sum([await _ask(bridge, str(row[0]), int(row[1]), int(row[2])) for row in rows])


async def _ask(bridge: Bridge, id: str, count: int, said: int) -> int:
    async with bridge.store.begin(_context()) as work:
        work.add(ASKED, (id,))
        try:
            procedure = await work.read("Procedure", id)
        except (NotFound, Gone):
            return 0
        if await _questions(work, procedure):
            return 0
        words = f"{count} object{'s' * (count > 1)} {WORDS}"
        asked = reconciling.task(
            procedure.reference,
            procedure.json["subject"],
            _organization(procedure),
            words,
            work.context.instant,
        )
        name = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{id}/{said}"))
        await work.create(content.made(asked), name)
    return 1


async def _answer(bridge: Bridge, id: str) -> None:
    """Close the question: all has come."""
    async with bridge.store.begin(_context()) as work:
        try:
            procedure = await work.read("Procedure", id)
        except (NotFound, Gone):
            return
        for task in await _questions(work, procedure):
            instant = content.written_instant(work.context.instant)
            notes: list[Any] = [*task.json.get("note", ()), {"text": "All have arrived."}]
            members = {"status": "completed", "lastModified": instant, "note": notes}
            changed = content.replaced(content.read(task.text), members)
            await work.update("Task", task.id, changed, task.version)


async def _questions(work: Work, procedure: Stored) -> list[Stored]:
    asked = query.parse(
        "Task",
        [("code", codes.RECONCILE.token), ("focus", procedure.reference), ("status", OPEN)],
        strict=True,
    )
    found = await work.search(asked)
    return [one for one in found if str(one.json.get("description", "")).endswith(WORDS)]


def _organization(procedure: Stored) -> str:
    """Id of the organisation that performs the step."""
    for performer in procedure.json.get("performer", ()):
        for part in ("onBehalfOf", "actor"):
            for reference in elements.references(performer.get(part)):
                if reference.startswith("Organization/"):
                    return split(reference)[1]
    return ""


def _context() -> RequestContext:
    return RequestContext(Principal.system("mpps"), "settle", origin="worker")
