"""What must never be committed, and the floors under our dependencies."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[2]

FLOORS = {
    "pydicom": "3.0.2",
    "pynetdicom": "3.0.4",
    "authlib": "1.6.11",
    "starlette": "1.0.1",
}
"""Below these stand published advisories: path traversal in pydicom (CVE-2026-32711) and pynetdicom
(CVE-2026-56445), forged tokens in authlib (CVE-2026-27962), Host confusion in starlette
(CVE-2026-48710)."""

MACHINE = re.compile(r"(?<![\w./-])/(?:wo" r"rk|ro" r"ot|ho" r"me)/[\w.]")
REGISTRY = re.compile(r"python" r"hosted|registry\.npm" r"js|deb\.deb" r"ian|files\.py" r"pi")


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_is_over_a_megabyte() -> None:
    assert [path.name for path in tracked() if path.stat().st_size > 1_000_000] == []


def test_no_registry_host_or_path_of_a_machine_is_written_down() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINE.search(line) or REGISTRY.search(line)
    ]

    assert found == []


@pytest.mark.parametrize(("package", "floor"), sorted(FLOORS.items()))
def test_the_lock_stands_above_published_advisories(package: str, floor: str) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pinned = re.search(rf"^{package}==([\w.]+)", lock, re.MULTILINE)

    assert pinned
    assert Version(pinned.group(1)) >= Version(floor)


def test_every_locked_package_has_a_hash() -> None:
    blocks = re.split(r"\n(?=\w)", (ROOT / "requirements.lock").read_text())

    assert [block.split()[0] for block in blocks if "==" in block and "--hash" not in block] == []


def test_modules_say_what_they_know() -> None:
    """Every module opens with a docstring; a package's `__init__` holds nothing else."""
    silent = []
    for path in tracked():
        if path.suffix != ".py" or "tests" in path.relative_to(ROOT).parts:
            continue
        module = ast.parse(path.read_text())
        if not ast.get_docstring(module):
            silent.append(str(path.relative_to(ROOT)))
        if path.name == "__init__.py" and len(module.body) > 1:
            silent.append(f"{path.relative_to(ROOT)} holds more than a docstring")

    assert silent == []
