"""Threats T10, T11, T18, T19, T20, F10 over HTTP, on the very process that `isocentre serve` runs.

Whatever is sent, the answer is no fault of ours, comes soon, and costs little.
"""

import gzip
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from fhir_server.access.token import Keys, mint
from tests import build
from tests.conftest import renamed
from tests.flows.installation import free_port

pytestmark = pytest.mark.standard("threats F10")

SOON = 5.0
"""Seconds of processor time, and how long another may wait where several ask at once."""
MOST_MEMORY = 200 << 20
LIMIT = 16 << 20


class Process:
    """One HTTP process, and how to be somebody there."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        keys = Keys.load(folder)
        self.token = mint(
            keys, self.address, subject="Client/test", client="test", scope="system/*.cruds",
            organization="lead", role="application", lifetime=3600,
        )  # fmt: skip
        line = [sys.executable, "-m", "fhir_server.cli", "http", "--data-dir", str(folder)]
        settings = {"ISOCENTRE_DATABASE_URL": database_url}
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*line, "--http", f"127.0.0.1:{self.port}"],
                stdout=log, stderr=log, env=os.environ | settings,
            )  # fmt: skip
        self.log = folder / "log"
        self.http = httpx.Client(
            base_url=self.address, headers={"Authorization": f"Bearer {self.token}"}, timeout=30
        )
        for _ in range(600):
            assert self.process.poll() is None, self.log.read_text()
            try:
                if self.http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)

    def busy(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(15)

    def said(self, *pieces: bytes, silence: float = 30.0) -> bytes:
        """What is answered on a raw connection, until it ends or has been silent for so long."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as line:
            heard = []
            try:
                for piece in pieces:
                    line.sendall(piece)
                line.settimeout(silence)
                while more := line.recv(65536):
                    heard.append(more)
            except OSError:
                pass
            return b"".join(heard)

    def head(self, line: str, *fields: str) -> bytes:
        fields = (f"Authorization: Bearer {self.token}", "Host: x", "Connection: close", *fields)
        return "\r\n".join([line, *fields, "", ""]).encode("latin-1")


@pytest.fixture(scope="module")
def process(cluster: str, template: str) -> Iterator[Process]:
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(
            f"create database abused template {template} strategy file_copy".encode()
        )
    with tempfile.TemporaryDirectory() as folder:
        started = Process(renamed(cluster, "abused"), Path(folder))
        for one in (build.an_organization(), build.a_patient("p1")):
            put = started.http.put(f"/fhir/{one['resourceType']}/{one['id']}", json=one)
            assert put.is_success, put.text
        yield started
        started.stop()


@pytest.fixture(autouse=True)
def unharmed(process: Process) -> Iterator[None]:
    """After each abuse the process is the same one, small and well, and was not busy for long."""
    before, used = process.resident(), process.busy()
    yield
    assert process.http.get("/fhir/Patient/p1").status_code == 200
    assert process.busy() - used < SOON
    assert process.resident() - before < MOST_MEMORY
    assert process.process.poll() is None


def nested(depth: int, opening: str = '{"contained":[', closing: str = "]}") -> bytes:
    return (opening * depth + closing * depth).encode()


def bundle(kind: str, count: int, resource: object | None = None) -> bytes:
    request = (
        {"method": "POST", "url": "Patient"} if resource else {"method": "GET", "url": "Patient/p1"}
    )
    entry = {"request": request} | ({"resource": resource} if resource else {})
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": [entry] * count}).encode()


