"""Load on DICOM services: C-STORE and C-GET by dcmtk, C-FIND, QIDO-RS and WADO-RS by our own.

Each work is done at our server and at Orthanc in turns, several times, and the medians compared:
whatever else the machine does then, it does to both.
"""

import asyncio
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, NamedTuple

import httpx
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from bench import bars, instances, orthanc, processes
from bench.association import Association
from bench.client import Client, drive
from bench.processes import Roots

DCMTK: Final = Path("/usr/bin")
"""Not from PATH: pynetdicom installs programs of the same names beside Python."""
QUICK: Final = {"TCP_NODELAY": "1"}
"""Environment of dcmtk's programs, which wait 40 ms a message without it."""

CALLING: Final = "BENCH"
VERIFICATION: Final = "1.2.840.10008.1.1"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
TWICE_IMAGED: Final = "P0010005"
DICOM_JSON: Final = "application/dicom+json"
OCTETS: Final = 'multipart/related; type="application/octet-stream"'
AS_STORED: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'

CONNECTIONS: Final = 4
QUERIES: Final = 200
IDLE: Final = 200
IDLE_SECONDS: Final = 3
SETTLE_SECONDS: Final = 3
"""Both servers index what they received before they are asked for it."""


class Peer(NamedTuple):
    """A server under load: its AE, port and DICOMweb base on 127.0.0.1, processes, token."""

    ae: str
    port: int
    web: str
    processes: Roots
    token: str = ""


class Round(NamedTuple):
    """What one round works with: images of its own to store, and the study that all ask for."""

    number: int
    data: Path
    asked: Dataset
    seconds: float

    @property
    def study(self) -> str:
        """Path of the study that is asked for."""
        return f"/studies/{self.asked.StudyInstanceUID}"

    @property
    def frame(self) -> str:
        """Path of its first frame."""
        series, instance = self.asked.SeriesInstanceUID, self.asked.SOPInstanceUID
        return f"{self.study}/series/{series}/instances/{instance}/frames/1"


class Done(NamedTuple):
    """How much was done, in how many seconds, with how many of the server's processor seconds."""

    amount: float
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Amount per second."""
        return self.amount / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of processor time for each."""
        return self.cpu / self.amount * 1e3


Work = Callable[[Peer, Round], float]
"""Does something at a server, and says how much."""


def store(peer: Peer, folder: Path, associations: int = 1) -> float:
    """C-STORE all files below `folder` over parallel associations; how many."""
    files = sorted(folder.rglob("*.dcm"))
    with tempfile.TemporaryDirectory() as parts:
        for number, file in enumerate(files):
            part = Path(parts) / str(number % associations)
            part.mkdir(exist_ok=True)
            (part / f"{number:06d}.dcm").symlink_to(file.resolve())
        senders = [
            subprocess.Popen(
                [DCMTK / "storescu", "-q", "-aec", peer.ae, "-aet", CALLING, "+sd", "127.0.0.1",
                 str(peer.port), str(Path(parts) / str(part))],
                env={**os.environ, **QUICK},
            )
            for part in range(associations)
        ]  # fmt: skip
        failed = [sender.wait(600) for sender in senders]
    if any(failed):
        raise SystemExit(f"storescu to {peer.ae} failed")
    return len(files)


def get(peer: Peer, now: Round) -> float:
    """C-GET the study and discard it; how many instances."""
    command = [str(DCMTK / "getscu"), "-q", "-S", "-aec", peer.ae, "-aet", CALLING, "--ignore",
               "-k", "QueryRetrieveLevel=STUDY",
               "-k", f"StudyInstanceUID={now.asked.StudyInstanceUID}",
               "127.0.0.1", str(peer.port)]  # fmt: skip
    for _ in range(2):
        subprocess.run(command, check=True, env={**os.environ, **QUICK})
    return 2 * instances.SLICES


def find(peer: Peer, now: Round) -> float:
    """Ask for the two studies of a patient, again and again on one association; how often."""
    query = Dataset()
    query.QueryRetrieveLevel, query.PatientID = "STUDY", TWICE_IMAGED
    query.StudyInstanceUID = query.PatientName = query.StudyDate = ""
    identifier = _encoded(query)
    with closing(Association(peer.port, peer.ae, CALLING, STUDY_ROOT_FIND)) as association:
        for number in range(QUERIES):
            rows = association.find(number + 1, identifier)
            if rows != 2:
                raise SystemExit(f"{peer.ae} found {rows} rows instead of 2")
    return QUERIES


def whole_study(peer: Peer, now: Round) -> float:
    """WADO-RS of the study as stored, three times; how many MB."""
    headers = {"Accept": AS_STORED}
    if peer.token:
        headers["Authorization"] = f"Bearer {peer.token}"
    size = 0
    with httpx.Client(timeout=120, headers=headers) as client:
        for _ in range(3):
            with client.stream("GET", peer.web + now.study) as answer:
                answer.raise_for_status()
                size += sum(map(len, answer.iter_raw(1 << 20)))
    return size / 1e6


def asking(
    path: Callable[[Round], str], accept: str, connections: int = CONNECTIONS
) -> Callable[[Peer, Round], float]:
    """GET a DICOMweb address for as long as a round asks; the work answers how often."""

    def work(peer: Peer, now: Round) -> float:
        client = Client(peer.web, peer.token, accept)
        request = client.request("GET", path(now))
        found = asyncio.run(
            drive(client, connections, now.seconds, lambda: request,
                  lambda status, body: status == 200 and bool(body), peer.processes)
        )  # fmt: skip
        if found.errors:
            raise SystemExit(f"{peer.ae} {path(now)}: {found.errors}")
        return found.per_second * now.seconds

    return work


