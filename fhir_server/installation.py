"""Installation: what the processes that share a data folder know of each other.

The server of a data folder writes down, for its owner alone, where it is reached and which
database it uses, so that a command on the same folder asks the same database and mints tokens of
the same issuer, whatever the options of the two were.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fhir_server.postgres.embedded import embedded
from fhir_server.settings import Settings
from fhir_server.store import privileges
from resources.errors import Exhausted, NotFound


class Served(NamedTuple):
    """How a data folder is, or was last, served.

    Parameters
    ----------
    url
        Where clients reach the HTTP side.
    http, dicom
        The ports that were opened, ``host:port``.
    database_url
        The database in use, if it is not the embedded one.
    dicom_tls
        The port that speaks DICOM over TLS, if there is one.
    """

    url: str
    http: str
    dicom: str
    database_url: str = ""
    dicom_tls: str = ""


def write_down(data_dir: Path, served: Served) -> None:
    """Write down how the folder is served; a reader sees the old text or the new one."""
    path = _place(data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(served._asdict(), file)
    draft.replace(path)


def read_back(data_dir: Path) -> Served | None:
    """Read what `write_down` wrote; None where nobody served the folder yet."""
    try:
        return Served(**json.loads(_place(data_dir).read_text()))
    except FileNotFoundError:
        return None


def is_served(data_dir: Path) -> bool:
    """Whether a server is running on the folder, as `embedded.sole_server` has it."""
    try:
        with (data_dir / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def require_record(settings: Settings) -> None:
    """Refuse a data folder that nobody has begun, rather than begin it.

    Raises
    ------
    NotFound
        No database is named, none runs, and none is in the folder.
    """
    folder = settings.data_dir
    if not (settings.database_url or (folder / "pg").exists() or is_served(folder)):
        raise NotFound(f"There is no record in {folder}.")


class Addresses(NamedTuple):
    """One database, as the owner of its tables reaches it and as the server does.

    Parameters
    ----------
    is_ours
        Whether it is the embedded one.
    """

    owner: str
    server: str
    is_ours: bool


def addresses_of(settings: Settings, embedded_url: str = "") -> Addresses:
    """Give the addresses of the database that is named, or else of the embedded one."""
    if embedded_url:
        return Addresses(embedded_url, privileges.as_server(embedded_url), is_ours=True)
    url = settings.database_url
    return Addresses(settings.database_owner_url or url, url, is_ours=False)


@contextmanager
def addresses(settings: Settings) -> Iterator[Addresses]:
    """Give the database of a data folder for as long as the block lasts.

    The one in the settings; else that of the server running on the folder; else the embedded
    one, which is started if it does not run.
    """
    served = read_back(settings.data_dir) if is_served(settings.data_dir) else None
    url = settings.database_url or (served.database_url if served else "")
    if url:
        yield addresses_of(settings.model_copy(update={"database_url": url}))
    else:
        with embedded(settings.data_dir) as url:
            yield addresses_of(settings, url)


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """Give the database of `addresses`, as the server reaches it."""
    with addresses(settings) as found:
        yield found.server


@contextmanager
def migrated(settings: Settings) -> Iterator[str]:
    """Give the database as `database_url` does, brought to the present schema.

    That of a running server is at its schema already.
    """
    with addresses(settings) as found:
        if not is_served(settings.data_dir):
            migrate(found)
        yield found.server


def migrate(database: Addresses) -> None:
    """Bring a database to the present schema, and let the server's role use it.

    Raises
    ------
    Exhausted
        It cannot be reached.
    """
    # SQLAlchemy and Alembic take longer to import than most commands take to run.
    from sqlalchemy.exc import OperationalError

    from fhir_server.store import schema

    try:
        schema.migrate(database.owner)
    except OperationalError as error:
        raise Exhausted("The database cannot be reached.") from error
    privileges.grant(database.owner, database.server, make=database.is_ours)


def as_served(settings: Settings) -> Settings:
    """Give the settings with the addresses under which the data folder is, or was last, served.

    A public address that was chosen stays as it is: it is the issuer of tokens.
    """
    served = read_back(settings.data_dir)
    if served is None:
        return settings
    places = {"http": served.http, "dicom": served.dicom}
    return settings.model_copy(update=places | {"public_url": settings.public_url or served.url})


def _place(data_dir: Path) -> Path:
    return data_dir / "run" / "served.json"
