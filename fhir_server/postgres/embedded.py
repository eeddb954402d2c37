"""The embedded PostgreSQL: initialise, start, share and stop the cluster in a data folder.

The cluster lives in ``DATA_DIR/pg`` and listens on a Unix socket only, in a folder that nobody
but its owner may enter; that folder is what keeps strangers out (`trust` authentication).
Every process that needs the database holds a shared lock while it does. The first one starts
the cluster, the last one stops it, so a command and a running server can use it side by side.
A process that is killed loses its locks with its life, and PostgreSQL recovers from its log,
so nothing has to be cleared up by hand after a crash.

References
----------
* PostgreSQL documentation: "pg_ctl", "Write Ahead Log" (durability settings), "postmaster.pid"
* unix(7): a socket's path is at most 107 bytes long
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from fhir_server.postgres import programs
from resources.errors import Conflict, Exhausted

DURABLE: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "log_min_messages": "warning",
}
"""Settings of the server process. What is acknowledged survives a crash; the rest is size."""

SOCKET_PATH_BYTES: Final = 107
PATIENCE_SECONDS: Final = 60
BUSY_LINES: Final = 30
"""Of the log, in which it is said that old processes are still there."""


class Postmaster(NamedTuple):
    """What ``postmaster.pid`` says about a running cluster."""

    pid: int
    port: int
    socket_folder: str

    def url(self, database: str) -> str:
        """The address of one database, as libpq takes it."""
        return (
            f"postgresql://postgres@/{database}?host={quote(self.socket_folder)}&port={self.port}"
        )


@contextmanager
def sole_server(data_dir: Path) -> Iterator[None]:
    """Hold the data folder as its one server, or refuse because another one does.

    Raises
    ------
    Conflict
        Another server is running on this folder, or it cannot be written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("a")
    except OSError as error:
        raise Conflict(f"The data folder {data_dir} cannot be used: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"Another server is already using the data folder {data_dir}.") from None
        yield


@contextmanager
def embedded(
    data_dir: Path, *, database: str = "isocentre", settings: Mapping[str, str] = DURABLE
) -> Iterator[str]:
    """Run the cluster of a data folder for as long as the block lasts; give its URL.

    A cluster that is already running is joined, and is stopped by whoever leaves it last.
    Blocks while another process starts or stops it.

    Parameters
    ----------
    data_dir
        The data folder; the cluster is its folder ``pg``.
    database
        The database the URL names; made if it does not exist.
    settings
        Server settings, used if this call is the one that starts the cluster.

    Raises
    ------
    Exhausted
        The cluster does not start: the reason is the end of its log.
    """
    pgdata = (data_dir / "pg").resolve()
    pgdata.mkdir(parents=True, exist_ok=True)
    with (data_dir / "pg.lock").open("a") as gate, (data_dir / "pg.users").open("a") as users:
        with _exclusively(gate):
            fcntl.flock(users, fcntl.LOCK_SH)
            postmaster = _answering(pgdata) or _start(pgdata, settings)
            _make_database(pgdata, postmaster, database)
        try:
            yield postmaster.url(database)
        finally:
            with _exclusively(gate):
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass
                else:
                    stop(pgdata)


def revive(data_dir: Path, before: Postmaster, settings: Mapping[str, str] = DURABLE) -> Postmaster:
    """Start the cluster again after its postmaster died, where its users will look for it.

    To be called within `embedded`, which stops the cluster in the end.

    Raises
    ------
    Exhausted
        The cluster does not start: the reason is the end of its log.
    """
    pgdata = (data_dir / "pg").resolve()
    with (data_dir / "pg.lock").open("a") as gate, _exclusively(gate):
        return _answering(pgdata) or _start(pgdata, settings, Path(before.socket_folder))


def running(pgdata: Path) -> Postmaster | None:
    """The cluster's postmaster, if it is alive and is really this cluster's."""
    try:
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        postmaster = Postmaster(pid, int(lines[3]), lines[4])
    except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        return None
    return postmaster if os.fsencode(pgdata) in command else None


def stop(pgdata: Path) -> None:
    """Stop the cluster: open sessions are ended and the checkpoint is written."""
    postmaster = running(pgdata)
    if postmaster is None:
        return
    programs.run("pg_ctl", pgdata, "-w", "-m", "fast", "-t", str(PATIENCE_SECONDS), "stop")
    if Path(postmaster.socket_folder) != pgdata:
        with suppress(OSError):
            Path(postmaster.socket_folder).rmdir()


@contextmanager
def _exclusively(lock: object) -> Iterator[None]:
    fcntl.flock(lock, fcntl.LOCK_EX)  # type: ignore[arg-type]
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)  # type: ignore[arg-type]


