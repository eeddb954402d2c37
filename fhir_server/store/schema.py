"""Bring a database to the present schema.

References
----------
* Alembic documentation: "Sharing a Connection across one or more programmatic migration commands"
"""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

MIGRATIONS: Final = Path(__file__).parent / "migrations"

MIGRATION_LOCK: Final = 0x15_0C_E1_72
"""Advisory lock held while migrating, so that two processes that start together take turns."""


def migrate(url: str) -> None:
    """Create or upgrade everything the server keeps; does nothing when all is there.

    All of an upgrade is one transaction: it happens or it does not. Blocks, so call it from a
    thread where a loop is running.
    """
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        with engine.begin() as connection:
            connection.execute(text(f"select pg_advisory_xact_lock({MIGRATION_LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "heads")
    finally:
        engine.dispose()
