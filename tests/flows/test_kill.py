"""Nothing that was acknowledged is lost, and no step is half done, whatever moment all dies at.

`isocentre serve` runs in a folder of its own. Clients create resources and take patients along the
whole pathway - refer, authorise, images by C-STORE and by STOW-RS, report, acknowledge - while
everything is killed (SIGKILL to the supervisor, every role and PostgreSQL) at random moments. After
each start the record is checked; in the end all that was acknowledged is asked for, with its audit.
"""

import contextlib
import os
import random
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from resources import codes
from tests import build
from tests.dicom_bridge.build import an_instance, part10
from tests.flows import wire
from tests.flows.installation import Installation
from tests.flows.wire import ASSOCIATE_AC, CT, EXPLICIT, Line

KILLS = int(os.environ.get("ISOCENTRE_KILLS", "40"))
"""About seven seconds each; before a release, ISOCENTRE_KILLS=1000 (threats F1)."""
IMAGES: Final = 3
STAGES: Final = ("referred", "authorised", "imaged", "reported", "acknowledged")
Json = dict[str, Any]


@pytest.fixture
def installation() -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="isocentre-") as folder:
        served = Installation(Path(folder), "--http-workers", "1")
        served.start()
        served.command("demo", "load")
        yield served
        served.stop()


@dataclass
class Ledger:
    """What the server acknowledged: texts by version, instances by study, stages by request."""

    texts: dict[str, bytes] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledge(self, kind: str, answer: httpx.Response) -> Json:
        """Note a version that was answered."""
        made: Json = answer.json()
        place = f"{made['resourceType']}/{made['id']}/_history/{made['meta']['versionId']}"
        with self.lock:
            self.texts[place] = answer.content
            self.kinds[kind] += 1
        return made

    def stored(self, kind: str, uid: str, study: str) -> None:
        """Note an instance that was answered."""
        with self.lock:
            self.instances[uid] = study
            self.kinds[kind] += 1

    def reach(self, request: str, stage: str) -> None:
        """Note how far a request has come."""
        with self.lock:
            self.stages[request] = stage


class Away(Exception):  # noqa: N818 - a state, not a fault
    """The server cannot answer now; what was asked for is uncertain."""


