"""Faults F2-F5, F11, F16: parts of a running server die, stop or run out of room, others go on.

What was acknowledged stays; what cannot be done now is told so, in words that let a sender come
back; when the fault is over, all works without anybody's help.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import build
from tests.dicom_bridge.build import a_uid, an_instance, part10
from tests.flows.installation import Installation, is_alive
from tests.flows.wire import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    CT,
    EXPLICIT,
    Line,
    answers,
    command,
    context,
    data,
    pieces,
    store,
)

pytestmark = [pytest.mark.slow, pytest.mark.requirement("R014.1")]

OUT_OF_RESOURCES = 0xA700
OWN = {"issuer": ""}


def eventually(holds: Callable[[], Any], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return bool(holds())


@pytest.fixture(scope="module")
def served() -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="isocentre-") as folder:
        installation = Installation(Path(folder), "--http-workers", "2")
        installation.start()
        installation.command("demo", "load")
        yield installation
        installation.stop()


@pytest.fixture(scope="module")
def backend(served: Installation) -> dict[str, str]:
    return served.token("demo-backend", "system/*.cruds")


def a_new_request(served: Installation) -> dict[str, Any]:
    subject = {"reference": f"Patient/{served.demo()['patients'][0]['id']}"}
    resource = build.a_request(None, subject=subject)
    for member in ("requisition", "requester", "performer"):
        resource.pop(member, None)
    return resource


def ct(uid: str, **members: Any) -> bytes:
    content = part10(an_instance(sop_uid=uid, study_uid=f"{uid}.1", **members))
    return content[content.index(b"\x08\x00\x16\x00") :]


class Sender:
    """A modality with an association that it keeps."""

    def __init__(self, served: Installation) -> None:
        self.line = Line(served.dicom)
        self.line.connection.settimeout(70)
        assert self.line.associate(context(1, CT, EXPLICIT)) == ASSOCIATE_AC

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *gone: object) -> None:
        self.line.connection.close()

    def send(self, uid: str, **members: Any) -> int | None:
        self.line.say(data(command(store(uid.encode()))), pieces(ct(uid, **members)))
        return self.line.status()


class Writers:
    """Clients that create ServiceRequests all the while, each on connections of its own."""

    def __init__(self, served: Installation, headers: dict[str, str], count: int = 4) -> None:
        self.served, self.headers = served, headers
        self.resource = a_new_request(served)
        self.acknowledged: list[str] = []
        self.answers: list[tuple[int, str]] = []
        self.broken = 0
        self.problems: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *gone: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        assert self.problems == []

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with (
                    contextlib.suppress(httpx.TransportError),
                    httpx.Client(
                        base_url=self.served.base, headers=self.headers, timeout=30
                    ) as http,
                ):
                    self._write(http)
                self.broken += 1
                self._stop.wait(0.05)
        except BaseException as problem:
            self.problems.append(problem)

    def _write(self, http: httpx.Client) -> None:
        while not self._stop.is_set():
            answer = http.post("/ServiceRequest", json=self.resource)
            self.answers.append((answer.status_code, answer.headers.get("retry-after", "")))
            if answer.status_code == 201:
                self.acknowledged.append(answer.headers["location"].split("/fhir")[1])
            self._stop.wait(0.01)

    def lost(self) -> list[str]:
        """What was acknowledged and is not there."""
        with httpx.Client(base_url=self.served.base, headers=self.headers, timeout=30) as http:
            return [one for one in self.acknowledged if http.get(one).status_code != 200]


def audited(served: Installation, acknowledged: list[str]) -> int:
    """How many of what was acknowledged have their row in the audit ledger."""
    rows = served.sql("select id from audit where interaction = 'create' and outcome = 0")
    return len({one.split("/")[2] for one in acknowledged} & {id for (id,) in rows})


@pytest.mark.standard("threats F3")
def test_without_its_database_the_server_asks_to_come_back(
    served: Installation, backend: dict[str, str]
) -> None:
    before, uid = served.roles(), a_uid()
    with Writers(served, backend) as writers, Sender(served) as sender:
        assert eventually(lambda: len(writers.acknowledged) > 20)
        assert sender.send(a_uid()) == 0
        with served.without_database():
            assert eventually(lambda: any(status == 503 for status, _ in writers.answers))
            assert sender.send(uid) == OUT_OF_RESOURCES
            with Line(served.dicom) as line:
                assert line.associate() == ASSOCIATE_RJ
            assert not served.is_ready()
        assert eventually(served.is_ready)
        done = len(writers.acknowledged)
        assert eventually(lambda: len(writers.acknowledged) > done + 20)
        assert sender.send(uid) == 0

    after = served.roles()
    answering = [role for role in before if not role.startswith("worker")]
    assert [role for role in answering if after[role] != before[role]] == []
    assert {status for status, _ in writers.answers} == {201, 503}
    assert all(retry for status, retry in writers.answers if status == 503)
    assert writers.lost() == []
    assert audited(served, writers.acknowledged) == len(writers.acknowledged)
    assert eventually(lambda: "worker 0" in served.roles())


@pytest.mark.standard("threats F3")
def test_a_database_that_dies_again_and_again_comes_back_each_time(
    served: Installation, backend: dict[str, str]
) -> None:
    began = served.process
    with Writers(served, backend, 2) as writers:
        for _ in range(3):
            with contextlib.suppress(OSError):
                os.kill(served.postmaster(), signal.SIGKILL)
            done = len(writers.acknowledged)
            assert eventually(lambda done=done: len(writers.acknowledged) > done + 5)  # type: ignore[misc]

    assert {status for status, _ in writers.answers} <= {201, 503}
    assert writers.lost() == []
    assert served.process is began
    assert began is not None
    assert began.poll() is None


@pytest.mark.standard("threats F3")
def test_a_database_killed_while_it_recovers_is_started_again_beneath_the_others(
    served: Installation, backend: dict[str, str]
) -> None:
    def another_than(pid: int) -> bool:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return served.postmaster() != pid
        return False

    before = served.roles()
    killed = served.postmaster()
    os.kill(killed, signal.SIGKILL)
    for _ in range(2):
        end = time.monotonic() + 30
        while not another_than(killed):
            assert time.monotonic() < end
        killed = served.postmaster()
        with contextlib.suppress(OSError):
            os.kill(killed, signal.SIGKILL)

    assert eventually(lambda: another_than(killed) and served.is_ready())
    with Writers(served, backend, 1) as writers:
        assert eventually(lambda: len(writers.acknowledged) > 5)
    after = served.roles()
    answering = [role for role in before if not role.startswith("worker")]
    assert [role for role in answering if after[role] != before[role]] == []


@pytest.mark.standard("threats F1")
def test_a_killed_http_process_is_replaced_while_the_others_go_on(
    served: Installation, backend: dict[str, str]
) -> None:
    before = served.roles()

    with Writers(served, backend) as writers:
        time.sleep(1)
        os.kill(before["http 0"], signal.SIGKILL)
        assert eventually(
            lambda: served.roles().get("http 0", before["http 0"]) != before["http 0"]
        )
        done = len(writers.acknowledged)
        assert eventually(lambda: len(writers.acknowledged) > done + 20)

    after = served.roles()
    answering = [role for role in before if not role.startswith("worker")]
    assert [role for role in answering if after[role] != before[role]] == ["http 0"]
    assert {status for status, _ in writers.answers} == {201}
    assert len(writers.acknowledged) > 40
    assert writers.lost() == []
    assert audited(served, writers.acknowledged) == len(writers.acknowledged)


@pytest.mark.standard("threats F16")
def test_a_worker_that_stands_still_holds_nobody_up(
    served: Installation, backend: dict[str, str]
) -> None:
    assert eventually(lambda: "worker 0" in served.roles())
    worker = served.roles()["worker 0"]
    os.kill(worker, signal.SIGSTOP)
    try:
        with Writers(served, backend, 2) as writers, Sender(served) as sender:
            end = time.monotonic() + 3
            sent = 0
            while time.monotonic() < end:
                assert sender.send(a_uid()) == 0
                sent += 1
    finally:
        os.kill(worker, signal.SIGCONT)

    assert sent > 10
    assert {status for status, _ in writers.answers} == {201}
    assert served.roles()["worker 0"] == worker


@pytest.mark.standard("threats T5")
def test_what_cannot_be_audited_is_not_told(served: Installation, backend: dict[str, str]) -> None:
    patient = served.demo()["patients"][0]
    uid = a_uid()
    assert stow(served, backend, uid).status_code == 200
    web = f"{served.address}/dicom-web/studies"
    asked = [
        f"{served.base}/Patient/{patient['id']}",
        f"{served.base}/Patient?_id={patient['id']}",
        f"{served.base}/Patient/{patient['id']}/_history",
        f"{served.base}/ServiceRequest?_count=5",
        f"{served.base}/AuditEvent?_count=5",
        f"{web}?StudyInstanceUID={uid}.1",
        f"{web}/{uid}.1",
        f"{web}/{uid}.1/metadata",
    ]

    def ask() -> list[tuple[int, str, bool]]:
        with httpx.Client(headers=backend, timeout=30) as http:
            answered = [http.get(one) for one in asked]
            order = {"resourceType": "Bundle", "type": "batch", "entry": [
                {"request": {"method": "GET", "url": f"Patient/{patient['id']}"}}]}  # fmt: skip
            batch = http.post(served.base, json=order)
            told = any(one.get("resource", {}).get("resourceType") == "Patient"
                       for one in batch.json().get("entry", ()))  # fmt: skip
        return [
            *((one.status_code, one.headers.get("retry-after", ""), bool(one.content))
              for one in answered),
            (200 if told else 503, "2", told),
        ]  # fmt: skip

    assert {status for status, _, _ in ask()} == {200}
    served.sql("alter table audit rename to elsewhere")
    try:
        refused = ask()
        with Writers(served, backend, 1) as writers, Line(served.dicom) as line:
            line.connection.settimeout(60)
            assert line.associate(context(1, CT, EXPLICIT)) == ASSOCIATE_AC
            other = a_uid()
            line.say(data(command(store(other.encode()))), pieces(ct(other)))
            assert line.status() == OUT_OF_RESOURCES
            assert eventually(lambda: len(writers.answers) > 3)
    finally:
        served.sql("alter table elsewhere rename to audit")

    assert {status for status, _, _ in refused} == {503}
    assert all(retry for _, retry, _ in refused)
    assert {status for status, _ in writers.answers} == {503}
    assert {status for status, _, _ in ask()} == {200}


@pytest.mark.standard("threats F1")
def test_sigterm_under_load_ends_soon_and_what_was_answered_is_durable(
    served: Installation, backend: dict[str, str]
) -> None:
    with Writers(served, backend) as writers, Sender(served) as sender:
        sent = []
        for _ in range(20):
            sent.append(a_uid())
            assert sender.send(sent[-1]) == 0
        assert eventually(lambda: len(writers.acknowledged) > 50)
        processes, began = served.tree(), time.monotonic()
        served.stop()
        took = time.monotonic() - began

    assert took < 10
    assert not [pid for pid in processes if is_alive(pid)]
    assert {status for status, _ in writers.answers} <= {201, 503}
    served.start()
    assert writers.lost() == []
    assert audited(served, writers.acknowledged) == len(writers.acknowledged)
    held = {uid for (uid,) in served.sql("select sop_uid from instance")}
    assert set(sent) <= held
    served.command("check")


# --- no room ------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(options: str = "size=512k") -> Iterator[Path]:
    """A file system of its own, with hardly any room."""
    with tempfile.TemporaryDirectory(prefix="isocentre-disk-") as folder:
        line = ["mount", "-t", "tmpfs", "-o", options, "none", folder]
        if os.geteuid() or subprocess.run(line, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def stow(served: Installation, headers: dict[str, str], uid: str, **members: Any) -> httpx.Response:
    content = part10(an_instance(sop_uid=uid, study_uid=f"{uid}.1", **members))
    kind = 'multipart/related; type="application/dicom"; boundary=x'
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--x--"
    return httpx.post(
        f"{served.address}/dicom-web/studies",
        content=body,
        headers={**headers, "Content-Type": kind},
        timeout=30,
    )


@pytest.mark.standard("threats F4")
def test_a_full_disk_refuses_what_it_cannot_hold_and_keeps_nothing_half() -> None:
    with small_disk() as disk, tempfile.TemporaryDirectory(prefix="isocentre-") as folder:
        served = Installation(
            Path(folder), "--http-workers", "1", settings={"ISOCENTRE_BLOB_URL": str(disk / "b")}
        )
        served.start()
        try:
            served.command("demo", "load")
            headers = served.token("demo-backend", "system/*.cruds")
            full(served, headers, disk)
        finally:
            served.stop()


def full(served: Installation, headers: dict[str, str], disk: Path) -> None:
    spool, large = disk / "b" / "spool", {"rows": 600, "columns": 600}
    with Sender(served) as sender:
        first = a_uid()
        assert stow(served, headers, first).status_code == 200
        assert sender.send(a_uid(), **large) == OUT_OF_RESOURCES
        refused = stow(served, headers, a_uid(), **large)
        assert refused.status_code in (503, 507)
        assert refused.headers["retry-after"]
        assert not [left for left in spool.rglob("*") if left.is_file()]
        (disk / "filler").write_bytes(b"")
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(1024)):
                pass
        last = a_uid()
        assert sender.send(last) == OUT_OF_RESOURCES
        assert stow(served, headers, last).status_code in (503, 507)
        assert (
            httpx.get(f"{served.address}/dicom-web/studies/{first}.1", headers=headers).status_code
            == 200
        )
        (disk / "filler").unlink()
        assert sender.send(last) == 0
        assert stow(served, headers, a_uid()).status_code == 200
    assert not [left for left in spool.rglob("*") if left.is_file()]
    assert answers(served.dicom) == 0
    served.command("check")


@pytest.mark.standard("threats F4")
def test_a_folder_that_cannot_be_written_is_named_in_one_sentence() -> None:
    with small_disk("size=64k,ro") as disk:
        line = [sys.executable, "-m", "fhir_server.cli", "serve", "--data-dir", str(disk)]
        ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert str(disk) in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr
