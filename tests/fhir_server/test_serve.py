"""The real thing: `isocentre serve` in a folder of its own, on loopback, killed and stopped."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "fhir_server.cli"]
PLACE = re.compile(r"ready: (http://127\.0\.0\.1:\d+)")


class Served:
    """A running `isocentre serve`."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        line = [*COMMAND, "serve", "--data-dir", str(data_dir), *PORTS, *options]
        with (data_dir / "log").open("ab") as log:
            self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        found = PLACE.search(self.process.stdout.readline())
        assert found, (data_dir / "log").read_text()
        self.url = found[1]

    @property
    def children(self) -> dict[int, str]:
        """The processes of this server by pid, and their command lines."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid:
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        return found

    def pid_of(self, role: str) -> int:
        return next(pid for pid, line in self.children.items() if f"cli {role} " in line)

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(15)
        assert self.process.stdout is not None
        self.process.stdout.close()


PORTS = ("--http", "127.0.0.1:0", "--dicom", "127.0.0.1:0")


def refused(*arguments: str) -> str:
    """Run a command that must fail, and give what it said."""
    ended = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1, ended
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def eventually(holds: object, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if callable(holds) and holds():
            return True
        time.sleep(0.1)
    return False


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served"))
    yield server
    if server.process.poll() is None:
        server.stop()


def test_a_server_says_where_it_is_and_is_ready(served: Served) -> None:
    assert served.is_ready()
    assert httpx.get(f"{served.url}/healthz").status_code == 200
    assert "FHIR" in httpx.get(served.url).text
    assert httpx.get(f"{served.url}/fhir/metadata").json()["fhirVersion"] == "4.0.1"


def test_each_role_is_a_process_of_its_own(served: Served) -> None:
    lines = " ".join(served.children.values())

    assert [lines.count(f"cli {role} ") for role in ("http", "dicom", "worker")] == [2, 1, 1]


def test_a_second_server_on_the_folder_is_refused(served: Served) -> None:
    said = refused("serve", "--data-dir", str(served.data_dir), *PORTS)

    assert str(served.data_dir) in said
    assert served.is_ready()


def test_a_port_that_is_taken_is_named(served: Served, tmp_path: Path) -> None:
    place = served.url.removeprefix("http://")

    said = refused("serve", "--data-dir", str(tmp_path), "--http", place, "--dicom", "127.0.0.1:0")

    assert place in said


def test_plain_dicom_is_not_opened_to_others_unless_told(tmp_path: Path) -> None:
    said = refused("serve", "--data-dir", str(tmp_path), "--dicom", "0.0.0.0:0")

    assert "ISOCENTRE_DICOM_PLAIN" in said


HOSTS = (
    "evil.example", "localhost", "127.0.0.1:1", "", " ", "x" * 4000, "a:b:c", "[::1", "[::1]:80",
    "/fhir/metadata", "x/fhir/metadata", "x/healthz?", "x#", "x?", "x\\\\y", "..", "../..", "x@y",
    "user:secret@x", "%2fhealthz", "x%00", "x;y", "*", "null", "0", "xn--80ak6aa92e.com", "x..y",
    "x_y", "-x", "http://x/healthz",
)  # fmt: skip
PROTECTED = (
    "/fhir/Patient", "/fhir/Task/1", "/fhir/Patient/1/_history", "/dicom-web/studies",
    "/dicom-web/studies/1.2/metadata",
)  # fmt: skip


@pytest.mark.standard("CVE-2026-48710")
def test_no_host_header_opens_a_protected_address(served: Served) -> None:
    host, _, port = served.url.removeprefix("http://").rpartition(":")
    answers = set()
    for hostile in HOSTS:
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        for path in PROTECTED:
            connection.putrequest("GET", path, skip_host=True)
            connection.putheader("Host", hostile)
            connection.endheaders()
            answer = connection.getresponse()
            answer.read()
            answers.add((answer.status, answer.getheader("Location")))
        connection.close()

    assert len(HOSTS) == 30
    assert answers <= {(401, None), (400, None)}
    assert (401, None) in answers


@pytest.mark.parametrize("role", ["http", "dicom", "worker"])
def test_a_process_that_is_killed_comes_back(served: Served, role: str) -> None:
    killed = served.pid_of(role)

    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        lines = " ".join(served.children.values())
        return not is_alive(killed) and f"cli {role} --seat 0" in lines

    assert eventually(is_back)
    assert eventually(served.is_ready)


def test_the_dicom_port_answers_again_after_a_kill(served: Served) -> None:
    known = json.loads((served.data_dir / "run" / "served.json").read_text())
    host, _, port = known["dicom"].rpartition(":")

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return True
        return False

    assert eventually(answers)


def test_the_log_holds_lines_of_json_without_queries(served: Served) -> None:
    httpx.get(f"{served.url}/fhir/Patient?name=Canary", headers={"Authorization": "Bearer Canary"})
    log = served.data_dir / "log"

    assert eventually(lambda: '"address":"/fhir/Patient"' in log.read_text())

    assert "Canary" not in log.read_text()
    assert all(json.loads(line) for line in log.read_text().splitlines())


def test_the_database_that_ended_by_itself_is_started_again(served: Served) -> None:
    postmaster = served.data_dir / "pg" / "postmaster.pid"
    killed = int(postmaster.read_text().split()[0])

    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(postmaster.read_text().split()[0]) != killed and served.is_ready()
        return False

    assert eventually(is_back, 40)


def test_sigterm_ends_everything_within_ten_seconds(served: Served) -> None:
    postmaster = int((served.data_dir / "pg" / "postmaster.pid").read_text().split()[0])
    processes = [*served.children, postmaster]
    began = time.monotonic()

    served.stop()

    assert time.monotonic() - began < 10
    assert served.process.returncode == 0
    assert not [pid for pid in processes if is_alive(pid)]


def test_after_the_supervisor_is_killed_the_next_start_works_at_once(tmp_path: Path) -> None:
    first = Served(tmp_path, "--http-workers", "1")
    orphans, place = list(first.children), first.url.removeprefix("http://")
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait(5)

    second = Served(tmp_path, "--http-workers", "1", "--http", place)

    try:
        assert second.is_ready()
        assert second.url == first.url
        assert not [pid for pid in orphans if is_alive(pid)]
    finally:
        second.stop()
        assert first.process.stdout is not None
        first.process.stdout.close()
