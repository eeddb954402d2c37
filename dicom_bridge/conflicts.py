"""Conflicts: a person is asked about what was refused because something else is held.

What comes under a SOP Instance UID that is held, and is not the same, is kept beside and not given
out; its sender hears Duplicate SOP Instance. Which of the two is right no program knows. Asked is
who holds the study, once a study: to ask the sender would tell a stranger of the patient.

References
----------
* PS3.7 Section 9.1.1.1.9 (Duplicate SOP Instance); requirement R012.3
"""

import logging
import uuid
from typing import Final, NamedTuple

from psycopg.errors import UniqueViolation

from dicom_bridge.bridge import Bridge
from dicom_bridge.instance import Instance
from dicom_bridge.mapping import reconciling
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.search import query
from resources import codes, content
from resources.errors import Refusal

WORDS: Final = "that contradict what is held came for this study; they are kept and not given out."
OPEN: Final = frozenset({"requested", "received", "accepted", "ready", "in-progress", "on-hold"})

HELD: Final = """
SELECT i.study_uid, i.organization, s.study_uid IS NOT NULL
FROM instance i LEFT JOIN study s USING (study_uid) WHERE i.sop_uid = $1 OR i.study_uid = $2
ORDER BY i.sop_uid <> $1, i.received, i.sop_uid LIMIT 1
"""
STUDY: Final = "SELECT imaging_study FROM study WHERE study_uid = $1"

_log = logging.getLogger(__name__)


class Contradicted(NamedTuple):
    """The study that an object which was refused contradicts, and who (id) holds it."""

    study_uid: str
    organization: str
    was_settled: bool


async def contradicted(bridge: Bridge, one: Instance) -> Contradicted | None:
    """What an object contradicts: first what is held under its own UID, else its study."""
    rows = await bridge.database.run(HELD, (one.sop_uid, one.study_uid))
    return Contradicted._make(rows[0]) if rows else None


async def ask(bridge: Bridge, of: Contradicted) -> None:
    """Ask who holds a study that was settled, unless they are asked already."""
    context = RequestContext(Principal.system("settle"), "settle", origin="settle")
    try:
        rows = await bridge.database.run(STUDY, (of.study_uid,))
        if not rows or not of.organization:
            return
        async with bridge.store.begin(context) as work:
            study = await work.read("ImagingStudy", str(rows[0][0]))
            asked = [("code", codes.RECONCILE.token), ("focus", study.reference)]
            known = [
                one.json
                for one in await work.search(query.parse("Task", asked, strict=True))
                if str(one.json.get("description", "")).endswith(WORDS)
            ]
            if any(one.get("status") in OPEN for one in known):
                return
            task = reconciling.task(
                study.reference,
                study.json["subject"],
                of.organization,
                f"Objects {WORDS}",
                work.context.instant,
            )
            # Of two processes that ask at the same moment one does.
            name = uuid.uuid5(uuid.NAMESPACE_OID, f"conflict/{study.id}/{len(known)}")
            await work.create(content.made(task), str(name))
    except (Refusal, UniqueViolation) as failure:
        _log.info("nobody was asked about a conflict: %s", type(failure).__name__)
