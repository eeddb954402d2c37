"""Nothing that fired is lost, whatever is killed: subscriptions of a running server (threats F2).

Clients write, receivers answer, fail and are slow, and now and then a worker, an http process or
PostgreSQL is killed, or a worker is stopped for a while. In the end what every receiver was told is
held against what was acknowledged to those who wrote.
"""

import contextlib
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests import build
from tests.flows.installation import Installation, is_alive
from tests.subscriptions.receiving import numbers_of
from tests.subscriptions.wanting import subscription

pytestmark = [pytest.mark.slow, pytest.mark.requirement("R010.1")]

Json = dict[str, Any]

KILLS = int(os.environ.get("ISOCENTRE_SUBSCRIPTION_KILLS", "20"))
EVENTS = int(os.environ.get("ISOCENTRE_SUBSCRIPTION_EVENTS", "2000"))
"""Before a release 200 and 20000 (threats F2)."""
HOOKS = 5
WRITERS = 2
PAUSE = 0.7 * WRITERS * KILLS / EVENTS
"""Seconds after each write, so that writes are about as fast as the kills come."""


class Arrived(NamedTuple):
    """One event as a receiver was told it: its number and what it is about."""

    number: int
    focus: str


def faults(fired: set[str], arrived: list[Arrived]) -> list[str]:
    """Say what is wrong with what a subscriber was told of what was fired.

    An event may be told twice, with the same number and focus. Of the first time that each is told
    the numbers go up by one from 1, and together they are what was fired, each once.
    """
    wrong: list[str] = []
    first: dict[int, str] = {}
    for each in arrived:
        if each.number in first:
            if first[each.number] != each.focus:
                wrong.append(f"{each.number} is about two things")
            continue
        if each.number != len(first) + 1:
            wrong.append(f"{each.number} came after {len(first)}")
        first[each.number] = each.focus
    told = list(first.values())
    wrong += [f"{focus} is lost" for focus in sorted(fired - set(told))]
    wrong += [f"{focus} never happened" for focus in sorted(set(told) - fired)]
    if len(told) != len(set(told)):
        wrong.append("something is told with two numbers")
    return wrong


@pytest.mark.parametrize(
    ("arrived", "wrong"),
    [
        ([(1, "a"), (2, "b"), (3, "c")], False),
        ([(1, "a"), (2, "b"), (1, "a"), (2, "b"), (3, "c")], False),
        ([(1, "a"), (2, "b")], True),
        ([(1, "a"), (3, "c"), (2, "b")], True),
        ([(1, "a"), (2, "b"), (4, "c")], True),
        ([(1, "a"), (2, "b"), (2, "c"), (3, "c")], True),
        ([(1, "a"), (2, "b"), (3, "b"), (4, "c")], True),
        ([(1, "a"), (2, "b"), (3, "c"), (4, "d")], True),
        ([], True),
    ],
)
def test_the_check_finds_what_is_wrong(arrived: list[tuple[int, str]], wrong: bool) -> None:
    assert bool(faults({"a", "b", "c"}, [Arrived(*each) for each in arrived])) is wrong


class Hooks:
    """Receivers on one port, told apart by their paths, that fail or are slow now and then."""

    def __init__(self, seed: int) -> None:
        self.arrived: dict[str, list[Arrived]] = {}
        self.failures = 0.0
        self.moments = random.Random(seed)
        self.lock = threading.Lock()
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                bundle = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status = hooks.answer(self.path, bundle)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def answer(self, path: str, bundle: Json) -> int:
        """Answer, and keep what was told if that was taken, or may be thought to be."""
        chance = self.moments.random()
        if chance < self.failures:
            return (500, 503, 404)[int(chance * 1000) % 3]
        if chance > 1 - self.failures / 4:
            time.sleep(0.3)
        numbers = numbers_of(bundle)
        about = [entry["fullUrl"].split("/fhir/")[1] for entry in bundle["entry"][1:]]
        with self.lock:
            told = self.arrived.setdefault(path, [])
            told += [Arrived(*each) for each in zip(numbers, about, strict=True)]
        return 200

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