class Clients:
    """Who works until the connection breaks: an application, and the people of the pathway."""

    def __init__(self, served: Installation, ledger: Ledger) -> None:
        self.served, self.ledger = served, ledger
        self.patient = served.demo()["patients"][0]
        self.backend = served.token("demo-backend", "system/*.cruds")
        self.people = {
            login: served.token("demo-app", "user/*.cruds", "--user", login)
            for login in ("gp", "practitioner", "reporter")
        }
        self.problems: list[BaseException] = []
        self.taken: set[str] = set()
        """Requests that somebody works on at this moment."""

    def run(self, seconds: float) -> None:
        """Work in parallel until everything is killed after `seconds`."""
        stop = threading.Event()
        works = (self.create, self.create, self.refer, *[self.walk] * 3)
        threads = [threading.Thread(target=self._until_broken, args=(w, stop)) for w in works]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self.served.kill()
        stop.set()
        for thread in threads:
            thread.join(30)
        assert not [thread for thread in threads if thread.is_alive()]
        assert self.problems == []

    def _until_broken(self, work: Callable[[httpx.Client], None], stop: threading.Event) -> None:
        try:
            with (
                contextlib.suppress(httpx.TransportError, OSError, Away),
                httpx.Client(base_url=self.served.base, timeout=10) as http,
            ):
                while not stop.is_set():
                    work(http)
        except BaseException as problem:
            self.problems.append(problem)

    def create(self, http: httpx.Client) -> None:
        """One resource by itself."""
        resource = self._request()
        for member in ("requisition", "requester", "performer"):
            resource.pop(member, None)
        self._write("created", http.post("/ServiceRequest", json=resource, headers=self._whole()))
        time.sleep(0.02)

    def refer(self, http: httpx.Client) -> None:
        """A referral, unless enough of them are under way."""
        with self.ledger.lock:
            waiting = sum(stage != STAGES[-1] for stage in self.ledger.stages.values())
        if waiting >= 6:
            time.sleep(0.02)
            return
        entry = {
            "resource": self._request(),
            "request": {"method": "POST", "url": "ServiceRequest"},
        }
        order = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
        answer = answered(http.post("", json=order, headers=self.people["gp"]))
        place = answer.json()["entry"][0]["response"]["location"]
        self.ledger.kinds["referred"] += 1
        self.ledger.reach(place.split("/fhir/")[-1].split("/_history")[0], "referred")

    def walk(self, http: httpx.Client) -> None:
        """Take a request one step further; each answer promises all that follows from it."""
        with self.ledger.lock:
            stages = self.ledger.stages
            free = [one for one in stages if stages[one] != STAGES[-1] and one not in self.taken]
            request = random.choice(free) if free else ""
            self.taken.add(request)
        if request:
            try:
                self._step(http, request)
            finally:
                self.taken.discard(request)
        else:
            time.sleep(0.02)

    def _step(self, http: httpx.Client, request: str) -> None:
        steps: dict[str, Callable[[httpx.Client, str], bool]] = {
            "referred": self.authorise,
            "authorised": self.bring_images,
            "imaged": self.report,
            "reported": self.acknowledge,
        }
        stage = self.ledger.stages[request]
        if stage in steps and steps[stage](http, request):
            self.ledger.reach(request, STAGES[STAGES.index(stage) + 1])

    def authorise(self, http: httpx.Client, request: str) -> bool:
        changes = {"status": "completed", "businessStatus": codes.AUTHORISED.concept}
        return self._complete(http, request, "justify", "practitioner", changes, "authorised")

    def acknowledge(self, http: httpx.Client, request: str) -> bool:
        changes = {"status": "completed", "businessStatus": codes.ACKNOWLEDGED.concept}
        return self._complete(http, request, "acknowledge", "gp", changes, "acknowledged")

    def bring_images(self, http: httpx.Client, request: str) -> bool:
        """Send the images of a request, in one way or the other; again is harmless."""
        held = answered(http.get(f"/{request}", headers=self.people["practitioner"])).json()
        accession = held["identifier"][-1]["value"]
        number = uuid.uuid5(uuid.NAMESPACE_URL, request).int
        images = [
            an_instance(
                study_uid=f"2.25.{number}",
                series_uid=f"2.25.{number}.1",
                sop_uid=f"2.25.{number}.1.{n}"[:64],
                number=n,
                accession=accession,
                patient_id=self.patient["nhs_number"],
                patient_name=f"{self.patient['family']}^{self.patient['given']}",
                birth_date=self.patient["birth_date"].replace("-", ""),
            )
            for n in range(1, IMAGES + 1)
        ]
        send = self._by_c_store if number % 2 else self._by_stow
        return send(http, images)

    def report(self, http: httpx.Client, request: str) -> bool:
        """Report the study as soon as it is available, unless it was reported already."""
        query = {"basedon": request, "status": "available"}
        found = matches(http.get("/ImagingStudy", params=query, headers=self.people["reporter"]))
        if not found or found[0]["numberOfInstances"] < IMAGES:
            time.sleep(0.05)
            return False
        known = http.get(
            "/DiagnosticReport", params={"based-on": request}, headers=self.people["reporter"]
        )
        if matches(known):
            return True
        report = build.a_report(
            None,
            request=request.split("/")[1],
            study=found[0]["id"],
            subject=found[0]["subject"],
            performer=None,
            resultsInterpreter=None,
        )
        headers = {**self.people["reporter"], "Prefer": "return=representation"}
        self._write("reported", http.post("/DiagnosticReport", json=report, headers=headers))
        return True

    def _complete(
        self, http: httpx.Client, request: str, step: str, login: str, changes: Json, kind: str
    ) -> bool:
        """Complete the step's Task; True too if that was done before its answer was lost."""
        headers = {**self.people[login], "Prefer": "return=representation"}
        query = {"based-on": request, "code": f"{codes.IMAGING_STEP}|{step}"}
        tasks = matches(http.get("/Task", params=query, headers=headers))
        assert len(tasks) == 1, (request, step, [task["status"] for task in tasks])
        task = tasks[0]
        if task["status"] == "completed":
            return True
        headers["If-Match"] = f'W/"{task["meta"]["versionId"]}"'
        answer = http.put(f"/Task/{task['id']}", json={**task, **changes}, headers=headers)
        if answer.status_code == 412:
            return False  # the worker noted meanwhile that the report was delivered or opened
        self._write(kind, answer)
        return True

    def _by_c_store(self, http: httpx.Client, images: list[Any]) -> bool:
        with Line(self.served.dicom) as line:
            if line.associate(wire.context(1, CT, EXPLICIT)) != ASSOCIATE_AC:
                raise Away
            for ds in images:
                content = part10(ds)
                content = content[content.index(b"\x08\x00\x16\x00") :]
                command = wire.command(wire.store(ds.SOPInstanceUID.encode()))
                line.say(wire.data(command), wire.pieces(content))
                status = line.status()
                if status is None:
                    raise Away
                assert status in (0x0000, 0xA700), hex(status)
                if status:
                    raise Away
                self.ledger.stored("C-STORE", ds.SOPInstanceUID, ds.StudyInstanceUID)
            line.say(wire.pdu(wire.RELEASE_RQ, bytes(4)))
            line.hear()
        return True

    def _by_stow(self, http: httpx.Client, images: list[Any]) -> bool:
        head = b"--x\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + part10(ds) + b"\r\n" for ds in images) + b"--x--"
        kind = 'multipart/related; type="application/dicom"; boundary=x'
        answer = http.post(
            f"{self.served.address}/dicom-web/studies",
            content=body,
            headers={**self.backend, "Content-Type": kind},
        )
        assert answer.status_code in (200, 202, 503), answer.text
        for item in answered(answer).json().get("00081199", {}).get("Value", ()):
            self.ledger.stored("STOW-RS", item["00081155"]["Value"][0], images[0].StudyInstanceUID)
        return answer.status_code == 200

    def _request(self) -> Json:
        return build.a_request(
            None,
            subject={"reference": f"Patient/{self.patient['id']}"},
            requester={"reference": "PractitionerRole/gp"},
            performer=[{"reference": "Organization/northmoor"}],
            requisition={"system": codes.ISR, "value": f"ISR-{uuid.uuid4()}"},
        )

    def _whole(self) -> dict[str, str]:
        return {**self.backend, "Prefer": "return=representation"}

    def _write(self, kind: str, answer: httpx.Response) -> None:
        self.ledger.acknowledge(kind, answered(answer))


