"""Get the official examples of R4: the npm package, or what of it is kept in this repository.

Run when the project is set up::

    python -m tools.examples FOLDER

puts ``hl7.fhir.r4.examples`` 4.0.1 into `FOLDER` with ``npm pack``, checked against its digest.
Where npm or its registry is not to be had, that is said and nothing is lost: the tests then read
``tests/examples/official.tar.xz``, which has every example but those of definitions. That archive
is made by ``python -m tools.examples --archive PACKAGE.tgz``.
"""

import base64
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from resources.models import TYPES

HERE = Path(__file__).resolve().parent.parent
ARCHIVE = HERE / "tests" / "examples" / "official.tar.xz"
ASSETS = HERE / ".assets" / "r4-examples"

NAME = "hl7.fhir.r4.examples"
VERSION = "4.0.1"
FILE = f"{NAME}-{VERSION}.tgz"
INTEGRITY = (
    "sha512-DXBdIZOeQaSKIgCU7w6HOC7sw/6BzylmipLkBW4f"
    "//pT+Bc94x+8LImwTdvaNThPJoOzpBzvxAzNqjeu3X/zLw=="
)
"""sha512 of the package, as the registry states it."""

LONGEST = 3_000_000
"""Octets; what is longer are Bundles of the definitions that are also there one by one."""

LONGEST_KEPT = 600_000
"""The same for the archive: Bundles of definitions again."""

DEFINITIONS = frozenset({
    "CapabilityStatement", "CodeSystem", "CompartmentDefinition", "ConceptMap",
    "ImplementationGuide", "NamingSystem", "OperationDefinition", "SearchParameter",
    "StructureDefinition", "StructureMap", "ValueSet",
})  # fmt: skip
"""Types of which the package has thousands: they are not in the archive."""


def fetch(folder: Path) -> bool:
    """Put the package into a folder, unless it is there; tell whether it is."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / FILE).exists():
        command = ["npm", "pack", "--silent", f"{NAME}@{VERSION}", f"--pack-destination={folder}"]
        try:
            subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError):
            return False
    if digest(folder / FILE) != INTEGRITY:
        (folder / FILE).unlink()
        return False
    return True


def digest(path: Path) -> str:
    """Give the digest of a file as npm writes it (Subresource Integrity)."""
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def members(package: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and text of every JSON file of a package or archive that is not too long."""
    with tarfile.open(package) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".json") else None
            if file is not None and member.size <= LONGEST:
                yield member.name.rpartition("/")[2], file.read()


def examples() -> Iterator[tuple[str, bytes]]:
    """Yield the official examples, from the package if it is there, else from the archive."""
    package = ASSETS / FILE
    return members(package if package.exists() else ARCHIVE)


def archive(package: Path) -> None:
    """Write the archive anew: the same bytes for the same package."""
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as made:
        for name, text in sorted(members(package)):
            resource = json.loads(text)
            is_kept = len(text) <= LONGEST_KEPT
            if is_kept and resource.get("resourceType") in TYPES - DEFINITIONS:
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                made.addfile(entry, io.BytesIO(text))


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    if arguments[0] == "--archive":
        archive(Path(arguments[1]))
    elif not fetch(Path(arguments[0])):
        print(f"{NAME} is not to be had; the tests read {ARCHIVE.name} instead", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
