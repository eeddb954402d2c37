"""``make bench``: our server and, where it is installed, Orthanc in the same minutes.

It starts ``isocentre serve`` on a folder of its own, seeds it, and prints rate, p95, CPU
milliseconds per request and memory of each role, as ratios to the bars. No timing is a test.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import (
    bars,
    dicom,
    fhir,
    opinions,
    pathways,
    processes,
    reports,
    subscriptions,
    worklists,
)
from bench.client import Client, Measured
from fhir_server import installation
from fhir_server.postgres.embedded import running

ANY_PORT = "127.0.0.1:0"
WORKERS = (1, 4)
COMMAND = [sys.executable, "-m", "fhir_server.cli"]


def isocentre(data: Path, *arguments: str) -> str:
    """Run one of our commands on the data folder; what it prints."""
    command = [*COMMAND, *arguments, "--data-dir", str(data)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Serving(NamedTuple):
    """Our server: the ids of the supervisor and of PostgreSQL, and where it is reached."""

    processes: processes.Roots
    url: str
    dicom_port: int


@contextlib.contextmanager
def serving(data: Path, *options: str) -> Iterator[Serving]:
    """Serve on free ports until the block ends, with further options of ``serve``."""
    command = [*COMMAND, "serve", "--data-dir", str(data), "--http", ANY_PORT, "--dicom", ANY_PORT]
    command += options
    with (data / "serve.log").open("wb") as log:
        hook = f"127.0.0.1:{subscriptions.HOOK_PORT}"
        unlimited = {**os.environ, "ISOCENTRE_RATE_REQUESTS": "0",
                     "ISOCENTRE_SUBSCRIPTION_HOSTS": hook}  # fmt: skip
        server = subprocess.Popen(command, stdout=log, stderr=log, env=unlimited)
    try:
        for _ in range(300):
            if server.poll() is not None:
                raise SystemExit((data / "serve.log").read_text())
            served = installation.read_back(data)
            with contextlib.suppress(OSError):
                if served is not None:
                    urllib.request.urlopen(f"{served.url}/readyz", timeout=2).close()
                    break
            time.sleep(0.1)
        else:
            raise SystemExit("the server is not ready after half a minute")
        postmaster = running((data / "pg").resolve())
        roots = (server.pid, *((postmaster.pid,) if postmaster else ()))
        assert served is not None
        yield Serving(roots, served.url, int(served.dicom.rpartition(":")[2]))
    finally:
        server.terminate()
        server.wait(20)


def fhir_table(server: Serving, token: str, options: argparse.Namespace) -> dict[str, object]:
    """Measure the FHIR works and print them beside their bars."""
    client = Client(f"{server.url}/fhir", token)
    seeded = asyncio.run(fhir.seed(client, options.patients, 100))
    only = set(options.only.split(",")) if options.only else set()
    found = fhir.measure(client, server.processes, seeded, options.seconds, options.rounds, only)
    print(f"\n{'FHIR':12}{'per s':>9}{'p95 ms':>9}{'CPU ms':>9}{'x bar':>8}{'CPU/bar':>9}  errors")
    for name, m in found.items():
        bar = bars.FHIR.get(name)
        rate = f"{m.per_second / (bar.per_second * bar.times):.2f}" if bar else "-"
        cpu = f"{m.cpu_ms / (bar.cpu_ms / 2):.2f}" if bar else "-"
        print(
            f"{name:12}{m.per_second:9.0f}{m.p95_ms:9.1f}{m.cpu_ms:9.2f}{rate:>8}{cpu:>9}"
            f"  {m.errors or ''} (client {m.client_cpu:.2f}, others {m.others_cpu:.2f} cores)"
        )
    return {name: m._asdict() for name, m in found.items()}


def dicom_table(ours: dicom.Peer, work: Path, options: argparse.Namespace) -> dict[str, object]:
    """Measure the DICOM works, ours and Orthanc's, and print the ratios beside their bars."""
    only = frozenset(filter(None, options.only.split(",")))
    found = dicom.compared(ours, work, seconds=options.seconds, rounds=options.rounds, only=only)
    print("\n" + dicom.table(found))
    idle = dicom.idle_share(ours)
    print(f"{dicom.IDLE} idle associations: {idle:.1%} of a core (bar: {bars.IDLE_SHARE:.0%})")
    works = {
        name: {side: done._asdict() for side, done in sides.items()}
        for name, sides in found.items()
    }
    return {"works": works, "idle": idle}


