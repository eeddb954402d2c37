"""Processor time and memory of the processes of a server, from /proc (Linux)."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")

Roots = tuple[int, ...]
"""A server may be several trees: PostgreSQL leaves the tree of the process that starts it."""


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def descendants(roots: Roots) -> list[int]:
    """List processes and all below them that are alive."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = list[int](), list(roots)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_seconds(roots: Roots) -> float:
    """Add up the processor seconds of the trees, of children waited for too."""
    total = 0
    for pid in descendants(roots):
        if fields := _stat(pid):
            total += sum(int(fields[i]) for i in (11, 12, 13, 14))
    return total / TICKS


def machine_seconds() -> float:
    """Processor seconds that all processes of the machine have used since it started."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def memory_mb(roots: Roots) -> dict[str, float]:
    """Proportional memory (PSS, MB) of each process, keyed by role and pid; PostgreSQL as one."""
    found: dict[str, float] = {}
    for pid in descendants(roots):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        if "postgres" in command:
            role = "postgres"
        else:
            roles = [r for r in ("http", "dicom", "worker", "serve") if f" {r}" in command]
            role = roles[0] if roles else "other"
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        key = role if role == "postgres" else f"{role} {pid}"
        found[key] = found.get(key, 0) + pss / 1000
    return found
