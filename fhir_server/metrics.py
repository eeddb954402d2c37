"""Metrics: what each process counts, added up for whoever asks, as Prometheus reads it.

Every process counts in a small file of its own, mapped into memory, under ``run/metrics`` in the
data folder; any http process reads them all. A process that is started again goes on in the file
of the one it replaces, so that counters never fall.

Prometheus documentation, "Exposition formats", text format 0.0.4.
"""

import bisect
import mmap
import os
import re
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

INTERACTIONS: Final = (
    "capabilities", "read", "vread", "history", "search", "create", "update", "patch",
    "delete", "batch", "other-fhir",
    "QIDO-RS", "WADO-RS", "STOW-RS", "UPS-RS", "authorization", "page", "health", "unknown",
    "association", "C-ECHO", "C-STORE", "C-FIND", "C-GET", "C-MOVE",
    "websocket",
)  # fmt: skip
CHANNELS: Final = ("rest-hook:sent", "email:sent", "websocket:sent")
LAG: Final = ("rest-hook:lag", "email:lag", "websocket:lag")
"""What subscribers are sent, by channel; and how long before the change was."""

STATUSES: Final = (
    200, 201, 202, 204, 206, 301, 304, 400, 401, 403, 404, 405, 406, 409, 410, 411, 412, 413, 414,
    415, 422, 428, 429, 500, 501, 503, 0,
)  # fmt: skip
"""0 stands for all others; DIMSE counts 200 for Success, 202 for a warning, 500 for a failure."""

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency buckets in seconds."""

_STATUS: Final = {status: place for place, status in enumerate(STATUSES)}
_INTERACTION: Final = {name: place for place, name in enumerate((*INTERACTIONS, *CHANNELS, *LAG))}
_BUCKETS: Final = len(BOUNDS) + 1
_ROW: Final = len(STATUSES) + _BUCKETS + 1
_HEAD: Final = 2
_NUMBERS: Final = _HEAD + len(_INTERACTION) * _ROW
"""Doubles in a file: pid, time of start, then a row an interaction: statuses, buckets, seconds."""


class Family(NamedTuple):
    """Rows that are told together: a histogram of seconds, and a counter by status if it has one.

    Parameters
    ----------
    name
        Of the histogram, without ``isocentre_`` and ``_seconds``.
    counter
        Name and help of the counter.
    """

    name: str
    help: str
    label: str
    rows: tuple[str, ...]
    counter: tuple[str, str] | None


FAMILIES: Final = (
    Family("request", "Time until an answer was complete.", "interaction", INTERACTIONS,
           ("requests_total", "Requests answered.")),
    Family("notification", "Time until a notification was taken, or not.", "channel", CHANNELS,
           ("notifications_total", "Notifications sent, by what the receiver answered.")),
    Family("notification_lag", "Time from a change until it was told.", "channel", LAG, None),
)  # fmt: skip

_FILE: Final = re.compile(r"([a-z]+)-(\d+)")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Meter:
    """What one process counts.

    Parameters
    ----------
    role, slot
        ``http`` and 0, 1, ...: the place of the process among those of its role.
    """

    def __init__(self, data_dir: Path, role: str, slot: int) -> None:
        path = folder(data_dir) / f"{role}-{slot}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.truncate(_NUMBERS * 8)
            self._map = mmap.mmap(file.fileno(), _NUMBERS * 8)
        self._numbers = memoryview(self._map).cast("d")
        self._numbers[0] = os.getpid()
        self._numbers[1] = time.time()

    def count(self, interaction: str, status: int, seconds: float) -> None:
        """Count one request that was answered."""
        row = _HEAD + _INTERACTION.get(interaction, _INTERACTION["unknown"]) * _ROW
        numbers = self._numbers
        numbers[row + _STATUS.get(status, len(STATUSES) - 1)] += 1
        numbers[row + len(STATUSES) + bisect.bisect_left(BOUNDS, seconds)] += 1
        numbers[row + _ROW - 1] += seconds


class Process(NamedTuple):
    """One process and what it counted."""

    role: str
    slot: int
    pid: int
    started: float
    numbers: tuple[float, ...]


def folder(data_dir: Path) -> Path:
    """Where the processes of a data folder count."""
    return data_dir / "run" / "metrics"


def clear(data_dir: Path) -> None:
    """Begin again from nothing, as a server that starts does."""
    for file in folder(data_dir).glob("*"):
        file.unlink(missing_ok=True)


def exposition(data_dir: Path) -> bytes:
    """Give all metrics of all processes of a data folder."""
    processes = sorted(_processes(data_dir))
    sums = _sums(processes)
    lines = [line for family in FAMILIES for line in _family(family, sums)]
    lines += _of_processes(processes)
    return ("\n".join(lines) + "\n").encode()


def _processes(data_dir: Path) -> Iterator[Process]:
    for path in folder(data_dir).glob("*"):
        named = _FILE.fullmatch(path.name)
        octets = path.read_bytes()
        if named and len(octets) == _NUMBERS * 8:
            numbers = tuple(memoryview(octets).cast("d"))
            yield Process(named[1], int(named[2]), int(numbers[0]), numbers[1], numbers[_HEAD:])


def _sums(processes: list[Process]) -> list[float]:
    """Add up what all processes counted."""
    columns = zip(*(process.numbers for process in processes), strict=True)
    return [sum(column) for column in columns] or [0.0] * (_NUMBERS - _HEAD)


def _family(family: Family, sums: list[float]) -> Iterator[str]:
    yield from _counter(family, sums)
    name = f"isocentre_{family.name}_seconds"
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} histogram"
    for row in family.rows:
        label = f'{family.label}="{row.partition(":")[0]}"'
        first = _INTERACTION[row] * _ROW + len(STATUSES)
        below = list(accumulate(sums[first : first + _BUCKETS]))
        if not below[-1]:
            continue
        for bound, number in zip([*map(str, BOUNDS), "+Inf"], below, strict=True):
            yield f'{name}_bucket{{{label},le="{bound}"}} {number:.0f}'
        yield f"{name}_sum{{{label}}} {sums[first + _BUCKETS]:.6f}"
        yield f"{name}_count{{{label}}} {below[-1]:.0f}"


def _counter(family: Family, sums: list[float]) -> Iterator[str]:
    if family.counter is None:
        return
    name, help = family.counter
    yield f"# HELP isocentre_{name} {help}"
    yield f"# TYPE isocentre_{name} counter"
    for row in family.rows:
        for status, column in _STATUS.items():
            if number := sums[_INTERACTION[row] * _ROW + column]:
                named = row.partition(":")[0]
                labels = f'{family.label}="{named}",status="{status or "other"}"'
                yield f"isocentre_{name}{{{labels}}} {number:.0f}"


def _of_processes(processes: list[Process]) -> Iterator[str]:
    """Tell memory, processor time and start of each process that is alive (proc(5))."""
    alive = [(process, used) for process in processes if (used := _used(process.pid))]
    for name, kind, help, column in (
        ("resident_memory_bytes", "gauge", "Memory in use.", 0),
        ("cpu_seconds_total", "counter", "Processor time used, user and system.", 1),
    ):
        yield f"# HELP isocentre_process_{name} {help}"
        yield f"# TYPE isocentre_process_{name} {kind}"
        for process, used in alive:
            labels = f'role="{process.role}",slot="{process.slot}"'
            yield f"isocentre_process_{name}{{{labels}}} {used[column]:g}"
    yield "# HELP isocentre_process_start_time_seconds When the process began to count."
    yield "# TYPE isocentre_process_start_time_seconds gauge"
    for process, _ in alive:
        labels = f'role="{process.role}",slot="{process.slot}"'
        yield f"isocentre_process_start_time_seconds{{{labels}}} {process.started:.3f}"


def _used(pid: int) -> tuple[float, float] | None:
    """Give resident octets and processor seconds of a process, if there is one."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None
    return float(resident), (int(fields[11]) + int(fields[12])) / _TICKS
