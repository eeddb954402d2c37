"""Nothing that was acknowledged is lost, and no step is half done, whatever moment all dies at.

`isocentre serve` runs in a folder of its own. Clients create, store and work through the pathway
while everything is killed (SIGKILL to the supervisor, every role and PostgreSQL) at random moments;
after each start, what was acknowledged is asked for again.
"""

import contextlib
import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from tests import build
from tests.dicom_bridge.build import an_instance

KILLS = int(os.environ.get("ISOCENTRE_KILLS", "40"))
CT = "1.2.840.10008.5.1.4.1.1.2"
STEP = "https://isocentre.example/fhir/CodeSystem/imaging-step"
STATUS = "https://isocentre.example/fhir/CodeSystem/step-business-status"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Installation:
    """A served data folder that can be killed and started again."""

    def __init__(self, data: Path) -> None:
        self.data, self.http, self.dicom = data, free_port(), free_port()
        self.base = f"http://127.0.0.1:{self.http}/fhir"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> str:
        line = [sys.executable, "-m", "fhir_server.cli", *arguments, "--data-dir", str(self.data)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
        return done.stdout.strip()

    def start(self) -> None:
        line = [sys.executable, "-m", "fhir_server.cli", "serve", "--data-dir", str(self.data)]
        line += ["--http", f"127.0.0.1:{self.http}", "--dicom", f"127.0.0.1:{self.dicom}"]
        with (self.data / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*line, "--http-workers", "1"], stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(600):
            assert self.process.poll() is None, (self.data / "serve.log").read_text()[-3000:]
            with contextlib.suppress(httpx.HTTPError):
                ready = httpx.get(f"http://127.0.0.1:{self.http}/readyz", timeout=2)
                if ready.status_code == 200 and self.dicom_answers():
                    return
            time.sleep(0.05)
        raise AssertionError("the server did not come back")

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
        postmaster = self.data / "pg" / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError):
            roots.add(int(postmaster.read_text().split()[0]))
        found, todo = set(), list(roots)
        while todo:
            pid = todo.pop()
            if pid in parents and pid not in found:
                found.add(pid)
                todo += [child for child, parent in parents.items() if parent == pid]
        return sorted(found)

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


@pytest.fixture
def installation() -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="isocentre-") as folder:
        served = Installation(Path(folder))
        served.start()
        served.command("demo", "load")
        yield served
        served.stop()


