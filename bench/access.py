"""``python -m bench.access``: what a token check costs, and the gate and audit of a read.

Prints medians; nothing is started but a database of its own. "Gate and audit" is what the functions
of `access` and `audit` take of the processor time of reads over the real route, by the profiler,
which makes small functions look dearer than they are.
"""

import asyncio
import cProfile
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fhir_server import installation
from fhir_server.access.limits import Limits
from fhir_server.access.principal import Principal
from fhir_server.access.token import Keys, TokenChecker, mint
from fhir_server.context import RequestContext
from fhir_server.core import Core
from fhir_server.main import build_http
from fhir_server.settings import Settings
from resources import content

ROUNDS: Final = 15
CHECKS: Final = 20_000
READS: Final = 2_000
OURS: Final = ("/fhir_server/access/", "/fhir_server/audit/")


def median_us(work: Callable[[], object], times: int = CHECKS) -> float:
    """Microseconds of one call, the median of some rounds."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            work()
        found.append((time.perf_counter() - began) / times * 1e6)
    return statistics.median(found)


def a_token(keys: Keys, url: str) -> str:
    """The token of a system that reads."""
    return mint(
        keys, url, subject="Client/bench", client="bench", scope="system/*.rs",
        organization="lead", role="application", lifetime=3600,
    )  # fmt: skip


async def reads(settings: Settings, url: str) -> tuple[float, float, float]:
    """CPU microseconds of a read, and of those the seconds of gate and audit and of all."""
    core = Core.of(settings, url)
    await core.database.open()
    keys = Keys.load(settings.data_dir)
    _, services = build_http(core, keys)
    system = RequestContext(Principal.system("bench"), "create")
    async with core.store.begin(system) as work:
        lead = {"resourceType": "Organization", "id": "lead", "name": "Lead"}
        await work.create(content.made(lead), "lead")
        patient = {
            "resourceType": "Patient",
            "managingOrganization": {"reference": "Organization/lead"},
        }
        await work.create(content.made({**patient, "id": "p"}), "p")
    bearer = f"Bearer {a_token(keys, settings.url)}".encode()
    statuses: set[int] = set()

    async def read() -> None:
        scope = {
            "type": "http", "method": "GET", "path": "/fhir/Patient/p", "query_string": b"",
            "headers": [(b"authorization", bearer)], "client": ("127.0.0.1", 1),
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.add(message["status"])

        await services["/fhir"](scope, receive, send)

    for _ in range(200):
        await read()
    began = time.process_time()
    for _ in range(READS):
        await read()
    each = (time.process_time() - began) / READS * 1e6
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(READS):
        await read()
    profiler.disable()
    await core.database.close()
    assert statuses == {200}, statuses
    return each, *_shares(profiler)


def _shares(profiler: cProfile.Profile) -> tuple[float, float]:
    """Seconds of gate and audit with all they call, and of all but waiting."""
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined] # typeshed leaves it out
    whole = sum(row[2] for name, row in stats.items() if "poll" not in name[2])
    ours = 0.0
    for (file, _, _), (_, _, _, _, callers) in stats.items():
        if any(part in file for part in OURS):
            outside = [row for (by, _, _), row in callers.items() if not _is_ours(by)]
            ours += sum(row[3] for row in outside)
    return ours, whole


def _is_ours(file: str) -> bool:
    return any(part in file for part in OURS)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="isocentre-bench-") as folder:
        settings = Settings(data_dir=Path(folder), rate_requests=0)
        keys = Keys.load(settings.data_dir)
        checker, token = TokenChecker(keys, settings.url), a_token(keys, settings.url)
        principal = checker.check(token)
        limits = Limits(requests=1_000_000, lookups=60)
        print(f"token check from cache    {median_us(lambda: checker.check(token)):6.2f} us")
        print(f"limit of requests         {median_us(lambda: limits.admit(principal)):6.2f} us")
        fresh = median_us(lambda: TokenChecker(keys, settings.url).check(token), 100)
        print(f"token check, first time   {fresh:6.2f} us")
        with installation.migrated(settings) as url:
            each, ours, whole = asyncio.run(reads(settings, url))
        print(f"a read, all of our CPU    {each:6.1f} us")
        print(f"gate and audit of it      {ours / whole:6.1%}")


if __name__ == "__main__":
    main()
