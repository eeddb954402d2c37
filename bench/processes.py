"""Processor time and memory of the processes of a server, from /proc (Linux)."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def descendants(root: int) -> list[int]:
    """List a process and all below it that are alive."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """Add up the processor seconds of a tree, of children waited for too."""
    total = 0
    for pid in descendants(root):
        if fields := _stat(pid):
            total += sum(int(fields[i]) for i in (11, 12, 13, 14))
    return total / TICKS


def machine_seconds() -> float:
    """Processor seconds that all processes of the machine have used since it started."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def memory_mb(root: int) -> dict[str, float]:
    """Proportional memory (PSS, MB) of each process below `root`, keyed by role and pid."""
    found: dict[str, float] = {}
    for pid in descendants(root):
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
