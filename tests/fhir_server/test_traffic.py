import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from fhir_server import metrics
from fhir_server.logs import Access
from fhir_server.metrics import Meter
from fhir_server.traffic import Traffic, interaction, shape

CANARY = "Canary-9434765919"


class Echo:
    """An application that answers 200 with whatever headers it was told to send."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.headers = list(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"ok"})


class Lines(Access):
    """An access log that keeps its lines."""

    def __init__(self) -> None:
        super().__init__("http")
        self.enabled = True
        self.kept: list[dict[str, Any]] = []

    def note(self, line: Any) -> None:
        self.kept.append(dict(line))


class Client:
    """Ask the middleware around an `Echo` as an HTTP client would."""

    def __init__(
        self, data_dir: Path, log: Lines, *headers: tuple[bytes, bytes], https: bool = False
    ) -> None:
        self.traffic = Traffic(Echo(*headers), Meter(data_dir, "http", 0), log, https=https)

    def ask(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        async def exchange() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.traffic)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(exchange())


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/fhir/metadata", "capabilities"),
        ("GET", "/fhir/Task/1", "read"),
        ("HEAD", "/fhir/Task/1", "read"),
        ("GET", "/fhir/Task/1/_history/2", "vread"),
        ("GET", "/fhir/Task/1/_history", "history"),
        ("GET", "/fhir/Task", "search"),
        ("POST", "/fhir/Task/_search", "search"),
        ("POST", "/fhir/Task", "create"),
        ("PUT", "/fhir/Task/1", "update"),
        ("POST", "/fhir", "batch"),
        ("POST", "/fhir/", "batch"),
        ("DELETE", "/fhir/Task/1", "delete"),
        ("PATCH", "/fhir/Task", "patch"),
        ("TRACE", "/fhir/Task/1", "other-fhir"),
        ("GET", "/dicom-web/studies/1.2/series", "QIDO-RS"),
        ("GET", "/dicom-web/studies/1.2/series/3/instances/4/frames/1", "WADO-RS"),
        ("POST", "/dicom-web/studies", "STOW-RS"),
        ("GET", "/", "page"),
        ("GET", "/readyz", "health"),
        ("BREW", "/coffee", "unknown"),
    ],
)
def test_a_request_is_counted_under_the_name_of_its_interaction(
    method: str, path: str, name: str
) -> None:
    assert interaction(method, path) == name
    assert name in metrics.INTERACTIONS


@pytest.mark.standard("ASVS V16.2.5")
def test_nothing_a_caller_chose_is_logged(tmp_path: Path) -> None:
    log = Lines()
    client = Client(tmp_path, log)

    client.ask(f"/fhir/Patient/{CANARY}?name={CANARY}", Authorization=f"Bearer {CANARY}")
    client.ask(f"/{CANARY}/{CANARY}", Cookie=CANARY, Referer=CANARY)
    client.ask("/fhir/Patient", f"X{CANARY}")

    assert len(log.kept) == 3
    assert CANARY not in json.dumps(log.kept)
    assert CANARY not in metrics.exposition(tmp_path).decode()
    assert log.kept[0]["address"] == "/fhir/Patient/*"


def test_health_is_counted_and_not_logged(tmp_path: Path) -> None:
    log = Lines()

    Client(tmp_path, log).ask("/healthz")

    assert log.kept == []
    assert b'interaction="health",status="200"' in metrics.exposition(tmp_path)


def test_every_answer_has_an_id_and_the_headers_of_safety(tmp_path: Path) -> None:
    answer = Client(tmp_path, Lines()).ask("/", **{"X-Request-Id": "abc-1"})

    assert answer.headers["x-request-id"] == "abc-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "strict-transport-security" not in answer.headers


@pytest.mark.standard("RFC 6797 6.1")
def test_https_alone_is_promised_over_https(tmp_path: Path) -> None:
    answer = Client(tmp_path, Lines(), https=True).ask("/")

    assert "max-age" in answer.headers["strict-transport-security"]


def test_a_header_that_is_there_is_not_sent_twice(tmp_path: Path) -> None:
    client = Client(tmp_path, Lines(), (b"X-Request-Id", b"mine"), (b"x-frame-options", b"DENY"))

    answer = client.ask("/")

    assert answer.headers.get_list("x-request-id") == ["mine"]
    assert answer.headers.get_list("x-frame-options") == ["DENY"]


@pytest.mark.parametrize("path", ["/", "/x" * 50, "//", "/fhir/%2e%2e/x"])
def test_any_path_has_a_shape(path: str) -> None:
    assert shape(path).startswith("/")
    assert len(shape(path)) < 80