class Ledger:
    """What the server acknowledged: texts by version, instances, authorised requests."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        self.instances: dict[str, str] = {}
        self.authorised: set[str] = set()
        self.lock = threading.Lock()

    def acknowledge(self, answer: httpx.Response) -> dict[str, Any]:
        assert answer.status_code in (200, 201), answer.text
        made: dict[str, Any] = answer.json()
        place = f"{made['resourceType']}/{made['id']}/_history/{made['meta']['versionId']}"
        with self.lock:
            self.texts[place] = answer.content
        return made


class Clients:
    """Three that work until the connection breaks: a creator, a modality, a department."""

    def __init__(self, served: Installation, ledger: Ledger) -> None:
        self.served, self.ledger = served, ledger
        self.demo = json.loads((served.data / "demo.json").read_text())
        token = served.command(
            "token", "--client", "demo-backend", "--scope", "system/*.cruds", "--lifetime", "7200"
        )
        self.backend = {"Authorization": f"Bearer {token}", "Prefer": "return=representation"}
        self.patient = self.demo["patients"][0]["id"]
        self.lead = self.demo["organizations"][0]["id"]
        self.users = {user["login"]: user for user in self.demo["users"]}
        self.practitioner = dict(self.backend)
        self.referrer = dict(self.backend)
        for headers, login in ((self.practitioner, "practitioner"), (self.referrer, "gp")):
            headers["Authorization"] = "Bearer " + served.command(
                "token", "--client", "demo-app", "--user", login, "--scope", "user/*.cruds",
                "--lifetime", "7200",
            )  # fmt: skip

    def run(self, seconds: float) -> None:
        """Work in parallel until everything is killed after `seconds`."""
        stop = threading.Event()
        works = (self.create, self.create, self.walk, self.send)
        threads = [threading.Thread(target=self.until_broken, args=(w, stop)) for w in works]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self.served.kill()
        stop.set()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()

    def until_broken(self, work: Any, stop: threading.Event) -> None:
        with (
            contextlib.suppress(httpx.TransportError, OSError),
            httpx.Client(base_url=self.served.base, timeout=10) as http,
        ):
            while not stop.is_set() and work(http):
                pass

    def create(self, http: httpx.Client) -> bool:
        subject = {"reference": f"Patient/{self.patient}"}
        resource = build.a_request(None, subject=subject, requester={}, performer=[{}])
        for member in ("requisition", "requester", "performer"):
            resource.pop(member, None)
        answer = http.post("/ServiceRequest", json=resource, headers=self.backend)
        if answer.status_code == 201:
            self.ledger.acknowledge(answer)
        return answer.status_code == 201

    def walk(self, http: httpx.Client) -> bool:
        """Refer and authorise: each answer promises all that follows from it."""
        request = build.a_request(
            None,
            subject={"reference": f"Patient/{self.patient}"},
            requester={"reference": f"PractitionerRole/{self.users['gp']['practitioner_role']}"},
            performer=[{"reference": f"Organization/{self.lead}"}],
        )
        entry = {"resource": request, "request": {"method": "POST", "url": "ServiceRequest"}}
        order = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
        answer = http.post("", json=order, headers=self.referrer)
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code != 200:
            return False
        place = answer.json()["entry"][0]["response"]["location"]
        request = place.split("/fhir/")[-1].split("/_history")[0]
        query = {"based-on": request, "code": f"{STEP}|justify"}
        found = http.get("/Task", params=query, headers=self.practitioner).json()
        task = found["entry"][0]["resource"]
        authorised = {"system": STATUS, "code": "authorised"}
        task = {**task, "status": "completed", "businessStatus": {"coding": [authorised]}}
        headers = {**self.practitioner, "If-Match": 'W/"1"'}
        done = http.put(f"/Task/{task['id']}", json=task, headers=headers)
        if done.status_code == 200:
            self.ledger.acknowledge(done)
            with self.ledger.lock:
                self.ledger.authorised.add(request)
        return done.status_code == 200

    def send(self, http: httpx.Client) -> bool:
        ae = AE(ae_title="CT1")
        ae.add_requested_context(CT, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", self.served.dicom, ae_title="ISOCENTRE")
        with closing_what_pynetdicom_leaves(association):
            return association.is_established and self.send_study(association)

    def send_study(self, association: Any) -> bool:
        study, series = generate_uid(), generate_uid()
        for number in range(1, 200):
            ds = an_instance(
                study_uid=study, series_uid=series, sop_uid=generate_uid(), number=number
            )
            try:
                status: Dataset = association.send_c_store(ds)
            except (RuntimeError, AttributeError, ValueError):
                return False  # the association died before or while we sent: nothing was promised
            if not status or status.Status != 0x0000:
                return False
            with self.ledger.lock:
                self.ledger.instances[ds.SOPInstanceUID] = study
        association.release()
        return True


@contextlib.contextmanager
def closing_what_pynetdicom_leaves(association: Any) -> Iterator[None]:
    """Close the socket of an association whose peer went away; pynetdicom forgets it."""
    transport = association.dul.socket
    raw = transport.socket if transport else None
    try:
        yield
    finally:
        if raw is not None:
            raw.close()


def lost(clients: Clients, http: httpx.Client) -> list[str]:
    """Name what was acknowledged and is not there, or is not as it was acknowledged."""
    gone = []
    for place, text in list(clients.ledger.texts.items()):
        answer = http.get(f"/{place}", headers=clients.backend)
        if answer.status_code != 200 or answer.content != text:
            gone.append(f"{place} {answer.status_code}")
    return gone


def half_done(clients: Clients, http: httpx.Client) -> list[str]:
    """Name requests whose steps do not stand together: authorised means acquire and study exist."""
    broken = []
    for request in clients.ledger.authorised:
        query = {"based-on": request, "_count": "50"}
        found = http.get("/Task", params=query, headers=clients.backend).json()
        tasks = [entry["resource"] for entry in found.get("entry", ())]
        steps = sorted(task["code"]["coding"][0]["code"] for task in tasks)
        studies = http.get("/ImagingStudy", params={"basedon": request}, headers=clients.backend)
        if steps != ["acquire", "justify"] or studies.json()["total"] != 1:
            broken.append(f"{request} {steps} {studies.json()['total']}")
    return broken


def unsettled(clients: Clients, http: httpx.Client) -> list[str]:
    """Name acknowledged instances that no ImagingStudy lists (yet)."""
    missing = []
    for study in set(clients.ledger.instances.values()):
        query = {"identifier": f"urn:dicom:uid|urn:oid:{study}"}
        found = http.get("/ImagingStudy", params=query, headers=clients.backend).json()
        listed = {
            instance["uid"]
            for entry in found.get("entry", ())
            for series in entry["resource"].get("series", ())
            for instance in series.get("instance", ())
        }
        missing += [
            uid for uid, of in clients.ledger.instances.items() if of == study and uid not in listed
        ]
    return missing


# A killed peer leaves pynetdicom's sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.slow
@pytest.mark.requirement("R014.1")
@pytest.mark.standard("promise 1: acknowledged means durable")
def test_nothing_acknowledged_is_lost_when_everything_is_killed(
    installation: Installation,
) -> None:
    moments = random.Random(20261124)
    clients = Clients(installation, Ledger())

    for _ in range(KILLS):
        clients.run(moments.uniform(0.05, 1.5))
        installation.start()

    with httpx.Client(base_url=installation.base, timeout=30) as http:
        assert lost(clients, http) == []
        assert half_done(clients, http) == []
        for _ in range(180):
            if not (left := unsettled(clients, http)):
                break
            time.sleep(1)
        assert left == []
        clients.ledger.texts["ServiceRequest/never-written/_history/1"] = b"{}"
        assert len(lost(clients, http)) == 1, "a planted loss is found"
    installation.command("check")
    gc.collect()
    checked = len(clients.ledger.texts) + len(clients.ledger.instances)
    print(f"{KILLS} kills, {checked} acknowledged writes checked")
    assert checked > KILLS * 5, "the harness wrote enough to mean something"
