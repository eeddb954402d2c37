"""Load on the FHIR API: reads, searches, includes, creates, transactions."""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from bench import payloads
from bench.client import Client, Connection, Measured, drive
from bench.processes import Roots

CONNECTIONS = 16
CHECK_EVERY = 25


class Seeded(NamedTuple):
    """Ids of what was stored: patients to search, requests to read, patients to write to."""

    patients: list[str]
    requests: list[str]
    spare: list[str]


async def _batch(client: Client, connection: Connection, resources: list[Any]) -> list[str]:
    body = payloads.bundle("batch", [("", resource) for resource in resources])
    status, answer = await connection.ask(client.request("POST", "", body), 120)
    if status != 200:
        raise SystemExit(f"seeding: http {status} {answer[:500]!r}")
    ids = []
    for entry in json.loads(answer)["entry"]:
        if not entry["response"]["status"].startswith("201"):
            raise SystemExit(f"seeding: {json.dumps(entry)[:500]}")
        ids.append(entry["response"]["location"].split("/_history")[0].rsplit("/", 1)[1])
    return ids


async def seed(client: Client, patients: int, requests_each: int) -> Seeded:
    """Store patients with their requests, and ten studies and reports each."""
    rnd = random.Random(20261124)
    connections = [await client.connect() for _ in range(4)]
    names = []
    for first in range(0, patients, 50):
        some = [payloads.patient(n) for n in range(first, min(patients, first + 50))]
        names += await _batch(client, connections[0], some)
    spare = await _batch(client, connections[0], [payloads.patient(n) for n in range(50)])
    todo, stored = list(enumerate(names)), list[str]()

    async def fill(connection: Connection) -> None:
        while todo:
            number, name = todo.pop()
            ids = []
            for first in range(0, requests_each, 50):
                upto = min(requests_each, first + 50)
                some = [
                    payloads.service_request(name, number * 7 + i, rnd) for i in range(first, upto)
                ]
                ids += await _batch(client, connection, some)
            stored.extend(ids)
            studies = [payloads.imaging_study(name, number + i, rnd) for i in range(10)]
            held = await _batch(client, connection, studies)
            reports = [payloads.report(name, ids[i], held[i], number * 10 + i) for i in range(10)]
            await _batch(client, connection, reports)

    await asyncio.gather(*[fill(connection) for connection in connections])
    for connection in connections:
        connection.transport.close()
    return Seeded(names, stored, spare)


def _checked(right: Callable[[Any], bool], want: int = 200) -> Callable[[int, bytes], bool]:
    seen = 0

    def check(status: int, body: bytes) -> bool:
        nonlocal seen
        seen += 1
        if status != want:
            return False
        return seen % CHECK_EVERY != 1 or right(json.loads(body))

    return check


def _page(bundle: Any) -> bool:
    found = [e["resource"] for e in bundle["entry"] if e["search"]["mode"] == "match"]
    dates = [r["authoredOn"] for r in found]
    in_order = dates == sorted(dates, reverse=True)
    return len(found) == 20 and in_order and all(r["status"] == "active" for r in found)


def _included(bundle: Any) -> bool:
    kinds = [e["resource"]["resourceType"] for e in bundle["entry"]]
    return kinds.count("DiagnosticReport") == 10 and kinds.count("ServiceRequest") == 10


def _stored(bundle: Any) -> bool:
    statuses = [e["response"]["status"] for e in bundle["entry"]]
    return len(statuses) == 20 and all(s.startswith("201") for s in statuses)


def measure(
    client: Client,
    server: Roots,
    seeded: Seeded,
    seconds: float,
    rounds: int,
    only: set[str],
) -> dict[str, Measured]:
    """Median round of each work, by requests per second. Searches first: creates grow the store."""
    rnd, number = random.Random(), iter(range(10**9))
    ask, pick = client.request, rnd.choice
    search = "/ServiceRequest?patient={}&status=active&_sort=-authored&_count=20"
    include = "/DiagnosticReport?patient={}&_include=DiagnosticReport:based-on&_count=20"
    created = _checked(lambda _: True, 201)

    def create(make: Callable[[str, int, random.Random], Any]) -> Callable[[], bytes]:
        def request() -> bytes:
            resource = make(pick(seeded.spare), next(number), rnd)
            return ask("POST", f"/{resource['resourceType']}", resource)

        return request

    def transaction() -> bytes:
        return ask("POST", "", payloads.transaction(rnd, next(number)))

    works: dict[str, tuple[int, Callable[[], bytes], Callable[[int, bytes], bool]]] = {
        "read": (
            CONNECTIONS,
            lambda: ask("GET", f"/ServiceRequest/{pick(seeded.requests)}"),
            _checked(lambda r: r["resourceType"] == "ServiceRequest"),
        ),
        "search": (
            CONNECTIONS,
            lambda: ask("GET", search.format(pick(seeded.patients))),
            _checked(_page),
        ),
        "include": (
            CONNECTIONS,
            lambda: ask("GET", include.format(pick(seeded.patients))),
            _checked(_included),
        ),
        "create_sr": (CONNECTIONS, create(payloads.service_request), created),
        "create_is": (CONNECTIONS, create(payloads.imaging_study), created),
        "tx4": (4, transaction, _checked(_stored)),
        "tx16": (16, transaction, _checked(_stored)),
    }
    results = {}
    for name, (connections, make, right) in works.items():
        if only and name not in only:
            continue
        asyncio.run(drive(client, connections, min(2, seconds), make, right, server))
        found = [
            asyncio.run(drive(client, connections, seconds, make, right, server))
            for _ in range(rounds)
        ]
        results[name] = sorted(found, key=lambda m: m.per_second)[len(found) // 2]
    return results