class Writers:
    """Clients that create requests that are complete, each until it is answered."""

    def __init__(self, served: Installation, headers: dict[str, str], number: int) -> None:
        self.served, self.headers, self.number = served, headers, number
        patient = served.demo()["patients"][0]["id"]
        subject = {"reference": f"Patient/{patient}"}
        self.request = build.a_request(None, subject=subject, status="completed")
        for member in ("requisition", "requester", "performer"):
            self.request.pop(member, None)
        self.ids: list[str] = []
        self.problems: list[BaseException] = []
        self.answers: list[str] = []
        self._given = 0
        self._allowed = 0
        self._lock = threading.Condition()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(WRITERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.1))
        failed = [
            line[:1500] for line in self.served.log().splitlines() if "request failed" in line
        ]
        assert (self.problems, failed) == ([], [])
        assert not [thread for thread in self._threads if thread.is_alive()], self.answers[-3:]

    def allow(self, number: int) -> None:
        """Let them write so many: the last come after the last kill, however fast they are."""
        with self._lock:
            self._allowed = number
            self._lock.notify_all()

    def _next(self) -> str | None:
        with self._lock:
            self._lock.wait_for(lambda: self._given < self._allowed or self._given >= self.number)
            self._given += 1
            return f"fired-{self._given}" if self._given <= self.number else None

    def _run(self) -> None:
        """Write each under an id of our own until it is there: a lost answer is no doubt then."""
        try:
            self._write_all()
        except BaseException as problem:
            self.problems.append(problem)

    def _write_all(self) -> None:
        http = httpx.Client(base_url=self.served.base, headers=self.headers, timeout=30)
        while (id := self._next()) is not None:
            while not self._write(http, id):
                time.sleep(0.1)
            self.ids.append(id)
            time.sleep(PAUSE)
        http.close()

    def _write(self, http: httpx.Client, id: str) -> bool:
        with contextlib.suppress(httpx.TransportError):
            answer = http.put(
                f"/ServiceRequest/{id}",
                json={**self.request, "id": id},
                headers={"If-None-Match": "*"},
            )
            if answer.status_code in (201, 412):
                return True
            self.answers.append(f"{answer.status_code} {answer.text[:300]}")
            assert answer.status_code == 503, answer.text
        return False


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    found = Hooks(20261124)
    yield found
    found.close()


@pytest.fixture
def served(hooks: Hooks) -> Iterator[Installation]:
    settings = {
        "ISOCENTRE_SUBSCRIPTION_HOSTS": f"127.0.0.1:{hooks.port}",
        "ISOCENTRE_SUBSCRIPTION_RETRIES": ",".join(["0", *["0.2"] * 500]),
        "ISOCENTRE_RATE_REQUESTS": "0",
    }
    with tempfile.TemporaryDirectory(prefix="isocentre-") as folder:
        installation = Installation(Path(folder), "--http-workers", "2", settings=settings)
        installation.start()
        installation.command("demo", "load")
        yield installation
        installation.stop()


def hurt(served: Installation, moments: random.Random) -> bool:
    """Kill one of the server's processes, or stop the worker for a while; say if it was there."""
    what = moments.choice(("worker 0", "worker 0", "worker 0", "http 0", "postgres", "stop"))
    with contextlib.suppress(OSError, KeyError, ValueError, IndexError):
        if what == "postgres":
            os.kill(served.postmaster(), signal.SIGKILL)
        elif what == "stop":
            worker = served.roles()["worker 0"]
            os.kill(worker, signal.SIGSTOP)
            time.sleep(moments.uniform(0.5, 1.5))
            os.kill(worker, signal.SIGCONT)
        else:
            os.kill(served.roles()[what], signal.SIGKILL)
        return True
    return False


@pytest.mark.standard("threats F2")
def test_nothing_that_fired_is_lost_when_processes_are_killed(
    served: Installation, hooks: Hooks
) -> None:
    moments = random.Random(20261124)
    headers = served.token("demo-backend", "system/*.cruds")
    supervisor = served.process
    with httpx.Client(base_url=served.base, headers=headers, timeout=30) as http:
        for number in range(HOOKS):
            made = subscribed(http, f"http://127.0.0.1:{hooks.port}/{number}", number)
            wait_active(http, made)
        hooks.failures = 0.1
        writers = Writers(served, headers, EVENTS)
        writers.start()
        hurts = 0
        for number in range(1, KILLS + 1):
            writers.allow(EVENTS * number // (KILLS + 1))
            time.sleep(moments.uniform(0.2, 1.5))
            hurts += hurt(served, moments)
        writers.allow(EVENTS)
        writers.join(60 + EVENTS / 20)
        hooks.failures = 0.02

    fired = {f"ServiceRequest/{id}" for id in writers.ids}
    assert len(fired) == EVENTS
    assert hurts > KILLS / 2, "the others were asked of processes that were just being started"
    end = time.monotonic() + 60 + EVENTS / 50
    while time.monotonic() < end and any(
        len({each.number for each in hooks.arrived.get(f"/{n}", ())}) < EVENTS for n in range(HOOKS)
    ):
        time.sleep(0.2)
    with hooks.lock:
        arrived = {path: list(told) for path, told in hooks.arrived.items()}

    assert {path: faults(fired, told)[:5] for path, told in arrived.items()} == {
        f"/{number}": [] for number in range(HOOKS)
    }
    assert supervisor is not None
    assert is_alive(supervisor.pid)
    rows = served.sql("select status, events, delivered from subscription")
    assert rows == [("active", EVENTS, EVENTS)] * HOOKS


def subscribed(http: httpx.Client, endpoint: str, number: int) -> str:
    """Subscribe, and give the id."""
    asked = subscription(TOPIC)
    asked["channel"]["endpoint"] = endpoint
    asked["channel"]["header"] = [f"X-Hook: {number}"]
    answer = http.post("/Subscription", json=asked)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def wait_active(http: httpx.Client, id: str) -> None:
    end = time.monotonic() + 30
    while (found := http.get(f"/Subscription/{id}").json())["status"] != "active":
        assert time.monotonic() < end, found
        time.sleep(0.05)


TOPIC = "https://isocentre.example/fhir/SubscriptionTopic/request-complete"
