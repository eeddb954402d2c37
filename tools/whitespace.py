"""Refuse files with merge conflict marks, or that do not end with exactly one newline.

Usage: ``python tools/whitespace.py FILE...``; prints the files at fault, exits with 1 if any.
"""

import sys
from pathlib import Path

MARKS = ("<" * 7 + " ", ">" * 7 + " ")


def fault(path: Path) -> str | None:
    """Say what is wrong with a file, or None."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if any(line.startswith(MARKS) for line in text.splitlines()):
        return "merge conflict mark"
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        return "does not end with one newline"
    return None


def main(names: list[str]) -> int:
    """Print each file at fault."""
    faults = [(name, fault(Path(name))) for name in names]
    for name, reason in faults:
        if reason:
            print(f"{name}: {reason}")
    return int(any(reason for _, reason in faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
