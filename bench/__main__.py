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

from bench import bars, dicom, fhir, instances, orthanc, processes
from bench.client import Client
from fhir_server.store.embedded import running

HTTP, DICOM_PORT = "127.0.0.1:18090", 18112
COMMAND = [sys.executable, "-m", "fhir_server.cli"]


def isocentre(data: Path, *arguments: str) -> str:
    """Run one of our commands on the data folder; what it prints."""
    command = [*COMMAND, *arguments, "--data-dir", str(data)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def serving(data: Path) -> Iterator[processes.Roots]:
    """Serve until the block ends; yields the ids of the supervisor and of PostgreSQL."""
    command = [*COMMAND, "serve", "--data-dir", str(data), "--http", HTTP]
    command += ["--dicom", f"127.0.0.1:{DICOM_PORT}"]
    with (data / "serve.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ})
    try:
        for _ in range(300):
            if server.poll() is not None:
                raise SystemExit((data / "serve.log").read_text())
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://{HTTP}/readyz", timeout=2).close()
                break
            time.sleep(0.1)
        else:
            raise SystemExit("the server is not ready after half a minute")
        postmaster = running((data / "pg").resolve())
        yield server.pid, *((postmaster.pid,) if postmaster else ())
    finally:
        server.terminate()
        server.wait(20)


def fhir_table(
    server: processes.Roots, token: str, options: argparse.Namespace
) -> dict[str, object]:
    """Measure the FHIR works and print them beside their bars."""
    client = Client(f"http://{HTTP}/fhir", token)
    seeded = asyncio.run(fhir.seed(client, options.patients, 100))
    only = set(options.only.split(",")) if options.only else set()
    found = fhir.measure(client, server, seeded, options.seconds, options.rounds, only)
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


def dicom_table(ours: dicom.Peer, work: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Measure the DICOM works, ours and Orthanc's, and print the ratios beside their bars."""
    data = work / "dicom"
    instances.make(data, f"bench{time.time_ns()}")
    (data / "ct-rest").mkdir()
    for study in ("1", "2", "3"):
        (data / "ct" / study).rename(data / "ct-rest" / study)
    mine = dicom.measure(ours, data, seconds)
    theirs: dict[str, float] = {}
    if program := orthanc.installed():
        with orthanc.running(program, work / "orthanc") as pid:
            peer = dicom.Peer(orthanc.AE, orthanc.DICOM_PORT, orthanc.WEB, (pid,))
            theirs = dicom.measure(peer, data, seconds)
    print(f"\n{'DICOM':32}{'ours':>10}{'Orthanc':>10}{'ratio':>8}{'bar':>6}")
    for name, rate in mine.items():
        other = theirs.get(name, float("nan"))
        print(f"{name:32}{rate:10.1f}{other:10.1f}{rate / other:8.2f}{bars.DICOM.get(name, ''):>6}")
    return {"ours": mine, "orthanc": theirs}


def main() -> None:
    """Run what was asked for; everything by default."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--only", default="", help="FHIR works, comma-separated")
    parser.add_argument("--part", choices=("fhir", "dicom", "all"), default="all")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="isocentre-bench-") as name:
        work, data = Path(name), Path(name) / "data"
        data.mkdir()
        with serving(data) as server:
            isocentre(data, "demo", "load")
            demo = json.loads((data / "demo.json").read_text())
            token = isocentre(data, "token", "--client", "demo-backend",
                              "--scope", "system/*.cruds", "--lifetime", "7200")  # fmt: skip
            if options.part != "dicom":
                results["fhir"] = fhir_table(server, token, options)
            if options.part != "fhir" and dicom.installed():
                lead = demo["organizations"][0]["ods"]
                isocentre(data, "peer", "add", "--ae", dicom.CALLING, "--host", "127.0.0.1",
                          "--port", "11199", "--organization", lead)  # fmt: skip
                web = f"http://{HTTP}/dicom-web"
                ours = dicom.Peer("ISOCENTRE", DICOM_PORT, web, server, token)
                results["dicom"] = dicom_table(ours, work, options.seconds)
            memory = processes.memory_mb(server)
            print("\nmemory (PSS): " + ", ".join(f"{k} {v:.0f} MB" for k, v in memory.items()))
            results["memory_mb"] = memory
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