def _answering(pgdata: Path) -> Postmaster | None:
    """The running cluster as soon as it takes connections; None if there is none, or it dies."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (postmaster := running(pgdata)) is not None:
        try:
            where = ("-h", postmaster.socket_folder, "-p", str(postmaster.port))
            programs.run("pg_isready", None, *where, "-q")
        except Exhausted:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return postmaster
    return None


def _start(
    pgdata: Path, settings: Mapping[str, str], socket_folder: Path | None = None
) -> Postmaster:
    programs.belongs_to_its_user(pgdata)
    if not (pgdata / "PG_VERSION").exists():
        flags = ["--no-sync"] if settings.get("fsync") == "off" else []
        programs.run(
            "initdb",
            pgdata,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "-U",
            "postgres",
            *flags,
        )
    socket_folder = socket_folder or _socket_folder(pgdata)
    _forget_the_dead(pgdata, socket_folder)
    options = " ".join(
        f"-c {name}='{value}'"
        for name, value in {
            **settings,
            "port": "5432",
            "unix_socket_directories": str(socket_folder),
        }.items()
    )
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            programs.run(
                "pg_ctl",
                pgdata,
                *(
                    "-w",
                    "-t",
                    str(PATIENCE_SECONDS),
                    "-l",
                    str(pgdata / "log"),
                    "-o",
                    options,
                    "start",
                ),
            )
        except Exhausted:
            # After a kill of the postmaster alone its sessions may outlive it for a moment,
            # and PostgreSQL rightly refuses to start beside them. They may have the last words.
            end = programs.end_of_log(pgdata, BUSY_LINES)
            if "shared memory block" not in end or time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            break
    postmaster = _answering(pgdata)
    if postmaster is None:
        raise Exhausted(f"PostgreSQL did not stay up: {programs.end_of_log(pgdata)}")
    return postmaster


def _forget_the_dead(pgdata: Path, socket_folder: Path) -> None:
    """Remove the lock files of a postmaster that is known to be gone.

    PostgreSQL sees through most of them itself, but not through a number that now belongs to
    another PostgreSQL, nor through a killed process that nobody has reaped yet, as in a container
    without an init. Sessions that outlive their postmaster still hold its shared memory, and
    PostgreSQL does not start beside that.
    """
    (pgdata / "postmaster.pid").unlink(missing_ok=True)
    (socket_folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _make_database(pgdata: Path, postmaster: Postmaster, database: str) -> None:
    where = ("-h", postmaster.socket_folder, "-p", str(postmaster.port), "-U", "postgres")
    found = programs.run(
        "psql", None, *where, "-d", "postgres", "-Atc",
        f"select 1 from pg_database where datname = '{database}'",
    )  # fmt: skip
    if not found.strip():
        programs.run("createdb", None, *where, database)


def _socket_folder(pgdata: Path) -> Path:
    """The cluster's own folder, or a private temporary one where the path would be too long."""
    if len(os.fsencode(pgdata / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_BYTES:
        return pgdata
    folder = Path(tempfile.mkdtemp(prefix="isocentre-"))
    programs.belongs_to_its_user(folder)
    return folder
