"""Health: whether this process is alive, and whether it can answer.

``/healthz`` says that the process runs; a supervisor that gets no answer may replace it.
``/readyz`` says that the database answers and has the schema this release was made for; a load
balancer sends no requests until it does. Neither says why not: that is in the log.
"""

import logging
import re
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fhir_server.postgres.database import Database
from fhir_server.store import migrations
from resources.errors import Refusal

MIGRATED: Final = "select to_regclass('alembic_version') is not null"
REVISIONS: Final = "select version_num from alembic_version"

REVISION_FILES: Final = Path(str(migrations.__file__)).parent / "versions"

_log = logging.getLogger(__name__)


def routes(database: Database) -> list[Route]:
    """Make the two addresses."""
    expected = revisions()

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(request: Request) -> Response:
        if await is_ready(database, expected):
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready\n", 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


async def is_ready(database: Database, expected: frozenset[str]) -> bool:
    """Say whether the database answers and is at exactly these revisions."""
    try:
        migrated = (await database.run(MIGRATED))[0][0]
        rows = await database.run(REVISIONS) if migrated else []
    except Refusal:
        return False
    found = frozenset(revision for (revision,) in rows)
    if found != expected:
        _log.error("the database is at %s, not at %s", sorted(found), sorted(expected))
    return found == expected


def revisions() -> frozenset[str]:
    """Give the newest revisions of the schema that this release knows.

    Read from the revision files themselves: Alembic and SQLAlchemy, which every process would
    carry for this question alone, take longer to import than all the rest of a role.
    """
    texts = [path.read_text() for path in REVISION_FILES.glob("[0-9]*.py")]
    known = {_assigned(text, "revision") for text in texts}
    return frozenset(known - {_assigned(text, "down_revision") for text in texts})


def _assigned(text: str, name: str) -> str:
    """Give the string that a module assigns to a name, or nothing."""
    found = re.search(rf'^{name} = "(\w+)"$', text, re.MULTILINE)
    return found[1] if found else ""