def workers_table(options: argparse.Namespace) -> dict[str, object]:
    """Measure the same load on one http process and on four, each on a record of its own."""
    only = set(filter(None, options.only.split(","))) or {"read", "search", "create_sr"}
    found: dict[int, dict[str, Measured]] = {}
    for count in WORKERS:
        with tempfile.TemporaryDirectory(prefix="isocentre-bench-") as name:
            data = Path(name)
            with serving(data, "--http-workers", str(count)) as server:
                isocentre(data, "demo", "load")
                client = Client(f"{server.url}/fhir", backend_token(data))
                seeded = asyncio.run(fhir.seed(client, options.patients, 100))
                found[count] = fhir.measure(
                    client, server.processes, seeded, options.seconds, options.rounds, only
                )
    one, four = (found[count] for count in WORKERS)
    print(f"\n{'http processes':14}{'1: per s':>10}{'4: per s':>10}{'ratio':>8}")
    for name, m in one.items():
        ratio = four[name].per_second / m.per_second
        print(f"{name:14}{m.per_second:10.0f}{four[name].per_second:10.0f}{ratio:8.2f}")
    return {str(n): {name: m._asdict() for name, m in each.items()} for n, each in found.items()}


def subscriptions_table(options: argparse.Namespace) -> dict[str, float]:
    """Measure what subscriptions cost, and print it."""
    with tempfile.TemporaryDirectory(prefix="isocentre-bench-") as name:
        data = Path(name)
        with serving(data, "--http-workers", "1") as server:
            isocentre(data, "demo", "load")
            found = asyncio.run(
                subscriptions.measure(
                    server.url, backend_token(data), server.processes, options.seconds
                )
            )
    for what, value in found.items():
        print(f"{what:50}{value:10.2f}")
    return found


def pathways_table(options: argparse.Namespace) -> dict[str, float]:
    """Measure what the steps of a request cost, and print it beside the bars."""
    with tempfile.TemporaryDirectory(prefix="isocentre-bench-") as name:
        data = Path(name)
        with serving(data) as server:
            isocentre(data, "demo", "load")
            found = asyncio.run(
                pathways.measure(
                    server.url, backend_token(data), server.processes, options.requests
                )
            )
            theirs = isocentre(data, "token", "--client", "demo-app", "--user", "reviewer",
                               "--scope", "user/*.rs")  # fmt: skip
            found |= asyncio.run(opinions.measure(server.url, backend_token(data), theirs))
    for what, value in found.items():
        print(f"{what:50}{value:10.2f}")
    print(f"bar: {opinions.SECONDS} s from asking for an opinion to the first image")
    print(f"bars: any step p95 {pathways.STEP_MS} ms, {pathways.PER_SECOND} requests a second")
    return found


def backend_token(data: Path) -> str:
    """Give a token of the demonstration's backend client."""
    return isocentre(data, "token", "--client", "demo-backend",
                     "--scope", "system/*.cruds", "--lifetime", "7200")  # fmt: skip


def main() -> None:
    """Run what was asked for; everything by default."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--only", default="", help="works, comma-separated")
    parts = ("fhir", "dicom", "workers", "worklists", "reports", "subscriptions", "pathways",
             "all")  # fmt: skip
    parser.add_argument("--part", choices=parts, default="all")
    parser.add_argument("--at", default=worklists.SIZES, help="Tasks of --part worklists")
    parser.add_argument("--requests", type=int, default=pathways.REQUESTS, help="of pathways")
    parser.add_argument("--explain", action="store_true", help="print the plans of worklists")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    results: dict[str, object] = {}
    if options.part == "worklists":
        sizes = [int(each) for each in options.at.split(",")]
        worklists.compare(sizes, 20 * options.rounds, options.explain)
        return
    if options.part == "reports":
        results["reports"] = reports.measure(reports.ROWS, options.rounds)
        _keep(results, options.json)
        return
    if options.part == "subscriptions":
        results["subscriptions"] = subscriptions_table(options)
        _keep(results, options.json)
        return
    if options.part == "pathways":
        results["pathways"] = pathways_table(options)
        _keep(results, options.json)
        return
    if options.part == "workers":
        results["workers"] = workers_table(options)
        _keep(results, options.json)
        return
    with tempfile.TemporaryDirectory(prefix="isocentre-bench-") as name:
        work, data = Path(name), Path(name) / "data"
        data.mkdir()
        with serving(data) as server:
            isocentre(data, "demo", "load")
            demo = json.loads((data / "demo.json").read_text())
            token = backend_token(data)
            if options.part != "dicom":
                results["fhir"] = fhir_table(server, token, options)
            if options.part != "fhir" and dicom.installed():
                lead = demo["organizations"][0]["ods"]
                isocentre(data, "peer", "add", "--ae", dicom.CALLING, "--host", "127.0.0.1",
                          "--port", "11199", "--organization", lead)  # fmt: skip
                ours = dicom.Peer("ISOCENTRE", server.dicom_port, f"{server.url}/dicom-web",
                                  server.processes, token)  # fmt: skip
                results["dicom"] = dicom_table(ours, work, options)
            memory = processes.memory_mb(server.processes)
            print("\nmemory (PSS): " + ", ".join(f"{k} {v:.0f} MB" for k, v in memory.items()))
            results["memory_mb"] = memory
    if options.part == "all":
        results["workers"] = workers_table(options)
        results["pathways"] = pathways_table(options)
    _keep(results, options.json)


def _keep(results: dict[str, object], file: Path | None) -> None:
    if file is not None:
        file.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