def answered(answer: httpx.Response) -> httpx.Response:
    """An answer that is a success; 503 means to come back, and nothing else may be."""
    if answer.status_code == 503:
        raise Away
    assert answer.is_success, answer.text
    return answer


def matches(answer: httpx.Response) -> list[Json]:
    """The resources of a page of matches."""
    entries = answered(answer).json().get("entry", [])
    return [one["resource"] for one in entries if one["search"]["mode"] == "match"]


def lost(clients: Clients, http: httpx.Client) -> list[str]:
    """Name what was acknowledged and is not there, or is not as it was acknowledged."""
    gone = []
    for place, text in list(clients.ledger.texts.items()):
        answer = http.get(f"/{place}", headers=clients.backend)
        if answer.status_code != 200 or answer.content != text:
            gone.append(f"{place} {answer.status_code}")
    return gone


BEHIND: Final = {
    "referred": {"justify"},
    "authorised": {"justify", "acquire"},
    "imaged": {"justify", "acquire"},
    "reported": {"justify", "acquire", "report", "acknowledge"},
    "acknowledged": {"justify", "acquire", "report", "acknowledge"},
}
"""The steps that stand behind a request that has come so far, at the least."""


def half_done(clients: Clients, http: httpx.Client) -> list[str]:
    """Name requests whose steps do not stand together, each step there once."""
    broken = []
    for request, stage in clients.ledger.stages.items():
        query = {"based-on": request, "_count": "50"}
        tasks = matches(http.get("/Task", params=query, headers=clients.backend))
        steps = Counter(task["code"]["coding"][0]["code"] for task in tasks)
        query = {"basedon": request}
        studies = matches(http.get("/ImagingStudy", params=query, headers=clients.backend))
        expected = 0 if set(steps) == {"justify"} else 1
        whole = BEHIND[stage] <= set(steps) and set(steps.values()) == {1}
        if not whole or len(studies) != expected:
            broken.append(f"{request} {stage} {dict(steps)} {len(studies)}")
    return broken