STORING: Final[Mapping[str, Work]] = {
    "c-store ct over 1 association": lambda peer, now: store(peer, now.data / "ct" / "0"),
    "c-store ct over 4 associations": lambda peer, now: store(peer, now.data / "ct" / "1", 4),
    "c-store cr": lambda peer, now: store(peer, now.data / "cr"),
    "c-store tiny over 4 associations": lambda peer, now: store(peer, now.data / "tiny", 4),
}
ASKING: Final[Mapping[str, Work]] = {
    "c-get 200 ct": get,
    "c-find of two rows": find,
    "qido 50 studies": asking(lambda now: "/studies?limit=50", DICOM_JSON),
    "metadata of 200 instances": asking(lambda now: now.study + "/metadata", DICOM_JSON, 1),
    "frame": asking(lambda now: now.frame, OCTETS),
    "rendered frame": asking(lambda now: f"{now.frame}/rendered", "image/jpeg"),
    "whole study in MB": whole_study,
}


def compared(
    ours: Peer, work: Path, *, seconds: float, rounds: int, only: frozenset[str] = frozenset()
) -> dict[str, dict[str, Done]]:
    """Do all works at our server and, where it is installed, at Orthanc; the median rounds.

    Parameters
    ----------
    work
        Folder for images and for Orthanc; some 200 MB a round.
    only
        Names of works; none for all.
    """
    with ExitStack() as stack:
        peers = {"ours": ours}
        if program := orthanc.installed():
            other = stack.enter_context(orthanc.running(program, work / "orthanc"))
            peers["orthanc"] = Peer(orthanc.AE, other.port, other.web, (other.pid,))
        seed = f"bench{time.time_ns()}"
        made = [instances.make(work / f"images-{at}", seed, at) for at in range(rounds)]
        first = dcmread(made[0] / "ct" / "0" / "0001.dcm", stop_before_pixels=True)
        every = [Round(at, data, first, seconds) for at, data in enumerate(made)]
        names = [name for name in (*STORING, *ASKING) if not only or name in only]
        found: dict[str, dict[str, list[Done]]] = {
            name: {peer: [] for peer in peers} for name in names
        }
        for works in (STORING, ASKING):
            if works is ASKING:
                if not only & STORING.keys() and only:
                    for peer in peers.values():
                        for folder in ("ct/0", "tiny"):
                            store(peer, made[0] / folder, 4)
                time.sleep(SETTLE_SECONDS)
            for name in works.keys() & found.keys():
                for now in every:
                    for side, peer in _in_turns(peers, now.number):
                        found[name][side].append(_done(works[name], peer, now))
        return {
            name: {side: _median(done) for side, done in sides.items()}
            for name, sides in found.items()
        }


def idle_share(peer: Peer) -> float:
    """Share of a core that open associations use on which nothing happens."""
    with ExitStack() as stack:
        for _ in range(IDLE):
            opened = Association(peer.port, peer.ae, CALLING, VERIFICATION)
            stack.enter_context(closing(opened))
        time.sleep(1)
        used = processes.cpu_seconds(peer.processes)
        time.sleep(IDLE_SECONDS)
        return (processes.cpu_seconds(peer.processes) - used) / IDLE_SECONDS


def table(found: Mapping[str, Mapping[str, Done]]) -> str:
    """The figures beside Orthanc's and the bars."""
    lines = [
        f"{'DICOM':30}{'ours /s':>10}{'Orthanc /s':>12}{'ratio':>8}{'bar':>6}{'':4}"
        f"{'ms each':>9}{'CPU ms':>9}{'Orthanc':>9}"
    ]
    for name, sides in found.items():
        mine, other = sides["ours"], sides.get("orthanc")
        bar = bars.DICOM.get(name)
        ratio = mine.rate / other.rate if other else float("nan")
        held = "" if bar is None or other is None else "ok" if ratio >= bar else "-"
        lines.append(
            f"{name:30}{mine.rate:10.1f}{other.rate if other else float('nan'):12.1f}"
            f"{ratio:8.2f}{bar or '':>6}{held:>4}{1e3 / mine.rate:9.2f}{mine.cpu_ms:9.2f}"
            f"{other.cpu_ms if other else float('nan'):9.2f}"
        )
    return "\n".join(lines)


def installed() -> bool:
    """Whether dcmtk's programs are here."""
    return all(shutil.which(DCMTK / name) for name in ("storescu", "getscu"))


def _in_turns(peers: Mapping[str, Peer], number: int) -> list[tuple[str, Peer]]:
    """Let each begin every other round."""
    order = list(peers.items())
    return order[::-1] if number % 2 else order


def _done(work: Work, peer: Peer, now: Round) -> Done:
    used, began = processes.cpu_seconds(peer.processes), time.perf_counter()
    amount = work(peer, now)
    seconds = time.perf_counter() - began
    return Done(amount, seconds, processes.cpu_seconds(peer.processes) - used)


def _median(done: list[Done]) -> Done:
    rate = statistics.median_low([one.rate for one in done])
    cpu = statistics.median_low([one.cpu_ms for one in done])
    return Done(1.0, 1 / rate, cpu / 1e3)


def _encoded(query: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = True, True
    write_dataset(buffer, query)
    return buffer.getvalue()