FHIR = {"Content-Type": "application/fhir+json"}
GZIP = {**FHIR, "Content-Encoding": "gzip"}
PATIENT = b'{"resourceType":"Patient",%b}'
BODIES: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "a gzip bomb": ("/fhir/Patient", gzip.compress(bytes(1 << 28)), GZIP),
    "a gzip bomb of JSON": (
        "/fhir/Patient",
        gzip.compress(b'{"a":"' + b"x" * (1 << 27) + b'"}'),
        GZIP,
    ),
    "a gzip bomb within another": (
        "/fhir/Patient",
        gzip.compress(gzip.compress(bytes(1 << 26))),
        GZIP,
    ),
    "gzip that is none": ("/fhir/Patient", b"\x1f\x8b" + bytes(1000), GZIP),
    "half of a gzip": ("/fhir/Patient", gzip.compress(bytes(100_000))[:50], GZIP),
    "two codings": ("/fhir/Patient", b"{}", {**FHIR, "Content-Encoding": "gzip, gzip"}),
    "deep objects": ("/fhir/Patient", nested(100_000), FHIR),
    "deep arrays": ("/fhir/Patient", nested(200_000, "[", "]"), FHIR),
    "deep extensions": (
        "/fhir/Patient",
        PATIENT % nested(5_000, '"extension":[{"url":"u",', '"valueString":"x"}]')[:-1],
        FHIR,
    ),
    "1,000 contained resources": (
        "/fhir/Patient",
        PATIENT
        % (b'"contained":[' + b",".join([b'{"resourceType":"Patient","id":"x"}'] * 1000) + b"]"),
        FHIR,
    ),
    "a number of a million digits": (
        "/fhir/Patient",
        PATIENT % b'"multipleBirthInteger":%b' % (b"9" * 1_000_000),
        FHIR,
    ),
    "an exponent": (
        "/fhir/Observation",
        b'{"resourceType":"Observation","valueQuantity":{"value":1e999999999}}',
        FHIR,
    ),
    "a string of 15 million": (
        "/fhir/Patient",
        PATIENT % (b'"gender":"' + b"x" * 15_000_000 + b'"'),
        FHIR,
    ),
    "a name of a million": (
        "/fhir/Patient",
        PATIENT % (b'"name":[{"family":"' + b"x" * 1_000_000 + b'"}]'),
        FHIR,
    ),
    "4,000,000 names": (
        "/fhir/Patient",
        PATIENT % (b'"name":[' + b",".join([b"{}"] * 4_000_000) + b"]"),
        FHIR,
    ),
    "the same member again and again": (
        "/fhir/Patient",
        PATIENT % b",".join([b'"active":true'] * 1_000_000),
        FHIR,
    ),
    "a batch of 10,000 reads": ("/fhir", bundle("batch", 10_000), FHIR),
    "a transaction of 10,000 creates": (
        "/fhir",
        bundle("transaction", 10_000, {"resourceType": "Patient"}),
        FHIR,
    ),
    "a lone surrogate": ("/fhir/Patient", PATIENT % b'"gender":"\\ud800"', FHIR),
    "not UTF-8": ("/fhir/Patient", PATIENT % b'"gender":"\xff\xfe"', FHIR),
    "XML with entities": (
        "/fhir/Patient",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><Patient>&a;</Patient>',
        {"Content-Type": "application/fhir+xml"},
    ),
    "100,000 form parameters": (
        "/fhir/Patient/_search",
        b"name=a&" * 100_000,
        {"Content-Type": "application/x-www-form-urlencoded"},
    ),
    "a STOW of 30,000 parts": (
        "/dicom-web/studies",
        b"--x\r\n\r\n\r\n" * 30_000 + b"--x--",
        {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'},
    ),
    "a STOW part header without an end": (
        "/dicom-web/studies",
        b"--x\r\n" + b"a: b\r\n" * 200_000,
        {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'},
    ),
    "a STOW boundary of noise": (
        "/dicom-web/studies",
        b"--" * 500_000,
        {"Content-Type": 'multipart/related; type="application/dicom"; boundary="--------"'},
    ),
}


@pytest.mark.standard("threats T10, T11, T19")
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_asks_for_too_much_is_refused_soon(process: Process, name: str) -> None:
    path, content, headers = BODIES[name]
    answer = process.http.post(path, content=content, headers=headers)

    assert answer.status_code < 500, answer.text[:300]
    assert answer.status_code >= 400 or name == "a name of a million" or "batch" in name


@pytest.mark.standard("RFC 9110 15.5.14")
@pytest.mark.parametrize("promised", [True, False])
@pytest.mark.parametrize("path", ["/fhir/Patient", "/fhir"])
def test_a_body_over_the_limit_is_refused_before_it_is_kept(
    process: Process, path: str, promised: bool
) -> None:
    piece = b"x" * (1 << 20)
    length = f"Content-Length: {LIMIT * 4}" if promised else "Transfer-Encoding: chunked"
    head = process.head(f"POST {path} HTTP/1.1", "Content-Type: application/fhir+json", length)
    chunk = piece if promised else b"%x\r\n%b\r\n" % (len(piece), piece)

    heard = process.said(head, *[chunk] * 40)

    assert heard == b"" or heard.startswith(b"HTTP/1.1 413 ")


SEARCHES = [
    "name=" + "%25" * 5000,
    "name=" + "a%25" * 2000 + "b",
    "name:contains=" + "%5C" * 4999,
    "name:contains=" + "_" * 5000,
    "name:exact=" + "(a%2B)%2B$" * 500,
    "identifier=" + "%7C" * 2000,
    "identifier=" + ",".join(["a|b"] * 5000),
    "_id=" + ",".join(["x"] * 8000),
    "birthdate=" + "ge2020&birthdate=".join([""] * 900) + "2020",
    "_sort=" + ",".join(["birthdate"] * 3000),
    "_include=" + "&_include=".join(["Patient:organization"] * 900),
    "_revinclude=*&_include=*",
    "_count=99999999999999999999",
    "general-practitioner." * 500 + "name=a",
    "_has:Observation:patient:" * 300 + "code=a",
    "name=%F0%9F%98%80" * 300,
    "&" * 30_000,
    "=" * 30_000,
    "%00=%00",
    "name=%ff%fe",
    "name=%zz",
    "name=%",
    "name=%u0041",
]


@pytest.mark.standard("threats F10")
@pytest.mark.parametrize("number", range(len(SEARCHES)))
def test_a_search_that_is_made_to_take_long_does_not(process: Process, number: int) -> None:
    for path in ("/fhir/Patient", "/dicom-web/studies"):
        heard = process.said(process.head(f"GET {path}?{SEARCHES[number]} HTTP/1.1"))

        assert heard[9:10] in (b"2", b"4"), heard[:300]


def test_100_000_query_parameters_are_too_many(process: Process) -> None:
    heard = process.said(process.head("GET /fhir/Patient?" + "name=a&" * 100_000 + " HTTP/1.1"))

    assert heard == b"" or heard.startswith(b"HTTP/1.1 414 ")


CHUNKED = b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LINES = [
    b"GET /fhir/Patient HTTP/1.0\r\n\r\n",
    b"GET /fhir/metadata HTTP/1.0\r\nHost: x\r\n\r\n",
    b"GET /fhir/Patient\r\n\r\n",
    b"GET /fhir/Patient HTTP/2.0\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /fhir/Patient/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fhir/Patient/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fhir/Patient/% HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fhir/Patient/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fhir/Patient/%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /dicom-web/studies/%ff/metadata HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /dicom-web/studies/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //fhir//Patient HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fhir/metadata HTTP/1.1\r\nHost: x\r\n\r\n" + b"\x00\xff" * 5000,
    b"GET /fhir/metadata HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGARBAGE\r\n\r\n",
    b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    CHUNKED.replace(b"Host: x", b"Content-Length: 2") + b"0\r\n\r\n",
    CHUNKED + b"ffffffffffffffffff\r\n",
    b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"GET /fhir/metadata HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /fhir/metadata HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"TRACE /fhir/metadata HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fhir/metadata HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n",
    b"GET /fhir/metadata HTTP/1.1\r\nHost: x\r\nX-A: " + b"b" * 1_000_000 + b"\r\n\r\n",
    b"GET /fhir/metadata HTTP/1.1\r\nHost: x\r\nX-Request-Id: \xff\r\nAccept: ;;;,,q=x\r\n\r\n",
    b"GET /fhir/metadata HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
    + b"a." * 20_000
    + b"\r\n\r\n",
    b"GET /fhir/metadata HTTP/1.1\r\nHost: x\r\n\r\n" * 300,
    bytes(range(256)) * 40,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
]


@pytest.mark.standard("RFC 9112")
@pytest.mark.parametrize("number", range(len(LINES)))
def test_octets_that_are_hardly_http_are_no_fault_of_ours(process: Process, number: int) -> None:
    heard = process.said(LINES[number], silence=0.3)

    assert b"HTTP/1.1 5" not in heard.replace(b"HTTP/1.1 501", b""), heard[:300]
    assert heard
    assert b"Traceback" not in heard


def test_nothing_of_what_was_sent_is_a_failure_in_the_log(process: Process) -> None:
    said = process.log.read_text(errors="replace")

    assert "request failed" not in said
    assert "Exception in ASGI" not in said
    assert "xxxxxxxx" not in said


@pytest.mark.slow
def test_slow_clients_are_hung_up_on_and_others_do_not_notice(process: Process) -> None:
    patient = process.head("POST /fhir/Patient HTTP/1.1", "Content-Length: 100000")
    kind = 'Content-Type: multipart/related; type="application/dicom"; boundary=x'
    stow = process.head("POST /dicom-web/studies HTTP/1.1", "Content-Length: 99999", kind)
    slow = [
        (b"GET /fhir/metadata HTTP/1.1\r\n", b"X-A: b\r\n"),
        (b"", b"\r\n"),
        (patient, b"x"),
        (stow, b"-"),
    ]
    ended: list[float] = []
    began = time.monotonic()

    def drip(opening: bytes, drop: bytes) -> None:
        with socket.create_connection(("127.0.0.1", process.port), timeout=60) as line:
            line.sendall(opening)
            line.settimeout(0.5)
            while time.monotonic() - began < 60:
                try:
                    line.sendall(drop)
                    if not line.recv(4096):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            ended.append(time.monotonic() - began)

    drippers = [threading.Thread(target=drip, args=one) for one in slow * 60]
    for thread in drippers:
        thread.start()
    longest = 0.0
    while any(thread.is_alive() for thread in drippers):
        asked = time.monotonic()
        assert process.http.get("/fhir/Patient/p1").status_code == 200
        longest = max(longest, time.monotonic() - asked)
        time.sleep(0.1)

    assert len(ended) == len(drippers)
    assert max(ended) < 40
    assert longest < SOON
