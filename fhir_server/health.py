"""Health: whether this process is alive, and whether it can answer.

``/healthz`` says that the process runs; a supervisor that gets no answer may replace it.
``/readyz`` says that the database answers and has the schema this release was made for; a load
balancer sends no requests until it does. Neither says why not: that is in the log.
"""

import logging
from typing import Final

from alembic.config import Config
from alembic.script import ScriptDirectory
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fhir_server.store.database import Database
from fhir_server.store.schema import MIGRATIONS
from resources.errors import Refusal

MIGRATED: Final = "select to_regclass('alembic_version') is not null"
REVISIONS: Final = "select version_num from alembic_version"

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
    """Give the newest revisions of the schema that this release knows."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return frozenset(ScriptDirectory.from_config(config).get_heads())