def unsettled(clients: Clients, http: httpx.Client) -> list[str]:
    """Name acknowledged instances that no ImagingStudy lists (yet)."""
    missing = []
    for study in set(clients.ledger.instances.values()):
        query = {"identifier": f"urn:dicom:uid|urn:oid:{study}"}
        listed = {
            instance["uid"]
            for found in matches(http.get("/ImagingStudy", params=query, headers=clients.backend))
            for series in found.get("series", ())
            for instance in series.get("instance", ())
        }
        missing += [
            uid for uid, of in clients.ledger.instances.items() if of == study and uid not in listed
        ]
    return missing


def unaudited(clients: Clients) -> list[str]:
    """Name acknowledged acts that have no row in the audit ledger."""
    rows = clients.served.sql(
        "select type, id, version, query, detail from audit where outcome = 0"
    )
    versions = {f"{type}/{id}/_history/{version}" for type, id, version, _, _ in rows}
    told = " ".join(f"{query} {detail}" for _, _, _, query, detail in rows)
    return [
        *(place for place in clients.ledger.texts if place not in versions),
        *(uid for uid in clients.ledger.instances if uid not in told),
    ]


@pytest.mark.slow
@pytest.mark.requirement("R014.1")
@pytest.mark.standard("promise 1: acknowledged means durable")
@pytest.mark.standard("threats F1")
def test_nothing_acknowledged_is_lost_when_everything_is_killed(
    installation: Installation,
) -> None:
    moments = random.Random(20261124)
    clients = Clients(installation, Ledger())
    kinds = clients.ledger.kinds

    for _ in range(KILLS):
        clients.run(moments.uniform(0.05, 1.5))
        installation.start()
        installation.command("check")

    with httpx.Client(base_url=installation.base, timeout=30) as http:
        assert lost(clients, http) == []
        assert half_done(clients, http) == []
        for _ in range(180):
            if not (left := unsettled(clients, http)):
                break
            time.sleep(1)
        assert left == []
        assert unaudited(clients) == []
        clients.ledger.texts["ServiceRequest/never-written/_history/1"] = b"{}"
        assert len(lost(clients, http)) == 1, "a planted loss is found"
        assert len(unaudited(clients)) == 1, "a planted gap in the audit is found"
    installation.command("check")
    checked = len(clients.ledger.texts) + len(clients.ledger.instances)
    print(f"{KILLS} kills, {checked} acknowledged writes checked: {dict(kinds)}")
    assert checked > KILLS * 5, "the harness wrote enough to mean something"
    wanted = {*STAGES, "created", "C-STORE", "STOW-RS"} - {"imaged"}
    assert {kind for kind in wanted if kinds[kind] < KILLS / 2} == set(), dict(kinds)
