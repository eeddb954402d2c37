"""`isocentre serve` in a folder of its own, which can be hurt in many ways."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Installation:
    """A served data folder that can be killed and started again."""

    def __init__(
        self, data: Path, *options: str, settings: Mapping[str, str] | None = None
    ) -> None:
        self.data, self.http, self.dicom = data, free_port(), free_port()
        self.options, self.settings = options, {**os.environ, **(settings or {})}
        self.address = f"http://127.0.0.1:{self.http}"
        self.base = f"{self.address}/fhir"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> str:
        line = [sys.executable, "-m", "fhir_server.cli", *arguments, "--data-dir", str(self.data)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=self.settings)
        assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
        return done.stdout.strip()

    def start(self) -> None:
        line = [sys.executable, "-m", "fhir_server.cli", "serve", "--data-dir", str(self.data)]
        line += ["--http", f"127.0.0.1:{self.http}", "--dicom", f"127.0.0.1:{self.dicom}"]
        with (self.data / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*line, *self.options],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self.settings,
            )
        for _ in range(1200):
            assert self.process.poll() is None, self.log()[-3000:]
            if self.is_ready() and self.dicom_answers():
                return
            time.sleep(0.05)
        raise AssertionError("the server did not come back")

    def log(self) -> str:
        return (self.data / "serve.log").read_text(errors="replace")

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.address}/readyz", timeout=5).status_code == 200
        return False

    def dicom_answers(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.dicom), 1).close()
            return True
        return False

    def tree(self) -> list[int]:
        """All processes of this installation: below the supervisor, and PostgreSQL's."""
        parents: dict[int, int] = {}
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError, ValueError):
                stat = Path(f"/proc/{int(name)}/stat").read_text()
                parents[int(name)] = int(stat.rsplit(")", 1)[1].split()[1])
        roots = {self.process.pid} if self.process else set()
        with contextlib.suppress(OSError, ValueError, IndexError):
            roots.add(self.postmaster())
        found, todo = set(), list(roots)
        while todo:
            pid = todo.pop()
            if pid in parents and pid not in found:
                found.add(pid)
                todo += [child for child, parent in parents.items() if parent == pid]
        return sorted(found)

    def roles(self) -> dict[str, int]:
        """The processes by role and seat, such as ``http 0``."""
        found = {}
        for pid in self.tree():
            with contextlib.suppress(OSError, ValueError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                found[f"{words[words.index('--seat') - 1]} {words[words.index('--seat') + 1]}"] = (
                    pid
                )
        return found

    def postmaster(self) -> int:
        return int((self.data / "pg" / "postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        assert self.process
        for pid in self.tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    @contextlib.contextmanager
    def without_database(self) -> Iterator[None]:
        """Kill PostgreSQL, and let nobody start it before the block is left."""
        with (self.data / "pg.lock").open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            os.kill(self.postmaster(), signal.SIGKILL)
            yield

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database behind the server's back."""
        lines = (self.data / "pg" / "postmaster.pid").read_text().splitlines()
        place = f"host={lines[4]} port={lines[3]} user=postgres dbname=isocentre"
        with psycopg.connect(place, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def demo(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "demo.json").read_text())
        return found

    def token(self, client: str, scope: str, *options: str) -> dict[str, str]:
        """The header of one who asks."""
        line = ("token", "--client", client, "--scope", scope, "--lifetime", "7200", *options)
        return {"Authorization": f"Bearer {self.command(*line)}"}
